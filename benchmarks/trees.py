"""Radix trees of kho-v4 with 4 KiB pages, too large for the builders of the tests: their leaves are arrays of words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import PROP_COMPATIBLE, PROP_PRESERVED_MEMORY_MAP
from khodump.columns.arrays import U64
from khodump.fdt import FdtNode
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.radix import geometry_of

GEOMETRY: Final = geometry_of(4096)
PAGE: Final = GEOMETRY.page_size
WORDS: Final = PAGE // 8
#: Where the root FDT of every handover stands; the map stands behind it.
FDT: Final = 1 << 20

_LEAVES_OF_TIB: Final = (1 << 40) // PAGE >> GEOMETRY.leaf_bits
_ALL = ~np.uint64(0)


@dataclass(frozen=True)
class Tree:
    """A handover in a raw image.

    Attributes:
        path: of the image; offsets are physical addresses.
        root: physical address of the map's root.
    """

    path: Path
    root: int


def write_tree(path: Path, leaves: Mapping[int, U64], *, at: int = FDT, size: int = 0) -> Tree:
    """Write a handover that preserves what `leaves` say, and the page of its root FDT.

    Args:
        path: of the image.
        leaves: by order, a row of words for each leaf, from physical address 0 on.
        at: physical address of the root FDT; the map comes behind it.
        size: bytes the image has at least.
    """
    if 0 in leaves:
        page = at // PAGE
        leaves[0].reshape(-1)[page // 64] |= np.uint64(1 << page % 64)
    with path.open("wb") as file:
        file.truncate(size)
        root = write_map(file.fileno(), leaves, at + PAGE)
        properties = {PROP_COMPATIBLE: string("kho-v4"), PROP_PRESERVED_MEMORY_MAP: u64(root)}
        os.pwrite(file.fileno(), build_fdt(FdtNode("", properties)), at)
    return Tree(path, root)


def write_map(file: int, leaves: Mapping[int, U64], at: int) -> int:
    """Write the map that `leaves` say from physical address `at` on, and return its root."""
    orders = sorted(leaves, reverse=True)  # the higher the order, the lower its keys
    firsts = [GEOMETRY.encode(0, order) >> GEOMETRY.leaf_bits for order in orders]
    prefix = np.concatenate(
        [first + np.arange(len(leaves[order])) for first, order in zip(firsts, orders, strict=True)]
    )
    end = at
    for order in orders:
        end += os.pwrite(file, leaves[order].data, end)
    phys = np.arange(at, end, PAGE)
    for _ in range(GEOMETRY.depth - 1):
        parents, row = np.unique(prefix >> GEOMETRY.table_bits, return_inverse=True)
        tables = np.zeros((len(parents), WORDS), np.uint64)
        tables[row, prefix & (WORDS - 1)] = phys
        prefix, phys = parents, end + PAGE * np.arange(len(parents))
        end += os.pwrite(file, tables.data, end)
    return int(phys[0])


def leaves_of(blocks: Mapping[int, U64]) -> dict[int, U64]:
    """The leaves that hold blocks, given by order as physical addresses."""
    leaves = {}
    for order, phys in blocks.items():
        bit = phys >> np.uint64(GEOMETRY.page_shift + order)
        words = np.zeros((int(bit.max() >> np.uint64(GEOMETRY.leaf_bits)) + 1, WORDS), np.uint64)
        np.bitwise_or.at(words.reshape(-1), bit >> np.uint64(6), np.uint64(1) << (bit & np.uint64(63)))
        leaves[order] = words
    return leaves


def dense() -> Mapping[int, U64]:
    """1 TiB, every page of it preserved by itself: 268 million keys."""
    return {0: np.full((_LEAVES_OF_TIB, WORDS), _ALL)}


def random(seed: int = 1) -> Mapping[int, U64]:
    """1 TiB, half of its pages: 134 million keys in 67 million runs."""
    return {0: _words(np.random.default_rng(seed), _LEAVES_OF_TIB)}


def sparse() -> Mapping[int, U64]:
    """1 TiB, about 1 page in 100."""
    return {0: _thinned(np.random.default_rng(2), _LEAVES_OF_TIB, 0.01)}


def mixed() -> Mapping[int, U64]:
    """4 TiB: 2 TiB in folios of 2 MiB, but for a few, 1 TiB in folios of 1 GiB, and 1 page in 1000 as 4 KiB."""
    generator = np.random.default_rng(3)
    huge = np.zeros((64, WORDS), np.uint64)
    huge[:32] = ~_thinned(generator, 32, 0.001)
    gigantic = np.zeros((1, WORDS), np.uint64)
    gigantic[0, 32:48] = _ALL
    return {0: _thinned(generator, 4 * _LEAVES_OF_TIB, 0.001), 9: huge, 18: gigantic}


def _words(generator: np.random.Generator, leaves: int) -> U64:
    return generator.integers(0, 1 << 64, (leaves, WORDS), dtype=np.uint64)


def _thinned(generator: np.random.Generator, leaves: int, share: float) -> U64:
    """Leaves with about this share of their bits set."""
    words = np.zeros(leaves * WORDS, np.uint64)
    bits = generator.integers(0, leaves * WORDS * 64, int(leaves * WORDS * 64 * share), dtype=np.uint64)
    np.bitwise_or.at(words, bits >> np.uint64(6), np.uint64(1) << (bits & np.uint64(63)))
    return words.reshape(leaves, WORDS)
