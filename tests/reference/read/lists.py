"""kho_block: pages of entries, linked by their first word, each with a count (7.2 and later)."""

from __future__ import annotations

from dataclasses import dataclass, field

from .maps import TooMuchError
from .memory import Memory

HEADER = 16
MOST = 10_000


@dataclass
class Listed:
    pages: list[int] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)


def read(memory: Memory, head: int, entry_size: int, page_size: int) -> Listed:
    """All entries of all pages."""
    result = Listed()
    while head:
        if len(result.pages) >= MOST:
            raise TooMuchError
        result.pages.append(head)
        following = memory.u64(head)
        count = memory.u64(head + 8)
        if count > (page_size - HEADER) // entry_size:
            raise TooMuchError
        result.entries += entries(memory.read(head + HEADER, count * entry_size), entry_size)
        head = following
    return result


def entries(data: bytes, size: int) -> list[bytes]:
    """An array cut into its elements."""
    return [data[at : at + size] for at in range(0, len(data), size)]
