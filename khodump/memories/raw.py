"""Raw images: files without headers, whose bytes belong where a layout says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.layouts import Layout, one_stretch
from khodump.memories.file import ByteSource
from khodump.memories.segments import SegmentedMemory, Segments
from khodump.memory import Platform, Presence
from khodump.placement import Placement


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
    layout: Layout, certain: Sequence[tuple[int, int]] | None = None, file: int = 0
) -> Iterator[tuple[int, int, Presence, int, int]]:
    """The rows of `Segments.of` for a raw file, number `file`.

    Args:
        layout: which bytes of it are which memory.
        certain: physical (start, end), sorted, of what may be read; None for all.
        file: its number.
    """
    for offset, phys, size in layout.stretches:
        at = phys
        for low, high in [(phys, phys + size)] if certain is None else certain:
            start = max(low, at)
            end = min(high, phys + size)
            if start < end:
                yield at, start, Presence.UNPLACED, file, offset + at - phys
                yield start, end, Presence.PRESENT, file, offset + start - phys
                at = end
        yield at, phys + size, Presence.UNPLACED, file, offset + at - phys
    for start, end in layout.cut:
        yield start, end, Presence.TRUNCATED, file, 0


def warnings(file: ByteSource, layout: Layout) -> Iterator[str]:
    """What is odd about a raw image: nothing else in one tells how long it should be."""
    if any(size % PAGE_SIZES[0] for _, _, size in layout.stretches):
        yield f"{file.name} ends inside a page, after {file.size} bytes: it may be cut short, or be no raw memory"
