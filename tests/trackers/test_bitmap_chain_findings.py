"""Every rule of the walk over a chain: where it fires, what it says, and what is read all the same."""

from __future__ import annotations

import pytest

from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR, KhoserMemChunkHdr, chunk_capacity
from khodump.findings import Finding, Severity
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory
from khodump.trackers.bitmap_chain import BitmapChainTracker
from tests.builders.fdt import u64
from tests.builders.khoser import Chain, write_chain
from tests.builders.memory import MemoryImage, opened

COVERAGE = 1 << 27  # of a bitmap of 4096 bytes at order 0
LOW, NEXT, FAR, HUGE = (0x7000, 0), (COVERAGE, 0), (4 * COVERAGE, 0), (0x200000, 9)
BLOCKS = [LOW, NEXT, FAR, HUGE]  # three elements of order 0 in one chunk, and one of order 9 in another


@pytest.fixture
def image() -> MemoryImage:
    return MemoryImage(1 << 20)


@pytest.fixture
def chain(image) -> Chain:
    return write_chain(image, 4096, 4096, BLOCKS)


def walk_in(
    memory: PhysicalMemory, root: int, bitmap_size: int = 4096
) -> tuple[list[tuple[int, int]], list[Finding]]:
    """The preservations, and the findings, each of which must have evidence."""
    found = BitmapChainTracker(memory, root, 4096, bitmap_size).walk()
    blocks = [(block.phys, block.order) for batch in found for block in batch]
    assert all(finding.evidence for finding in found.findings)
    return blocks, found.findings


def walk(
    image: MemoryImage, root: int, bitmap_size: int = 4096, **shape
) -> tuple[list[tuple[int, int]], list[Finding]]:
    """The same, of an image that `opened()` makes."""
    with opened(image, **shape) as memory:
        return walk_in(memory, root, bitmap_size)


def header(image: MemoryImage, chunk: int, following: int, order: int, count: int) -> None:
    image.write(chunk, KHOSER_MEM_CHUNK_HDR.build(KhoserMemChunkHdr(following, order, count)))


def element(image: MemoryImage, chunk: int, index: int, phys_start: int, bitmap: int) -> None:
    pointer = KHOSER_MEM_BITMAP_PTR.build({"phys_start": phys_start, "bitmap": bitmap})
    image.write(chunk + 16 + 16 * index, pointer)


def expect(finding: Finding, rule: str, phys: int, severity: Severity = Severity.ERROR) -> None:
    assert (finding.rule, finding.phys, finding.severity) == (rule, phys, severity)


@pytest.mark.parametrize("bitmap_size", [512, 4096])
def test_a_sound_chain_has_no_findings(image, bitmap_size):
    chain = write_chain(image, 4096, bitmap_size, BLOCKS, empties=[(0, 3), (9 * COVERAGE, 0)])
    assert walk(image, chain.root, bitmap_size) == (BLOCKS, [])


def test_no_root(image, chain):
    assert len(chain.chunks) == 2
    blocks, (finding,) = walk(image, 0)
    assert (blocks, finding.rule) == ([], "map-root-missing")


@pytest.mark.parametrize("back_to", [0, 1])
def test_a_cycle(image, chain, back_to):
    image.write(chain.chunks[1], u64(chain.chunks[back_to]))
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == BLOCKS
    expect(finding, "map-node-shared", chain.chunks[1])
    assert finding.evidence["value"] == chain.chunks[back_to]


@pytest.mark.parametrize("low_bits", [1, 8, 0x800])
def test_an_unaligned_chunk(image, chain, low_bits):
    following = chain.chunks[1] | low_bits
    image.write(chain.root, u64(following))
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-pointer-unaligned", chain.root)
    assert f"{following:#x}" in finding.message


def test_an_unaligned_root(image, chain):
    blocks, (finding,) = walk(image, chain.root + 8)
    assert blocks == []
    expect(finding, "map-pointer-unaligned", chain.root + 8)
    assert "root" in finding.message
    assert "0x0 " not in finding.message, "no chunk led there"


@pytest.mark.parametrize("where", [1 << 45, (1 << 64) - 4096])
def test_a_chunk_outside_memory(image, chain, where):
    image.write(chain.root, u64(where))
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-pointer-outside-memory", where)
    assert "outside memory: RAM does not reach" in finding.message
    assert finding.evidence["parent"] == chain.root


def test_an_absent_chunk(image, chain):
    image.drop(chain.chunks[1])
    image.write(chain.chunks[1] + 0x10000, b"the image goes on")
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-node-unreadable", chain.chunks[1])
    assert "number 2 of the chain" in finding.message
    assert "not in the dump" in finding.message


def test_an_excluded_chunk_hides_those_behind_it(image, chain):
    blocks, (finding,) = walk(image, chain.root, excluded=[(chain.root, chain.root + 4096)])
    assert blocks == []
    expect(finding, "map-node-unreadable", chain.root)
    assert "excluded from the dump" in finding.message


def test_a_truncated_chunk(image, chain, tmp_path):
    path = image.to_elf(tmp_path / "core")
    path.write_bytes(path.read_bytes()[:-1])  # the last page written is the last chunk
    assert image.ranges[-1][1] == chain.chunks[1] + 4096
    with open_memory([path]) as memory:
        blocks, (finding,) = walk_in(memory, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-node-unreadable", chain.chunks[1])
    assert "the image file ends before it" in finding.message


@pytest.mark.parametrize("count", [256, 1 << 31, (1 << 32) - 1])
def test_a_count_over_the_capacity(image, count):
    """What a chunk can hold is read; a full one is none the worse for it."""
    full = [(index * COVERAGE, 0) for index in range(chunk_capacity(4096))]
    chain = write_chain(image, 4096, 4096, full)
    assert walk(image, chain.root) == (full, [])
    header(image, chain.root, 0, 0, count)
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == full
    expect(finding, "map-chunk-count", chain.root)
    assert finding.evidence["value"] == count


@pytest.mark.parametrize("order", [52, 64, (1 << 32) - 1])
def test_an_order_that_is_no_size_of_memory(image, chain, order):
    header(image, chain.root, chain.chunks[1], order, 3)
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [HUGE], "the chain goes on behind it"
    expect(finding, "map-key-impossible", chain.root)
    assert finding.evidence["value"] == order


@pytest.mark.parametrize(("bitmap_size", "off"), [(512, 8), (512, 256), (4096, 512), (4096, 1)])
def test_an_unaligned_bitmap(image, bitmap_size, off):
    chain = write_chain(image, 4096, bitmap_size, BLOCKS)
    bitmap = chain.bitmaps[NEXT[::-1]] + off
    element(image, chain.root, 1, NEXT[0], bitmap)
    blocks, (finding,) = walk(image, chain.root, bitmap_size)
    assert blocks == [LOW, FAR, HUGE]
    expect(finding, "map-pointer-unaligned", chain.root)
    assert (finding.evidence["value"], finding.evidence["phys_start"]) == (bitmap, NEXT[0])


def test_many_bad_elements_of_one_chunk_are_one_finding(image):
    chain = write_chain(image, 4096, 4096, [(index * COVERAGE, 0) for index in range(100)])
    for index in range(50, 100):
        element(image, chain.root, index, index * COVERAGE, 0x123001 + index * 4096)
    blocks, (finding,) = walk(image, chain.root)
    assert len(blocks) == 50
    expect(finding, "map-pointer-unaligned", chain.root)
    assert (finding.evidence["slots"], finding.evidence["phys_start"]) == (50, 50 * COVERAGE)
    assert "50 elements" in finding.message


def test_a_bitmap_shared_by_two_elements(image, chain):
    element(image, chain.root, 2, FAR[0], chain.bitmaps[NEXT[::-1]])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, HUGE]
    expect(finding, "map-node-shared", chain.root)


def test_a_bitmap_shared_by_two_chunks(image, chain):
    element(image, chain.chunks[1], 0, 0, chain.bitmaps[NEXT[::-1]])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-node-shared", chain.chunks[1])


@pytest.mark.parametrize("chunk", [0, 1])
def test_a_bitmap_that_is_a_chunk(image, chain, chunk):
    element(image, chain.root, 1, NEXT[0], chain.chunks[chunk])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, FAR, HUGE]
    expect(finding, "map-node-shared", chain.root)


def test_an_excluded_bitmap(image, chain):
    bitmap = chain.bitmaps[NEXT[::-1]]
    blocks, (finding,) = walk(image, chain.root, excluded=[(bitmap, bitmap + 4096)])
    assert blocks == [LOW, FAR, HUGE]
    expect(finding, "map-node-unreadable", bitmap)
    assert finding.evidence["parent"] == chain.root
    assert "order 0, from 0x8000000" in finding.message


def test_an_absent_page_takes_all_of_its_small_bitmaps(image):
    chain = write_chain(image, 4096, 512, BLOCKS)
    image.drop(chain.bitmaps[LOW[1], 0])
    blocks, findings = walk(image, chain.root, 512)
    assert blocks == []
    assert [finding.phys for finding in findings] == list(chain.bitmaps.values())
    assert {finding.rule for finding in findings} == {"map-node-unreadable"}


@pytest.mark.parametrize("where", [1 << 45, (1 << 64) - 4096])
def test_a_bitmap_outside_memory(image, chain, where):
    element(image, chain.root, 0, 0, where)
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [NEXT, FAR, HUGE]
    expect(finding, "map-pointer-outside-memory", where)


@pytest.mark.parametrize("start", [COVERAGE + 1, COVERAGE + 4096, COVERAGE * 3 // 2])
def test_a_misaligned_start(image, chain, start):
    element(image, chain.root, 1, start, chain.bitmaps[NEXT[::-1]])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, FAR, HUGE]
    expect(finding, "map-key-impossible", chain.root)
    assert finding.evidence["phys_start"] == start


def test_a_small_bitmap_starts_where_none_of_a_page_can(image):
    chain = write_chain(image, 4096, 512, [(0, 0), (1 << 24, 0)])
    assert walk(image, chain.root, 512) == ([(0, 0), (1 << 24, 0)], [])


def test_an_element_that_reaches_the_end_of_the_address_space(image, chain):
    """Its last bit would stand for a block that ends at 2**64; the bitmap below it is the last that is listed."""
    for start, listed in (
        ((1 << 64) - COVERAGE, []),
        ((1 << 64) - 2 * COVERAGE, [((1 << 64) - 2 * COVERAGE, 0)]),
    ):
        element(image, chain.root, 2, start, chain.bitmaps[FAR[::-1]])
        blocks, findings = walk(image, chain.root)
        assert blocks == [LOW, NEXT, *listed, HUGE]
        assert [finding.rule for finding in findings] == ["map-key-impossible"] * (not listed)


@pytest.mark.parametrize("start", [0, COVERAGE])
@pytest.mark.parametrize("order", [37, 38, 51])
def test_an_element_that_covers_the_address_space_and_more(image, chain, order, start):
    header(image, chain.chunks[1], 0, order, 1)
    element(image, chain.chunks[1], 0, start, chain.bitmaps[9, 0])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, FAR]
    expect(finding, "map-key-impossible", chain.chunks[1])


def test_elements_that_do_not_ascend_are_listed_as_they_stand(image, chain):
    element(image, chain.root, 1, FAR[0], chain.bitmaps[FAR[::-1]])
    element(image, chain.root, 2, NEXT[0], chain.bitmaps[NEXT[::-1]])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, FAR, NEXT, HUGE]
    expect(finding, "map-elements-unordered", chain.root, Severity.WARNING)


def test_a_start_that_repeats(image, chain):
    element(image, chain.root, 2, NEXT[0], chain.bitmaps[FAR[::-1]])
    blocks, (finding,) = walk(image, chain.root)
    assert blocks == [LOW, NEXT, HUGE]
    expect(finding, "map-elements-repeated", chain.root)
    assert "an earlier one" in finding.message


def test_orders_may_start_alike(image):
    chain = write_chain(image, 4096, 4096, [(0, 0), (0, 1)])
    assert walk(image, chain.root) == ([(0, 0), (0, 1)], [])
