"""A second radix walker in plain Python, as an oracle for the fast one.

It shares nothing with it but the construct schemas and the contract to read memory. The key formulas are those of
kho_radix_encode_key() and kho_radix_decode_key() in kernel/liveupdate/kexec_handover.c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from khodump.abi.kexec_handover import kho_radix_leaf, kho_radix_node
from khodump.memory import Hole, PhysicalMemory


class Walked(NamedTuple):
    """What a walk met, in the order in which it met it.

    Attributes:
        blocks: (phys, order) of every preservation, by ascending key.
        nodes: physical addresses of the tree's own pages, level by level, the unreadable ones included.
        sound: nothing was dropped and nothing could not be read.
    """

    blocks: list[tuple[int, int]]
    nodes: list[int]
    sound: bool


def walk(memory: PhysicalMemory, root: int, page_size: int, depth: int, order0_end: int = 0) -> Walked:
    """Walk the tree at `root`, dropping every pointer that no kernel writes.

    Args:
        memory: where the tree is.
        root: physical address of the root node.
        page_size: bytes.
        depth: levels of the tree, the leaf included.
        order0_end: keys below this are bare page frame numbers, for the shallow 16 KiB trees.
    """
    page_shift = page_size.bit_length() - 1
    decode = partial(_decode, page_shift=page_shift, order0_end=order0_end)
    return walk_tables(memory, root, page_size, depth, 64 - page_shift + 1, decode)


def walk_tables(
    memory: PhysicalMemory,
    root: int,
    page_size: int,
    depth: int,
    widest: int,
    decode: Callable[[int], tuple[int, int] | None],
    met: Sequence[int] = (),
) -> Walked:
    """Walk any tree of tables over bitmaps.

    Args:
        memory: where the tree is.
        root: physical address of the root node.
        page_size: bytes.
        depth: levels of the tree, the leaf included.
        widest: bits of the widest key.
        decode: the (phys, order) of a key; None for one that no kernel makes.
        met: pages that another tree of the same map has taken already.
    """
    page_shift = page_size.bit_length() - 1
    leaf_bits, table_bits = page_shift + 3, page_shift - 3
    blocks: list[tuple[int, int]] = []
    nodes: dict[int, None] = {}  # in the order in which they are met
    pointers = [(0, root)] if root else []
    lost = not root
    for level in range(depth - 1, -1, -1):
        below: list[tuple[int, int]] = []
        for prefix, phys in pointers:
            key = prefix << (leaf_bits + level * table_bits)
            if key.bit_length() > widest or phys % page_size or phys in nodes or phys in met:
                lost = True
                continue
            nodes[phys] = None
            page = memory.read(phys, page_size)
            if isinstance(page, Hole):
                lost = True
                continue
            if level:
                below += [(prefix << table_bits | slot, entry) for slot, entry in filled_slots(page)]
            else:
                keys = [key + bit for bit in set_bits(page)]
                found = [block for key in keys if (block := decode(key))]
                lost |= len(found) < len(keys)
                blocks += found
        pointers = below
    return Walked(blocks, list(nodes), not lost)


@lru_cache(1 << 12)  # fuzzing meets the same pages again and again
def filled_slots(page: bytes) -> list[tuple[int, int]]:
    """The slots of a table that are not 0, with what they hold."""
    return [(slot, entry) for slot, entry in enumerate(kho_radix_node(len(page)).parse(page)) if entry]


@lru_cache(1 << 12)
def set_bits(bitmap: bytes) -> list[int]:
    """Positions of the set bits of a leaf, or of any other bitmap of words."""
    words = kho_radix_leaf(len(bitmap)).parse(bitmap)
    return [at * 64 + bit for at, word in enumerate(words) if word for bit in range(64) if word >> bit & 1]


def _decode(key: int, page_shift: int, order0_end: int) -> tuple[int, int] | None:
    """The (phys, order) of a key; None without an order bit, or for a block that ends at 2**64."""
    if key < order0_end:
        return key << page_shift, 0
    if not key:
        return None
    order = 64 - page_shift - (key.bit_length() - 1)
    phys = (key << (page_shift + order)) % (1 << 64)
    return (phys, order) if phys + (1 << (page_shift + order)) < 1 << 64 else None
