"""The preserved-memory map of kho-v1, from kernel/kexec_handover.c (6.16 to 6.19) and its ABI header (7.0).

A list of chunks, each a page of pointers to bitmaps of one order. The bitmaps grew from 512 bytes to a page ("kho:
increase metadata bitmap size to PAGE_SIZE", a2fff99f92da, 6.18 and 6.17 stable) behind the same compatible string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import construct

from khodump.abi.layout import Layout, u32, u64

#: Bytes of a bitmap before a2fff99f92da; afterwards it is a page.
SMALL_BITMAP_SIZE: Final = 512


@dataclass(frozen=True, slots=True)
class KhoserMemChunkHdr:
    """struct khoser_mem_chunk_hdr: physical address of the next chunk (0 ends), order of all bitmaps, elements."""

    next: u64
    order: u32
    num_elms: u32


KHOSER_MEM_CHUNK_HDR: Final = Layout(KhoserMemChunkHdr)

#: struct khoser_mem_bitmap_ptr: what the first bit stands for, and where the bits are (both physical addresses).
KHOSER_MEM_BITMAP_PTR: Any = construct.Struct("phys_start" / construct.Int64ul, "bitmap" / construct.Int64ul)


def chunk_capacity(page_size: int) -> int:
    """Elements that fit in a chunk."""
    return int((page_size - KHOSER_MEM_CHUNK_HDR.size) // KHOSER_MEM_BITMAP_PTR.sizeof())
