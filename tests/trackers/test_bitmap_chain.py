"""The fast walk of kho-v1 against the truth of its kernels' own code, and against the slow walk on made-up maps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.abi.khoser import chunk_capacity
from khodump.columns.extents import Extents
from khodump.fdt import parse_fdt
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory, Presence
from khodump.trackers.bitmap_chain import BitmapChainTracker
from tests import oracle, oracle_historic
from tests.builders.kdump import build_kdump
from tests.builders.khoser import write_chain
from tests.builders.memory import MemoryImage, opened
from tests.captures import HISTORIC
from tests.trackers.damage import damaged

#: (page size, bitmap size)
SHAPES = [(size, bitmap) for size in (4096, 16384, 65536) for bitmap in (512, size)]
each_shape = pytest.mark.parametrize(
    ("page_size", "bitmap_size"), SHAPES, ids=[f"{size // 1024}K-{bitmap}" for size, bitmap in SHAPES]
)


@st.composite
def block_sets(draw, page_size: int, bitmap_size: int) -> set[tuple[int, int]]:
    """Runs of blocks of a few orders, near each other and far apart, none in a bitmap that reaches 2**64."""
    bits = bitmap_size * 8
    highest = 64 - (page_size * bits).bit_length()
    blocks: set[tuple[int, int]] = set()
    for _ in range(draw(st.integers(0, 6))):
        order = draw(st.integers(0, 13) | st.integers(0, highest))
        size = page_size << order
        limit = (1 << 64) // size - bits
        first = draw(st.integers(0, 300) | st.integers(0, limit - 1))
        count = draw(st.sampled_from([1, 2, 63, 64, 65, 300]))
        blocks |= {(index * size, order) for index in range(first, min(first + count, limit))}
    return blocks


def flat(batches) -> list[tuple[int, int]]:
    return [(block.phys, block.order) for batch in batches for block in batch]


def agree(memory: PhysicalMemory, root: int, page_size: int, bitmap_size: int) -> oracle.Walked:
    """Walk both ways, compare everything, and return the slow walk."""
    tracker = BitmapChainTracker(memory, root, page_size, bitmap_size)
    walk = tracker.walk()
    found = flat(walk)
    expected = oracle_historic.walk_chain(memory, root, page_size, bitmap_size)
    assert found == expected.blocks
    assert walk.nodes.phys.tolist() == expected.nodes
    assert (not walk.findings) is expected.sound
    assert all(tracker.holds(*block) for block in found[:3])
    return expected


@pytest.mark.parametrize(("name", "bitmap_size"), [("v1a", 512), ("v1b", 4096)])
def test_captures(name, bitmap_size):
    capture = HISTORIC[name]
    with open_memory([capture.path]) as memory:
        page = memory.read(capture.fdt_phys, 4096)
        assert isinstance(page, bytes)
        root = parse_fdt(page).u64("preserved-memory-map")
        assert root
        expected = agree(memory, root, 4096, bitmap_size)
        assert expected.sound
        assert expected.blocks == capture.blocks(), "the kernel's own walk, in its order"
        tracker = BitmapChainTracker(memory, root, 4096)
        assert tracker.bitmap_size.size == bitmap_size
        assert all(tracker.holds(*block) for block in capture.blocks())
        assert tracker.holds(capture.fdt_phys, 1) is False
        assert tracker.sound()


@each_shape
def test_random_maps(page_size, bitmap_size):
    @settings(max_examples=300_000 // page_size)
    @given(block_sets(page_size, bitmap_size), block_sets(page_size, bitmap_size))
    def check(blocks, given_up):
        image = MemoryImage(1 << 20)
        empties = sorted(given_up)[:5]
        chain = write_chain(image, page_size, bitmap_size, [*blocks, (0, 0)], empties=empties)
        with opened(image) as memory:
            walked = agree(memory, chain.root, page_size, bitmap_size)
            assert walked.sound
            assert sorted(walked.blocks) == sorted(blocks | {(0, 0)})
            assert walked.blocks == sorted(walked.blocks, key=lambda block: (block[1], block[0]))
            assert walked.nodes == [*chain.chunks, *chain.bitmaps.values()]
            tracker = BitmapChainTracker(memory, chain.root, page_size, bitmap_size)
            for block in [*sorted(blocks)[:5], *empties]:
                assert tracker.holds(*block) is (block in blocks or block == (0, 0))

    check()


@each_shape
def test_randomly_damaged_maps(page_size, bitmap_size):
    @settings(max_examples=600_000 // page_size)
    @given(st.data())
    def check(data):
        image = MemoryImage(1 << 20)
        blocks = data.draw(block_sets(page_size, bitmap_size))
        chain = write_chain(image, page_size, bitmap_size, [*blocks, (0, 0), (1 << 60, 0), (0, 1)])
        nodes = [*chain.chunks * 3, *chain.bitmaps.values()]
        excluded = data.draw(damaged(image, nodes, bitmap_size))
        with opened(image, excluded=excluded) as memory:
            agree(memory, chain.root, page_size, bitmap_size)

    check()


@given(st.binary(min_size=1, max_size=40), st.integers(0, 3), st.sampled_from([512, 4096]))
@settings(max_examples=60)
def test_memory_that_is_no_chain(noise, root, bitmap_size):
    """Pages that repeat a few bytes: every chunk is full, and most of its elements are the same."""
    image = MemoryImage()
    image.write(0, (noise * 4096 * 4)[: 4096 * 4])
    with opened(image, raw=True) as memory:
        agree(memory, root * 4096, 4096, bitmap_size)


def test_an_order_takes_as_many_chunks_as_it_needs():
    image = MemoryImage(1 << 20)
    capacity = chunk_capacity(4096)
    blocks = [(index << 24, 0) for index in range(2 * capacity + 1)]
    chain = write_chain(image, 4096, 512, [*blocks, (0, 1)])
    assert len(chain.chunks) == 4
    with opened(image) as memory:
        walked = agree(memory, chain.root, 4096, 512)
    assert (walked.blocks, walked.sound) == ([*blocks, (0, 1)], True)


def test_an_empty_chunk_is_no_finding():
    """As a kernel starts for an order that it has given up altogether."""
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0, 0), (0, 3), (0, 5)])
    image.write(chain.chunks[1] + 12, bytes(4))
    with opened(image) as memory:
        walked = agree(memory, chain.root, 4096, 4096)
        walk = BitmapChainTracker(memory, chain.root, 4096, 4096).walk()
        assert flat(walk) == [(0, 0), (0, 5)]
    assert walked.sound
    assert walk.nodes.phys[walk.nodes.empty].tolist() == [chain.chunks[1]]


@pytest.mark.parametrize("count", [3, 1 << 20])
def test_zeros_behind_the_end_of_a_list_are_no_bitmaps(count):
    """A count that a flipped bit made too large leads on into zeros, and page 0 may hold anything."""
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(1 << 30, 0)])
    image.write(0, b"\xff" * 4096)
    image.write(chain.root + 12, count.to_bytes(4, "little"))
    with opened(image) as memory:
        agree(memory, chain.root, 4096, 4096)
        walk = BitmapChainTracker(memory, chain.root, 4096, 4096).walk()
        assert flat(walk) == [(1 << 30, 0)]
    assert {finding.rule for finding in walk.findings} == {"map-chunk-count"}


def test_nodes_are_counted():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0, 0), (1 << 40, 0)], empties=[(0, 3), (0, 9), (1 << 41, 0)])
    lost = chain.bitmaps[0, 1 << 40]
    with opened(image, excluded=[(lost, lost + 4096)]) as memory:
        walk = BitmapChainTracker(memory, chain.root, 4096, 4096).walk()
        assert flat(walk) == [(0, 0)]
    nodes = walk.nodes
    assert (len(nodes), nodes.leaves, nodes.empties) == (3 + 5, 5, 3)
    assert nodes.missing() == {Presence.EXCLUDED: 1}


def test_an_all_zero_bitmap_is_an_empty_node_and_no_finding():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 512, [], empties=[(0, 0), (0, 9)])
    with opened(image) as memory:
        walk = BitmapChainTracker(memory, chain.root, 4096, 512).walk()
        assert (flat(walk), walk.findings) == ([], [])
    assert walk.nodes.phys[walk.nodes.empty].tolist() == list(chain.bitmaps.values())


@pytest.mark.parametrize("bitmap_size", [512, 4096])
def test_a_kdump_gives_the_same_map(tmp_path, bitmap_size):
    """There a bitmap of 512 bytes is less than the unit that is stored."""
    image = MemoryImage(1 << 20)
    blocks = [(index << 27, order) for order in (0, 1) for index in range(10)]
    chain = write_chain(image, 4096, bitmap_size, blocks)
    pages = {at: image.read(at, 4096) for start, end in image.ranges for at in range(start, end, 4096)}
    path = tmp_path / "vmcore"
    path.write_bytes(build_kdump(pages))
    with open_memory([path]) as memory:
        walked = agree(memory, chain.root, 4096, bitmap_size)
    assert (sorted(walked.blocks), walked.sound) == (sorted(blocks), True)


def test_batches_join_up_to_the_same_map(monkeypatch):
    """A small batch size changes how the walk is cut, and nothing else."""
    image = MemoryImage(1 << 20)
    blocks = [(page << 12, 0) for page in range(4090, 4102)] + [(index << 40, 1) for index in range(5)]
    chain = write_chain(image, 4096, 512, blocks)
    with opened(image) as memory:
        tracker = BitmapChainTracker(memory, chain.root, 4096, 512)
        whole = Extents.concatenate(12, tracker.walk())
        monkeypatch.setattr("khodump.trackers.bitmap_chain._BATCH_BYTES", 512)
        batches = list(tracker.walk())
    assert len(batches) == len(chain.bitmaps)
    joined = Extents.concatenate(12, batches)
    assert flat([joined]) == flat([whole]) == blocks
    assert (joined.runs, whole.runs) == (6, 6), "a run goes on from one bitmap to the next"


def test_holds_tells_what_cannot_be_read():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0x5000, 0), (1 << 30, 0)])
    lost = chain.bitmaps[0, 0]
    with opened(image, excluded=[(lost, lost + 4096)]) as memory:
        tracker = BitmapChainTracker(memory, chain.root, 4096, 4096)
        assert tracker.holds(0x5000, 0) is None
        assert tracker.holds(0x6000, 0) is None
        assert tracker.holds(1 << 30, 0) is True
        assert tracker.holds(1 << 31, 0) is False
        assert tracker.holds(0x5000, 1) is False


def test_holds_does_not_know_what_an_unreadable_chunk_may_have_said():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0x5000, 0), (0x200000, 9)])
    image.drop(chain.chunks[1])
    with opened(image) as memory:
        tracker = BitmapChainTracker(memory, chain.root, 4096, 4096)
        assert tracker.holds(0x5000, 0) is True
        assert tracker.holds(0x6000, 0) is False
        assert tracker.holds(0x200000, 9) is None


def test_holds_knows_a_map_that_is_merely_out_of_order():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0, 0), (1 << 30, 0)])
    first, second = (image.read(chain.root + at, 16) for at in (16, 32))
    image.write(chain.root + 16, second + first)
    with opened(image) as memory:
        tracker = BitmapChainTracker(memory, chain.root, 4096, 4096)
        assert tracker.holds(0, 0) is True
        assert tracker.holds(1 << 31, 0) is False


def test_holds_is_false_for_an_address_that_no_block_of_that_order_can_have():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0x200000, 9)])
    with opened(image) as memory:
        assert BitmapChainTracker(memory, chain.root, 4096, 4096).holds(0x201000, 9) is False


def test_soundness_is_of_the_chain_and_not_of_its_bitmaps():
    image = MemoryImage(1 << 20)
    chain = write_chain(image, 4096, 4096, [(0, 0)])
    empty = image.alloc_page()
    image.drop(chain.bitmaps[0, 0])
    with opened(image) as memory:
        assert BitmapChainTracker(memory, chain.root, 4096, 4096).sound() is True
        assert BitmapChainTracker(memory, empty, 4096, 4096).sound() is False, "a map holds something"
        assert BitmapChainTracker(memory, 0, 4096, 4096).sound() is False
        assert BitmapChainTracker(memory, chain.root + 8, 4096, 4096).sound() is False
