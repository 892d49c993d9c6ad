"""LiME dumps, and AVML's that are not compressed: ranges of memory, each behind a header of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

import construct

from khodump.abi.layout import Layout, u32, u64
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memories.zero_blocks import BLOCK_BYTES, Span, skipped, zeros
from khodump.memory import Presence

MAGIC: Final = b"EMiL"
AVML_MAGIC: Final = b"AVML"

#: Header versions: the bytes themselves, and AVML's snappy-compressed blocks.
PLAIN, COMPRESSED = 1, 2

_PAGE: Final = 1 << 12
_MOST_LOST: Final = 1 << 20  # bytes of one range


@dataclass(frozen=True, slots=True)
class LimeHeader:
    """lime_mem_range_header: physical addresses `s_addr` to `e_addr`, both inclusive, follow."""

    magic: Annotated[bytes, construct.Bytes(4)]
    version: u32
    s_addr: u64
    e_addr: u64
    reserved: u64

    @property
    def end(self) -> int:
        """The first physical address behind the range."""
        return self.e_addr + 1


LIME_HEADER: Final = Layout(LimeHeader)


def header_at(file: ByteSource, offset: int) -> LimeHeader | None:
    """The header at `offset`, or None if there is none that makes sense."""
    data = file.read(offset, LIME_HEADER.size) if offset >= 0 else b""
    if len(data) < LIME_HEADER.size:
        return None
    header = LIME_HEADER.parse(data)
    known = (header.magic, header.version) in ((MAGIC, PLAIN), (MAGIC, COMPRESSED), (AVML_MAGIC, COMPRESSED))
    return header if known and header.s_addr < header.end < 1 << 64 else None


def first_header(file: ByteSource) -> LimeHeader:
    """The header at the start of `file`.

    Raises:
        ImageError: it makes no sense.
    """
    header = header_at(file, 0)
    if header is None:
        raise ImageError(
            f"{file.name} begins like a LiME or AVML dump, but its first header makes no sense",
            hint="khodump reads LiME version 1 and AVML version 2; take the dump in one of these",
        )
    return header


def segments(file: ByteSource, index: int, *, assume_zero: bool = False) -> tuple[Segments, tuple[str, ...]]:
    """The memory that a version 1 dump holds, and what is wrong with it.

    Args:
        file: an open file that begins with `MAGIC`.
        index: the number that stands for `file` in the segments.
        assume_zero: take blocks that AVML can have skipped for zeros instead of absent.

    Raises:
        ImageError: its first header makes no sense.
    """
    first_header(file)
    stored = _weighed(list(_chain(file)))
    rows = [row for one in stored for row in one.rows(file, index)]
    if assume_zero and not any(one.is_bare for one in stored):
        rows += map(zeros, skipped(one.span for one in stored))
    lost = [one.loss(file) for one in stored if one.lost]
    return Segments.of_rows(rows), (*lost, *broken_chain(file, stored[-1].end_offset))


class _Stored(NamedTuple):
    """A range, and what the file holds of it.

    Attributes:
        span: the range.
        offset: where its bytes begin in the file.
        lost: how many bytes of it are missing, nobody knows where; the others follow each other without a gap.
        is_bare: whether it has no bytes, because all are zero.
    """

    span: Span
    offset: int
    lost: int = 0
    is_bare: bool = False

    @property
    def end_offset(self) -> int:
        """Where the next header should be."""
        return self.offset if self.is_bare else self.offset + self.span.size - self.lost

    def rows(self, file: ByteSource, index: int) -> Iterator[tuple[int, int, Presence, int, int]]:
        """Its segments."""
        start, end = self.span
        if self.is_bare:
            yield zeros(self.span)
        elif self.lost:
            yield start, end, Presence.DAMAGED, index, self.offset
        else:
            held = max(0, min(self.span.size, file.size - self.offset))
            yield start, start + held, Presence.PRESENT, index, self.offset
            yield start + held, end, Presence.TRUNCATED, index, self.offset

    def loss(self, file: ByteSource) -> str:
        """What its lost bytes mean."""
        start, end = self.span
        found = "the file ends" if self.end_offset == file.size else "the next header comes"
        return (
            f"{file.name} lost {self.lost} bytes of the range {start:#x} to {end:#x}: {found} so much early. "
            f"Those behind the loss are shifted, and nothing tells where it is, so none of the range is read; "
            f"what is left of it begins at offset {self.offset:#x}"
        )


def _chain(file: ByteSource) -> Iterator[_Stored]:
    """The ranges of `file` in their order, up to where no header follows."""
    has_bare = has_lost = False
    at = 0
    while header := _plain_at(file, at):
        at += LIME_HEADER.size
        span = Span(header.s_addr, header.end)
        behind = at + span.size
        if behind == file.size or _plain_at(file, behind):
            one = _Stored(span, at)
        elif _is_bare(file, span, at, may_end=has_bare):
            one = _Stored(span, at, is_bare=True)
        else:
            one = _Stored(span, at, lost=_lost_bytes(file, span, at, is_lossy=has_lost))
        has_bare |= one.is_bare
        has_lost |= one.lost > 0
        yield one
        at = one.end_offset


def _weighed(stored: list[_Stored]) -> list[_Stored]:
    """The ranges, with those that have no bytes taken for lost unless the file is AVML's.

    LiME can have lost all pages of a small range. A file is AVML's if a range without bytes is longer than what LiME
    is thought to lose, none is longer than a block, and nothing else is lost.
    """
    bare = [one.span.size for one in stored if one.is_bare]
    is_avmls = any(size > _MOST_LOST for size in bare) and max(bare) <= BLOCK_BYTES
    if is_avmls and not any(one.lost for one in stored):
        return stored
    return [one._replace(is_bare=False, lost=one.span.size) if one.is_bare else one for one in stored]


def _plain_at(file: ByteSource, at: int) -> LimeHeader | None:
    header = header_at(file, at)
    return header if header and header.version == PLAIN else None


def _goes_on(file: ByteSource, at: int, end: int) -> bool:
    """Whether a header at `at` continues the list behind physical address `end`, as all writers sort it."""
    header = _plain_at(file, at)
    return header is not None and header.s_addr >= end and not header.reserved


def _is_bare(file: ByteSource, span: Span, at: int, *, may_end: bool) -> bool:
    """Whether the header in front of `at` has no bytes: AVML 0.17.0 wrote such ones for blocks of zeros.

    Asked only where no header stands behind the bytes that it speaks of, so RAM that begins with a header is none. A
    file that was cut off behind its last header looks like a bare one: that is believed only of a file that has others.
    """
    return _goes_on(file, at, span.end) or (may_end and at == file.size)


def _lost_bytes(file: ByteSource, span: Span, at: int, *, is_lossy: bool) -> int:
    """How many bytes too early the next header comes: LiME goes on when it could not write a page.

    A file that ends some pages early lost them, or was cut short between two pages; the former is assumed, and of a
    file that lost others always, as serving shifted bytes would be worse than none. A last range that lost a page and
    was cut elsewhere as well looks like one that was only cut.
    """
    for lost in range(_PAGE, min(span.size, _MOST_LOST) + 1, _PAGE):
        if _goes_on(file, at + span.size - lost, span.end):
            return lost
    missing = at + span.size - file.size
    is_pages = 0 < missing <= _MOST_LOST and missing % _PAGE == 0
    is_in_doubt = is_pages or (is_lossy and missing > 0)
    return missing if is_in_doubt and missing < span.size else 0


def broken_chain(file: ByteSource, at: int) -> Iterator[str]:
    """A warning, unless the chain of headers ended at `at` where the file does."""
    if at > file.size:
        yield f"{file.name} is cut short: its last range would take {at - file.size} more bytes"
    elif at < file.size:
        yield (
            f"{file.name} has no range header at offset {at:#x}, where the next one should be; "
            f"the last {file.size - at} bytes are not read"
        )
