"""LiME dumps, and AVML's that are not compressed: ranges of memory, each behind a header of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import construct

from khodump.abi.layout import Layout
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memory import Presence

MAGIC: Final = b"EMiL"
AVML_MAGIC: Final = b"AVML"

#: Header versions: the bytes themselves, and AVML's snappy-compressed blocks.
PLAIN, COMPRESSED = 1, 2


@dataclass(frozen=True, slots=True)
class LimeHeader:
    """lime_mem_range_header: physical addresses `s_addr` to `e_addr`, both inclusive, follow."""

    magic: bytes
    version: int
    s_addr: int
    e_addr: int
    reserved: int

    @property
    def end(self) -> int:
        """The first physical address behind the range."""
        return self.e_addr + 1


LIME_HEADER: Final = Layout(
    LimeHeader,
    magic=construct.Bytes(4),
    version=construct.Int32ul,
    s_addr=construct.Int64ul,
    e_addr=construct.Int64ul,
    reserved=construct.Int64ul,
)


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


def segments(file: ByteSource, index: int) -> tuple[Segments, tuple[str, ...]]:
    """The memory that a version 1 dump holds, and what is wrong with it.

    Args:
        file: an open file that begins with `MAGIC`.
        index: the number that stands for `file` in the segments.

    Raises:
        ImageError: its first header makes no sense.
    """
    first_header(file)
    rows: list[tuple[int, int, Presence, int, int]] = []
    at = 0
    while (header := header_at(file, at)) and header.version == PLAIN:
        at += LIME_HEADER.size
        held = max(0, min(header.end - header.s_addr, file.size - at))
        rows.append((header.s_addr, header.s_addr + held, Presence.PRESENT, index, at))
        rows.append((header.s_addr + held, header.end, Presence.TRUNCATED, index, at))
        at += header.end - header.s_addr
    return Segments.of(rows), tuple(broken_chain(file, at))


def broken_chain(file: ByteSource, at: int) -> Iterator[str]:
    """A warning, unless the chain of headers ended at `at` where the file does."""
    if at > file.size:
        yield f"{file.name} is cut short: its last range would take {at - file.size} more bytes"
    elif at < file.size:
        yield (
            f"{file.name} has no range header at offset {at:#x}, where the next one should be; "
            f"the last {file.size - at} bytes are not read"
        )
