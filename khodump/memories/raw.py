"""Raw images: files without headers, whose bytes belong where a layout says."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.errors import ImageError, UsageError
from khodump.layouts import Layout, Stretch, one_stretch, usual
from khodump.memories import ranges
from khodump.memories.file import ByteSource
from khodump.memories.part import Part
from khodump.memories.segments import SegmentedMemory, Segments
from khodump.memory import Platform, Presence
from khodump.placement import Basis, Placement

_NAME: Final = "raw"
_TEXT_BYTES: Final = 4096  # so much of a file tells whether it is text


class RawMemory(SegmentedMemory):
    """The memory in one raw file.

    Args:
        file: the file.
        layouts: those it may have, the likeliest first. Until it is placed, file offsets are taken for addresses.
        is_told: see `PhysicalMemory`.
        placement: where its bytes were put, once that is decided.
        description: see `PhysicalMemory`.
        warnings: see `PhysicalMemory`.
    """

    def __init__(
        self,
        file: ByteSource,
        layouts: Sequence[Layout],
        placement: Placement | None = None,
        *,
        is_told: bool = False,
        description: str,
        warnings: tuple[str, ...] = (),
    ) -> None:
        read_as = placement.layout if placement else one_stretch(file.size)
        certain = placement.certain if placement else None
        super().__init__(
            [file],
            Segments.of_rows(laid_out(read_as, certain)),
            description=description,
            platform=Platform(),
            warnings=warnings,
        )
        self.layouts = tuple(layouts)
        self.is_told = is_told
        self.placement = placement
        self._file = file

    @property
    def is_placed(self) -> bool:
        """See `PhysicalMemory.is_placed`."""
        return self.placement is not None

    def placed(self, placement: Placement) -> RawMemory:
        """See `PhysicalMemory.placed`."""
        layout = placement.layout
        where = f" at {layout.stretches[0].phys:#x}" if len(layout.stretches) == 1 else f" as {layout.name}"
        moved = RawMemory(
            self._file,
            (layout,),
            placement,
            description=self.description if placement.is_plain else self.description + where,
            warnings=self.warnings,
        )
        moved.ram_end = self.ram_end
        return moved


def laid_out(
    layout: Layout, certain: Sequence[tuple[int, int]] | None = None
) -> Iterator[tuple[int, int, Presence, int, int]]:
    """The rows of `Segments` for a raw file.

    Args:
        layout: which bytes of it are which memory.
        certain: physical (start, end), sorted, of what may be read; None for all.
    """
    for offset, phys, size in layout.stretches:
        at = phys
        for low, high in [(phys, phys + size)] if certain is None else certain:
            start = max(low, at)
            end = min(high, phys + size)
            if start < end:
                yield at, start, Presence.UNPLACED, 0, offset + at - phys
                yield start, end, Presence.PRESENT, 0, offset + start - phys
                at = end
        yield at, phys + size, Presence.UNPLACED, 0, offset + at - phys
    for start, end in layout.cut:
        yield start, end, Presence.TRUNCATED, 0, 0


def part(file: ByteSource, *, assume_zero: bool) -> Part:  # noqa: ARG001 - see `signature.Reader`
    """Anything without a mark but text; by itself it can be at any of the usual places, among others at 0.

    Raises:
        ImageError: it is text.
    """
    if _is_text(file.read(0, _TEXT_BYTES)):
        raise ImageError(
            f"{file.name} is a text file, not a memory image", hint="name a memory image; FILE@0 forces raw"
        )
    return _part(file, one_stretch(file.size), tuple(usual(file.size)))


def part_at(file: ByteSource, base: int, offset: int, size: int | None) -> Part:
    """A raw file, or a part of it, that was given its place.

    Args:
        file: the file.
        base: the physical address of the part's first byte.
        offset: where the part begins in the file, in bytes.
        size: of the part, in bytes; None is to the end of the file.

    Raises:
        UsageError: the file is too short for that, or the address space.
    """
    size = file.size - offset if size is None else size
    if size <= 0 or offset + size > file.size:
        raise UsageError(
            f"{file.name} has {file.size} bytes, and no {size} at offset {offset:#x}",
            hint="FILE[OFFSET+SIZE]@BASE takes a part of the file, in bytes",
        )
    if base + size >= 1 << 64:
        raise UsageError(
            f"{file.name} placed at {base:#x} would reach the end of the address space",
            hint="FILE@BASE takes the physical address of its first byte",
        )
    layout = Layout(f"memory in a row from {base:#x}", (Stretch(offset, base, size),))
    return _part(file, layout, (layout,), Placement(layout, Basis.GIVEN))


def part_by_ranges(file: ByteSource, path: str | os.PathLike[str]) -> Part:
    """A raw file that holds the memory of `path`, a file in /proc/iomem's format, without its holes.

    Raises:
        ImageError: the ranges cannot be read, or are not those of this file.
    """
    layouts, warnings = ranges.layouts(file, path)
    is_only = len(layouts) == 1 and layouts[0].is_literal
    placement = Placement(layouts[0], Basis.RANGES) if is_only else None

    def whole(_: Sequence[ByteSource], description: str) -> RawMemory:
        memory = RawMemory(file, layouts, placement, is_told=True, description=description)
        memory.ram_end = ranges.ram_end(path)
        return memory

    return Part(_NAME, file, warnings=warnings, whole=whole)


def _part(
    file: ByteSource, layout: Layout, layouts: tuple[Layout, ...], placement: Placement | None = None
) -> Part:
    """A raw file that is read as `layout` beside others, and as one of `layouts` by itself."""

    def whole(_: Sequence[ByteSource], description: str) -> RawMemory:
        return RawMemory(file, layouts, placement, description=description)

    segments = Segments.of_rows(laid_out(layout))
    return Part(_NAME, file, segments, warnings=tuple(_warnings(file, layout)), whole=whole)


def _warnings(file: ByteSource, layout: Layout) -> Iterator[str]:
    """What is odd about a raw image: nothing else in one tells how long it should be."""
    if any(size % PAGE_SIZES[0] for _, _, size in layout.stretches):
        yield f"{file.name} ends inside a page, after {file.size} bytes: it may be cut short, or be no raw memory"


def _is_text(head: bytes) -> bool:
    """Whether the start of a file is plain UTF-8 text; no page of a machine's low memory is."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # otherwise a character is cut off at the end
            return False
        text = head[: error.start].decode("utf-8")
    return not any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in text)
