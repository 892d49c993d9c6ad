"""Who says that which memory is theirs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from .maps import PreservedMap


@dataclass
class Claims:
    """Ranges of physical memory by owner."""

    page_size: int
    preserved: PreservedMap
    ranges: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, owner: str, phys: int, size: int) -> None:
        self.ranges[owner].append((phys, size))

    def block(self, owner: str, phys: int, least: int = 1) -> None:
        """What was allocated there: the whole block that is preserved at its address, or as many pages as it takes."""
        order = self.preserved.order_at(phys)
        pages = -(-least // self.page_size)
        size = pages * self.page_size if order is None else self.page_size << order
        self.add(owner, phys, max(size, pages * self.page_size))

    def pages(self, owner: str) -> set[int]:
        """Numbers of the pages that an owner claims, wholly or in part."""
        pages: set[int] = set()
        for phys, size in self.ranges[owner]:
            pages.update(range(phys // self.page_size, -(-(phys + size) // self.page_size)))
        return pages
