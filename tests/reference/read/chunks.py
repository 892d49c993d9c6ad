"""The chunk list of kho-v1: pages of (start, bitmap), each of one order, linked by their first word."""

from __future__ import annotations

import struct

from .maps import Block, PreservedMap
from .memory import Memory, MissingError
from .radix import set_bits

HEADER = 16
ELEMENT = 16


def walk(memory: Memory, first: int, page_shift: int, bitmap_bytes: int) -> PreservedMap:
    """All blocks in the list's order: chunk by chunk, element by element, bit by bit."""
    result = PreservedMap()
    chunk = first
    while chunk:
        page = result.page(memory, chunk, 1 << page_shift)
        if page is None:
            break
        following, order, count = struct.unpack_from("<QII", page)
        capacity = (len(page) - HEADER) // ELEMENT
        if count > capacity or order >= 64 - page_shift:
            result.damage.append(f"chunk {chunk:#x} counts {count} elements of order {order}")
            count = 0 if order >= 64 - page_shift else capacity
        for number in range(count):
            start, bitmap = struct.unpack_from("<QQ", page, HEADER + number * ELEMENT)
            if not bitmap:
                result.damage.append(f"element {number} of chunk {chunk:#x} has no bitmap")
                continue
            _bitmap(memory, result, start, bitmap, order + page_shift, bitmap_bytes, page_shift)
        chunk = following
    return result


def _bitmap(
    memory: Memory, result: PreservedMap, start: int, bitmap: int, shift: int, size: int, page_shift: int
) -> None:
    result.bitmaps.append(bitmap)
    try:
        data = memory.read(bitmap, size)
    except MissingError:
        result.damage.append(f"bitmap {bitmap:#x} is missing")
        return
    for bit in set_bits(data):
        result.blocks.append(Block(start + (bit << shift), shift - page_shift))
