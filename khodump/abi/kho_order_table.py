"""The tables of "Make KHO Stateless" RFC v1 (20250917025019.1585041): one tree of tables an order. Never merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.abi.kexec_handover import KeyBand, KeyGeometry, kho_radix_node
from khodump.rounding import ceil_div

PROP_PRESERVED_ORDER_TABLE: Final = "preserved-order-table"

#: struct kho_order_table: a page of physical addresses of the orders' top tables. 0 is none, although the RFC's own
#: walker goes on to walk physical page 0 then.
kho_order_table = kho_radix_node

#: HUGETLB_PAGE_ORDER by page shift. Slots above it are written, past the array, but never walked by the kernel.
HUGETLB_PAGE_ORDER: Final = {12: 9, 14: 11, 16: 13}


@dataclass(frozen=True)
class OrderGeometry(KeyGeometry):
    """The tree of one order: the key is the page frame number of a block, in blocks.

    Attributes:
        order: of all its blocks.
    """

    order: int

    @classmethod
    def of(cls, page_shift: int, order: int) -> OrderGeometry:
        """The RFC's geometry: as many tables as it takes to reach the top of 64 bits."""
        bits = 64 - (2 * page_shift + 3 + order)
        depth = 1 if bits <= 0 else ceil_div(bits, page_shift - 3) + 1
        return cls(page_shift, depth, order)

    @property
    def key_width(self) -> int:
        """See `KeyGeometry.key_width`."""
        return 64 - self.page_shift - self.order

    @property
    def bands(self) -> tuple[KeyBand, ...]:
        """One band; without the block that ends at 2**64."""
        return (KeyBand(0, (1 << self.key_width) - 2, 0, self.order),)

    def encode(self, phys: int) -> int:
        """The key of the block at `phys`."""
        return phys >> (self.page_shift + self.order)
