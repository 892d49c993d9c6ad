"""Blocks that AVML leaves out because they are all zero, compressed or not.

AVML cuts every range of RAM into blocks of 16 MiB from the range's start, and skips those that hold zeros alone
(copy_block() and copy_if_nonzero(), src/image.rs). Nothing in the file tells such a gap from a hole in the machine's
memory. What can be told: a block shorter than 16 MiB ends its range, and within a range all blocks stand on one grid.
A gap that fits is taken for skipped blocks when the user says so (`--assume-zero`); a hole of the machine that lies on
the grid is then taken for zeros, too, where no kernel keeps anything. Zeros at either end of a range stay absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from khodump.memories.segments import ZERO_FILE
from khodump.memory import Presence

#: MAX_BLOCK_SIZE of src/image.rs.
BLOCK_BYTES: Final = 1 << 24


class Span(NamedTuple):
    """Physical bytes `start` to `end` (exclusive)."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start


def skipped(blocks: Iterable[Span]) -> Iterator[Span]:
    """The gaps between `blocks` where AVML can have skipped blocks of zeros.

    None in a file with a longer block: that is LiME's own, or of an AVML so old that it did not cut ranges into blocks.
    """
    known = sorted(blocks)
    if any(block.size > BLOCK_BYTES for block in known):
        return
    for block, following in pairwise(known):
        gap = Span(block.end, following.start)
        if gap.size > 0 and gap.size % BLOCK_BYTES == 0 and block.size == BLOCK_BYTES:
            yield gap


def zeros(span: Span) -> tuple[int, int, Presence, int, int]:
    """The segment of a span that reads as zeros."""
    return span.start, span.end, Presence.PRESENT, ZERO_FILE, 0
