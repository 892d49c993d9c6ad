"""The sizes of folios that a kernel received and nobody has restored yet, from its struct pages.

kho_init_pages() of kernel/liveupdate/kexec_handover.c (7.2 and 7.3; deserialize_bitmap() before) writes into `page->private`
of each block's first page a magic number and the block's order, and kho_restore_page() takes it from there. The map that
told the order was given back by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np

from khodump.columns.arrays import U64
from khodump.columns.extents import Extents
from khodump.kernel import Kernel, WhyNot
from khodump.subtrees.memfd import FolioBatch

#: KHO_PAGE_MAGIC of kexec_handover.c: "KHOP".
_MAGIC: Final = 0x4B48_4F50
_HALF: Final = np.uint64(32)
_MOST_ORDER: Final = 31
_WORD: Final = 8


def restorable(kernel: Kernel, folios: Iterable[FolioBatch]) -> Extents:
    """The blocks that begin where these folios do, of those whose struct page says so; sorted."""
    shift = np.uint64(kernel.page_size.bit_length() - 1)
    parts = [batch.phys for batch in folios]
    pfns = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]) >> shift)
    privates = _privates(kernel, pfns)
    order = privates & np.uint64(0xFFFF_FFFF)
    told = (privates >> _HALF == np.uint64(_MAGIC)) & (order <= np.uint64(_MOST_ORDER))
    kept = order[told].astype(np.uint8)
    return Extents(int(shift), pfns[told] << shift, kept, np.ones(len(kept), np.uint64))


def _privates(kernel: Kernel, pfns: U64) -> U64:
    """`page->private` of these pages, sorted; 0 where the image does not hold it, or the kernel does not tell where it is."""
    privates = np.zeros(len(pfns), np.uint64)
    pages, size = _struct_pages(kernel), kernel.info.size("page")
    offset = kernel.info.offset("page.private")
    if pages is None or offset is None or size is None or not 0 < size <= kernel.page_size:
        return privates
    # Struct pages that are neighbours are read together: a page's worth at a time.
    together = np.uint64(kernel.page_size // size)
    groups = np.unique(pfns // together)
    bounds = np.searchsorted(pfns // together, np.append(groups, groups[-1:] + np.uint64(1)))
    for low, high in pairwise(bounds.tolist()):
        first, last = int(pfns[low]), int(pfns[high - 1])
        start = pages + first * size + offset
        data = kernel.memory.read(start, (last - first) * size + _WORD)
        if isinstance(data, WhyNot):
            continue
        for row in range(low, high):
            at = (int(pfns[row]) - first) * size
            privates[row] = int.from_bytes(data[at : at + _WORD], "little")
    return privates


def _struct_pages(kernel: Kernel) -> int | None:
    """The virtual address of the struct page of page 0, with CONFIG_SPARSEMEM_VMEMMAP."""
    # On x86 the line has the value of vmemmap, not the address of a variable.
    vmemmap = kernel.info.symbol("vmemmap")
    if vmemmap is not None:
        return vmemmap
    start, first, size = (
        kernel.info.number("VMEMMAP_START"),
        kernel.info.number("PHYS_OFFSET"),
        kernel.info.size("page"),
    )
    if start is None or first is None or size is None:
        return None
    # PHYS_OFFSET may have wrapped around: see `khodump.kernel.arm64`.
    return (start - first // kernel.page_size * size) % (1 << 64)
