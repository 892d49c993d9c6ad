"""The sizes of folios that a kernel received and nobody has restored yet, from its struct pages.

kho_init_pages() of kernel/liveupdate/kexec_handover.c (7.2 and 7.3; deserialize_bitmap() before) writes into `page->private`
of each block's first page a magic number and the block's order, and kho_restore_page() takes it from there. The map that
told the order was given back by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from khodump.extents import Extents
from khodump.kernel import Kernel, WhyNot
from khodump.subtrees.memfd import FolioBatch

#: KHO_PAGE_MAGIC of kexec_handover.c: "KHOP".
_MAGIC: Final = 0x4B48_4F50
_MOST_ORDER: Final = 31
_WORD: Final = 8


def restorable(kernel: Kernel, folios: Iterable[FolioBatch]) -> Extents:
    """The blocks that begin where these folios do, of those whose struct page says so; sorted."""
    shift = kernel.page_size.bit_length() - 1
    orders: dict[int, int] = {}
    for batch in folios:
        for phys in batch.phys.tolist():
            order = _order(kernel, phys >> shift)
            if order is not None:
                orders[phys] = order
    places = sorted(orders)
    phys_column = np.array(places, np.uint64)
    order_column = np.array([orders[place] for place in places], np.uint8)
    return Extents(shift, phys_column, order_column, np.ones(len(places), np.uint64))


def _order(kernel: Kernel, pfn: int) -> int | None:
    """The order of the block that begins at a page; None where its struct page does not tell, or is not in the image."""
    base, first = kernel.info.symbol("vmemmap"), 0
    if base is None:
        base, start = kernel.info.number("VMEMMAP_START"), kernel.info.number("PHYS_OFFSET")
        if start is None:
            return None
        first = start // kernel.page_size
    size, offset = kernel.info.size("page"), kernel.info.offset("page.private")
    if base is None or size is None or offset is None:
        return None
    word = kernel.memory.read(base + (pfn - first) * size + offset, _WORD)
    if isinstance(word, WhyNot):
        return None
    value = int.from_bytes(word, "little")
    order = value & 0xFFFF_FFFF
    return order if value >> 32 == _MAGIC and order <= _MOST_ORDER else None
