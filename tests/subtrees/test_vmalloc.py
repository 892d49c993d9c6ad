"""Preserved vmalloc areas, whole and damaged."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from khodump.abi.vmalloc import KHO_VMALLOC, KhoVmalloc, chunk_capacity
from khodump.memory import Hole, Presence
from khodump.owner import Owner
from khodump.subtree import Context
from khodump.subtrees.vmalloc import open_vmalloc
from tests.builders.chains import Writer, write_vmalloc, write_vmalloc_chain
from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage, opened

PAGE = 4096
FULL = chunk_capacity(PAGE)


def writer(page_size: int = PAGE) -> Writer:
    return Writer(MemoryImage(1 << 20), page_size)


@contextmanager
def area(written: Writer, descriptor: bytes, **shape):
    with opened(written.image, **shape) as memory:
        yield open_vmalloc(Context(memory, written.page_size), descriptor, "the area")


def rules(found) -> list[str]:
    return [finding.rule for finding in found.findings]


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize("pages", [0, 1, 3, 9])
def test_what_was_written_is_read(page_size, order, pages):
    data = bytes(range(1, 251)) * (pages * page_size // 250 + 1)
    data = data[: pages * page_size - (7 if pages else 0)]
    written = writer(page_size)
    with area(written, write_vmalloc(written, data, order)) as found:
        assert found.findings == ()
        assert found.read(len(data)) == data
        assert found.chunks.tolist() == written.places.get("chunks", [])
        assert found.blocks.tolist() == written.places.get("blocks", [])


@pytest.mark.parametrize("count", [FULL - 1, FULL, FULL + 1, 2 * FULL, 3 * FULL + 5])
def test_chains_of_chunks_and_exactly_full_ones(count):
    """A chunk that becomes full is followed by another at once, which may stay empty."""
    written = writer()
    blocks = [(1 << 30) + i * PAGE for i in range(count)]
    with area(written, write_vmalloc_chain(written, blocks)) as found:
        assert found.findings == ()
        assert found.blocks.tolist() == blocks
        assert len(found.chunks) == count // FULL + 1


def test_claims_are_the_chain_and_the_data():
    written = writer()
    with area(written, write_vmalloc(written, b"x" * 5 * PAGE, 1)) as found:
        chain, data = found.claims(Owner("me", part="data"))
    assert (chain.owner, chain.start.tolist(), chain.size.tolist()) == (
        Owner("me", part="data chunks"),
        written.places["chunks"],
        [PAGE],
    )
    assert (data.owner, data.start.tolist()) == (Owner("me", part="data"), written.places["blocks"])
    assert set(data.size.tolist()) == {2 * PAGE}


def chained(count: int = FULL + 1) -> tuple[Writer, bytes]:
    """A chain of two chunks."""
    written = writer()
    return written, write_vmalloc_chain(written, [(1 << 30) + i * PAGE for i in range(count)])


@pytest.mark.parametrize("target", [0, 1])
def test_a_cycle_ends(target):
    written, descriptor = chained()
    written.image.write(written.places["chunks"][1], u64(written.places["chunks"][target]))
    with area(written, descriptor) as found:
        assert rules(found) == ["chain-cycle"]
        assert len(found.blocks) == FULL + 1


def test_a_chain_longer_than_its_pages_need_ends():
    written, descriptor = chained()
    more = [written.at("more").preserve() for _ in range(3)]
    written.image.write(written.places["chunks"][1], u64(more[0]))
    for chunk, following in zip(more, [*more[1:], 0], strict=True):
        written.image.write(chunk, u64(following) + u64(2 << 30))
    with area(written, descriptor) as found:
        assert rules(found) == ["chain-too-long"]
        assert len(found.chunks) == 2


def test_an_unaligned_chunk_is_not_read():
    written, descriptor = chained()
    written.image.write(written.places["chunks"][0], u64(written.places["chunks"][1] + 8))
    with area(written, descriptor) as found:
        assert rules(found) == ["chain-pointer-unaligned"]
        assert len(found.blocks) == FULL


def test_a_chunk_that_the_image_lacks_is_said():
    written, descriptor = chained()
    lost = written.places["chunks"][1]
    with area(written, descriptor, excluded=[(lost, lost + PAGE)]) as found:
        assert rules(found) == ["blob-unreadable"]
        assert "excluded from the dump" in found.findings[0].message


@pytest.mark.parametrize("change", [-1, 1])
def test_the_count_of_pages_must_match(change):
    written, descriptor = chained()
    told = KHO_VMALLOC.parse(descriptor)
    other = KHO_VMALLOC.build(KhoVmalloc(told.first, told.total_pages + change, told.flags, told.order))
    with area(written, other) as found:
        assert rules(found) == ["vmalloc-count-mismatch"]


def test_a_block_that_is_not_aligned_ends_the_data():
    written, descriptor = chained()
    written.image.write(written.places["chunks"][0] + 8 + 8 * 5, u64((1 << 30) + 1))
    with area(written, descriptor) as found:
        assert rules(found) == ["vmalloc-block-unaligned"]
        assert len(found.blocks) == 5


@pytest.mark.parametrize(("flags", "order"), [(1, 60), (4, 0), (0xFFFF, 0xFFFF)])
def test_what_no_kernel_writes_is_not_followed(flags, order):
    written, descriptor = chained()
    told = KHO_VMALLOC.parse(descriptor)
    with area(written, KHO_VMALLOC.build(KhoVmalloc(told.first, 1, flags, order))) as found:
        assert rules(found) == ["vmalloc-invalid"]
        assert found.size == 0


def test_data_that_the_image_lacks_is_a_typed_hole():
    written = writer()
    descriptor = write_vmalloc(written, b"x" * 3 * PAGE)
    lost = written.places["blocks"][1]
    with area(written, descriptor, excluded=[(lost, lost + PAGE)]) as found:
        assert found.read(PAGE) == b"x" * PAGE
        assert found.read(3 * PAGE) == Hole(lost, Presence.EXCLUDED)


def test_a_descriptor_that_claims_the_world_costs_no_more_than_the_image():
    written = writer()
    descriptor = KHO_VMALLOC.build(KhoVmalloc(written.preserve(u64(0) + u64(1 << 31)), (1 << 32) - 1, 3, 19))
    with area(written, descriptor) as found:
        assert found.size <= found.context.memory.end
        assert (
            sum(len(presence) for _, presence in found.batches(1 << 60)) <= found.context.memory.end // PAGE
        )
