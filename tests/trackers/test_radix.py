"""The fast walk against the truth of real kernels, and against the slow walk on made-up trees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.abi.kexec_handover import PROP_PRESERVED_MEMORY_MAP, RadixGeometry
from khodump.columns.extents import Extents
from khodump.fdt import parse_fdt
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory, Presence
from khodump.trackers.radix import RadixTracker
from tests import oracle
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened
from tests.builders.radix import RadixTree, geometry_of, write_radix
from tests.captures import CAPTURES, SAMPLES, read_truth

#: A shallow tree reads its bare page numbers below 1 TiB as order 0.
SHALLOW = replace(geometry_of(16384, counts_marker=False), order0_end=(1 << 40) >> 14)
GEOMETRIES = {
    "4K": geometry_of(4096),
    "16K": geometry_of(16384),
    "16K shallow": SHALLOW,
    "64K": geometry_of(65536),
}
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())


@st.composite
def block_sets(draw, geometry: RadixGeometry) -> set[tuple[int, int]]:
    """Runs of blocks of a few orders, near each other and far apart, none ending at 2**64."""
    top = 1 << (40 if geometry.order0_end else 64)
    blocks: set[tuple[int, int]] = set()
    for _ in range(draw(st.integers(0, 6))):
        order = draw(
            st.integers(0, 13) | st.integers(0, 20 if geometry.order0_end else 50 - geometry.page_shift)
        )
        size = geometry.page_size << order
        first = draw(st.integers(0, 300) | st.integers(0, top // size - 1))
        count = draw(st.sampled_from([1, 2, 3, 63, 64, 65, 300]))
        blocks |= {(index * size, order) for index in range(first, first + count) if (index + 1) * size < top}
    return blocks


def flat(batches) -> list[tuple[int, int]]:
    return [(block.phys, block.order) for batch in batches for block in batch]


def agree(memory: PhysicalMemory, root: int, geometry: RadixGeometry) -> oracle.Walked:
    """Walk both ways, compare everything, and return the slow walk."""
    walk = RadixTracker(memory, root, geometry).walk()
    found = flat(walk)
    expected = oracle.walk(memory, root, geometry.page_size, geometry.depth, geometry.order0_end)
    assert found == expected.blocks
    assert walk.nodes.phys.tolist() == expected.nodes
    assert (not walk.findings) is expected.sound
    streams_by_address(RadixTracker(memory, root, geometry))
    return expected


def streams_by_address(tracker: RadixTracker) -> None:
    """The walk by address gives the rows, nodes and findings of the walk that is held and sorted."""
    walk, streamed = tracker.walk(), tracker.walk_by_address()
    held = Extents.concatenate(tracker.page_shift, walk).sorted()
    batches = list(streamed)
    for name in ("phys", "order", "count"):
        rows = [row for batch in batches for row in getattr(batch, name).tolist()]
        assert rows == getattr(held, name).tolist()
    assert sorted(streamed.nodes.phys.tolist()) == sorted(walk.nodes.phys.tolist())
    assert sorted(map(repr, streamed.findings)) == sorted(map(repr, walk.findings))


def map_of(memory: PhysicalMemory, fdt_phys: int) -> int:
    """The map that the root FDT at `fdt_phys` names."""
    page = memory.read(fdt_phys, 4096)
    assert isinstance(page, bytes)
    root = parse_fdt(page).u64(PROP_PRESERVED_MEMORY_MAP)
    assert root is not None
    return root


@pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES.keys())
def test_captures(capture):
    memory = open_memory([capture.path])
    geometry = geometry_of(4096)
    root = map_of(memory, capture.fdt_phys)
    expected = agree(memory, root, geometry)
    assert expected.sound
    assert expected.blocks == capture.blocks(), "the kernel's own walk, in its order"
    assert not capture.nodes() or set(expected.nodes) == capture.nodes()
    tracker = RadixTracker(memory, root, geometry)
    assert all(tracker.holds(phys, order) for phys, order in capture.blocks()[::7])
    assert tracker.holds(capture.fdt_phys, 0) is True
    assert tracker.holds(capture.fdt_phys, 1) is False
    memory.close()


def test_captures_record_nodes():
    assert sum(bool(capture.nodes()) for capture in CAPTURES.values()) == 3


def test_synthetic_sample():
    memory = open_memory([SAMPLES / "synthetic" / "mem.img"])
    walked = agree(memory, map_of(memory, 0x100000), geometry_of(4096))
    assert walked.sound
    assert sorted(walked.blocks) == read_truth(SAMPLES / "synthetic" / "truth.tsv")
    memory.close()


@each_geometry
def test_random_trees(geometry):
    @settings(max_examples=400_000 // geometry.page_size)
    @given(block_sets(geometry), block_sets(geometry))
    def check(blocks, given_up):
        image = MemoryImage(1 << 20)
        writer = replace(geometry, order0_end=0)
        tree = write_radix(image, writer, blocks, empties=list(given_up)[:5])
        with opened(image) as memory:
            walked = agree(memory, tree.root, geometry)
            assert walked.sound, "empty leaves are no finding"
            assert set(walked.blocks) == blocks
            assert len(walked.blocks) == len(blocks)
            assert set(walked.nodes) == set(tree.nodes.values())
            keys = [geometry.encode(*block) for block in walked.blocks]
            assert keys == sorted(keys)
            tracker = RadixTracker(memory, tree.root, geometry)
            for block in [*list(blocks)[:5], *list(given_up)[:5]]:
                assert tracker.holds(*block) is (block in blocks)

    check()


@st.composite
def damages(draw, tree: RadixTree, geometry: RadixGeometry) -> list[tuple[int, int]]:
    """(address, word) to overwrite: in tables and leaves, with pointers to anywhere and with noise."""
    nodes = list(tree.nodes.values())
    words = st.one_of(
        st.sampled_from(nodes),
        st.sampled_from(nodes).map(lambda phys: phys + 8),
        st.sampled_from([0, 1, geometry.page_size, 1 << 30, (1 << 64) - geometry.page_size, (1 << 64) - 1]),
        st.integers(0, (1 << 64) - 1),
    )
    slots = st.integers(0, 7) | st.integers(0, geometry.page_size // 8 - 1)
    places = st.tuples(st.sampled_from(nodes), slots, words)
    return [(phys + 8 * slot, word) for phys, slot, word in draw(st.lists(places, min_size=1, max_size=8))]


@each_geometry
def test_randomly_damaged_trees(geometry):
    @settings(max_examples=600_000 // geometry.page_size)
    @given(st.data())
    def check(data):
        image = MemoryImage(1 << 20)
        tree = write_radix(image, replace(geometry, order0_end=0), data.draw(block_sets(geometry)))
        for phys, word in data.draw(damages(tree, geometry)):
            image.write(phys, u64(word))
        lost = data.draw(st.lists(st.sampled_from(list(tree.nodes.values())), max_size=2))
        excluded = [(phys, phys + geometry.page_size) for phys in set(lost[:1])]
        for phys in lost[1:]:
            image.drop(phys, geometry.page_size)
        with opened(image, excluded=excluded) as memory:
            agree(memory, tree.root, geometry)

    check()


@given(st.binary(min_size=1, max_size=3), st.integers(0, 511))
@settings(max_examples=30)
def test_memory_that_is_no_tree(noise, root_slot):
    """Pages that repeat a few bytes: almost every word is a pointer, and most of them the same."""
    image = MemoryImage()
    image.write(0, (noise * 4096)[: 4096 * 4])
    image.write(8 * root_slot, u64(0x1000))
    with opened(image, raw=True) as memory:
        agree(memory, 0x1000, geometry_of(4096))
        agree(memory, 0x3000, geometry_of(4096))


def test_batches_join_up_to_the_same_map(monkeypatch):
    """A small batch size changes how the walk is cut, and nothing else."""
    image = MemoryImage(1 << 20)
    blocks = {(page << 12, 0) for page in range(32760, 32776)} | {(page << 27, 9) for page in range(40)}
    tree = write_radix(image, geometry_of(4096), blocks)
    with opened(image) as memory:
        whole = Extents.concatenate(12, RadixTracker(memory, tree.root, geometry_of(4096)).walk())
        monkeypatch.setattr("khodump.trackers.tables._BATCH_BYTES", 4096)
        batches = list(RadixTracker(memory, tree.root, geometry_of(4096)).walk())
    assert len(batches) > 1
    joined = Extents.concatenate(12, batches)
    assert set(joined) == blocks
    assert list(zip(joined.phys, joined.count, strict=True)) == list(
        zip(whole.phys, whole.count, strict=True)
    )
    assert (1 << 27) - (8 << 12) in joined.phys.tolist(), "a run goes on over the boundary of two leaves"
    assert joined.count[-1] == 16


def test_orders_that_overlap_are_streamed_as_they_are_sorted(monkeypatch):
    """Batches of one leaf: each order is far ahead of the others and behind them by turns."""
    monkeypatch.setattr("khodump.trackers.tables._BATCH_BYTES", 4096)
    image, geometry = MemoryImage(1 << 20), geometry_of(4096)
    generator = np.random.default_rng(1)
    blocks = {
        (int(index) << (12 + order), order)
        for order, top in ((0, 1 << 18), (3, 1 << 17), (9, 1 << 17), (18, 4), (40, 3), (45, 2))
        for index in generator.integers(0, top, 200)
    }
    tree = write_radix(image, geometry, blocks | {(page << 12, 0) for page in range(32760, 32776)})
    with opened(image) as memory:
        tracker = RadixTracker(memory, tree.root, geometry)
        streams_by_address(tracker)
        assert len(list(tracker.walk_by_address())) > 10


def test_holds_tells_what_cannot_be_read():
    image = MemoryImage(1 << 20)
    geometry = geometry_of(4096)
    tree = write_radix(image, geometry, [(0x5000, 0), (0x200000, 9)])
    (leaf0, prefix0) = next((phys, p) for (level, p), phys in tree.nodes.items() if not level and p > 1 << 30)
    image.drop(leaf0)
    with opened(image) as memory:
        tracker = RadixTracker(memory, tree.root, geometry)
        assert prefix0 == geometry.encode(0x5000, 0) >> 15
        assert tracker.holds(0x5000, 0) is None
        assert tracker.holds(0x200000, 9) is True
        assert tracker.holds(0x400000, 9) is False
        assert tracker.holds(0x5000, 3) is False


def test_holds_is_false_for_an_address_that_no_block_of_that_order_can_have():
    image = MemoryImage(1 << 20)
    geometry = geometry_of(4096)
    tree = write_radix(image, geometry, [(0x200000, 9)])
    with opened(image) as memory:
        assert RadixTracker(memory, tree.root, geometry).holds(0x201000, 9) is False


def test_nodes_are_counted():
    image = MemoryImage(1 << 20)
    tree = write_radix(image, geometry_of(4096), [(0, 0)], empties=[(0, 9), (0, 3)])
    with opened(image, excluded=[(tree.leaves()[2], tree.leaves()[2] + 4096)]) as memory:
        walk = RadixTracker(memory, tree.root, geometry_of(4096)).walk()
        assert flat(walk) == []
    nodes = walk.nodes
    assert (len(nodes), nodes.leaves, nodes.empties) == (len(tree.nodes), 3, 2)
    assert nodes.missing() == {Presence.EXCLUDED: 1}
