from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.columns.extents import NO_ORDER, Extents, Preservation

SHIFT = 12
PAGE = 1 << SHIFT


def extents(runs) -> Extents:
    """From (phys, order, count) tuples."""
    columns = np.array(list(runs), np.uint64).reshape(-1, 3).T
    return Extents(SHIFT, columns[0], columns[1].astype(np.uint8), columns[2])


def model(runs) -> list[Preservation]:
    """What the runs stand for, block by block."""
    return [
        Preservation(phys + index * (PAGE << order), order)
        for phys, order, count in runs
        for index in range(count)
    ]


ANYWHERE = st.sampled_from([0, 1 << 40, (1 << 64) - (1 << 24)])
MIDDLE = st.just(1 << 40)


@st.composite
def run_lists(draw, base=ANYWHERE):
    """Runs close enough together to touch, overlap and repeat, at both ends of the address space."""
    low = draw(base)
    runs = []
    for _ in range(draw(st.integers(0, 8))):
        order = draw(st.integers(0, 3))
        runs.append((low + draw(st.integers(0, 20)) * (PAGE << order), order, draw(st.integers(1, 6))))
    return runs


@given(run_lists())
def test_iteration_and_len_go_by_block(runs):
    made = extents(runs)
    assert list(made) == model(runs)
    assert len(made) == len(model(runs))
    assert made.runs == len(runs)
    assert bool(made) is bool(runs)


@given(run_lists())
def test_an_order_is_that_of_the_largest_block_that_begins_there(runs):
    """Within a block, and between blocks, none begins."""
    blocks = model(runs)
    low = min((phys for phys, *_ in runs), default=0)
    places = [low + page * PAGE for page in range(220) if low + page * PAGE < 1 << 64]
    told = extents(runs).orders_at(np.array(places, np.uint64)).tolist()
    begins = Counter[int]()
    for block in blocks:
        begins[block.phys] = max(begins.get(block.phys, 0), block.order + 1)
    assert told == [begins[phys] - 1 if begins[phys] else NO_ORDER for phys in places]


@given(run_lists())
def test_columns_of_a_run(runs):
    made = extents(runs)
    assert made.size.tolist() == [count * (PAGE << order) for _, order, count in runs]
    assert made.end.tolist() == [phys + count * (PAGE << order) for phys, order, count in runs]


@given(run_lists())
def test_joined_keeps_every_block_in_order(runs):
    joined = extents(runs).joined()
    assert list(joined) == model(runs)
    rows = list(zip(joined.phys.tolist(), joined.order.tolist(), joined.end.tolist(), strict=True))
    assert all((end, order) != (phys, after) for (_, order, end), (phys, after, _) in pairwise(rows))


@given(run_lists())
def test_sorted_goes_by_address_then_order(runs):
    made = extents(runs).sorted()
    assert Counter(made) == Counter(model(runs))
    rows = list(zip(made.phys.tolist(), made.order.tolist(), strict=True))
    assert rows == sorted(rows)


@given(st.lists(run_lists(), max_size=4))
def test_concatenate_keeps_every_block_in_order(parts):
    whole = Extents.concatenate(SHIFT, [extents(runs) for runs in parts])
    assert list(whole) == [block for runs in parts for block in model(runs)]


def test_concatenate_joins_a_run_that_goes_on_in_the_next_part():
    whole = Extents.concatenate(SHIFT, [extents([(0, 1, 2)]), extents([(4 * PAGE, 1, 3), (10 * PAGE, 0, 1)])])
    assert (whole.phys.tolist(), whole.count.tolist()) == ([0, 10 * PAGE], [5, 1])


def test_concatenate_nothing():
    assert list(Extents.concatenate(SHIFT, [])) == []
    assert not Extents.empty(SHIFT)


@given(run_lists())
def test_totals(runs):
    totals = {total.order: (total.count, total.size) for total in extents(runs).totals()}
    counts = Counter(block.order for block in model(runs))
    assert totals == {order: (count, count * (PAGE << order)) for order, count in counts.items()}
    assert list(totals) == sorted(totals)
    assert extents(runs).total_size == sum(PAGE << block.order for block in model(runs))


@given(
    run_lists(base=MIDDLE),
    st.none() | st.sets(st.integers(0, 4)),
    st.integers(-4 * PAGE, 64 * PAGE),
    st.none() | st.integers(-4 * PAGE, 200 * PAGE),
)
def test_select_takes_the_blocks_that_touch_the_range(runs, orders, start, end):
    start, end = start + (1 << 40), None if end is None else end + (1 << 40)
    expected = [
        block
        for block in model(runs)
        if (orders is None or block.order in orders)
        and block.phys + (PAGE << block.order) > start
        and (end is None or (block.phys < end and start < end))
    ]
    assert list(extents(runs).select(orders=orders, start=start, end=end)) == expected


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [(0, None, 4), (1, None, 4), (PAGE, None, 3), (PAGE - 1, PAGE, 1), (PAGE - 1, PAGE + 1, 2), (0, 0, 0)],
)
def test_select_cuts_runs_at_block_boundaries(start, end, kept):
    assert len(extents([(0, 0, 4)]).select(start=start, end=end)) == kept


@given(run_lists(), st.integers(1, 9))
def test_pages_gives_every_block_in_bounded_batches(runs, limit):
    batches = list(extents(runs).pages(limit))
    assert all(0 < len(phys) <= limit and len(phys) == len(order) == len(run) for phys, order, run in batches)
    rows = [row for phys, order, _ in batches for row in zip(phys.tolist(), order.tolist(), strict=True)]
    assert rows == model(runs)
    owners = [row for _, _, run in batches for row in run.tolist()]
    assert owners == [row for row, (_, _, count) in enumerate(runs) for _ in range(count)]


@given(run_lists(base=MIDDLE), st.integers(-PAGE, 200 * PAGE))
def test_lookup_finds_the_blocks_that_cover_an_address(runs, offset):
    at = (1 << 40) + offset
    expected = [block for block in model(runs) if block.phys <= at < block.phys + (PAGE << block.order)]
    found = extents(runs).lookup(at)
    assert set(found) == set(expected)
    assert [hit.order for hit in found] == sorted(hit.order for hit in found)


@given(run_lists(base=MIDDLE), st.lists(st.integers(-2, 200), max_size=20))
def test_a_block_is_found_where_it_begins_and_the_largest_where_several_do(runs, pages):
    addresses = [(1 << 40) + page * PAGE for page in pages]
    blocks: dict[int, int] = {}
    for block in model(runs):
        blocks[block.phys] = max(blocks.get(block.phys, 0), block.order)
    orders = extents(runs).orders_at(np.array(addresses, np.uint64))
    assert orders.tolist() == [blocks.get(phys, NO_ORDER) for phys in addresses]
    sizes = extents(runs).block_sizes_at(np.array(addresses, np.uint64))
    assert sizes.tolist() == [PAGE << blocks.get(phys, 0) for phys in addresses]


@given(run_lists())
def test_take_selects_runs(runs):
    mask = np.arange(len(runs)) % 2 == 0
    assert list(extents(runs).take(mask)) == model(runs[::2])
    assert list(extents(runs).take(slice(1, None))) == model(runs[1:])


@pytest.mark.parametrize(("start", "end"), [(PAGE // 2, PAGE // 2), (PAGE // 2, PAGE // 4)])
def test_select_of_no_bytes_inside_a_block_is_empty(start, end):
    assert list(extents([(0, 0, 4)]).select(start=start, end=end)) == []


def test_select_up_to_the_end_of_the_address_space():
    assert len(extents([(0, 0, 4)]).select(end=1 << 64)) == 4
