"""Lists of blocks of entries: kernel/liveupdate/kho_block.c."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KHO_MAX_BLOCKS, MOST_LOOKED_AT, block_capacity
from khodump.abi.layout import dtype_of, offset_of
from khodump.columns.arrays import U64, AnyArray
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.owner import Owner
from khodump.problems import (
    BlockCountInvalid,
    ChainCycle,
    ChainPointerUnaligned,
    ChainTooLong,
    ListPageShared,
    Problem,
)
from khodump.subtree import Claims, Context, Keep

_BATCH: Final = 2048


@dataclass(frozen=True, eq=False)
class BlockList:
    """A list that was read.

    Attributes:
        blocks: physical addresses of its blocks.
        entries: structured array of all entries.
        places: uint64, physical address of each entry.
        findings: what is wrong with it.
    """

    blocks: tuple[int, ...]
    entries: AnyArray
    places: U64
    findings: tuple[Finding, ...]

    def claims(self, context: Context, owner: Owner) -> Iterator[Claims]:
        """Its blocks."""
        if self.blocks:
            yield Claims.of(owner, *((block, context.page_size) for block in self.blocks))


def read_blocks(context: Context, head: int, schema: Any, what: str) -> BlockList:  # noqa: ANN401 - construct
    """The list that begins at physical address `head` (0 is empty), of entries of this construct schema."""
    entry = dtype_of(schema)
    capacity = block_capacity(context.page_size, entry.itemsize)
    blocks: dict[int, None] = {}
    parts = [np.zeros(0, entry)]
    places = [np.zeros(0, np.uint64)]
    findings: list[Finding] = []
    at = head
    while at:
        number = len(blocks)
        if at % context.page_size or at in blocks or number == KHO_MAX_BLOCKS or context.refuses(at):
            findings.append(_refusal(context, at, blocks, what))
            break
        page = context.memory.read(at, context.page_size)
        if isinstance(page, Hole):
            findings.append(context.unreadable(page, f"block {number} of {what}, at {at:#x},"))
            break
        header = KHO_BLOCK_HEADER_SER.parse(page)
        blocks[at] = None
        if not 1 <= header.count <= capacity:
            message = f"block {number} of {what}, at {at:#x}, counts {header.count} entries: 1 to {capacity} are possible"
            where = Entry("count of the block", at + offset_of(KHO_BLOCK_HEADER_SER.schema, "count"))
            findings.append(context.problem(BlockCountInvalid(header.count), at, message, entry=where))
        rows = np.frombuffer(page, entry, min(header.count, capacity), KHO_BLOCK_HEADER_SER.size)
        parts.append(rows)
        places.append(places_from(at + KHO_BLOCK_HEADER_SER.size, rows))
        at = header.next
    return BlockList(tuple(blocks), np.concatenate(parts), np.concatenate(places), tuple(findings))


def places_from(start: int, rows: AnyArray) -> U64:
    """The physical addresses of entries that follow each other from `start` on."""
    return np.uint64(start) + np.arange(len(rows), dtype=np.uint64) * np.uint64(rows.dtype.itemsize)


def block_keeps(
    context: Context,
    blocks: Sequence[int],
    schema: Any,  # noqa: ANN401 - construct
    owner: Owner,
    what: str,
) -> Iterator[Keep]:
    """Of these blocks, which were read before: their headers, and the entries they count."""
    entry, size = dtype_of(schema), context.page_size
    head, capacity = KHO_BLOCK_HEADER_SER.size, block_capacity(size, entry.itemsize)
    for at in range(0, len(blocks), _BATCH):
        block = np.array(blocks[at : at + _BATCH], np.uint64)
        pages = context.memory.gather(block, size).data
        count = pages[:, :head].view(dtype_of(KHO_BLOCK_HEADER_SER.schema))["count"]  # a column of one
        rows = pages[:, head : head + capacity * entry.itemsize].view(entry)
        yield Keep(owner, what, block, np.full(len(block), head, np.uint64))
        counted = np.arange(capacity, dtype=np.uint64) < count
        for doubtful in (False, True):  # a block that counts more than it holds is none, or none any more
            block_of, index = np.nonzero(counted & ((count > capacity) == doubtful))
            start = block[block_of] + (head + index * entry.itemsize).astype(np.uint64)
            yield Keep.of_rows(owner, what, start, rows[block_of, index], doubtful=doubtful)


def _blocks_in_all(context: Context, at: int, blocks: dict[int, None]) -> int | None:
    """How many blocks a list has that goes on at `at`; None where it does not end before the kernel's look for cycles."""
    seen = set(blocks)
    while at and at not in seen and len(seen) < MOST_LOOKED_AT:
        seen.add(at)
        page = context.memory.read(at, KHO_BLOCK_HEADER_SER.size)
        if at % context.page_size or isinstance(page, Hole):
            return None
        at = KHO_BLOCK_HEADER_SER.parse(page).next
    return None if at else len(seen)


def _refusal(context: Context, at: int, blocks: dict[int, None], what: str) -> Finding:
    problem: Problem
    if at % context.page_size:
        problem, why = ChainPointerUnaligned(at), "is not page-aligned"
    elif at in blocks:
        problem, why = ChainCycle(at), "was met before"
    elif len(blocks) < KHO_MAX_BLOCKS:
        problem, why = ListPageShared(at, 1), "two other lists name too"
    else:
        problem = ChainTooLong(at, _blocks_in_all(context, at, blocks))
        why = f"is block {KHO_MAX_BLOCKS}, and the kernel takes no more"
    message = f"the list of {what} goes on at {at:#x}, which {why}; what follows is not read"
    if not blocks:
        return context.problem(problem, at, message)
    last = list(blocks)[-1]
    return context.problem(problem, last, message, entry=Entry("the next block in a block of the list", last))
