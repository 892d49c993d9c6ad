"""`khodump key`: keys of the radix tree and the blocks they stand for, without an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from khodump.abi.kexec_handover import PAGE_SIZES, RadixGeometry, radix_depth
from khodump.errors import UsageError
from khodump.numbers import format_size
from khodump.rows import Address, Count, Head, Result, Size, Tail, Text, table
from khodump.trackers.shallow import USUAL_ORDER0_END


@dataclass(frozen=True)
class KeyRow:
    """A key in one kind of tree.

    Attributes:
        page_size, kernels, depth: of the tree.
        key: as a tree keeps it; None where a block has none.
        key_bits: the bit that tells the order, and the address in blocks.
        phys, order, block_size: the block; None where no kernel makes such a key.
        slots: on the way to the leaf, from the root down.
        leaf_bit: the bit of the leaf.
        remarks: what is unusual, or why there is no such key or block.
    """

    page_size: Size
    kernels: Text
    depth: Count
    key: Address | None = None
    key_bits: Text | None = None
    phys: Address | None = None
    order: Count | None = None
    block_size: Size | None = None
    slots: Text | None = None
    leaf_bit: Count | None = None
    remarks: Text | None = None


class _Tree(NamedTuple):
    """A kind of tree.

    Attributes:
        kernels: who builds it.
        geometry: how it is read.
        full: the same with room for all keys, as `geometry` is but for one kind.
    """

    kernels: str
    geometry: RadixGeometry
    full: RadixGeometry

    @property
    def is_shallow(self) -> bool:
        """Whether it has no room for the order bit of order 0."""
        return self.geometry.depth < self.full.depth


def decode(key: int, page_size: int | None = None) -> Result:
    """What a key stands for, a row a kind of tree; remarks say why no kernel makes it.

    Args:
        key: as a kernel makes it, or as a tree keeps it.
        page_size: only trees of this page size, in bytes.

    Raises:
        UsageError: no kernel has such pages.
    """
    return _result([_decoded(tree, key) for tree in _trees(page_size)])


def encode(phys: int, order: int, page_size: int | None = None) -> Result:
    """The key of a block, a row a kind of tree; remarks say why a tree has none.

    Args:
        phys: physical address of the block, in bytes.
        order: of the block.
        page_size: only trees of this page size, in bytes.

    Raises:
        UsageError: no kernel has such pages, or in no tree such a block has a key.
    """
    trees = _trees(page_size)
    problems = [_unfit(tree.full, phys, order) for tree in trees]
    if None not in problems:
        size = trees[0].full.page_size << order
        start = phys // size * size
        fits = phys != start and start + size < 1 << 64
        hint = f"the block of that order that holds {phys:#x} starts at {start:#x}" if fits else None
        raise UsageError(
            f"no key for order {order} at {phys:#x} with {format_size(trees[0].full.page_size)} pages: {problems[0]}",
            hint=hint,
        )
    rows = [
        _row(tree, tree.full.encode(phys, order), (phys, order)) if why is None else _refused(tree, why)
        for tree, why in zip(trees, problems, strict=True)
    ]
    return _result(rows)


def key_bits(key: int, marker: int | None) -> str:
    """A key taken apart: the bit that tells the order, if it has one, and the address in blocks."""
    if marker is None:
        return f"no order bit | {key:#x}"
    return f"order bit {marker} | {key ^ 1 << marker:#x}"


def _trees(page_size: int | None) -> list[_Tree]:
    if page_size is not None and page_size not in PAGE_SIZES:
        raise UsageError(f"no kernel has pages of {page_size} bytes", hint="the page size is 4K, 16K or 64K")
    trees = []
    for size in PAGE_SIZES if page_size is None else (page_size,):
        shift = size.bit_length() - 1
        depth, old_depth = (radix_depth(shift, counts_marker=counts) for counts in (True, False))
        full = RadixGeometry(shift, depth)
        if depth == old_depth:
            trees.append(_Tree("7.1 on", full, full))
        else:
            shallow = RadixGeometry(shift, old_depth, USUAL_ORDER0_END >> shift)
            trees += [_Tree("7.1-rc6 on", full, full), _Tree("before 7.1-rc6", shallow, full)]
    return trees


def _decoded(tree: _Tree, key: int) -> KeyRow:
    """The row of a key, bare ones of shallow trees included."""
    if not tree.is_shallow or key >= tree.geometry.order0_end:
        block = tree.full.decode(key)
        return _refused(tree, _impossible(tree.full, key), key) if block is None else _row(tree, key, block)
    order0, other = tree.geometry.decode(key), tree.full.decode(key)
    remark = f"taken for a page below {format_size(USUAL_ORDER0_END)} whose key lost its order bit"
    if other is not None:
        remark += f"; or else order {other[1]} at {other[0]:#x}"
    return _row(tree, key, order0 or (0, 0), remark)


def _row(tree: _Tree, key: int, block: tuple[int, int], remark: str | None = None) -> KeyRow:
    phys, order = block
    marker = key.bit_length() - 1 if remark is None else None
    if tree.is_shallow and marker == tree.full.key_width - 1:
        remark = f"kept as {key ^ 1 << marker:#x}: the tree has no room for order bit {marker}"
    slots, bit = tree.geometry.path(key)
    return KeyRow(
        tree.geometry.page_size,
        tree.kernels,
        tree.geometry.depth,
        key,
        key_bits(key, marker),
        phys,
        order,
        block_size=tree.geometry.page_size << order,
        slots=" > ".join(map(str, slots)),
        leaf_bit=bit,
        remarks=remark,
    )


def _refused(tree: _Tree, why: str, key: int | None = None) -> KeyRow:
    return KeyRow(tree.geometry.page_size, tree.kernels, tree.geometry.depth, key, remarks=why)


def _impossible(full: RadixGeometry, key: int) -> str:
    """Why no kernel makes this key."""
    highest = full.key_width - 1
    if not key:
        return "no order bit"
    if key.bit_length() > full.key_width:
        return f"too wide: bit {key.bit_length() - 1} is above bit {highest}, the order bit of order 0"
    return f"its block of order {highest - key.bit_length() + 1} would reach 2^64"


def _unfit(full: RadixGeometry, phys: int, order: int) -> str | None:
    """Why this block has no key, if so."""
    size = full.page_size << order
    if order >= 64 - full.page_shift:
        return "its block would reach 2^64"
    if phys % size:
        return f"not aligned to its {format_size(size)}: low bits {phys % size:#x} would be lost"
    return "its block would reach 2^64" if phys + size >= 1 << 64 else None


def _result(rows: Sequence[KeyRow]) -> Result:
    made = sum(row.phys is not None for row in rows)
    summary = f"a key in {made} of {len(rows)} kinds of tree"
    return Result("khodump.key/1", lambda: Head(()), table("keys", KeyRow, rows), lambda: Tail(summary))
