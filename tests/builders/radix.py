"""The preserved-memory radix tree, written page by page as kho_radix_add_key() leaves it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from khodump.abi.kexec_handover import KeyGeometry, RadixGeometry, kho_radix_leaf, kho_radix_node, radix_depth
from tests.builders.memory import MemoryImage

Block = tuple[int, int]


@dataclass(frozen=True)
class RadixTree:
    """A tree that was written.

    Attributes:
        root: physical address of its root.
        nodes: physical address of every node by (level, key prefix).
    """

    root: int
    nodes: dict[tuple[int, int], int]

    def leaves(self) -> list[int]:
        """Physical addresses of the leaves, in ascending key order."""
        return [phys for (level, _), phys in sorted(self.nodes.items()) if not level]


def geometry_of(page_size: int, *, counts_marker: bool = True) -> RadixGeometry:
    """How a kernel lays out its tree. One that does not count the marker drops the key bits its tree has no room for."""
    shift = page_size.bit_length() - 1
    return RadixGeometry(shift, radix_depth(shift, counts_marker=counts_marker))


def write_radix(
    image: MemoryImage, geometry: RadixGeometry, blocks: Iterable[Block], *, empties: Iterable[Block] = ()
) -> RadixTree:
    """Allocate and write the tree that holds `blocks`.

    Args:
        image: where to.
        geometry: see `geometry_of()`.
        blocks: (phys, order) to preserve.
        empties: blocks preserved once and given up again: their leaves stay, with no bit set.
    """
    bits = [(geometry.encode(*block), bit) for bit, given in ((1, blocks), (0, empties)) for block in given]
    return write_tables(image, geometry, bits)


def write_tables(image: MemoryImage, geometry: KeyGeometry, bits: Iterable[tuple[int, int]]) -> RadixTree:
    """Allocate and write the tree that holds each key's bit, 0 or 1."""
    tree = _Writer(image, geometry)
    for key, bit in bits:
        tree.add(key, bit)
    return tree.finish()


class _Writer:
    def __init__(self, image: MemoryImage, geometry: KeyGeometry) -> None:
        self._image, self._geometry = image, geometry
        self._nodes: dict[tuple[int, int], int] = {}
        self._words: dict[tuple[int, int], list[int]] = {}
        self._node(geometry.depth - 1, 0)

    def _node(self, level: int, prefix: int) -> int:
        if (level, prefix) not in self._nodes:
            size = self._geometry.page_size
            self._nodes[level, prefix] = self._image.alloc_page(size)
            self._words[level, prefix] = [0] * (size // 8)
        return self._nodes[level, prefix]

    def add(self, key: int, bit: int) -> None:
        slots, at = self._geometry.path(key)
        level, prefix = self._geometry.depth - 1, 0
        for slot in slots:
            below = prefix << self._geometry.table_bits | slot
            self._words[level, prefix][slot] = self._node(level - 1, below)
            level, prefix = level - 1, below
        self._words[level, prefix][at // 64] |= bit << at % 64

    def finish(self) -> RadixTree:
        size = self._geometry.page_size
        for (level, prefix), phys in self._nodes.items():
            schema = kho_radix_node(size) if level else kho_radix_leaf(size)
            self._image.write(phys, schema.build(self._words[level, prefix]))
        return RadixTree(self._nodes[self._geometry.depth - 1, 0], self._nodes)
