"""kdump-compressed dumps: makedumpfile's own format, also written by QEMU (dump-guest-memory -z) and libvirt.

The bitmaps tell *absent* from *excluded*. A page is found by its rank among the dumped pages of its file, which is
the number of its descriptor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from itertools import pairwise
from typing import Final

import numpy as np

from khodump.columns.arrays import I64, U8, U64
from khodump.errors import UsageError
from khodump.memories import kdump_end
from khodump.memories.bitmap import BLOCK_SHIFT, PageBitmap, stretches
from khodump.memories.codecs import CODECS, unpack_page
from khodump.memories.file import ByteSource
from khodump.memories.kdump_header import (
    DESCRIPTOR_DTYPE,
    NEWEST_VERSION,
    STATUS_INCOMPLETE,
    KdumpHeader,
    read_header,
)
from khodump.memories.part import Part
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, RamEnd, Range
from khodump.rounding import ceil_div

_CACHED_PAGES: Final = 256  # at most 16 MiB
_READ_AT_ONCE: Final = 256  # pages


def part(file: ByteSource, *, assume_zero: bool) -> Part:
    """See `signature.Reader`: a file of a split dump says nothing without the others."""
    return Part("kdump-compressed", file, whole=partial(KdumpMemory, assume_zero=assume_zero))


class _KdumpFile:
    """One file, which answers for the PFNs of its window."""

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        self.header: KdumpHeader = read_header(file)
        for codec in CODECS:
            if self.header.status & codec.flag:
                codec.check()
        self.memory = PageBitmap(file, self.header.memory_bitmap, self.header.pages)
        self.dumped = PageBitmap(file, self.header.dumped_bitmap, self.header.pages)
        self._first_rank = np.uint64(self.dumped.rank(self.header.first))
        described = max(file.size - self.header.descriptors, 0) // DESCRIPTOR_DTYPE.itemsize
        #: Pages from here on have no descriptor: it would lie past the end of the file, whatever the bitmap says.
        self.reach = min(self.dumped.reach(int(self._first_rank) + described), self.header.last)
        self._page = lru_cache(_CACHED_PAGES)(self._read_page)

    def gather(self, wanted: I64, pfns: U64, data: U8, presence: U8) -> None:
        """Fill the rows `wanted` of `data` and `presence` with the pages `pfns`, one a row."""
        dumped = self.dumped.look_up(pfns)
        presence[wanted] = np.where(self.memory.look_up(pfns).is_set, Presence.EXCLUDED, Presence.ABSENT)
        number, which = np.unique(dumped.rank[dumped.is_set] - self._first_rank, return_inverse=True)
        table, lost = self.file.read_table(
            self.header.descriptors, DESCRIPTOR_DTYPE.itemsize, number.astype(np.int64)
        )
        descriptors = table.view(DESCRIPTOR_DTYPE)[:, 0]
        rows = wanted[dumped.is_set].tolist()
        columns = (descriptors[name][which].tolist() for name in ("offset", "size", "flags"))
        for row, index, offset, size, flags in zip(rows, which.tolist(), *columns, strict=True):
            found = Presence.TRUNCATED if index in lost else self._page(offset, size, flags)
            if isinstance(found, Presence):
                presence[row] = found
            else:
                presence[row] = Presence.PRESENT
                data[row] = np.frombuffer(found, np.uint8)

    def _read_page(self, offset: int, size: int, flags: int) -> bytes | Presence:
        page_size = self.header.page_size
        if not offset:  # the writer of an incomplete dump never got to this page
            return Presence.TRUNCATED
        if not 0 < size <= page_size:
            return Presence.DAMAGED
        data = self.file.read(offset, size)
        if len(data) < size:
            return self.file.missing(offset + len(data))
        page = unpack_page(data, flags, page_size)
        return Presence.DAMAGED if page is None else page

    def kinds(self) -> Iterator[tuple[int, U8]]:
        """What the bitmaps say of the window, in bounded batches: (first PFN, uint8 `Presence` a page).

        What no batch speaks of is absent: in a bitmap of a machine whose RAM begins at 96 TiB, nearly all.
        """
        both = self.memory, self.dumped
        for start, end, blocks in stretches(both, self.header.first, self.header.last):
            low = start - (int(blocks[0]) << BLOCK_SHIFT)
            is_ram, is_dumped = (bitmap.flags(blocks)[low : low + end - start] for bitmap in both)
            holes = np.where(is_ram, Presence.EXCLUDED, Presence.ABSENT)
            kinds = np.where(is_dumped, Presence.PRESENT, holes).astype(np.uint8)
            behind = kinds[max(self.reach - start, 0) :]
            behind[behind == Presence.PRESENT] = Presence.TRUNCATED
            yield start, kinds

    def dumped_runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Runs of pages (the last exclusive) from `first` to `last` that the dump holds, in whichever of its parts."""
        for start, end, blocks in stretches((self.dumped,), first, last):
            low = start - (int(blocks[0]) << BLOCK_SHIFT)
            flags = self.dumped.flags(blocks)[low : low + end - start]
            edges = np.flatnonzero(np.diff(flags, prepend=0, append=0))
            yield from ((start + left, start + right) for left, right in edges.reshape(-1, 2).tolist())

    def early_end(self) -> str | None:
        """How the file ends early, as a sentence; None where nothing says that it does."""
        pages = self.dumped.rank(self.header.last) - int(self._first_rank)
        return kdump_end.early_end(self.file, self.header, pages)


class KdumpMemory(PhysicalMemory):
    """One kdump-compressed dump, in one file or split over several.

    Args:
        files: all parts that there are, in any order.
        description: the files and their format, for a person.
        assume_zero: take excluded pages for zeros.

    Raises:
        ImageError: a file's headers or bitmaps are cut off or make no sense, or a codec is not installed.
        UsageError: the files are not parts of one dump.
    """

    def __init__(self, files: Sequence[ByteSource], description: str, *, assume_zero: bool = False) -> None:
        self.description = description
        self._assume_zero = assume_zero
        self._parts = sorted(map(_KdumpFile, files), key=lambda part: part.header.first)
        _refuse_strangers(self._parts)
        headers = [part.header for part in self._parts]
        self._page_size, self._end = headers[0].page_size, headers[0].pages
        told = (header.platform for header in headers)
        self.platform: Platform = max(told, key=lambda platform: len(platform.vmcoreinfo))
        self.warnings = tuple(_warnings(self._parts))
        self.ram_end = RamEnd(self.end, "as the dump's header says (max_mapnr)", is_told=True)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`: by the bitmaps, and by where the descriptors of the pages end.

        That a single page is cut off or damaged shows when it is read.
        """
        return tuple(run for run in self._runs() if run.presence is not Presence.ABSENT)

    @property
    def end(self) -> int:
        """See `PhysicalMemory.end`."""
        return self._end * self._page_size

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`: a file cut short, or that claims more than it holds, ends where it ends."""
        return (run for run in self._runs(zeros=False) if run.presence is Presence.PRESENT)

    def _runs(self, *, zeros: bool = True) -> Iterator[Range]:
        """Neighbouring pages that are alike, joined; `zeros` makes excluded pages present if they are assumed so."""
        pending: Range | None = None
        for part in self._parts:
            for first, kinds in part.kinds():
                if zeros and self._assume_zero:
                    kinds[kinds == Presence.EXCLUDED] = Presence.PRESENT
                edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
                for low, high in pairwise(edges):
                    start, end = ((first + edge) * self._page_size for edge in (low, high))
                    run = Range(start, end, Presence(int(kinds[low])))
                    if pending and (pending.end, pending.presence) == (run.start, run.presence):
                        pending = pending._replace(end=run.end)
                        continue
                    if pending:
                        yield pending
                    pending = run
        if pending:
            yield pending

    def elsewhere(self) -> Iterator[Range]:
        """See `PhysicalMemory.elsewhere`: every part of a split dump has the bitmaps of the whole."""
        for first, last in _unnamed(self._parts):
            for low, high in self._parts[0].dumped_runs(first, last):
                yield Range(low * self._page_size, high * self._page_size, Presence.ABSENT)

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`."""
        unit, parts = self._page_size, []
        first, last = phys // unit, ceil_div(phys + size, unit)
        for at in range(first, last, _READ_AT_ONCE):
            pfns = np.arange(at, min(at + _READ_AT_ONCE, last), dtype=np.uint64)
            got = self._gather(pfns)
            for index in np.flatnonzero(got.presence != Presence.PRESENT)[:1].tolist():
                return Hole(max(phys, int(pfns[index]) * unit), Presence(int(got.presence[index])))
            parts.append(got.data.tobytes())
        return b"".join(parts)[phys - first * unit :][:size]

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`."""
        unit = self._page_size
        pfns = addresses // np.uint64(unit)
        if size == unit:
            return self._gather(pfns)
        if size > unit:
            ratio = size // unit
            pieces = np.add.outer(pfns, np.arange(ratio, dtype=np.uint64))
            got = self._gather(pieces.reshape(-1))
            presence = got.presence.reshape(-1, ratio)
            first_hole = (presence != Presence.PRESENT).argmax(axis=1)
            return Pages(got.data.reshape(-1, size), presence[np.arange(len(pfns)), first_hole])
        pages, which = np.unique(pfns, return_inverse=True)
        got = self._gather(pages)
        slices = got.data.reshape(-1, unit // size, size)
        piece = addresses % np.uint64(unit) // np.uint64(size)
        return Pages(slices[which, piece], got.presence[which])

    def _gather(self, pfns: U64) -> Pages:
        """The pages `pfns`, in the dump's own page size."""
        data = np.zeros((len(pfns), self._page_size), np.uint8)
        presence = np.full(len(pfns), Presence.ABSENT, np.uint8)
        for part in self._parts:
            inside = (pfns >= np.uint64(part.header.first)) & (pfns < np.uint64(part.header.last))
            wanted = np.flatnonzero(inside)
            if len(wanted):
                part.gather(wanted, pfns[wanted], data, presence)
        if self._assume_zero:
            presence[presence == Presence.EXCLUDED] = Presence.PRESENT
        return Pages(data, presence)

    def close(self) -> None:
        """See `PhysicalMemory.close`."""
        for part in self._parts:
            with suppress(OSError):
                part.file.close()


def _refuse_strangers(parts: Sequence[_KdumpFile]) -> None:
    """Raise when these files, in the order of their windows, are not parts of one split dump."""
    for left, right in pairwise(parts):
        names = f"{left.file.name} and {right.file.name}"
        if not (left.header.is_split and right.header.is_split):
            raise UsageError(
                f"{names} are not parts of one split dump",
                hint="name one whole dump, or all parts of a split one",
            )
        if (left.header.page_size, left.header.pages) != (right.header.page_size, right.header.pages):
            raise UsageError(f"{names} are parts of different dumps", hint="name the parts of one dump")
        if right.header.first < left.header.last:
            raise UsageError(
                f"{names} both claim physical address {right.header.first * right.header.page_size:#x}",
                hint="name each part once",
            )


def _warnings(parts: Sequence[_KdumpFile]) -> Iterator[str]:
    """What is wrong with the dump as a whole."""
    for part in parts:
        if part.header.status & STATUS_INCOMPLETE:
            yield f"{part.file.name} says that it is incomplete: its writer ran out of room, and pages are missing"
        if part.header.version > NEWEST_VERSION:
            yield f"{part.file.name} has header version {part.header.version}; khodump knows up to {NEWEST_VERSION}"
        ends = part.early_end()
        if ends is not None:
            yield ends
    page_size = parts[0].header.page_size
    for low, high in _unnamed(parts):
        yield f"this is a split dump, and the part with {low * page_size:#x} to {high * page_size:#x} was not named"


def _unnamed(parts: Sequence[_KdumpFile]) -> Iterator[tuple[int, int]]:
    """The windows (PFNs, the last exclusive) of a split dump that no file answers for."""
    edges = [
        0,
        *(edge for part in parts for edge in (part.header.first, part.header.last)),
        parts[0].header.pages,
    ]
    return ((low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)
