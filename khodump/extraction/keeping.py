"""What of an image describes its handover: what the tracker and the decoders look at, byte by byte.

Bytes that nobody understands, and structures that no kernel writes (memory that was given up and used again may be read
as one), are doubtful: they may be anybody's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.bootparam import (
    HEADER_MAGIC,
    HEADER_OFFSET,
    KHO_DATA,
    SETUP_DATA,
    SETUP_DATA_OFFSET,
    SETUP_KEXEC_KHO,
)
from khodump.abi.kexec_handover import KHO_SCRATCH, MAX_PHYS_BITS, PAGE_SIZES
from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR, chunk_capacity
from khodump.abi.layout import dtype_of
from khodump.columns.arrays import I64, U64, Bool, among
from khodump.columns.intervals import Intervals
from khodump.extraction.keeping_kernel import is_asked, kernel_keeps
from khodump.fdt import FDT_HEADER, MAGIC
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.opening.boot import Notice, in_setup_data
from khodump.opening.locate import FDT_OWNER, LandmarkKind, find_copies, landmarks
from khodump.opening.scratch import read_table
from khodump.owner import KHO, Owner
from khodump.problems import SubtreeIncomplete
from khodump.subtree import Keep, Subtree, blob_of
from khodump.tracker import MAP_OWNER

#: The owner of what led from x86's boot protocol to the scratch table.
BOOT: Final = Owner(KHO, part="boot protocol")

_BATCH_BYTES: Final = 8 << 20
#: A table with more pointers that no kernel writes is taken for memory that was used again.
_MAX_BAD_SLOTS: Final = 8
#: No kernel preserves blocks of 64 GiB (log2 of bytes): contiguous memory of that size and alignment is nobody's.
_NO_BLOCK: Final = 36
_MAX_ENTRIES: Final = 256  # of the boot protocol's list, as `khodump.opening.boot` follows it


def keeps(handover: Handover, notes: list[Finding], *, keep_kernel: bool) -> Iterator[Keep]:
    """All bytes that are looked at, in bounded batches; `notes` takes what cannot be kept, but for missing pages."""
    users = (keep for subtree in handover.subtrees for keep in _subtree(subtree))
    described = chain(_root(handover, notes), _map(handover), users)
    if not keep_kernel:
        return chain(described, _scratch(handover, notes))
    told = handover.running.scratch if handover.running and is_asked(handover) else None
    scratch: Iterator[Keep] = iter(()) if told == handover.scratch else _scratch(handover, notes)
    return chain(described, kernel_keeps(handover), scratch)


def _root(handover: Handover, notes: list[Finding]) -> Iterator[Keep]:
    """The root FDT, wherever it is in the image."""
    phys = handover.fdt.phys
    if handover.fdt.is_lost:
        message = f"the root FDT is lost: read the slim image with --root {handover.tracker.root:#x}, too"
        notes.append(Finding("root-fdt-missing", Severity.ERROR, None, message))
        return
    if phys is None:
        copies = list(find_copies(handover.memory, handover.fdt.blob))
        own = [copy for copy in copies if handover.tracker.holds(copy, 0)]
        phys = next(iter(own or copies), None)
    if phys is not None:
        yield Keep.of_fdt(FDT_OWNER, "root FDT", phys, handover.fdt.blob)
        return
    message = (
        f"the image does not hold the root FDT ({handover.fdt.source}): hand it on beside the slim image"
    )
    notes.append(Finding("root-fdt-missing", Severity.ERROR, None, message))


def _map(handover: Handover) -> Iterator[Keep]:
    """The map's own pages that were walked; those that cannot be its own any more are doubtful."""
    nodes, memory, size = handover.nodes, handover.memory, handover.page_size
    lowest = nodes.level == 0
    in_doubt = _used_again(handover)
    depth = handover.tracker.depth
    for doubtful in (False, True):
        chosen = (nodes.presence == Presence.PRESENT) & (in_doubt == doubtful)
        upper = np.flatnonzero(chosen & ~lowest)
        if depth is None:
            yield from _chunks(memory, nodes.phys[upper], size, doubtful=doubtful)
        else:
            # A table of orders stands above the tables of a tree, and has a slot an order.
            slots = np.where(nodes.level[upper] >= depth, 64 - handover.tracker.page_shift, size // 8)
            yield Keep(
                MAP_OWNER, "tables", nodes.phys[upper], slots.astype(np.uint64) * np.uint64(8), doubtful
            )
        leaves = nodes.phys[chosen & lowest]
        lengths = np.full(len(leaves), handover.tracker.leaf_size, np.uint64)
        yield Keep(MAP_OWNER, "bitmaps", leaves, lengths, doubtful)


def _used_again(handover: Handover) -> Bool:
    """Which of the map's pages cannot be its own any more; pages of zeros tell nobody's secrets.

    No kernel allocates the map's pages from preserved memory, but a damaged pointer may lead there. Or the block is what
    a damaged slot made up: then the table that lies in it is one still, and holds nothing but pointers.
    """
    nodes = handover.nodes
    inside = _inside(_credible(handover), nodes.phys)
    doubtful = inside.copy()
    if handover.tracker.depth is not None:
        upper = np.flatnonzero((nodes.presence == Presence.PRESENT) & (nodes.level > 0))
        bad = _bad_slots(handover.memory, nodes.phys[upper], handover.page_size)
        doubtful[upper] = (bad > _MAX_BAD_SLOTS) | (inside[upper] & (bad > 0))
    for level in sorted(set(nodes.level.tolist()), reverse=True)[1:]:
        rows = np.flatnonzero(nodes.level == level)
        above = np.sort(nodes.phys[doubtful & (nodes.level > level)])
        doubtful[rows] |= among(
            nodes.parent[rows], above
        )  # below such a table, any page may be read as a leaf
    return doubtful & ~nodes.empty


def _credible(handover: Handover) -> Intervals:
    """What is preserved, but for blocks that a damaged slot made up: too large, or around what led to the map."""
    preserved = handover.preserved
    believed = preserved.take(preserved.order < _NO_BLOCK - preserved.page_shift)
    size = np.uint64(1) << (believed.order.astype(np.uint64) + np.uint64(preserved.page_shift))
    blocks = _Blocks(believed.phys, believed.end, size).without_around(handover.tracker.root, 0)
    if handover.fdt.phys is not None:  # its own page is preserved, and alone
        blocks = blocks.without_around(handover.fdt.phys, handover.page_size)
    return Intervals.covering(blocks.start, blocks.end)


class _Blocks(NamedTuple):
    """Runs of blocks, as columns: physical start and end of each run, and the bytes of its blocks."""

    start: U64
    end: U64
    size: U64

    def without_around(self, phys: int, least: int) -> _Blocks:
        """The runs without the blocks that `phys` lies in, where these have more than `least` bytes."""
        at = np.uint64(phys)
        hit = (self.start <= at) & (at < self.end) & (self.size > np.uint64(least))
        start, end, size = (column[hit] for column in self)
        block = start + (at - start) // size * size
        kept = [column[~hit] for column in self]
        below, above = (start, block, size), (block + size, end, size)
        return _Blocks(*(np.concatenate(parts) for parts in zip(kept, below, above, strict=True)))


def _inside(held: Intervals, phys: U64) -> Bool:
    """Which addresses are in these intervals."""
    row = np.searchsorted(held.start, phys, "right") - 1
    inside: Bool = row >= 0
    inside[inside] = phys[inside] < held.end[row[inside]]
    return inside


def _bad_slots(memory: PhysicalMemory, tables: U64, page_size: int) -> I64:
    """How many pointers that no kernel writes these tables hold."""
    count = np.zeros(len(tables), np.int64)
    step = _BATCH_BYTES // page_size
    for at in range(0, len(tables), step):
        words = memory.gather(tables[at : at + step], page_size).data.view("<u8")
        bad = (words % np.uint64(page_size) != 0) | (words >> np.uint64(MAX_PHYS_BITS) != 0)
        count[at : at + step] = bad.sum(axis=1)
    return count


def _chunks(memory: PhysicalMemory, chunks: U64, page_size: int, *, doubtful: bool) -> Iterator[Keep]:
    """Of chunks of bitmap pointers: their headers, and the elements they count; too many are doubtful."""
    header, element = dtype_of(KHOSER_MEM_CHUNK_HDR.schema), np.uint64(KHOSER_MEM_BITMAP_PTR.sizeof())
    capacity = np.uint64(chunk_capacity(page_size))
    for at in range(0, len(chunks), _BATCH_BYTES // page_size):
        chunk = chunks[at : at + _BATCH_BYTES // page_size]
        data = memory.gather(chunk, page_size).data
        count = data[:, : header.itemsize].view(header)["num_elms"][:, 0].astype(np.uint64)
        first, sound = chunk + np.uint64(header.itemsize), count <= capacity
        yield Keep(MAP_OWNER, "chunks", chunk, np.full(len(chunk), header.itemsize, np.uint64), doubtful)
        yield Keep(MAP_OWNER, "chunks", first[sound], count[sound] * element, doubtful)
        rest = np.full(int((~sound).sum()), capacity * element, np.uint64)
        yield Keep(MAP_OWNER, "chunks", first[~sound], rest, doubtful=True)


def strangers(handover: Handover) -> frozenset[Owner]:
    """The owners in `Keep` whose blobs nobody understands, though nothing says that they are damaged."""
    return frozenset(
        blob_of(subtree.name)
        for subtree in handover.subtrees
        if subtree.decoded.content is None and not subtree.decoded.findings
    )


def _subtree(subtree: Subtree) -> Iterator[Keep]:
    """What a user's decoder looks at; a blob that none understands is doubtful, but for the size that an FDT has.

    Its pages are kept in any case, for `owners` to know them.
    """
    owner = blob_of(subtree.name)
    blob = subtree.blob
    if blob is None:
        # Where no FDT is found, zeros are none either; a page that is missing would leave it open.
        looked_at = [f.phys for f in subtree.decoded.findings if f.rule == SubtreeIncomplete.name]
        yield Keep.of(owner, "no blob", *((phys, 0) for phys in looked_at if phys is not None))
        return
    read = (*range(0, len(blob.data), PAGE_SIZES[0]), max(len(blob.data) - 1, 0))
    pages = tuple((blob.phys + at, 0) for at in read)
    if subtree.decoded.content is not None:
        yield Keep.of(owner, "blob", *pages)
        yield from subtree.decoded.keeps()
        return
    what, sized = "blob that is not understood", blob.data.startswith(MAGIC)
    head = min(FDT_HEADER.size, len(blob.data)) if sized else 0
    yield Keep.of(owner, what, (blob.phys, head), *pages)
    yield Keep.of(owner, what, (blob.phys + head, len(blob.data) - head), doubtful=True)


def _scratch(handover: Handover, notes: list[Finding]) -> Iterator[Keep]:
    """The scratch table, and what leads to it where x86's boot protocol does."""
    if handover.scratch is None:
        return
    memory = handover.memory
    told: list[tuple[int, Notice]] = [
        (mark.phys, notice)
        for mark in landmarks(memory)
        if mark.kind is LandmarkKind.BOOT_PARAMS
        for notice in in_setup_data(memory, mark.phys)
        if read_table(memory, notice.scratch_addr, notice.scratch_size) == handover.scratch
    ]
    if not told:
        # A machine's device tree tells too, but of much more: command line, seeds, serial numbers.
        message = "the scratch regions cannot be kept: give them to khodump again with --scratch"
        notes.append(Finding("scratch-not-kept", Severity.INFO, None, message))
        return
    boot_params, notice = min(told, key=lambda pair: pair[1].fdt != handover.fdt.phys)
    yield Keep.of(BOOT, "list of setup_data", *_setup_data(memory, boot_params))
    length = len(handover.scratch) * KHO_SCRATCH.size
    yield Keep.of(BOOT, "scratch table", (notice.scratch_addr, length))


def _setup_data(memory: PhysicalMemory, boot_params: int) -> Iterator[tuple[int, int]]:
    """(start, length) of the pointers of the list, and of what it says of KHO: other entries hold seeds, for one."""
    yield boot_params + HEADER_OFFSET, len(HEADER_MAGIC)
    yield boot_params + SETUP_DATA_OFFSET, 8
    head = memory.read(boot_params + SETUP_DATA_OFFSET, 8)
    at = 0 if isinstance(head, Hole) else int.from_bytes(head, "little")
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MAX_ENTRIES:
        seen.add(at)
        header = memory.read(at, SETUP_DATA.size)
        if isinstance(header, Hole):
            return
        entry = SETUP_DATA.parse(header)
        is_kho = entry.type == SETUP_KEXEC_KHO and entry.len == KHO_DATA.size
        yield at, SETUP_DATA.size + (KHO_DATA.size if is_kho else 0)
        at = entry.next
