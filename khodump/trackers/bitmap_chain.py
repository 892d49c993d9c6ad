"""The map of kho-v1 (6.16 to 7.0): a chain of chunks of bitmap pointers; kho_mem_deserialize() of those kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from khodump.abi.khoser import (
    KHOSER_MEM_BITMAP_PTR,
    KHOSER_MEM_CHUNK_HDR,
    SMALL_BITMAP_SIZE,
    chunk_capacity,
)
from khodump.abi.layout import dtype_of, offset_of
from khodump.advice import VERSION, Advice
from khodump.columns.arrays import U8, U64, Bool
from khodump.columns.extents import Extents
from khodump.findings import Entry, Severity
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.numbers import format_size
from khodump.problems import (
    MapChunkCount,
    MapElementsRepeated,
    MapElementsUnordered,
    MapKeyImpossible,
    MapNodeShared,
    MapPointerUnaligned,
    MapProblem,
)
from khodump.tracker import (
    READING_IN_DOUBT,
    Coverage,
    Nodes,
    Trace,
    TraceNode,
    Tracker,
    Walk,
    node_problem,
    slot_words,
)
from khodump.trackers.bitmap_size import BitmapSize, Elements, tell_bitmap_size
from khodump.trackers.bitmaps import runs_of_set_bits
from khodump.trackers.evidence import Readings

_ELEMENT = dtype_of(KHOSER_MEM_BITMAP_PTR)
_BATCH_BYTES: Final = 8 << 20


class BitmapChainTracker(Tracker):
    """A chain of chunks of bitmaps.

    Args:
        memory: where it is.
        root: physical address of the first chunk.
        page_size: bytes.
        bitmap_size: bytes of a bitmap; by default as its pointers and the release tell.
        because: what speaks for that size, for a person.
        release: of the kernel that made it, if known.
    """

    depth = None

    def __init__(
        self,
        memory: PhysicalMemory,
        root: int,
        page_size: int,
        bitmap_size: int | None = None,
        *,
        because: str = "--as",
        release: str = "",
    ) -> None:
        self.root = root
        self.page_shift = page_size.bit_length() - 1
        self._memory = memory
        self._page_size = page_size
        if bitmap_size is None:
            self.bitmap_size = tell_bitmap_size(self._chunks(Walk()), page_size, release)
        else:
            self.bitmap_size = BitmapSize(bitmap_size, because, certain=True)
        size = format_size(self.bitmap_size.size)
        self.shape = f"chain of {size} bitmaps, by {self.bitmap_size.reason}"
        self.leaf_size = self.bitmap_size.size
        self.reading = f"{format_size(page_size)} pages with {size} bitmaps"
        if not self.bitmap_size.certain:
            guess = f"whether its bitmaps are of {size} is a guess; "
            self.doubt = Advice.of(guess, VERSION.of("kho-v1a"), " or kho-v1b settles it")

    def walk(self) -> Walk:
        """See `Tracker.walk`."""
        walk = Walk()
        if self.demand_root(walk):
            walk.batches = self._bitmap_runs(self._admit(self._chunks(walk), walk), walk)
        return walk

    def holds(self, phys: int, order: int) -> bool | None:
        """See `Tracker.holds`."""
        return False if phys % (self._page_size << order) else self.trace(phys, order).is_set

    def trace(self, phys: int, order: int) -> Trace:
        """See `Tracker.trace`: the chunk that points to the bitmap, with the number of its element, and the bitmap."""
        walk = Walk()
        elements = self._admit(self._chunks(walk), walk)
        coverage = self.bitmap_size.size * 8 << self.page_shift + order
        start = phys - phys % coverage
        bit = (phys - start) >> self.page_shift + order
        rows = np.flatnonzero((elements.order == order) & (elements.phys_start == start))
        if not len(rows):
            unsure = any(finding.severity is Severity.ERROR for finding in walk.findings)
            return Trace((), bit, None if unsure else False)
        chunk, bitmap, number = (
            int(column[rows[0]]) for column in (elements.chunk, elements.bitmap, elements.number)
        )
        byte = self._memory.read(bitmap + bit // 8, 1)
        is_set = None if isinstance(byte, Hole) else bool(byte[0] >> bit % 8 & 1)
        return Trace((TraceNode(chunk, 1, number), TraceNode(bitmap, 0, bit)), bit, is_set)

    def slot_entry(self, table: int, slot: int) -> Entry:
        """See `Tracker.slot_entry`: of an element of a chunk, the pointer to its bitmap."""
        element = table + KHOSER_MEM_CHUNK_HDR.size + slot * _ELEMENT.itemsize
        return Entry(slot_words(table, slot), element + offset_of(KHOSER_MEM_BITMAP_PTR, "bitmap"))

    def covers(self, nodes: Nodes) -> Coverage:
        """See `Tracker.covers`; a chunk covers nothing but what its bitmaps do."""
        node = np.flatnonzero(nodes.level == 0)
        order, start = nodes.order[node], nodes.prefix[node]
        size = np.uint64(self.bitmap_size.size * 8) << (order.astype(np.uint64) + np.uint64(self.page_shift))
        return Coverage(node, order, start, start + size)

    def flaws(self) -> set[str]:
        """See `Tracker.flaws`."""
        walk = Walk()
        elements = self._admit(self._chunks(walk), walk)
        rules = {finding.rule for finding in walk.findings}
        return rules if len(elements.order) else rules | {READING_IN_DOUBT}

    def _chunks(self, walk: Walk) -> Elements:
        """Follow the chain: all elements in stored order. Chunks are single pages, so this reads one by one."""
        parts: list[Elements] = []
        seen: set[int] = set()
        at, previous = self.root, 0
        while at:
            if at % self._page_size or at in seen:
                kind, what = (
                    (MapNodeShared, "was met before")
                    if at in seen
                    else (MapPointerUnaligned, "is not page-aligned")
                )
                came = f"the chunk at {previous:#x} goes on at" if previous else "the root pointer"
                message = f"{came} {at:#x}, which {what}; what follows is not listed"
                walk.findings.append(kind(at).finding(previous or at, message))
                break
            seen.add(at)
            page = self._memory.read(at, self._page_size)
            presence = page.presence if isinstance(page, Hole) else Presence.PRESENT
            if isinstance(page, Hole):
                walk.node_parts.append(Nodes.single(at, 1, presence, empty=False, slot=len(seen) - 1))
                what = f"the chunk at {at:#x} (number {len(seen)} of the chain)"
                walk.findings.append(node_problem(self._memory, at, presence, what, parent=previous))
                break
            header = KHOSER_MEM_CHUNK_HDR.parse(page)
            walk.node_parts.append(
                Nodes.single(at, 1, presence, empty=not header.num_elms, slot=len(seen) - 1)
            )
            parts.append(self._elements(page, at, walk))
            at, previous = header.next, at
        return Elements.concatenate(parts)

    def _elements(self, page: bytes, at: int, walk: Walk) -> Elements:
        """The elements of one chunk."""
        header = KHOSER_MEM_CHUNK_HDR.parse(page)
        count, capacity = header.num_elms, chunk_capacity(self._page_size)
        if count > capacity:
            message = f"the chunk at {at:#x} counts {count} elements, but holds {capacity}; those are read"
            walk.findings.append(MapChunkCount(count).finding(at, message))
        if header.order >= 64 - self.page_shift:
            message = f"the chunk at {at:#x} is of order {header.order}, which is no size of memory; it is not listed"
            walk.findings.append(MapKeyImpossible(header.order).finding(at, message))
            count = 0
        rows = np.frombuffer(page, _ELEMENT, min(count, capacity), KHOSER_MEM_CHUNK_HDR.size)
        # Past the end of a list that is shorter than its count there are zeros: page 0 is nobody's bitmap.
        numbers = np.flatnonzero(rows["bitmap"])
        if len(numbers) < len(rows):
            message = (
                f"{len(rows) - len(numbers)} of {len(rows)} elements of the chunk at {at:#x} have no bitmap: "
                "its address is 0; they are not listed"
            )
            walk.findings.append(MapChunkCount(count).finding(at, message))
        rows = rows[numbers]
        of_all = np.ones(len(rows), np.uint64)
        return Elements(
            rows["phys_start"].astype(np.uint64),
            rows["bitmap"].astype(np.uint64),
            of_all * np.uint64(header.order),
            of_all * np.uint64(at),
            numbers,
        )

    def _admit(self, elements: Elements, walk: Walk) -> Elements:
        """Without the elements that no kernel writes; each chunk with such elements gives one finding a rule."""
        size = np.uint64(self.bitmap_size.size)
        coverage = (size * np.uint64(8)) << (elements.order + np.uint64(self.page_shift))
        shared = np.ones(len(elements.order), np.bool_)
        shared[np.unique(elements.bitmap, return_index=True)[1]] = False
        shared |= np.isin(elements.bitmap - elements.bitmap % np.uint64(self._page_size), walk.nodes.phys)
        same_order = elements.order[1:] == elements.order[:-1]
        unordered = np.zeros(len(elements.order), np.bool_)
        unordered[1:] = same_order & (elements.phys_start[1:] <= elements.phys_start[:-1])
        repeated = np.ones(len(elements.order), np.bool_)
        starts = np.stack([elements.order, elements.phys_start], axis=1)
        repeated[np.unique(starts, axis=0, return_index=True)[1]] = False
        # A bitmap that reaches the end of the address space makes this sum 0; one that covers all of it, the modulus.
        misaligned = (
            (elements.phys_start + coverage == 0)
            | (elements.phys_start % np.maximum(coverage, np.uint64(1)) != 0)
            | (coverage == 0)
        )
        checks = (
            (
                MapPointerUnaligned,
                elements.bitmap % size != 0,
                f"point to bitmaps not aligned to {size} bytes",
            ),
            (MapNodeShared, shared, "point to a bitmap or a chunk that was met before"),
            (MapKeyImpossible, misaligned, "start where no bitmap of their order can"),
            (MapElementsRepeated, repeated, "start where an earlier one of their order does"),
        )
        good = np.ones(len(elements.order), np.bool_)
        for kind, bad, what in checks:
            self._report(kind, f"{what}; they are not listed", elements.take(good & bad), walk)
            good &= ~bad
        self._report(MapElementsUnordered, "do not ascend", elements.take(good & unordered), walk)
        return elements.take(good)

    def _report(self, kind: type[MapProblem], what: str, bad: Elements, walk: Walk) -> None:
        for chunk, first, count in zip(
            *(column.tolist() for column in np.unique(bad.chunk, return_index=True, return_counts=True)),
            strict=True,
        ):
            start, bitmap = int(bad.phys_start[first]), int(bad.bitmap[first])
            message = (
                f"{count} elements of the chunk at {chunk:#x} {what} "
                f"(the first has phys_start {start:#x}, bitmap {bitmap:#x})"
            )
            walk.findings.append(kind(bitmap, phys_start=start, slots=count).finding(chunk, message))

    def _bitmap_runs(self, elements: Elements, walk: Walk) -> Iterator[Extents]:
        """The preservations of these elements, a batch of bitmaps at a time."""
        size = self.bitmap_size.size
        step = _BATCH_BYTES // size
        for at in range(0, len(elements.order), step):
            part = elements.take(slice(at, at + step))
            pages = self._memory.gather(part.bitmap, size)
            readable: Bool = pages.presence == Presence.PRESENT
            words = pages.data.view("<u8")[readable]
            self._note(part, pages.presence, readable, words, walk)
            part = part.take(readable)
            first, count = runs_of_set_bits(words)
            bits = np.uint64(size * 8)
            row = first // bits
            shift = part.order[row] + np.uint64(self.page_shift)
            phys = part.phys_start[row] + ((first - row * bits) << shift)
            yield Extents(self.page_shift, phys, part.order[row].astype(np.uint8), count).joined()

    def _note(self, part: Elements, presence: U8, readable: Bool, words: U64, walk: Walk) -> None:
        empty = np.zeros(len(part.order), np.bool_)
        empty[readable] = ~words.any(axis=1)
        levels = np.zeros(len(part.order), np.uint8)
        orders = part.order.astype(np.uint8)
        walk.node_parts.append(
            Nodes(part.bitmap, levels, part.phys_start, presence, empty, orders, part.chunk, part.number)
        )
        for row in np.flatnonzero(~readable).tolist():
            phys, chunk = int(part.bitmap[row]), int(part.chunk[row])
            start, order = int(part.phys_start[row]), int(part.order[row])
            what = f"the bitmap at {phys:#x} (order {order}, from {start:#x})"
            missing = Presence(int(presence[row]))
            walk.findings.append(node_problem(self._memory, phys, missing, what, parent=chunk))


def readings(
    memory: PhysicalMemory,
    root: int,
    release: str,
    page_size: int,
    *,
    bitmap_size: Callable[[int], int] | None = None,
) -> Readings:
    """The chain, with bitmaps of the size that its pointers tell; the other size is unlikely.

    Args:
        memory: where the chain is.
        root: physical address of its first chunk.
        release: of the kernel that made it, if known.
        page_size: bytes.
        bitmap_size: the size of the bitmaps for a page size, when forced.
    """
    if bitmap_size is not None:
        return Readings([BitmapChainTracker(memory, root, page_size, bitmap_size(page_size))])
    likely = BitmapChainTracker(memory, root, page_size, release=release)

    def unlikely() -> list[BitmapChainTracker]:
        size = SMALL_BITMAP_SIZE + page_size - likely.bitmap_size.size
        because = "the root FDT's own page, which is in the map only so"
        return [BitmapChainTracker(memory, root, page_size, size, because=because)]

    return Readings([likely], unlikely)
