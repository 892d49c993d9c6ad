"""A machine's physical memory in the making, and the images that dump tools make of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from khodump.memories import open_memory
from khodump.memory import PhysicalMemory
from tests.builders.elf import QEMU_ROM, ElfSegment, build_elf

_GRANULE = 4096
_MOST_SPARSE = 1 << 43  # a file system's own limit is not far above


class MemoryImage:
    """Sparse memory: pages that were written, and a bump allocator.

    Args:
        start: where the allocator starts, in bytes.
        end: where it must stop.
        scatter: (start, end) spans from which pages are taken in turn instead.

    Attributes:
        ram_end: where the machine's RAM reaches at least, though nothing may have been written there.
    """

    def __init__(self, start: int = 0, end: int = 1 << 40, scatter: Sequence[tuple[int, int]] = ()) -> None:
        self._pages: dict[int, bytearray] = {}
        self._spans = deque(scatter or [(start, end)])
        self.ram_end = 0

    def alloc_page(self, size: int = _GRANULE, align: int | None = None) -> int:
        """The physical address of `size` fresh bytes of zeros, aligned to their own size unless told."""
        align = align or size
        start, end = self._spans.popleft()
        phys = -(-start // align) * align
        if phys + size > end:
            raise MemoryError(f"no room for {size:#x} bytes below {end:#x}")
        self._spans.append((phys + size, end))
        self.write(phys, bytes(size))
        return phys

    def write(self, phys: int, data: bytes) -> None:
        """Put `data` at `phys`; the pages it touches become present."""
        for at, low, high in _cuts(phys, len(data)):
            page = self._pages.setdefault(at, bytearray(_GRANULE))
            page[low - at : high - at] = data[low - phys : high - phys]

    def read(self, phys: int, size: int) -> bytes:
        """The bytes at `phys`, with zeros for what was never written."""
        none = bytes(_GRANULE)
        cuts = _cuts(phys, size)
        return b"".join(bytes(self._pages.get(at, none)[low - at : high - at]) for at, low, high in cuts)

    def drop(self, phys: int, size: int = _GRANULE) -> None:
        """Forget the pages of these bytes, so that no image holds them."""
        first = phys // _GRANULE * _GRANULE
        for at in [at for at in self._pages if first <= at < phys + size]:
            del self._pages[at]

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Where something was written: (start, end), sorted, neighbours joined."""
        pages = sorted(self._pages)
        breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(pages)) if b != a + _GRANULE), len(pages)]
        return [(pages[i], pages[j - 1] + _GRANULE) for i, j in pairwise(breaks) if i < j]

    def to_raw(self, path: Path, base: int = 0, end: int | None = None) -> Path:
        """Write the bytes `base` to `end` (by default all, to the end of RAM) as a sparse raw image."""
        if end is None:
            end = max(self.ranges[-1][1], min(self.ram_end, _MOST_SPARSE))
        with path.open("wb") as file:
            file.truncate(end - base)
            for at, page in sorted(self._pages.items()):
                if base <= at < end:
                    os.pwrite(file.fileno(), bytes(page[: end - at]), at - base)
        return path

    def to_squeezed(self, path: Path, spans: Iterable[tuple[int, int]]) -> Path:
        """Write the (start, end) spans one after the other into one sparse raw image, without what is between them."""
        offset = 0
        with path.open("wb") as file:
            for start, end in spans:
                for at, page in self._pages.items():
                    if start <= at < end:
                        os.pwrite(file.fileno(), bytes(page), at - start + offset)
                offset += end - start
            file.truncate(offset)
        return path

    def to_raw_parts(self, directory: Path, parts: Iterable[tuple[int, int]]) -> list[str]:
        """Write each (start, end) as a raw image of its own; returns them as FILE@BASE arguments."""
        parts = list(parts)
        return [
            f"{self.to_raw(directory / f'part{i}.img', *part)}@{part[0]:#x}" for i, part in enumerate(parts)
        ]

    def to_elf(
        self, path: Path, *, excluded: Iterable[tuple[int, int]] = (), qemu: bool = False, **shape: Any
    ) -> Path:
        """Write an ELF core with a segment a range; `shape` goes to `build_elf()`.

        Args:
            path: the file to write.
            excluded: (start, end) that the core speaks of but does not hold, though they may have been written.
            qemu: in QEMU's layout, with its ROM segment.
            shape: see `build_elf()`.
        """
        kept = MemoryImage()
        kept._pages = dict(self._pages)
        holes = [ElfSegment(start, b"", end - start) for start, end in excluded]
        for hole in holes:
            kept.drop(hole.paddr, hole.memsz or 0)
        segments = [ElfSegment(start, kept.read(start, end - start)) for start, end in kept.ranges]
        segments += [*holes, *([QEMU_ROM] if qemu else [])]
        path.write_bytes(build_elf(segments, qemu=qemu, **shape))
        return path


@contextmanager
def opened(image: MemoryImage, *, raw: bool = False, **shape: Any) -> Iterator[PhysicalMemory]:
    """The memory as khodump reads it, from a raw image or from an ELF core that `to_elf(..., **shape)` writes."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        memory = open_memory([f"{image.to_raw(path)}@0" if raw else image.to_elf(path, **shape)])
        try:
            yield memory
        finally:
            memory.close()


def _cuts(phys: int, size: int) -> Iterator[tuple[int, int, int]]:
    """The (page, start, end) that bytes `phys` to `phys + size` fall into."""
    for at in range(phys // _GRANULE * _GRANULE, phys + size, _GRANULE):
        yield at, max(at, phys), min(at + _GRANULE, phys + size)
