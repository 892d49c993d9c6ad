"""Two maps against each other: every page, its sizes of blocks, and what became of them, by a plain set of pages."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from itertools import pairwise, zip_longest
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import khodump
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals
from khodump.columns.steps import Steps
from khodump.diffing import map as diffing
from khodump.diffing.batch import CHANGES, NO_BLOCK, Change
from khodump.diffing.map import MapDiff
from khodump.diffing.side import Side, masks_of
from khodump.diffing.tally import Tally
from tests.captures import CAPTURES

SHIFTS = st.sampled_from([12, 14, 16])
BASE = st.sampled_from([0, 1 << 40, (1 << 64) - (1 << 23)])


@contextmanager
def small_windows(size: int):
    """Windows and batches so small that differences cross them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffing, "_WINDOW", size)
        patch.setattr(diffing, "_BATCH", size)
        yield


def extents(shift: int, blocks) -> Extents:
    """Of (phys, order) blocks, as a walk gives them."""
    rows = sorted(set(blocks))
    phys, order = (np.array([row[column] for row in rows], np.uint64) for column in (0, 1))
    return Extents(shift, phys, order.astype(np.uint8), np.ones(len(rows), np.uint64)).sorted()


def pages_of(shift: int, unit: int, blocks) -> dict[int, set[int]]:
    """Page number to log2 of the sizes of its blocks."""
    pages: dict[int, set[int]] = {}
    for phys, order in blocks:
        for page in range(phys >> unit, (phys + (1 << shift + order)) >> unit):
            pages.setdefault(page, set()).add(shift + order)
    return pages


def word(old: set[int], new: set[int], old_unknown: set[int], new_unknown: set[int]) -> Change:
    if not ((old - new) - new_unknown or (new - old) - old_unknown):
        return Change.UNKNOWN
    return Change.REORDERED if old and new else Change.REMOVED if old else Change.ADDED


def expected(
    old, new, old_unknown=MappingProxyType({}), new_unknown=MappingProxyType({})
) -> Counter[tuple[int, Change, int, int]]:
    """(page, change, old size, new size), one for each pair of sizes that are on one side alone."""
    rows: Counter[tuple[int, Change, int, int]] = Counter()
    for page in old.keys() | new.keys():
        before, after = old.get(page, set()), new.get(page, set())
        sides = before, after, old_unknown.get(page, set()), new_unknown.get(page, set())
        pairs = zip_longest(sorted(before - after), sorted(after - before), fillvalue=NO_BLOCK)
        rows.update((page, word(*sides), gone, come) for gone, come in pairs)
    return rows


def rows_of(batches) -> list[tuple[Change, int, int, int, int]]:
    """(change, start, end, old, new)."""
    return [
        (CHANGES[row[0]], *row[1:])
        for batch in batches
        for row in zip(
            *(getattr(batch, name).tolist() for name in ("change", "start", "end", "old", "new")), strict=True
        )
    ]


def by_page(rows) -> Counter[tuple[int, Change, int, int]]:
    return Counter(
        (page, change, old, new) for change, start, end, old, new in rows for page in range(start, end)
    )


@st.composite
def maps(draw, base: int, shift: int, *, overlaps: bool):
    """Some (phys, order) blocks near `base`; apart from each other but for damage."""
    blocks: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(0, 14))):
        order = draw(st.integers(0, 3))
        size = 1 << shift + order
        block = (base + draw(st.integers(0, min(12, (1 << 23) // size - 2))) * size, order)
        if overlaps or all(
            block[0] >= phys + (1 << shift + other) or phys >= block[0] + size for phys, other in blocks
        ):
            blocks.append(block)
    return blocks


@st.composite
def pairs(draw, *, overlaps: bool):
    """Two maps with their page shifts; the second is often made of the first."""
    base, old_shift, new_shift = draw(BASE), draw(SHIFTS), draw(SHIFTS)
    old = draw(maps(base, old_shift, overlaps=overlaps))
    new = draw(maps(base, new_shift, overlaps=overlaps))
    if overlaps and draw(st.booleans()):
        new += [
            (phys, old_shift + order - new_shift) for phys, order in old if old_shift + order >= new_shift
        ]
    return old_shift, old, new_shift, new


def sides(old_shift, old, new_shift, new) -> MapDiff:
    return MapDiff(Side(extents(old_shift, old)), Side(extents(new_shift, new)))


def truth(old_shift, old, new_shift, new):
    unit = min(old_shift, new_shift)
    return pages_of(old_shift, unit, old), pages_of(new_shift, unit, new)


@given(pairs(overlaps=False), st.integers(1, 5))
def test_every_page_is_told_of_as_it_is(pair, window):
    with small_windows(window):
        rows = rows_of(sides(*pair).batches())
    assert by_page(rows) == expected(*truth(*pair))
    assert all(first[2] <= second[1] for first, second in pairwise(rows))
    assert not any(  # as long as they go
        (first[0], first[2], *first[3:]) == (second[0], second[1], *second[3:])
        for first, second in pairwise(rows)
    )


@given(pairs(overlaps=True), st.integers(1, 5))
def test_blocks_that_overlap_are_told_of_order_by_order(pair, window):
    with small_windows(window):
        rows = rows_of(sides(*pair).batches())
    assert by_page(rows) == expected(*truth(*pair))
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)


@given(pairs(overlaps=False), st.integers(1, 7))
def test_cut_gives_the_runs_block_by_block(pair, limit):
    found = sides(*pair)
    unit = found.unit
    runs = list(found.batches())
    parts = list(found.cut(runs, limit))
    assert all(0 < len(part) <= limit for part in parts)
    cut = rows_of(parts)
    assert by_page(cut) == by_page(rows_of(runs))
    assert len(cut) == sum(int(batch.cells(unit).sum()) for batch in runs)
    for _, start, end, old, new in cut:
        block = min(old, new) - unit
        assert start >> block == (end - 1) >> block
    assert all(
        first[2] - first[1] == 1 << min(first[3:]) - unit
        for first in cut
        if Change.REORDERED in first  # where both sides have blocks, the smaller ones are whole
    )


@st.composite
def spans(draw):
    """(log2 of a size, first page, end) of what is unknown, from address 0 on."""
    return draw(
        st.lists(
            st.tuples(st.integers(12, 17), st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=4
        )
    )


def masks(found) -> tuple[Steps, dict[int, set[int]]]:
    pages: dict[int, set[int]] = {}
    for shift, start, size in found:
        for page in range(start, start + size):
            pages.setdefault(page, set()).add(shift)
    parts = [
        (shift, Intervals(np.array([start], np.uint64), np.array([start + size], np.uint64)))
        for shift, start, size in found
    ]
    return masks_of(parts), pages


@given(maps(0, 12, overlaps=True), maps(0, 12, overlaps=True), spans(), spans())
def test_what_could_not_be_read_is_unknown_and_not_absent(old, new, old_spans, new_spans):
    (old_mask, old_unknown), (new_mask, new_unknown) = masks(old_spans), masks(new_spans)
    found = MapDiff(Side(extents(12, old), old_mask), Side(extents(12, new), new_mask))
    with small_windows(2):
        rows = rows_of(found.batches())
    assert by_page(rows) == expected(pages_of(12, 12, old), pages_of(12, 12, new), old_unknown, new_unknown)


@given(pairs(overlaps=True))
def test_the_tally_counts_what_passes(pair):
    found = sides(*pair)
    tally = Tally()
    rows = rows_of(tally.counted(found.batches()))
    pages = by_page(rows)
    for code, change in enumerate(CHANGES):
        assert tally.size(change, 0) == sum(count for row, count in pages.items() if row[1] is change)
        assert sum(runs for key, runs in tally.runs.items() if key[0] == code) == sum(
            row[0] is change for row in rows
        )


@given(maps(1 << 40, 16, overlaps=False))
def test_pages_of_another_size_are_no_difference(blocks):
    same = [(phys, order + 4) for phys, order in blocks]
    assert rows_of(sides(16, blocks, 12, same).batches()) == []
    assert rows_of(sides(12, same, 16, blocks).batches()) == []


GENERATIONS = [
    ("luo-memfd pre", "luo-memfd serialized"),
    ("luo-memfd serialized", "luo-memfd next-out"),
    ("luo-memfd next-out", "luo-memfd pre"),
    ("kho-test serialized", "luo-memfd serialized"),
]


@pytest.mark.parametrize(("old", "new"), GENERATIONS)
def test_real_kernels_differ_as_their_own_walks_do(old, new):
    with khodump.open(CAPTURES[old].path) as before, khodump.open(CAPTURES[new].path) as after:
        rows = rows_of(MapDiff(Side(before.preserved), Side(after.preserved)).batches())
    truths = [pages_of(12, 12, CAPTURES[name].blocks()) for name in (old, new)]
    assert by_page(rows) == expected(truths[0], truths[1])
