"""Raw images: a file whose offsets are physical addresses, counted from a base."""

from __future__ import annotations

from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memory import Presence


def segments(file: ByteSource, index: int, base: int) -> Segments:
    """The one segment of a raw image placed at physical address `base`."""
    return Segments.of([(base, base + file.size, Presence.PRESENT, index, 0)])
