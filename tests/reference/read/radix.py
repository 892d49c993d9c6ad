"""The radix tree of kho-v2 to kho-v4, and of the series before: one tree, the order is in the key."""

from __future__ import annotations

import re
import struct

from .dialects import Dialect
from .maps import Block, PreservedMap
from .memory import Memory

ENTRY = 8
NOT_ZERO = re.compile(rb"[^\0]", re.DOTALL)


def encode(phys: int, order: int, page_shift: int) -> int:
    """The key of a block: a bit that tells the order, above the block's number."""
    return (1 << (64 - page_shift - order)) | (phys >> (page_shift + order))


def decode(key: int, page_shift: int) -> Block | None:
    """The block of a key; None where no bit, or an impossible one, tells the order."""
    highest = key.bit_length() - 1
    order = 64 - page_shift - highest
    if highest < 0 or order < 0:
        return None
    return Block((key << (page_shift + order)) % 2**64, order)


def walk(memory: Memory, root: int, dialect: Dialect, page_shift: int, ram_end: int) -> PreservedMap:
    """All blocks by ascending key, as the kernel's own walk gives them.

    In the shallow tree the bit that tells order 0 does not fit: such a key is the page's bare number, which is told
    from a block of a high order by lying inside RAM.
    """
    walker = _Walker(memory, dialect, page_shift, ram_end)
    walker.node(root, dialect.depth(page_shift) - 1, 0)
    return walker.result


class _Walker:
    def __init__(self, memory: Memory, dialect: Dialect, page_shift: int, ram_end: int) -> None:
        self.result = PreservedMap()
        self._memory = memory
        self._page_shift = page_shift
        self._page = 1 << page_shift
        key_bits = page_shift + 3 + (dialect.depth(page_shift) - 1) * (page_shift - 3)
        shallow = key_bits < 64 - page_shift + 1
        self._bare_keys_below = ram_end >> page_shift if shallow else 0

    def node(self, phys: int, level: int, prefix: int) -> None:
        page = self.result.page(self._memory, phys, self._page)
        if page is None:
            return
        if level == 0:
            self._leaf(page, prefix)
            return
        for slot, child in entries(page):
            self.node(child, level - 1, prefix << (self._page_shift - 3) | slot)

    def _leaf(self, page: bytes, prefix: int) -> None:
        for bit in set_bits(page):
            self._key(prefix << (self._page_shift + 3) | bit)

    def _key(self, key: int) -> None:
        if key < self._bare_keys_below:
            self.result.blocks.append(Block(key << self._page_shift, 0))
            return
        block = decode(key, self._page_shift)
        if block is None:
            self.result.damage.append(f"key {key:#x} tells no order")
        else:
            self.result.blocks.append(block)


def set_bits(bitmap: bytes) -> list[int]:
    """Numbers of the bits that are set, the lowest of the first byte first."""
    bits = []
    for some in NOT_ZERO.finditer(bitmap):
        byte = some.group()[0]
        bits += [some.start() * 8 + bit for bit in range(8) if byte >> bit & 1]
    return bits


def entries(table: bytes) -> list[tuple[int, int]]:
    """The slots of a table that lead anywhere, with the addresses in them."""
    words = struct.unpack(f"<{len(table) // ENTRY}Q", table)
    return [(slot, child) for slot, child in enumerate(words) if child]
