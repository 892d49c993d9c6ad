"""What every kind of map comes to: blocks in the kernel's order, and the map's own pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .memory import Memory, MissingError

MOST_PAGES = 20_000


class Block(NamedTuple):
    """A naturally aligned block of pages that is to be kept."""

    phys: int
    order: int


class TooMuchError(Exception):
    """Longer than any test makes it: a circle, or pages that are named again and again."""


@dataclass
class PreservedMap:
    blocks: list[Block] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    bitmaps: list[int] = field(default_factory=list)  # those that are not among the pages
    damage: list[str] = field(default_factory=list)

    def page(self, memory: Memory, phys: int, size: int) -> bytes | None:
        """One of the map's own pages, which is noted; None where it cannot be one, or is not there."""
        if len(self.pages) >= MOST_PAGES:
            raise TooMuchError
        if phys % size:
            self.damage.append(f"{phys:#x} is no page")
            return None
        self.pages.append(phys)
        try:
            return memory.read(phys, size)
        except MissingError:
            self.damage.append(f"page {phys:#x} is missing")
            return None

    def order_at(self, phys: int) -> int | None:
        """The order of the block that begins there; the largest, should there be several."""
        return self._orders.get(phys)

    @cached_property
    def _orders(self) -> dict[int, int]:
        orders: dict[int, int] = {}
        for block in self.blocks:
            orders[block.phys] = max(block.order, orders.get(block.phys, 0))
        return orders
