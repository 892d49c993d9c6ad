"""Raw images: a file whose offsets are physical addresses, counted from a base."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memory import Presence


def segments(file: ByteSource, index: int, base: int) -> Segments:
    """The one segment of a raw image placed at physical address `base`."""
    return Segments.of([(base, base + file.size, Presence.PRESENT, index, 0)])


def warnings(file: ByteSource) -> Iterator[str]:
    """What is odd about a raw image: nothing else in one tells how long it should be."""
    if file.size % PAGE_SIZES[0]:
        yield f"{file.name} ends inside a page, after {file.size} bytes: it may be cut short, or be no raw memory"
