"""The kho-v1 map, written as kho_mem_serialize() leaves it: orders ascending, elements ascending within each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR, KhoserMemChunkHdr, chunk_capacity
from tests.builders.memory import MemoryImage
from tests.builders.radix import Block


class Chain(NamedTuple):
    """A chain that was written.

    Attributes:
        root: physical address of its first chunk.
        chunks: of all of them.
        bitmaps: physical address of every bitmap by (order, phys_start).
    """

    root: int
    chunks: list[int]
    bitmaps: dict[tuple[int, int], int]


def write_chain(
    image: MemoryImage,
    page_size: int,
    bitmap_size: int,
    blocks: Iterable[Block],
    *,
    empties: Iterable[Block] = (),
) -> Chain:
    """Allocate and write the chain that holds `blocks`.

    Args:
        image: where to.
        page_size: bytes.
        bitmap_size: bytes of each bitmap; those of 512 are slab objects, several to a page.
        blocks: (phys, order) to preserve.
        empties: blocks preserved once and given up again: their bitmaps stay, with no bit set.
    """
    shift = page_size.bit_length() - 1
    bits: dict[tuple[int, int], bytearray] = {}
    for wanted, given in ((True, blocks), (False, empties)):
        for phys, order in given:
            block = phys >> (shift + order)
            start = block - block % (bitmap_size * 8)
            bitmap = bits.setdefault((order, start << (shift + order)), bytearray(bitmap_size))
            bitmap[(block - start) // 8] |= wanted << (block - start) % 8
    bitmaps: dict[tuple[int, int], int] = {}
    elements: dict[int, list[bytes]] = defaultdict(list)
    for (order, start), bitmap in sorted(bits.items()):
        bitmaps[order, start] = image.alloc_page(bitmap_size)
        image.write(bitmaps[order, start], bytes(bitmap))
        pointer = {"phys_start": start, "bitmap": bitmaps[order, start]}
        elements[order].append(KHOSER_MEM_BITMAP_PTR.build(pointer))
    capacity = chunk_capacity(page_size)
    pieces = [
        (order, rows[at : at + capacity])
        for order, rows in sorted(elements.items())
        for at in range(0, len(rows), capacity)
    ]
    chunks = [image.alloc_page(page_size) for _ in pieces]
    for (order, rows), chunk, following in zip(pieces, chunks, [*chunks, 0][1:], strict=True):
        header = KHOSER_MEM_CHUNK_HDR.build(KhoserMemChunkHdr(following, order, len(rows)))
        image.write(chunk, header + b"".join(rows))
    return Chain(chunks[0] if chunks else 0, chunks, bitmaps)
