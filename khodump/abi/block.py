"""include/linux/kho/abi/block.h: lists of page-sized blocks of equal entries (7.2 and later)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.abi.layout import Layout, u64

#: KHO_MAX_BLOCKS of kernel/liveupdate/kho_block.c: a longer list is refused.
KHO_MAX_BLOCKS: Final = 10000
#: Its look for cycles goes two blocks a step, and only then does a list that is too long fail, with ENOSPC.
MOST_LOOKED_AT: Final = 2 * KHO_MAX_BLOCKS


@dataclass(frozen=True, slots=True)
class KhoBlockHeaderSer:
    """struct kho_block_header_ser: physical address of the next block (0 ends), and entries that follow."""

    next: u64
    count: u64


KHO_BLOCK_HEADER_SER: Final = Layout(KhoBlockHeaderSer)


def block_capacity(page_size: int, entry_size: int) -> int:
    """Entries that fit in a block."""
    return (page_size - KHO_BLOCK_HEADER_SER.size) // entry_size
