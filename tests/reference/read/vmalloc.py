"""struct kho_vmalloc: an area as a chain of pages that list its blocks."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from .claims import Claims
from .maps import TooMuchError
from .memory import Memory

SIZE = 16
MOST_CHUNKS = 4096


@dataclass
class Area:
    page_size: int
    order: int
    total_pages: int
    chunks: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)

    def contents(self, memory: Memory) -> bytes:
        """All of its bytes: blocks one behind the other, cut to the pages that it counts."""
        parts = [memory.read(block, self.page_size << self.order) for block in self.blocks]
        return b"".join(parts)[: self.total_pages * self.page_size]

    def claim(self, claims: Claims, owner: str) -> None:
        for block in self.blocks:
            claims.add(owner, block, self.page_size << self.order)
        for chunk in self.chunks:
            claims.add(f"{owner} chunks", chunk, self.page_size)


def read(memory: Memory, descriptor: bytes, page_size: int) -> Area:
    """The area that these 16 bytes describe. A chunk's array ends at its first 0."""
    chunk, total_pages, _flags, order = struct.unpack("<QIHH", descriptor)
    area = Area(page_size, order, total_pages)
    while chunk:
        if len(area.chunks) >= MOST_CHUNKS:
            raise TooMuchError
        area.chunks.append(chunk)
        words = struct.unpack(f"<{page_size // 8}Q", memory.read(chunk, page_size))
        chunk = words[0]
        for block in words[1:]:
            if block == 0:
                break
            area.blocks.append(block)
    return area
