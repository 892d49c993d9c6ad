"""A memory that counts what is read of it."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.columns.arrays import U64
from khodump.memory import Hole, Pages, PhysicalMemory, Range


class CountingMemory(PhysicalMemory):
    """Another memory, and the pages of 4 KiB that were read."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory
        self.description, self.platform = memory.description, memory.platform
        self.read_pages: set[int] = set()

    @property
    def ranges(self) -> tuple[Range, ...]:
        return self._memory.ranges

    @property
    def end(self) -> int:
        return self._memory.end

    def read(self, phys: int, size: int) -> bytes | Hole:
        self.read_pages.update(range(phys >> 12, (phys + size + 4095) >> 12))
        return self._memory.read(phys, size)

    def gather(self, addresses: U64, size: int) -> Pages:  # noqa: ARG002 - never called
        raise AssertionError("pages are gathered, as in a search")

    def populated(self) -> Iterator[Range]:
        raise AssertionError("the image is searched")

    def close(self) -> None:
        self._memory.close()
