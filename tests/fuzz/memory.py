"""Memory and files that lie in this process, and a memory that counts what is read of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from khodump.columns.arrays import U64
from khodump.memories.file import ByteSource
from khodump.memories.segments import SegmentedMemory, Segments
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, Range
from khodump.placement import Placement

PAGE = 4096


class BytesSource(ByteSource):
    """Bytes that are there already."""

    def __init__(self, data: bytes | bytearray, name: str = "bytes") -> None:
        self.name, self.size = name, len(data)
        self._data = memoryview(data)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        part = self._data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """See `ByteSource.close`."""


def memory_of(
    data: bytes | bytearray, pages: list[int], holes: frozenset[int] = frozenset(), machine: str | None = None
) -> PhysicalMemory:
    """A memory of these page addresses, whose bytes stand in `data` in that order; `holes` are left out of its dump."""
    start = np.array(pages, np.uint64)
    presence = np.full(len(pages), Presence.PRESENT, np.uint8)
    presence[[at for at, page in enumerate(pages) if page in holes]] = Presence.EXCLUDED
    offset = np.arange(len(pages), dtype=np.uint64) * np.uint64(PAGE)
    table = Segments(start, start + np.uint64(PAGE), presence, np.zeros(len(pages), np.int64), offset)
    return SegmentedMemory([BytesSource(data)], table, description="mutant", platform=Platform(machine))


class Watched(PhysicalMemory):
    """Another memory, and what is read of it.

    Attributes:
        touched: page frame numbers (of 4 KiB) that anything was read of.
        bytes_read: in all, what was read twice counted twice.
    """

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.description, self.platform, self.warnings = memory.description, memory.platform, memory.warnings
        self.placement, self.layouts = memory.placement, memory.layouts
        self.touched: set[int] = set()
        self.bytes_read = 0

    @property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`."""
        return self._memory.ranges

    @property
    def end(self) -> int:
        """See `PhysicalMemory.end`."""
        return self._memory.end

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`: bytes that could not be had cost nothing."""
        found = self._memory.read(phys, size)
        length = max(found.phys - phys, 0) if isinstance(found, Hole) else size
        if length:
            self._note(range(phys // PAGE, (phys + length - 1) // PAGE + 1), length)
        return found

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`."""
        pages = self._memory.gather(addresses, size)
        for phys in addresses[pages.presence == Presence.PRESENT].tolist():
            self._note(range(phys // PAGE, (phys + size) // PAGE), size)
        return pages

    def _note(self, pages: range, size: int) -> None:
        self.touched.update(pages)
        self.bytes_read += size

    def locate(self, phys: int) -> tuple[str, int] | None:
        """See `PhysicalMemory.locate`."""
        return self._memory.locate(phys)

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`."""
        return self._memory.populated()

    @property
    def is_placed(self) -> bool:
        """See `PhysicalMemory.is_placed`."""
        return self._memory.is_placed

    def placed(self, placement: Placement) -> PhysicalMemory:
        """See `PhysicalMemory.placed`."""
        return self._memory.placed(placement)

    def close(self) -> None:
        """See `PhysicalMemory.close`."""
        self._memory.close()
