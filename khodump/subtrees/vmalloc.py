"""Preserved vmalloc areas: kho_restore_vmalloc() of kernel/liveupdate/kexec_handover.c, read instead of mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from khodump.abi.layout import dtype_of
from khodump.abi.vmalloc import KHO_VMALLOC, KhoVmalloc, VmallocFlags, chunk_capacity, kho_vmalloc_chunk
from khodump.columns.arrays import I64, U8, U64, Bool, repeats
from khodump.findings import Entry, Finding
from khodump.memory import Hole, Presence
from khodump.owner import Owner
from khodump.problems import (
    ChainCycle,
    ChainPointerUnaligned,
    ChainTooLong,
    ListPageShared,
    Problem,
    VmallocBlockUnaligned,
    VmallocCountMismatch,
    VmallocInvalid,
)
from khodump.rounding import ceil_div
from khodump.subtree import Claims, Context, Keep

_BATCH_BYTES: Final = 1 << 20  # what is made of it still fits a cache
_POINTER: Final = 8
_KNOWN_FLAGS: Final = VmallocFlags.ALLOC | VmallocFlags.HUGE_VMAP


def chain_owner(owner: Owner) -> Owner:
    """Whose the pages of the chain are that lead to an owner's area."""
    return owner.with_part(f"{owner.part} chunks")


@dataclass(frozen=True, eq=False)
class VmallocArea:
    """An area, found through its chain of chunks.

    Attributes:
        descriptor: what led to it.
        chunks: uint64, physical addresses of the chain's pages.
        blocks: uint64, physical addresses of the data, in order; each of `page_size << order` bytes.
        findings: what is wrong with the chain.
        at: physical address of the descriptor; None where that is not known.
    """

    context: Context
    descriptor: KhoVmalloc
    chunks: U64
    blocks: U64
    findings: tuple[Finding, ...]
    at: int | None = None

    @property
    def block_size(self) -> int:
        """Bytes a block."""
        return self.context.page_size << self.descriptor.order

    @property
    def size(self) -> int:
        """Bytes that can be found through the chain; never more than there is memory, whatever the descriptor claims."""
        told = self.descriptor.total_pages * self.context.page_size
        return min(told, len(self.blocks) * self.block_size, self.context.memory.end)

    def claims(self, owner: Owner) -> Iterator[Claims]:
        """The chain and the data."""
        size = self.context.page_size
        yield Claims.equal(chain_owner(owner), self.chunks, size, self._entry_of_chunk)
        if len(self.blocks):  # their order may be anything where there are none
            yield Claims.equal(owner, self.blocks, self.block_size, self._entry_of_block)

    def _entry_of_chunk(self, row: int) -> Entry | None:
        """What names a page of the chain: the page before it, or the descriptor."""
        before = {int(self.chunks[row - 1]): None} if row else {}
        return _entry_of_next(before, self.at)

    def _entry_of_block(self, row: int) -> Entry | None:
        """What names a block: each page of the chain but the last is full, or else it is not known."""
        chunk, slot = divmod(row, chunk_capacity(self.context.page_size))
        if chunk >= len(self.chunks):
            return None
        at = int(self.chunks[chunk]) + _POINTER * (1 + slot)
        held = self.context.memory.read(at, _POINTER)
        if isinstance(held, Hole) or int.from_bytes(held, "little") != int(self.blocks[row]):
            return None
        return Entry(f"slot {slot} of page {chunk} of the chain", at)

    def chain_keeps(self, owner: Owner) -> Iterator[Keep]:
        """Of the chain's pages: their headers, and the blocks they name."""
        size, what = self.context.page_size, "chain of pages"
        for at in range(0, len(self.chunks), _BATCH_BYTES // size):
            chunk = self.chunks[at : at + _BATCH_BYTES // size]
            pages = self.context.memory.gather(chunk, size).data
            blocks = np.ascontiguousarray(pages).view(dtype_of(kho_vmalloc_chunk(size)))["phys"][:, 0]
            end, bad = _first(blocks == 0), _first(blocks % np.uint64(self.block_size) != 0)
            sound = np.minimum(end, bad)
            yield Keep(chain_owner(owner), what, chunk, (np.uint64(1) + sound) * np.uint64(8))
            rest = chunk + (np.uint64(1) + sound) * np.uint64(8)
            yield Keep(chain_owner(owner), what, rest, (end - sound) * np.uint64(8), doubtful=True)

    def keeps(self, owner: Owner, what: str, limit: int) -> Iterator[Keep]:
        """The chain, and the first `limit` bytes of the data."""
        yield from self.chain_keeps(owner)
        size, limit = self.block_size, min(limit, self.size)
        held = self.blocks[: ceil_div(limit, size)]
        length = np.full(len(held), size, np.uint64)
        length[-1:] = limit - max(len(held) - 1, 0) * size
        yield Keep(owner, what, held, length)

    def phys_of(self, offset: int) -> int:
        """The physical address of a byte of the data."""
        page, inner = divmod(offset, self.context.page_size)
        return int(self.pages(page, page + 1)[0]) + inner

    def pages(self, first: int, stop: int) -> U64:
        """Physical addresses of the data's pages `first` to `stop` (exclusive)."""
        size, order = np.uint64(self.context.page_size), np.uint64(self.descriptor.order)
        index = np.arange(first, stop, dtype=np.uint64)
        inner = index & ((np.uint64(1) << order) - np.uint64(1))
        found: U64 = self.blocks[index >> order] + inner * size
        return found

    def batches(self, limit: int) -> Iterator[tuple[U8, U8]]:
        """The first `limit` bytes of the data, some whole pages at a time.

        Returns:
            uint8 rows of a page each, and their `Presence`.
        """
        size = self.context.page_size
        pages = ceil_div(min(limit, self.size), size)
        step = _BATCH_BYTES // size
        for at in range(0, pages, step):
            batch = self.context.memory.gather(self.pages(at, min(at + step, pages)), size)
            yield batch.data, batch.presence

    def read(self, limit: int) -> bytes | Hole:
        """The first `limit` bytes, or the first page among them that is missing."""
        parts: list[bytes] = []
        for data, presence in self.batches(limit):
            missing = np.flatnonzero(presence != Presence.PRESENT)
            if len(missing):
                page = len(parts) * (_BATCH_BYTES // self.context.page_size) + int(missing[0])
                block, inner = divmod(page * self.context.page_size, self.block_size)
                return Hole(int(self.blocks[block]) + inner, Presence(int(presence[missing[0]])))
            parts.append(data.tobytes())
        return b"".join(parts)[:limit]


def open_vmalloc(context: Context, descriptor: bytes, what: str, at: int | None = None) -> VmallocArea:
    """Follow the chain of a struct kho_vmalloc.

    Args:
        context: what to read from.
        descriptor: the 16 bytes of the struct.
        what: the area, for a person.
        at: physical address of the struct, if it is known.
    """
    told = KHO_VMALLOC.parse(descriptor)
    findings: list[Finding] = []
    chunks: dict[int, None] = {}
    parts: list[U64] = []
    if told.order > _pmd_order(context.page_size) or told.flags & ~int(_KNOWN_FLAGS):
        message = f"{what} has order {told.order} and flags {told.flags:#x}, which no kernel writes"
        entry = None if at is None else Entry("struct kho_vmalloc", at)
        findings.append(context.problem(VmallocInvalid(told.order, told.flags), None, message, entry=entry))
        none = np.zeros(0, np.uint64)
        return VmallocArea(context, told, none, none, tuple(findings), at)
    wanted = ceil_div(told.total_pages, 1 << told.order)
    most = wanted // chunk_capacity(context.page_size) + 1  # the last may be empty
    chunk = told.first
    while chunk:
        stop = _refusal(context, chunk, chunks, most, what)
        page = context.memory.read(chunk, context.page_size) if stop is None else b""
        if isinstance(page, Hole):
            stop = context.unreadable(page, f"chunk {len(chunks)} of {what}, at {chunk:#x},")
        if stop is not None or isinstance(page, Hole):
            findings += [replace(stop, entry=_entry_of_next(chunks, at))] if stop else []
            break
        chunks[chunk] = None
        row = np.frombuffer(page, dtype_of(kho_vmalloc_chunk(context.page_size)))[0]
        empty = np.flatnonzero(row["phys"] == 0)
        parts.append(row["phys"][: empty[0] if len(empty) else None].astype(np.uint64))
        chunk = int(row["next"])
    blocks = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    if not findings and len(blocks) != wanted:
        message = f"{what} should have {told.total_pages} pages in {wanted} blocks, but its chunks name {len(blocks)}"
        problem = VmallocCountMismatch(len(blocks), told.total_pages)
        findings.append(context.problem(problem, told.first, message))
    bad = np.flatnonzero(blocks % np.uint64(context.page_size << told.order) != 0)
    if len(bad):
        message = f"{len(bad)} blocks of {what} are not aligned to their size, the first at {int(blocks[bad[0]]):#x}"
        findings.append(context.problem(VmallocBlockUnaligned(int(blocks[bad[0]])), told.first, message))
        blocks = blocks[: bad[0]]
    again = _named_again(context, blocks, told.order)
    if len(again):
        first = int(blocks[again[0]])
        message = (
            f"{len(again)} of {len(blocks)} blocks that the chain of {what} names were named before, by it or by two "
            f"others, the first at {first:#x}; the area is read up to there"
        )
        findings.append(context.problem(ListPageShared(first, len(again)), told.first, message))
        blocks = blocks[: again[0]].copy()  # so that the rest is not held
    return VmallocArea(context, told, np.array(list(chunks), np.uint64), blocks, tuple(findings), at)


def _named_again(context: Context, blocks: U64, order: int) -> I64:
    """The rows of the blocks that stand further in front already, or that two other areas have."""
    again = repeats(blocks)
    fresh = np.flatnonzero(~again)
    again[fresh] = context.refused_blocks(blocks[fresh], order)
    return np.flatnonzero(again)


def _first(mask: Bool) -> U64:
    """Where each row is true first; its length where it is nowhere."""
    found: U64 = np.where(mask.any(axis=1), mask.argmax(axis=1), mask.shape[1]).astype(np.uint64)
    return found


def _pmd_order(page_size: int) -> int:
    """The order of the largest pages that vmalloc maps with: what an entry of the second-lowest table stands for."""
    return page_size.bit_length() - 1 - 3


def _refusal(context: Context, at: int, chunks: dict[int, None], most: int, what: str) -> Finding | None:
    """Why the chain is not followed to `at`, if so."""
    problem: Problem
    if at % context.page_size:
        problem, why = ChainPointerUnaligned(at), "is not page-aligned"
    elif at in chunks:
        problem, why = ChainCycle(at), "was met before"
    elif len(chunks) >= most:
        problem, why = ChainTooLong(at), f"comes after the {most} chunks that its pages need"
    elif context.refuses(at):
        problem, why = ListPageShared(at, 1), "two other chains name too"
    else:
        return None
    message = f"the chain of {what} goes on at {at:#x}, which {why}; what follows is not read"
    return context.problem(problem, list(chunks)[-1] if chunks else at, message)


def _entry_of_next(chunks: dict[int, None], descriptor_at: int | None) -> Entry | None:
    """Where the address stands at which a chain goes on: in its last page, or in the descriptor, if that is known."""
    if chunks:
        return Entry("the next page in a page of the chain", list(chunks)[-1])
    return None if descriptor_at is None else Entry("the first page in struct kho_vmalloc", descriptor_at)
