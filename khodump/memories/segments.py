"""Memory made of segments: stretches of physical addresses that stand in a row in a file, or are holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import numpy as np

from khodump.columns.arrays import I64, U8, U64
from khodump.columns.table import Columns, groups
from khodump.memories.file import ByteSource
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, Range

#: The `file` of a segment that reads as zeros.
ZERO_FILE: Final = -1


@dataclass(frozen=True)
class Segments(Columns):
    """Columns, one row a segment.

    Attributes:
        start, end: physical bytes, end exclusive.
        presence: uint8 `Presence`.
        file: index of the file that holds it, or ZERO_FILE; meaningless where not PRESENT.
        offset: where in that file the segment starts, in bytes.
    """

    start: U64
    end: U64
    presence: U8
    file: I64
    offset: U64

    def of_file(self, number: int) -> Segments:
        """The same rows, of one file, with another number for it."""
        return replace(self, file=np.where(self.file == ZERO_FILE, ZERO_FILE, number))

    def resolved(self) -> Segments:
        """The same memory sorted by address and free of overlaps and empty rows.

        Where segments overlap, bytes win over holes and over zeros that were made up, and among equals the first row.
        """
        filled = np.flatnonzero(self.end > self.start)
        order = filled[np.argsort(self.start[filled], kind="stable")]
        kept = self.take(order)
        if bool(np.all(kept.end[:-1] <= kept.start[1:])):
            return kept
        made_up = kept.file == ZERO_FILE
        return _untangled(
            kept, list(zip(kept.presence.tolist(), made_up.tolist(), order.tolist(), strict=True))
        )


def _untangled(segments: Segments, merits: list[tuple[int, bool, int]]) -> Segments:
    """Sweep over the boundaries of overlapping segments, keeping the one of least merit number open at each."""
    start, end = segments.start.tolist(), segments.end.tolist()
    rank = [(merit, row) for row, merit in enumerate(merits)]
    bounds = sorted({*start, *end})
    pieces: list[tuple[int, int, int]] = []  # start, end, row
    open_rows: list[tuple[tuple[int, bool, int], int]] = []
    coming = 0
    for left, right in pairwise(bounds):
        while coming < len(start) and start[coming] <= left:
            heappush(open_rows, rank[coming])
            coming += 1
        while open_rows and end[open_rows[0][1]] <= left:
            heappop(open_rows)
        if not open_rows:
            continue
        row = open_rows[0][1]
        if pieces and pieces[-1][1:] == (left, row):
            pieces[-1] = (pieces[-1][0], right, row)
        else:
            pieces.append((left, right, row))
    lefts, rights, rows = (np.array(column, np.uint64) for column in zip(*pieces, strict=True))
    chosen = segments.take(rows.astype(np.int64))
    return Segments(lefts, rights, chosen.presence, chosen.file, chosen.offset + (lefts - chosen.start))


class SegmentedMemory(PhysicalMemory):
    """Physical memory made of segments of files.

    Args:
        files: what the segments' numbers stand for.
        segments: in any order.
        description: see `PhysicalMemory`.
        platform: see `PhysicalMemory`.
        warnings: see `PhysicalMemory`.
    """

    def __init__(
        self,
        files: Sequence[ByteSource],
        segments: Segments,
        *,
        description: str,
        platform: Platform,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.description = description
        self.platform = platform
        self.warnings = warnings
        self._files = tuple(files)
        self._segments = segments.resolved()

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`: neighbouring segments that are alike are joined."""
        table = self._segments
        begins = (table.start[1:] != table.end[:-1]) | (table.presence[1:] != table.presence[:-1])
        first, last = groups(len(table), begins)
        columns = (table.start[first], table.end[last], table.presence[first])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return tuple(Range(start, end, Presence(presence)) for start, end, presence in rows)

    @cached_property
    def end(self) -> int:
        """See `PhysicalMemory.end`."""
        return int(self._segments.end[-1]) if len(self._segments.end) else 0

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`."""
        table, parts, at = self._segments, [], phys
        row = int(np.searchsorted(table.start, np.uint64(phys), "right")) - 1
        while at < phys + size:
            if not 0 <= row < len(table.start) or not int(table.start[row]) <= at < int(table.end[row]):
                return Hole(at, Presence.ABSENT)
            if table.presence[row] != Presence.PRESENT:
                return Hole(at, Presence(int(table.presence[row])))
            length = min(phys + size, int(table.end[row])) - at
            file, offset = int(table.file[row]), int(table.offset[row]) + at - int(table.start[row])
            part = bytes(length) if file == ZERO_FILE else self._files[file].read(offset, length)
            parts.append(part)
            at += len(part)
            if len(part) < length:
                return Hole(at, self._files[file].missing(offset + len(part)))
            row += 1
        return b"".join(parts)

    def viewed(self, phys: int, size: int) -> AbstractContextManager[memoryview | None]:
        """See `PhysicalMemory.viewed`: what lies in one segment of a plain file."""
        table = self._segments
        row = int(np.searchsorted(table.start, np.uint64(phys), "right")) - 1
        if row < 0 or phys + size > int(table.end[row]) or table.presence[row] != Presence.PRESENT:
            return nullcontext()
        file, offset = int(table.file[row]), int(table.offset[row]) + phys - int(table.start[row])
        return nullcontext() if file == ZERO_FILE else self._files[file].mapped(offset, size)

    def locate(self, phys: int) -> tuple[str, int] | None:
        """See `PhysicalMemory.locate`."""
        table = self._segments
        row = int(np.searchsorted(table.start, np.uint64(phys), "right")) - 1
        if row < 0 or phys >= int(table.end[row]) or table.presence[row] != Presence.PRESENT:
            return None
        file = int(table.file[row])
        offset = int(table.offset[row]) + phys - int(table.start[row])
        return None if file == ZERO_FILE else self._files[file].locate(offset)

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`."""
        table = self._segments
        data = np.zeros((len(addresses), size), np.uint8)
        presence = np.full(len(addresses), Presence.ABSENT, np.uint8)
        if not len(table.start):
            return Pages(data, presence)
        row = np.searchsorted(table.start, addresses, "right") - 1
        inside = (row >= 0) & (addresses < table.end[row])
        presence[inside] = table.presence[row[inside]]
        present = presence == Presence.PRESENT
        whole = present & (table.end[row] - addresses >= size)
        self._gather(data, presence, np.flatnonzero(whole), row, addresses)
        for index in np.flatnonzero(present & ~whole).tolist():  # pages that lie across segments
            found = self.read(int(addresses[index]), size)
            presence[index] = found.presence if isinstance(found, Hole) else Presence.PRESENT
            if not isinstance(found, Hole):
                data[index] = np.frombuffer(found, np.uint8)
        return Pages(data, presence)

    def _gather(self, data: U8, presence: U8, wanted: I64, row: I64, start: U64) -> None:
        """Read the `wanted` rows of `data`, each whole in one segment, joining neighbours into one read."""
        table = self._segments
        page_size = data.shape[1]
        file = table.file[row[wanted]]
        wanted, file = wanted[file != ZERO_FILE], file[file != ZERO_FILE]
        offset = table.offset[row[wanted]] + (start[wanted] - table.start[row[wanted]])
        goes_on = offset[1:] == offset[:-1] + np.uint64(page_size)
        begins = (np.diff(wanted) != 1) | (np.diff(file) != 0) | ~goes_on
        firsts, lasts = groups(len(wanted), begins)
        counts = lasts + 1 - firsts
        flat = data.reshape(-1).data
        columns = (wanted[firsts], counts, file[firsts], offset[firsts])
        for top, count, index, at in zip(*(column.tolist() for column in columns), strict=True):
            source, buffer = self._files[index], flat[top * page_size : (top + count) * page_size]
            if at + len(buffer) <= source.size and source.read_into(buffer, at) == len(buffer):
                continue
            for lost in source.read_rows(data[top : top + count], at):
                presence[top + lost] = _why_lost(source, at + lost * page_size, page_size)

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`."""
        table = self._segments
        columns = (table.start, table.end, table.presence, table.file, table.offset)
        for start, end, presence, file, offset in zip(*(column.tolist() for column in columns), strict=True):
            if presence == Presence.PRESENT and file != ZERO_FILE:
                for low, high in self._files[file].data_extents(offset, offset + end - start):
                    yield Range(start + low - offset, start + high - offset, Presence.PRESENT)

    def lacking(self) -> Iterator[Range]:
        """See `PhysicalMemory.lacking`."""
        table = self._segments
        columns = (table.start, table.end, table.presence, table.file, table.offset)
        for start, end, presence, file, offset in zip(*(column.tolist() for column in columns), strict=True):
            if presence != Presence.PRESENT:
                yield Range(start, end, Presence(presence))
            elif file != ZERO_FILE:
                for low, high, why in self._files[file].lost_extents(offset, offset + end - start):
                    yield Range(start + low - offset, start + high - offset, why)

    def close(self) -> None:
        """See `PhysicalMemory.close`."""
        for file in self._files:
            with suppress(OSError):
                file.close()


def _why_lost(source: ByteSource, offset: int, size: int) -> Presence:
    """Why the `size` bytes at `offset` could not be read whole."""
    return source.missing(offset + len(source.read(offset, size)))
