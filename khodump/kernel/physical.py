"""Physical pages, read once: page tables and small objects that lie together are met again and again."""

from __future__ import annotations

from typing import Final

from khodump.memory import Hole, PhysicalMemory

#: Bytes that are kept: many times what a kernel's page tables and LUO's objects take.
_MOST_KEPT: Final = 32 << 20
_LARGE: Final = 1 << 16


class PhysicalPages:
    """A memory with the pages that were read last kept at hand.

    Attributes:
        memory: the image.
        page_size: the kernel's, in bytes.
    """

    def __init__(self, memory: PhysicalMemory, page_size: int) -> None:
        self.memory = memory
        self.page_size = page_size
        self._pages: dict[int, bytes] = {}
        self._beneath = memory.beneath

    def read(self, phys: int, size: int) -> bytes | Hole:
        """As `PhysicalMemory.read`."""
        data = self._read(phys, size)
        if not isinstance(data, Hole):
            self.memory.note(phys, size)  # and not the whole pages that were read for it
        return data

    def _read(self, phys: int, size: int) -> bytes | Hole:
        start = phys % self.page_size
        if start + size > self.page_size:
            return self._read_across(phys, size)
        page = self._page(phys - start)
        if isinstance(page, Hole):  # the image may hold these bytes, if not all of the page
            return self._beneath.read(phys, size)
        return page[start : start + size]

    def _read_across(self, phys: int, size: int) -> bytes | Hole:
        """What lies in several pages; large things are read but once, and are not kept."""
        if size > _LARGE:
            return self._beneath.read(phys, size)
        first = min(size, -phys % self.page_size)
        head = self._read(phys, first or self.page_size)
        if isinstance(head, Hole):
            return head
        tail = self._read(phys + len(head), size - len(head))
        return tail if isinstance(tail, Hole) else head + tail

    def _page(self, phys: int) -> bytes | Hole:
        kept = self._pages.get(phys)
        if kept is not None:
            return kept
        page = self._beneath.read(phys, self.page_size)
        if isinstance(page, Hole):
            return page
        if len(self._pages) * self.page_size >= _MOST_KEPT:
            self._pages.clear()
        self._pages[phys] = page
        return page
