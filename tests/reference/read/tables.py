"""The order tables of "Make KHO Stateless" as first posted (2025-09-17): a tree for every order."""

from __future__ import annotations

from .maps import Block, PreservedMap
from .memory import Memory
from .radix import ENTRY, entries, set_bits

# HUGETLB_PAGE_ORDER + 1 slots: blocks of higher orders are stored behind them, and never walked.
SLOTS = {12: 10, 14: 12, 16: 14}


def levels(page_shift: int, order: int) -> int:
    """Levels of the tree of an order, the bitmaps included."""
    below = bitmap_shift(page_shift, order)
    if below >= 64:
        return 1
    return -(-(64 - below) // (page_shift - 3)) + 1


def bitmap_shift(page_shift: int, order: int) -> int:
    """Bits of an address that a bitmap and the blocks in it use up."""
    return 2 * page_shift + 3 + order


def walk(memory: Memory, table: int, page_shift: int) -> PreservedMap:
    """All blocks that the kernel would restore: the orders ascending, addresses ascending in each."""
    walker = _Walker(memory, page_shift)
    page = walker.result.page(memory, table, 1 << page_shift)
    if page is None:
        return walker.result
    for order, top in entries(page[: SLOTS[page_shift] * ENTRY]):
        walker.node(top, levels(page_shift, order), order, 0)
    return walker.result


class _Walker:
    def __init__(self, memory: Memory, page_shift: int) -> None:
        self.result = PreservedMap()
        self._memory = memory
        self._page_shift = page_shift

    def node(self, phys: int, level: int, order: int, base: int) -> None:
        page = self.result.page(self._memory, phys, 1 << self._page_shift)
        if page is None:
            return
        if level == 1:
            shift = self._page_shift + order
            self.result.blocks += [Block((base + (bit << shift)) % 2**64, order) for bit in set_bits(page)]
            return
        shift = bitmap_shift(self._page_shift, order) + (level - 2) * (self._page_shift - 3)
        for slot, child in entries(page):
            self.node(child, level - 1, order, base + (slot << shift))
