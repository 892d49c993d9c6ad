"""include/linux/kho/abi/kexec_handover.h: the root FDT and the preserved-memory radix tree.

The radix tree came with kho-v2 (Linux commit "kho: adopt radix tree for preserved memory tracking", 7.1 merge
window) and did not change in kho-v3 (7.1) and kho-v4 (7.2, 7.3), but for the depth with 16 KiB pages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import construct

from khodump.abi.layout import Layout, u64
from khodump.rounding import ceil_div

#: Root properties and those of each user's node. Payloads are native-endian u64, only 4-byte aligned.
PROP_COMPATIBLE: Final = "compatible"
PROP_PRESERVED_MEMORY_MAP: Final = "preserved-memory-map"
#: The map's name in "Make KHO Stateless" PATCH v1 (20251001011941.1513050) and v2 (20251020100306.2709352).
PROP_PRESERVED_PAGE_RADIX_TREE: Final = "preserved-page-radix-tree"
PROP_PRESERVED_DATA: Final = "preserved-data"
PROP_BLOB_SIZE: Final = "blob-size"
#: What kho-v1 and the posted stateless series have instead of preserved-data; the size is the FDT's own.
PROP_FDT: Final = "fdt"

#: What every root `compatible` begins with, seen or yet to come.
COMPATIBLE_PREFIX: Final = "kho-v"

PAGE_SIZES: Final = (4096, 16384, 65536)

#: No architecture of KHO has wider physical addresses.
MAX_PHYS_BITS: Final = 52

#: By page shift: MAX_PAGE_ORDER of x86 and arm64, and the order of a pageblock (and of CMA's alignment).
MAX_PAGE_ORDER: Final = {12: 10, 14: 11, 16: 13}
PAGEBLOCK_ORDER: Final = {12: 9, 14: 11, 16: 13}

#: The ABI has only ever been produced by little-endian kernels (x86_64, arm64).
PHYS: Any = construct.Int64ul


def kho_radix_node(page_size: int) -> Any:  # noqa: ANN401 - construct is untyped
    """A table: one page of physical addresses of lower nodes; 0 is an empty slot."""
    return construct.Array(page_size // 8, PHYS)


def kho_radix_leaf(page_size: int) -> Any:  # noqa: ANN401 - construct is untyped
    """A leaf: one page of bits, least significant first in native u64 words; a set bit is a preserved block."""
    return construct.Array(page_size // 8, construct.Int64ul)


@dataclass(frozen=True, slots=True)
class KhoScratch:
    """struct kho_scratch: a region that the next kernel boots in; physical address and size in bytes."""

    addr: u64
    size: u64

    @property
    def wraps(self) -> bool:
        """Whether it reaches past the end of the address space, as no region does."""
        return self.addr + self.size > 1 << 64

    @property
    def end(self) -> int:
        """The byte after its last, or the last of the address space, which columns of uint64 can hold."""
        return min(self.addr + self.size, (1 << 64) - 1)


KHO_SCRATCH: Final = Layout(KhoScratch)


class KeyBand(NamedTuple):
    """Keys `first` to `last` (inclusive) that all decode alike: phys = (key - base) << (page_shift + order)."""

    first: int
    last: int
    base: int
    order: int


@dataclass(frozen=True)
class KeyGeometry(ABC):
    """A tree of page-sized tables over page-sized bitmaps: how a key becomes a path, and what it stands for.

    Attributes:
        page_shift: log2 of the page size in bytes.
        depth: levels of the tree, the bitmaps included; the root is level depth - 1.
    """

    page_shift: int
    depth: int

    @property
    @abstractmethod
    def key_width(self) -> int:
        """Bits of the widest key a kernel can make."""

    @property
    @abstractmethod
    def bands(self) -> tuple[KeyBand, ...]:
        """Every decodable key, in ascending order."""

    @property
    def page_size(self) -> int:
        """Bytes a page, and a node."""
        return 1 << self.page_shift

    @property
    def leaf_bits(self) -> int:
        """log2 of the keys a leaf holds."""
        return self.page_shift + 3

    @property
    def table_bits(self) -> int:
        """log2 of the slots of a table."""
        return self.page_shift - 3

    def key_shift(self, level: int) -> int:
        """How far a key is shifted right to give the prefix of its node at `level`."""
        return self.leaf_bits + level * self.table_bits

    def path(self, key: int) -> tuple[tuple[int, ...], int]:
        """The slots from the root down to the leaf, and the bit in the leaf."""
        mask = (1 << self.table_bits) - 1
        slots = tuple((key >> self.key_shift(level - 1)) & mask for level in range(self.depth - 1, 0, -1))
        return slots, key & ((1 << self.leaf_bits) - 1)

    def decode(self, key: int) -> tuple[int, int] | None:
        """The (phys, order) of a key, as kho_radix_decode_key(), or None for a key that no kernel makes."""
        index = bisect_right(self.bands, key, key=lambda band: band.first) - 1
        if index < 0 or key > self.bands[index].last:
            return None
        band = self.bands[index]
        return (key - band.base) << (self.page_shift + band.order), band.order


@dataclass(frozen=True)
class RadixGeometry(KeyGeometry):
    """One tree for all orders: the key is the page frame number of a block, in blocks, below a bit for its order.

    Attributes:
        order0_end: for trees too shallow to hold the order-0 marker bit, keys below this are bare order-0 PFNs.
            Only 16 KiB kernels before d64b0372760e (7.1-rc6) wrote such trees; 0 everywhere else.
    """

    order0_end: int = 0

    @property
    def key_width(self) -> int:
        """KHO_RADIX_KEY_WIDTH, the order-0 marker included."""
        return 64 - self.page_shift + 1

    @cached_property
    def bands(self) -> tuple[KeyBand, ...]:
        """Every decodable key, in ascending order: one band an order, the highest order first.

        Left out, because no kernel can mean them: key 0 (no order bit), and blocks that end at 2**64.
        """
        orders = range(64 - self.page_shift - 1, -1, -1)
        markers = ((1 << (64 - self.page_shift - order), order) for order in orders)
        bands = [KeyBand(m, 2 * m - 2, m, order) for m, order in markers if 2 * m - 2 >= self.order0_end]
        if not self.order0_end:
            return tuple(bands)
        first = bands[0]._replace(first=max(bands[0].first, self.order0_end))
        return KeyBand(0, self.order0_end - 1, 0, 0), first, *bands[1:-1]

    def encode(self, phys: int, order: int) -> int:
        """The key of a block, as kho_radix_encode_key(); low bits of an unaligned `phys` are lost, as there."""
        if self.order0_end and order == 0:
            return phys >> self.page_shift
        return (1 << (64 - self.page_shift - order)) | (phys >> (self.page_shift + order))


def radix_depth(page_shift: int, *, counts_marker: bool) -> int:
    """KHO_TREE_MAX_DEPTH for a page size.

    Args:
        page_shift: log2 of the page size in bytes.
        counts_marker: False for kernels before d64b0372760e (7.1-rc6), which forgot the order bit when sizing
            the tree. It only matters with 16 KiB pages: depth 4 instead of 5.
    """
    leaf_bits, table_bits = page_shift + 3, page_shift - 3
    width = 64 - page_shift + (1 if counts_marker else 0)
    return ceil_div(width - leaf_bits, table_bits) + 1
