"""Lists of blocks, whole and damaged: kho_block.c refuses what gives a finding here."""

from __future__ import annotations

import construct
import pytest

from khodump.abi.block import (
    KHO_BLOCK_HEADER_SER,
    KHO_MAX_BLOCKS,
    MOST_LOOKED_AT,
    KhoBlockHeaderSer,
    block_capacity,
)
from khodump.subtree import Context
from khodump.subtrees.block import BlockList, read_blocks
from tests.builders.chains import Writer, write_blocks
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened

PAGE = 4096
ENTRY = construct.Struct("a" / construct.Int64ul, "b" / construct.Bytes(56))
FULL = block_capacity(PAGE, ENTRY.sizeof())


def written(count: int, page_size: int = PAGE) -> tuple[Writer, int]:
    writer = Writer(MemoryImage(1 << 20), page_size, "list")
    return writer, write_blocks(writer, ENTRY, [{"a": i, "b": bytes(56)} for i in range(count)])


def read(writer: Writer, head: int, **shape) -> BlockList:
    with opened(writer.image, **shape) as memory:
        return read_blocks(Context(memory, writer.page_size), head, ENTRY, "things")


def rules(found: BlockList) -> list[str]:
    return [finding.rule for finding in found.findings]


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 3])
def test_every_capacity(page_size, beyond, blocks):
    count = blocks * block_capacity(page_size, ENTRY.sizeof()) + beyond
    writer, head = written(count, page_size)
    found = read(writer, head)
    assert found.entries["a"].tolist() == list(range(count))
    assert list(found.blocks) == writer.places["list"]
    assert found.findings == ()


def test_no_list_is_an_empty_one():
    found = read(*written(0))
    assert (found.blocks, len(found.entries), found.findings) == ((), 0, ())


@pytest.mark.parametrize("count", [0, FULL + 1, 1 << 63])
def test_a_count_that_the_kernel_refuses(count):
    writer, head = written(FULL + 1)
    second = writer.places["list"][1]
    writer.image.write(second, KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(0, count)))
    found = read(writer, head)
    assert rules(found) == ["block-count-invalid"]
    assert found.entries["a"].tolist()[:FULL] == list(range(FULL))


@pytest.mark.parametrize("target", [0, 1])
def test_a_cycle_ends(target):
    writer, head = written(FULL + 1)
    blocks = writer.places["list"]
    writer.image.write(blocks[1], u64(blocks[target]))
    found = read(writer, head)
    assert rules(found) == ["chain-cycle"]
    assert found.entries["a"].tolist() == list(range(FULL + 1))


def test_an_unaligned_block_is_not_read():
    writer, head = written(FULL + 1)
    writer.image.write(head, u64(writer.places["list"][1] + 8))
    found = read(writer, head)
    assert rules(found) == ["chain-pointer-unaligned"]
    assert len(found.entries) == FULL


def test_a_block_that_the_image_lacks_is_said():
    writer, head = written(FULL + 1)
    lost = writer.places["list"][1]
    found = read(writer, head, excluded=[(lost, lost + PAGE)])
    assert rules(found) == ["blob-unreadable"]
    assert len(found.entries) == FULL


@pytest.mark.parametrize(
    ("blocks", "expected"), [(KHO_MAX_BLOCKS, []), (KHO_MAX_BLOCKS + 1, ["chain-too-long"])]
)
def test_the_kernel_takes_so_many_blocks_and_no_more(blocks, expected):
    writer = Writer(MemoryImage(1 << 20), PAGE)
    pages = [writer.image.alloc_page() for _ in range(blocks)]
    for page, following in zip(pages, [*pages[1:], 0], strict=True):
        writer.image.write(page, KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(following, 1)))
    found = read(writer, pages[0])
    assert rules(found) == expected
    assert len(found.blocks) == KHO_MAX_BLOCKS


@pytest.mark.parametrize(("blocks", "counted"), [(MOST_LOOKED_AT, True), (MOST_LOOKED_AT + 1, False)])
def test_a_list_that_is_too_long_is_counted_as_far_as_the_kernel_looks_for_cycles(blocks, counted):
    """Up to there it fails with ENOSPC and without a word; beyond, "Block set is corrupted"."""
    writer = Writer(MemoryImage(1 << 20), PAGE)
    pages = [writer.image.alloc_page() for _ in range(blocks)]
    for page, following in zip(pages, [*pages[1:], 0], strict=True):
        writer.image.write(page, KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(following, 1)))
    (finding,) = read(writer, pages[0]).findings
    assert finding.evidence.get("blocks") == (blocks if counted else None)
