"""What is preserved, put down in each of the ways that kernels have had for it."""

from __future__ import annotations

import struct
from collections import defaultdict

from tests.reference.read import tables
from tests.reference.read.dialects import Dialect
from tests.reference.read.maps import Block
from tests.reference.read.radix import encode

from .machine import Machine


def write(machine: Machine, dialect: Dialect) -> int:
    """All that the machine keeps; the address of the first page."""
    if dialect.family == "chunks":
        return _Chunks(machine, dialect.bitmap_bytes(machine.page_shift)).write()
    if dialect.family == "tables":
        return _write_tables(machine)
    return _write_radix(machine, dialect)


def _write_radix(machine: Machine, dialect: Dialect) -> int:
    depth = dialect.depth(machine.page_shift)
    key_bits = machine.page_shift + 3 + (depth - 1) * (machine.page_shift - 3)
    root = machine.page()
    for block in machine.kept:
        key = encode(block.phys, block.order, machine.page_shift) % (1 << key_bits)
        _set(machine, root, depth, key)
    if machine.rng.random() < 0.3:
        _leave_an_empty_leaf(machine, root, depth)
    return root


def _set(machine: Machine, root: int, depth: int, key: int) -> None:
    leaf = _leaf(machine, root, depth, key >> (machine.page_shift + 3))
    _set_bit(machine, leaf, key % (machine.page_size * 8))


def _leave_an_empty_leaf(machine: Machine, root: int, depth: int) -> None:
    """As a block leaves it that was preserved and given up again."""
    phys = machine.take(0)
    _leaf(machine, root, depth, encode(phys, 0, machine.page_shift) >> (machine.page_shift + 3))


def _leaf(machine: Machine, root: int, levels: int, index: int) -> int:
    """The bitmap at the end of a way of slots, made where there is none."""
    width = machine.page_shift - 3
    node = root
    for level in reversed(range(levels - 1)):
        slot = index >> (level * width) & (1 << width) - 1
        node = _follow(machine, node + slot * 8)
    return node


def _follow(machine: Machine, entry: int) -> int:
    child = machine.memory.u64(entry)
    if not child:
        child = machine.page()
        machine.memory.write_u64(entry, child)
    return child


def _set_bit(machine: Machine, bitmap: int, bit: int) -> None:
    at = bitmap + bit // 8
    byte = machine.memory.read(at, 1)[0] | 1 << bit % 8
    machine.memory.write(at, bytes([byte]))


def _write_tables(machine: Machine) -> int:
    table = machine.page()
    for phys, order in machine.kept:
        below = tables.bitmap_shift(machine.page_shift, order)
        top = _follow(machine, table + order * 8)
        bitmap = _leaf(machine, top, tables.levels(machine.page_shift, order), phys >> below)
        _set_bit(machine, bitmap, phys % (1 << below) >> (machine.page_shift + order))
    return table


class _Chunks:
    """The chunk list of kho-v1."""

    def __init__(self, machine: Machine, bitmap_bytes: int) -> None:
        self._machine = machine
        self._bitmap_bytes = bitmap_bytes
        self._slab: list[int] = []
        self._link: int | None = None  # where the address of the next chunk goes
        self._first = 0

    def write(self) -> int:
        orders = defaultdict(list)
        for block in self._machine.kept:
            orders[block.order].append(block)
        if self._machine.rng.random() < 0.3:
            orders.setdefault(7, [])  # used once, given up again: a chunk without elements
        for order in sorted(orders):
            self._write_order(order, orders[order])
        return self._first

    def _write_order(self, order: int, blocks: list[Block]) -> None:
        elements = self._bitmaps(order, blocks)
        capacity = (self._machine.page_size - 16) // 16
        for at in range(0, max(1, len(elements)), capacity):
            self._chunk(order, elements[at : at + capacity])

    def _bitmaps(self, order: int, blocks: list[Block]) -> list[tuple[int, int]]:
        shift = order + self._machine.page_shift
        window = self._bitmap_bytes * 8 << shift
        bitmaps: dict[int, int] = {}
        for block in blocks:
            start = block.phys - block.phys % window
            if start not in bitmaps:
                bitmaps[start] = self._bitmap()
            _set_bit(self._machine, bitmaps[start], (block.phys - start) >> shift)
        return sorted(bitmaps.items())

    def _bitmap(self) -> int:
        """A page, or a part of one where bitmaps are small."""
        if not self._slab:
            page = self._machine.page()
            self._slab = [page + at for at in range(0, self._machine.page_size, self._bitmap_bytes)]
            self._machine.rng.shuffle(self._slab)
        return self._slab.pop()

    def _chunk(self, order: int, elements: list[tuple[int, int]]) -> None:
        memory = self._machine.memory
        chunk = self._machine.page()
        memory.write(chunk + 8, struct.pack("<II", order, len(elements)))
        for number, element in enumerate(elements):
            memory.write(chunk + 16 + number * 16, struct.pack("<QQ", *element))
        if self._link is None:
            self._first = chunk
        else:
            memory.write_u64(self._link, chunk)
        self._link = chunk
