"""Walkers in plain Python for the maps that came before the radix tree, as oracles for the fast ones.

As `tests.oracle`, they share nothing with those but the construct schemas and the contract to read memory. What a
damaged map leaves to be listed is written down here a second time, one element after the other.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR
from khodump.memory import Hole, PhysicalMemory
from tests.oracle import Walked, filled_slots, set_bits, walk_tables

#: HUGETLB_PAGE_ORDER by page size: a huge page is what a table right above the pages maps.
_HUGETLB_PAGE_ORDER = {4096: 9, 16384: 11, 65536: 13}


class Element(NamedTuple):
    """A bitmap pointer: `bitmap` holds the blocks of `order` from `start` on."""

    order: int
    start: int
    bitmap: int


def walk_chain(memory: PhysicalMemory, root: int, page_size: int, bitmap_size: int) -> Walked:
    """Walk the chain of kho-v1 at `root`, dropping every element that no kernel writes.

    The nodes are all chunks, and then the bitmaps. Elements that do not ascend make the map unsound, but are walked.
    """
    page_shift = page_size.bit_length() - 1
    chunks, elements, sound = _chunks(memory, root, page_size)
    blocks: list[tuple[int, int]] = []
    nodes = list(chunks)
    bitmaps: set[int] = set()
    starts: set[tuple[int, int]] = set()
    previous: Element | None = None
    for element in elements:
        order, start, bitmap = element
        if not bitmap:  # nothing that was read before it, nor memory of its own
            sound = False
            continue
        coverage = bitmap_size * 8 << (order + page_shift)
        impossible = start % coverage or start + coverage >= 1 << 64
        met = bitmap in bitmaps or bitmap // page_size * page_size in chunks or (order, start) in starts
        ascends = previous is None or previous.order != order or previous.start < start
        bitmaps.add(bitmap)
        starts.add((order, start))
        previous = element
        if bitmap % bitmap_size or impossible or met:
            sound = False
            continue
        sound &= ascends
        nodes.append(bitmap)
        bits = memory.read(bitmap, bitmap_size)
        if isinstance(bits, Hole):
            sound = False
            continue
        blocks += [(start + (bit << (order + page_shift)), order) for bit in set_bits(bits)]
    return Walked(blocks, nodes, sound)


def _chunks(memory: PhysicalMemory, root: int, page_size: int) -> tuple[list[int], list[Element], bool]:
    """The chunks, all their elements, and whether the chain is whole."""
    chunks: list[int] = []
    elements: list[Element] = []
    sound = bool(root)
    at = root
    while at:
        if at % page_size or at in chunks:
            return chunks, elements, False
        chunks.append(at)
        page = memory.read(at, page_size)
        if isinstance(page, Hole):
            return chunks, elements, False
        found, whole, at = _chunk(page)
        elements += found
        sound &= whole
    return chunks, elements, sound


@lru_cache(1 << 12)
def _chunk(page: bytes) -> tuple[list[Element], bool, int]:
    """The elements of a chunk, whether it is whole, and where the next one is."""
    header = KHOSER_MEM_CHUNK_HDR.parse(page)
    rows = page[KHOSER_MEM_CHUNK_HDR.size :]
    size = KHOSER_MEM_BITMAP_PTR.sizeof()
    held = min(header.num_elms, len(rows) // size)
    possible = header.order < 64 - (len(page).bit_length() - 1)
    pointers = [KHOSER_MEM_BITMAP_PTR.parse(rows[at * size :]) for at in range(held if possible else 0)]
    elements = [Element(header.order, pointer.phys_start, pointer.bitmap) for pointer in pointers]
    return elements, possible and held == header.num_elms, header.next


def walk_order_table(memory: PhysicalMemory, root: int, page_size: int) -> Walked:
    """Walk the order table of the RFC at `root`, dropping what no kernel writes."""
    page_shift = page_size.bit_length() - 1
    if not root or root % page_size:
        return Walked([], [], sound=False)
    blocks: list[tuple[int, int]] = []
    nodes = [root]
    page = memory.read(root, page_size)
    if isinstance(page, Hole):
        return Walked(blocks, nodes, sound=False)
    sound = True
    for order, top in filled_slots(page):
        if order >= 64 - page_shift:
            break
        if order > _HUGETLB_PAGE_ORDER[page_size]:
            sound = False
        levels, width = order_levels(page_shift, order), 64 - page_shift - order
        decode = partial(_decode_order, size=page_size << order, order=order)
        walked = walk_tables(memory, top, page_size, levels, width, decode, nodes)
        blocks += walked.blocks
        nodes += walked.nodes
        sound &= walked.sound
    return Walked(blocks, nodes, sound)


def order_levels(page_shift: int, order: int) -> int:
    """Levels of an order's tree: tables are put on top of the bitmap until all 64 bits of an address have a place."""
    covered, levels = 2 * page_shift + 3 + order, 1
    while covered < 64:
        covered, levels = covered + page_shift - 3, levels + 1
    return levels


def _decode_order(key: int, size: int, order: int) -> tuple[int, int] | None:
    """The (phys, order) of a key: blocks of `size` bytes, counted from 0; the one that ends at 2**64 is none."""
    return (key * size, order) if (key + 1) * size < 1 << 64 else None
