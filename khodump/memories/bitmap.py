"""A bitmap with a bit a page that stays in the file: lookups and ranks cost one small read for 4096 pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from khodump.arrays import U8, U64, Bool
from khodump.errors import ImageError
from khodump.memories.file import ByteSource

_BLOCK: Final = 512  # bytes; the running count is kept for each, 8 bytes for 16 MiB of 4K pages
_BLOCK_SHIFT: Final = 12  # log2 of the pages in a block
_CHUNK: Final = 1 << 20


class Looked(NamedTuple):
    """What a bitmap says of some pages, one row a page.

    Attributes:
        is_set: bool, the page's own bit.
        rank: uint64, how many bits below it are set.
    """

    is_set: Bool
    rank: U64


class PageBitmap:
    """One bitmap, least significant bit first.

    Args:
        file: where it lies.
        offset: its first byte there.
        pages: how many pages it speaks of.

    Attributes:
        pages: as given.

    Raises:
        ImageError: the file ends inside it.
    """

    def __init__(self, file: ByteSource, offset: int, pages: int) -> None:
        self.pages = pages
        self._file, self._offset = file, offset
        size = -(-pages // (8 * _BLOCK)) * _BLOCK
        if offset + size > file.size:  # before anything of that size is allocated
            raise self._cut_off(size)
        counts: list[U64] = [np.zeros(1, np.uint64)]
        for at in range(0, size, _CHUNK):
            chunk = file.read(offset + at, min(_CHUNK, size - at))
            if len(chunk) < min(_CHUNK, size - at):
                raise self._cut_off(size)
            bits = np.bitwise_count(np.frombuffer(chunk, np.uint8)).reshape(-1, _BLOCK)
            counts.append(bits.sum(axis=1, dtype=np.uint64))
        self._ranks: U64 = np.cumsum(np.concatenate(counts), dtype=np.uint64)

    def look_up(self, pfns: U64) -> Looked:
        """The bits and ranks of `pfns`, all below `pages`."""
        block, row = np.unique(pfns >> np.uint64(_BLOCK_SHIFT), return_inverse=True)
        rows, lost = self._file.read_table(self._offset, _BLOCK, block.astype(np.int64))
        if lost:
            raise ImageError(
                f"{self._file.name} became shorter while it was read",
                hint="wait until the dump is written, or take a copy of it",
            )
        counts = np.bitwise_count(rows)
        before: U64 = np.cumsum(counts, axis=1, dtype=np.uint64) - counts
        column = (pfns >> np.uint64(3)) & np.uint64(_BLOCK - 1)
        byte: U8 = rows[row, column]
        bit: U8 = np.left_shift(1, pfns & np.uint64(7), dtype=np.uint64).astype(np.uint8)
        below = np.bitwise_count(byte & (bit - np.uint8(1))).astype(np.uint64)
        return Looked((byte & bit) != 0, self._ranks[block][row] + before[row, column] + below)

    def rank(self, pfn: int) -> int:
        """How many bits below page `pfn` are set; `pfn` may be `pages`, one past the last."""
        if pfn % (8 * _BLOCK) == 0:
            return int(self._ranks[pfn >> _BLOCK_SHIFT])
        last = self.look_up(np.array([pfn - 1], np.uint64))
        return int(last.rank[0]) + bool(last.is_set[0])

    def reach(self, count: int) -> int:
        """A page, the first of its block, from which on `count` or more bits below are set."""
        return int(np.searchsorted(self._ranks, np.uint64(count), "left")) << _BLOCK_SHIFT

    def chunks(self, first: int, last: int) -> Iterator[tuple[int, U8]]:
        """The bits of pages `first` to `last` (exclusive), unpacked, as (page of the first, 0 or 1 a page)."""
        at = first
        while at < last:
            low = at // 8 * 8
            high = min(low + 8 * (_CHUNK >> 3), last)
            packed = np.frombuffer(self._file.read(self._offset + low // 8, -(-(high - low) // 8)), np.uint8)
            yield at, np.unpackbits(packed, count=high - low, bitorder="little")[at - low :]
            at = high

    def _cut_off(self, size: int) -> ImageError:
        return ImageError(
            f"{self._file.name} ends inside its page bitmaps: {size} bytes at {self._offset:#x}, "
            f"but the file has {self._file.size} bytes",
            hint="copy the file again; without the bitmaps no page can be found in it",
        )
