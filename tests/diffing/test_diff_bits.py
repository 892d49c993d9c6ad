"""Two trees word by word, against the same by their runs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.abi.kexec_handover import RadixGeometry
from khodump.columns.extents import Extents
from khodump.diffing import bits
from khodump.diffing.bits import BitDiff, bit_diff
from khodump.diffing.census import Census
from khodump.diffing.map import MapDiff
from khodump.diffing.side import Side
from khodump.diffing.tally import Tally
from khodump.handover import Handover
from khodump.trackers.radix import RadixTracker
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened
from tests.builders.radix import Block, RadixTree, geometry_of, write_radix

SMALL = geometry_of(4096)
#: A shallow tree reads its bare page numbers up to here as order 0; the last leaf of these is order 1's, too.
SHALLOW = replace(geometry_of(16384, counts_marker=False), order0_end=(1 << 26) + 5)
LEAF = 4096 * 8
PLACES = (0, 60, LEAF - 65, LEAF - 1, LEAF, 2 * LEAF - 3, 9 * LEAF - 2)
COUNTS = (1, 2, 5, 64, 200)


@contextmanager
def small_batches(leaves: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "_BATCH_BYTES", leaves << 12)
        yield


@st.composite
def block_lists(draw, orders) -> list[Block]:
    """Runs of blocks, many across words and leaves."""
    blocks: set[Block] = set()
    for _ in range(draw(st.integers(0, 5))):
        order, first = draw(orders), draw(st.sampled_from(PLACES)) + draw(st.integers(0, 3))
        count = draw(st.sampled_from(COUNTS))
        blocks |= {(index * 4096 << order, order) for index in range(first, first + count)}
    return sorted(blocks)


class Pair:
    """Two trees in memories of their own, to be damaged and compared."""

    def __init__(self, old, new, *, empties=(), geometry: RadixGeometry = SMALL) -> None:
        self.geometry = geometry
        self.images = MemoryImage(1 << 20), MemoryImage(1 << 20)
        writer = replace(geometry, order0_end=0)
        self.trees: list[RadixTree] = [
            write_radix(image, writer, blocks, empties=empties)
            for image, blocks in zip(self.images, (old, new), strict=True)
        ]

    @contextmanager
    def sides(self, met: list[tuple[int, int]] | None = None):
        """As much of two handovers as is compared."""
        with opened(self.images[0]) as first, opened(self.images[1]) as second:
            yield tuple(
                cast(
                    "Handover",
                    SimpleNamespace(
                        tracker=RadixTracker(memory, tree.root, self.geometry),
                        watch=None if met is None else lambda *pages: met.append(pages),
                    ),
                )
                for memory, tree in zip((first, second), self.trees, strict=True)
            )

    def by_bits(self) -> BitDiff | None:
        with self.sides() as sides:
            return bit_diff(*sides)

    def by_runs(self) -> BitDiff:
        held = []
        with self.sides() as sides:
            for side in sides:
                walk = side.tracker.walk()
                runs = Extents.concatenate(self.geometry.page_shift, walk).sorted()
                held.append((runs, Census(runs.totals(), len(walk.nodes))))
        (old, first), (new, second) = held
        return BitDiff(Tally.of(MapDiff(Side(old), Side(new)).batches()), first, second)


@given(st.data(), st.integers(0, 9), st.integers(1, 3))
def test_bits_of_one_order_tell_what_runs_do(data, order, leaves):
    blocks = block_lists(st.just(order))
    pair = Pair(data.draw(blocks), data.draw(blocks), empties=data.draw(blocks)[:3])
    with small_batches(leaves):
        found = pair.by_bits()
    assert found == pair.by_runs()


@given(st.data(), st.integers(1, 3))
def test_of_several_orders_bits_tell_the_same_or_nothing(data, leaves):
    blocks = block_lists(st.integers(0, 2))
    old = data.draw(blocks)
    new = data.draw(st.just(old) | blocks)
    pair = Pair(old, new, empties=data.draw(blocks)[:3])
    with small_batches(leaves):
        found = pair.by_bits()
    alike = old == new or len({order for _, order in [*old, *new]}) == 1
    assert found == (pair.by_runs() if alike else None)


@given(st.data())
@settings(max_examples=30)
def test_a_shallow_tree_whose_orders_may_share_a_leaf(data):
    firsts = st.integers(0, 300) | st.integers(SHALLOW.order0_end - 300, SHALLOW.order0_end + 300)
    old, new = (
        [(first << 14, 0) for first in sorted(data.draw(st.sets(firsts, max_size=6)))] for _ in range(2)
    )
    pair = Pair(old, new, geometry=SHALLOW)
    found = pair.by_bits()
    if found is not None:
        assert found == pair.by_runs()


def test_a_key_that_no_kernel_makes_is_left_to_runs():
    pair = Pair([((1 << 64) - 8192, 0)], [(0, 0)])
    assert pair.by_bits() == pair.by_runs()
    (*_, leaf) = pair.trees[0].leaves()
    pair.images[0].write(leaf + 4096 - 8, u64(1 << 63))
    assert pair.by_bits() is None


@pytest.mark.parametrize("side", [0, 1])
def test_a_damaged_side_is_left_to_runs(side):
    blocks = [(0, 0), (LEAF * 4096, 0)]
    for node in Pair(blocks, blocks).trees[side].nodes.values():
        pair = Pair(blocks, blocks)
        pair.images[side].drop(node)
        assert pair.by_bits() is None
    pair = Pair(blocks, blocks)
    pair.images[side].write(pair.trees[side].root, u64(0x123))
    assert pair.by_bits() is None


def test_trees_of_other_geometries_are_left_to_runs():
    with Pair([(0, 0)], []).sides() as (old, _), Pair([], [], geometry=SHALLOW).sides() as (_, new):
        assert bit_diff(old, new) is None


def test_whoever_watches_is_told_of_every_page():
    met: list[tuple[int, int]] = []
    pair = Pair([(0, 0), (LEAF * 4096, 0)], [(0, 0)])
    with small_batches(1), pair.sides(met) as sides:
        found = bit_diff(*sides)
    assert found is not None
    assert {pages for pages in met if pages[1]} == {
        (side.nodes, side.nodes) for side in (found.old, found.new)
    }
