"""How large the bitmaps of kho-v1 are.

The same compatible string stands for bitmaps of 512 bytes (6.16, 6.17: "v1a") and of a page (6.18 on, and 6.17
stable: "v1b"). Which, is worked out from the pointers to them, or from the kernel's release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.khoser import SMALL_BITMAP_SIZE
from khodump.columns.arrays import I64, U64
from khodump.columns.table import Columns

#: A slab object of 512 bytes is page-aligned by chance once in 8 (4K pages); this many in a row are no chance.
_ENOUGH_ALIGNED: Final = 4
#: Of those, one stray pointer is damage: of 5 slab objects, 4 are aligned by chance once in 900.
_FEW_STRAY: Final = 4


@dataclass(frozen=True, eq=False)
class Elements(Columns):
    """The bitmap pointers of a chain, as columns.

    Attributes:
        phys_start: uint64, what the first bit stands for, in bytes.
        bitmap: uint64, physical address of the bits.
        order: uint64, of each bit's block.
        chunk: uint64, physical address of the chunk.
        number: int64, of the element in its chunk.
    """

    phys_start: U64
    bitmap: U64
    order: U64
    chunk: U64
    number: I64


class BitmapSize(NamedTuple):
    """How large the bitmaps are.

    Attributes:
        size: bytes.
        reason: what says so, for a person.
        certain: False for a guess.
    """

    size: int
    reason: str
    certain: bool


def tell_bitmap_size(elements: Elements, page_size: int, release: str) -> BitmapSize:
    """Whether the bitmaps are of 512 bytes or of a page.

    Args:
        elements: of the whole chain.
        page_size: bytes.
        release: the kernel's, if known.
    """
    small, large = SMALL_BITMAP_SIZE, page_size
    shift = elements.order + np.uint64(page_size.bit_length() - 1)
    of_small, of_large = (np.maximum(np.uint64(size * 8) << shift, np.uint64(1)) for size in (small, large))
    # What not even the small bitmaps allow is damage, and proves nothing.
    possible = (elements.bitmap % np.uint64(small) == 0) & (elements.phys_start % of_small == 0)
    elements, of_large = elements.take(possible), of_large[possible]
    is_unaligned = elements.bitmap % np.uint64(page_size) != 0
    is_between = elements.phys_start % of_large != 0
    of_large_ones = elements.take(~(is_unaligned | is_between))
    stray = len(elements.bitmap) - len(of_large_ones.bitmap)
    aligned = len(np.unique(of_large_ones.bitmap))
    is_damage = aligned >= _ENOUGH_ALIGNED and stray * _FEW_STRAY <= aligned
    if is_unaligned.any() and not is_damage:
        return BitmapSize(small, "bitmaps that are not page-aligned", certain=True)
    if is_between.any() and not is_damage:
        return BitmapSize(small, "bitmaps that start where none of a page can", certain=True)
    told = _by_release(release)
    if told is not None:
        return BitmapSize(large if told else small, f"release {release}", certain=True)
    if stray:
        return BitmapSize(
            large, f"a guess: {aligned} of its bitmaps are page-aligned, {stray} are not", certain=False
        )
    if aligned >= _ENOUGH_ALIGNED:
        return BitmapSize(large, f"{len(elements.bitmap)} bitmaps that are all page-aligned", certain=True)
    return BitmapSize(large, "a guess, for there are too few to tell", certain=False)


def _by_release(release: str) -> bool | None:
    """Whether a kernel of this release has page-sized bitmaps; None for those that may have either.

    The change was merged for 6.18 and went to 6.17 stable, in or after 6.17.9.
    """
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if match is None:
        return None
    version = tuple(int(part or 0) for part in match.groups())
    if version < (6, 17, 9):
        return False
    if version < (6, 18, 0) or (version == (6, 18, 0) and "rc" in release):
        return None
    return True
