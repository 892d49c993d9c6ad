"""A bitmap with a bit a page that stays in the file: lookups and ranks cost one small read for 4096 pages.

A machine whose RAM begins at 96 TiB has bitmaps of gigabytes in which all but a few blocks are empty. Only blocks with
a bit in them are remembered, and holes of a sparse file are not even read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, U8, U64, Bool
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.rounding import ceil_div, round_up

#: Log2 of the pages in a block.
BLOCK_SHIFT: Final = 12

_BLOCK: Final = 512  # bytes; where it lies and the running count are kept for each that is not empty
_CHUNK: Final = 1 << 20
_UNPACKED_BLOCKS: Final = 256  # at once: a MiB of flags, one a page


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
        blocks: int64, ascending, the numbers of the blocks of 4096 pages in which any bit is set.

    Raises:
        ImageError: the file ends inside it.
    """

    def __init__(self, file: ByteSource, offset: int, pages: int) -> None:
        self.pages = pages
        self._file, self._offset = file, offset
        size = ceil_div(pages, 8 * _BLOCK) * _BLOCK
        if any(file.lost_extents(offset, offset + size)):  # before anything of that size is read
            raise self._cut_off(size)
        blocks: list[I64] = [np.zeros(0, np.int64)]
        counts: list[U64] = [np.zeros(1, np.uint64)]
        for first, rows in self._stored(size):
            filled = np.flatnonzero(rows.view(np.uint64).any(axis=1))
            blocks.append(first + filled)
            counts.append(np.bitwise_count(rows[filled]).sum(axis=1, dtype=np.uint64))
        self.blocks: I64 = np.concatenate(blocks)
        self._ranks: U64 = np.cumsum(np.concatenate(counts), dtype=np.uint64)

    def _stored(self, size: int) -> Iterator[tuple[int, U8]]:
        """What the file stores of the bitmap's `size` bytes: (number of the first block, uint8 rows of a block each)."""
        buffer = np.empty(_CHUNK, np.uint8)
        at = 0
        for low, high in self._file.data_extents(self._offset, self._offset + size):
            at = max(at, (low - self._offset) // _BLOCK * _BLOCK)
            end = round_up(high - self._offset, _BLOCK)
            while at < end:
                chunk = buffer[: min(_CHUNK, end - at)]
                if self._file.read_into(chunk.data, self._offset + at) < len(chunk):
                    raise self._cut_off(size)
                if chunk.view(np.uint64).any():
                    yield at // _BLOCK, chunk.reshape(-1, _BLOCK)
                at += len(chunk)

    def look_up(self, pfns: U64) -> Looked:
        """The bits and ranks of `pfns`, all below `pages`."""
        block, row = np.unique((pfns >> np.uint64(BLOCK_SHIFT)).astype(np.int64), return_inverse=True)
        rows = self._rows(block)
        counts = np.bitwise_count(rows)
        before: U64 = np.cumsum(counts, axis=1, dtype=np.uint64) - counts
        column = (pfns >> np.uint64(3)) & np.uint64(_BLOCK - 1)
        byte: U8 = rows[row, column]
        bit: U8 = np.left_shift(1, pfns & np.uint64(7), dtype=np.uint64).astype(np.uint8)
        below = np.bitwise_count(byte & (bit - np.uint8(1))).astype(np.uint64)
        earlier = self._ranks[np.searchsorted(self.blocks, block)]
        return Looked((byte & bit) != 0, earlier[row] + before[row, column] + below)

    def _rows(self, block: I64) -> U8:
        """The bytes of these blocks (ascending numbers), one a row; empty ones are not read."""
        rows = np.zeros((len(block), _BLOCK), np.uint8)
        left, right = (np.searchsorted(self.blocks, block, side) for side in ("left", "right"))
        filled = np.flatnonzero(left < right)
        rows[filled], lost = self._file.read_table(self._offset, _BLOCK, block[filled])
        if lost:
            raise ImageError(
                f"{self._file.name} became shorter while it was read",
                hint="wait until the dump is written, or take a copy of it",
            )
        return rows

    def rank(self, pfn: int) -> int:
        """How many bits below page `pfn` are set; `pfn` may be `pages`, one past the last."""
        if pfn % (8 * _BLOCK) == 0:
            return int(self._ranks[np.searchsorted(self.blocks, pfn >> BLOCK_SHIFT)])
        last = self.look_up(np.array([pfn - 1], np.uint64))
        return int(last.rank[0]) + bool(last.is_set[0])

    def reach(self, count: int) -> int:
        """The page behind the last of the first `count` bits that are set; `pages` where there are fewer."""
        row = int(np.searchsorted(self._ranks, np.uint64(count), "left"))
        if row == len(self._ranks):
            return self.pages
        if not row:
            return 0
        block = self.blocks[row - 1 : row]
        within = np.flatnonzero(self.flags(block))[count - int(self._ranks[row - 1]) - 1]
        return (int(block[0]) << BLOCK_SHIFT) + int(within) + 1

    def flags(self, blocks: I64) -> U8:
        """The bits of all pages of these blocks (ascending numbers), unpacked: uint8, 0 or 1 a page."""
        return np.unpackbits(self._rows(blocks), bitorder="little")

    def _cut_off(self, size: int) -> ImageError:
        return ImageError(
            f"{self._file.name} ends inside its page bitmaps: {size} bytes at {self._offset:#x}, "
            f"but the file has {self._file.size} bytes",
            hint="copy the file again; without the bitmaps no page can be found in it",
        )


def stretches(bitmaps: tuple[PageBitmap, ...], first: int, last: int) -> Iterator[tuple[int, int, I64]]:
    """Where any of these has a bit set among the pages `first` to `last` (exclusive), in bounded batches.

    Yields:
        The pages that a batch is about, the last exclusive, and the blocks that make it up, which stand in a row.
    """
    filled = np.unique(np.concatenate([bitmap.blocks for bitmap in bitmaps]))
    low, high = np.searchsorted(filled, [first >> BLOCK_SHIFT, -(-last >> BLOCK_SHIFT)])
    filled = filled[low:high]
    edges = np.flatnonzero(np.diff(filled) != 1) + 1
    for run in np.split(filled, edges):
        for at in range(0, len(run), _UNPACKED_BLOCKS):
            batch = run[at : at + _UNPACKED_BLOCKS]
            start = max(first, int(batch[0]) << BLOCK_SHIFT)
            end = min(last, int(batch[-1] + 1) << BLOCK_SHIFT)
            if start < end:
                yield start, end, batch
