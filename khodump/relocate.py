"""Where a raw image lies whose file does not start at physical 0, as RAM of arm64 machines does not.

The root FDT found at offset X of the file is preserved in its own map. So with the right base its page, at X + base,
is a key of the map whose root the FDT names; and with a wrong one the root is no root.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.arrays import U64
from khodump.candidates import Options
from khodump.errors import KhodumpError
from khodump.fdt import FdtNode
from khodump.memory import PhysicalMemory, Presence
from khodump.trackers import map_root, open_tracker

#: RAM begins at round addresses; rounder ones are tried first.
_ALIGNMENTS: Final = (1 << 30, 2 << 20, 1 << 16)
_PAGE: Final = PAGE_SIZES[0]
_BATCH: Final = 2048


def find_base(memory: PhysicalMemory, tree: FdtNode, offset: int, options: Options) -> int | None:
    """The physical address of the first byte of a raw image.

    Args:
        memory: the image, placed at 0.
        tree: the root FDT.
        offset: where in the image the root FDT's page is, in bytes.
        options: how to read the handover.

    Returns:
        None when no base makes the FDT a key of its own map.
    """
    root = map_root(tree, options.version)
    if root is None:
        return None
    likely = None
    for base in _bases(memory, root):
        moved = memory.rebased(base)
        if moved is None:
            return None
        try:
            tracker = open_tracker(
                moved, tree, fdt_phys=offset + base, version=options.version, page_size=options.page_size
            ).tracker
        except KhodumpError:
            return None
        if tracker.holds(offset + base, 0):
            if tracker.sound():
                return base
            likely = likely or base  # the map may be damaged, but nothing better may come
    return likely


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
                for found in batch[_may_be_root(memory, batch)].tolist():
                    if found not in tried and found < root:
                        tried.add(found)
                        yield root - found


def _may_be_root(memory: PhysicalMemory, offsets: U64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each page begins with nothing or a pointer, and is not empty."""
    pages = memory.pages(offsets // np.uint64(_PAGE), _PAGE)
    words = pages.data.view("<u8")
    verdict: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (pages.presence == Presence.PRESENT) & (words[:, 0] % np.uint64(_PAGE) == 0) & words.any(axis=1)
    )
    return verdict
