"""A memory that keeps book of the bytes that were decoded, for those who keep them and no others."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.columns.arrays import U64
from khodump.memory import Hole, Pages, PhysicalMemory, Range


class NotedMemory(PhysicalMemory):
    """Another memory, and what was read of it. Pages that are gathered are not noted: their decoders tell which bytes count.

    Args:
        beneath: it. Closing the book does not close it.
    """

    def __init__(self, beneath: PhysicalMemory) -> None:
        self.description, self.platform = beneath.description, beneath.platform
        self.ram_end = beneath.ram_end
        self._beneath = beneath
        self.spans: dict[tuple[int, int], None] = {}

    @property
    def beneath(self) -> PhysicalMemory:
        """See `PhysicalMemory.beneath`."""
        return self._beneath

    def note(self, phys: int, size: int) -> None:
        """See `PhysicalMemory.note`."""
        self.spans[phys, size] = None

    @property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`."""
        return self._beneath.ranges

    @property
    def end(self) -> int:
        """See `PhysicalMemory.end`."""
        return self._beneath.end

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`."""
        data = self._beneath.read(phys, size)
        if not isinstance(data, Hole):
            self.note(phys, size)
        return data

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`."""
        return self._beneath.gather(addresses, size)

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`."""
        return self._beneath.populated()

    def close(self) -> None:
        """See `PhysicalMemory.close`."""
