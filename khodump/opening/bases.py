"""Layouts of a raw file that only its map suggests: the root FDT names the address of the map's first page.

So every page of the file that may be such a page suggests what has to be added to its offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.columns.arrays import U64, Bool
from khodump.layouts import Layout, Stretch, behind_header, one_stretch
from khodump.memory import PhysicalMemory, Presence

#: RAM begins at round addresses; rounder ones are tried first.
_ALIGNMENTS: Final = (1 << 30, 2 << 20, 1 << 16)
_PAGE: Final = PAGE_SIZES[0]
_BATCH: Final = 2048
#: Headers of other formats are tried up to this size.
_MAX_HEADER: Final = 1 << 16
#: Where the first of several banks may begin, when the map is in another.
_FIRST_BANKS: Final = (0, 0x4000_0000, 0x8000_0000)


def suggested(memory: PhysicalMemory, root: int, fdt_offset: int) -> Iterator[Layout]:
    """The layouts that put a page that may be the first of a map at `root`, the simpler ones first.

    Args:
        memory: one raw file, placed at 0.
        root: physical address of the map's first page.
        fdt_offset: where in the file the root FDT's page is.
    """
    size = memory.end
    for header in range(_PAGE, min(_MAX_HEADER, size - 1) + 1, _PAGE):
        yield behind_header(size, header)
    bases = list(_bases(memory, root))
    for base in bases:
        yield one_stretch(size, base)
    split = fdt_offset + _PAGE
    for base in bases:
        for first in _FIRST_BANKS:
            if first < base and split < size:
                yield _two_banks(size, first, split, base)


def _two_banks(size: int, first: int, split: int, base: int) -> Layout:
    """Memory from `first` up to file offset `split`, and behind it memory that lies `base` above its offset."""
    name = f"banks of RAM from {first:#x} and, {base:#x} above its offset, another"
    return Layout(name, (Stretch(0, first, split), Stretch(split, split + base, size - split)))


def _bases(memory: PhysicalMemory, root: int) -> Iterator[int]:
    """The bases that put something that may be the first page of a map at `root`, the rounder ones first."""
    stretches = [(span.start, min(span.end, root)) for span in memory.populated()]
    tried: set[int] = set()
    for alignment in _ALIGNMENTS:
        for start, end in stretches:
            first = start + (root - start) % alignment
            offsets = np.arange(first, max(end, first), alignment, dtype=np.uint64)
            for at in range(0, len(offsets), _BATCH):
                batch = offsets[at : at + _BATCH]
                for offset in batch[_may_be_root(memory, batch)].tolist():
                    reach = root - offset + memory.end
                    if offset not in tried and offset < root and reach < 1 << 64:
                        tried.add(offset)
                        yield root - offset


def _may_be_root(memory: PhysicalMemory, offsets: U64) -> Bool:
    """Whether each page begins with nothing or a pointer, and is not empty."""
    pages = memory.gather(offsets, _PAGE)
    words = pages.data.view("<u8")
    verdict: Bool = (
        (pages.presence == Presence.PRESENT) & (words[:, 0] % np.uint64(_PAGE) == 0) & words.any(axis=1)
    )
    return verdict
