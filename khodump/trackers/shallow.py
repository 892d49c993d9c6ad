"""Shallow trees: where the keys of single pages end that lost the bit which tells their order.

Kernels with 16 KiB pages before d64b0372760e (7.1-rc6) sized the tree without the order bit of order-0 keys, so that these
became bare page frame numbers. The number 0x4000000 may then be the page at 1 TiB, or the first block of order 24, which
is 256 GiB. Nothing in a handover says which; but few addresses and sizes are those of a machine.

The evidence is the tree's own: a slim copy of a dump must be read as the dump is.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from khodump.abi.kexec_handover import MAX_PHYS_BITS, RadixGeometry
from khodump.memory import PhysicalMemory
from khodump.tracker import Walk
from khodump.trackers.tables import Entries, TableTree

#: Where no key tells, bare ones are taken to end with the first TiB.
USUAL_ORDER0_END: Final = 1 << 40
_USUAL_END: Final = USUAL_ORDER0_END.bit_length() - 1  # these are all log2 of bytes
#: No kernel preserves blocks of 64 GiB: contiguous memory of that size and alignment is nobody's.
_NO_BLOCK: Final = 36


def order0_ends(memory: PhysicalMemory, root: int, page_shift: int, depth: int) -> list[int]:
    """The page frame numbers below which all keys may be bare, the likeliest first; one where the evidence decides.

    Keys are weighed by their highest bit: those of one bit are all pages, or all blocks of one order.

    Args:
        memory: where the tree is.
        root: physical address of its root.
        page_shift: log2 of the page size in bytes.
        depth: levels of the tree.
    """
    tree = TableTree(memory, root, RadixGeometry(page_shift, depth, 1 << (_USUAL_END - page_shift)))
    walk = Walk()
    leaves = tree.descend(walk)
    reach = max([root, *walk.nodes.phys.tolist(), *leaves.phys.tolist()])
    first, last = _USUAL_END - page_shift, MAX_PHYS_BITS - page_shift
    tops = {bit: _highest_key(tree, leaves, bit) for bit in range(first, last)}
    found = [bit for bit, top in tops.items() if top is not None]
    must = [bit for bit in found if _are_pages(tops[bit] or 0, page_shift, reach)]
    pages_end = max([bit + 1 for bit in must], default=first)
    return [1 << pages_end, *(2 << bit for bit in found if bit >= pages_end)]


def _are_pages(key: int, page_shift: int, reach: int) -> bool:
    """Whether a key, the highest with its highest bit, must be a bare page frame number; else it is in doubt.

    Args:
        key: the key.
        page_shift: log2 of the page size in bytes.
        reach: the highest physical address of the map's own pages.
    """
    bit = key.bit_length() - 1
    block_shift = 64 - bit  # log2 of the bytes of a block of this order: page_shift + (64 - page_shift - bit)
    block_end = (key - (1 << bit) + 1) << block_shift
    if block_end > 1 << MAX_PHYS_BITS or block_shift >= _NO_BLOCK:
        return True
    page = key << page_shift
    return reach >= 1 << (page.bit_length() - 1)


def _highest_key(tree: TableTree, leaves: Entries, bit: int) -> int | None:
    """The highest key whose highest bit is `bit`; None if there is none."""
    leaf_bits = tree.geometry.leaf_bits
    low, high = np.searchsorted(
        leaves.prefix, np.array([1 << bit, 2 << bit], np.uint64) >> np.uint64(leaf_bits)
    )
    for row in range(int(high) - 1, int(low) - 1, -1):
        words, _ = tree.bitmaps(leaves.take(slice(row, row + 1)), Walk())
        bits = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
        if len(bits):
            return (int(leaves.prefix[row]) << leaf_bits) + int(bits[-1])
    return None
