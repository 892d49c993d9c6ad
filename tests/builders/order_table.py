"""The order table of the "Make KHO Stateless" RFC, with a tree of tables an order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from khodump.abi.kho_order_table import OrderGeometry, kho_order_table
from tests.builders.memory import MemoryImage
from tests.builders.radix import Block, RadixTree, write_tables


class OrderTable(NamedTuple):
    """An order table that was written.

    Attributes:
        root: physical address of the order table.
        trees: of each order.
    """

    root: int
    trees: dict[int, RadixTree]


def write_order_table(
    image: MemoryImage, page_size: int, blocks: Iterable[Block], *, empties: Iterable[Block] = ()
) -> OrderTable:
    """Allocate and write the tables that hold `blocks`; `empties` leave bitmaps with no bit set."""
    shift = page_size.bit_length() - 1
    root = image.alloc_page(page_size)
    bits: dict[int, list[tuple[int, int]]] = {}
    for bit, given in ((1, blocks), (0, empties)):
        for phys, order in given:
            bits.setdefault(order, []).append((OrderGeometry.of(shift, order).encode(phys), bit))
    trees = {
        order: write_tables(image, OrderGeometry.of(shift, order), keys)
        for order, keys in sorted(bits.items())
    }
    schema = kho_order_table(page_size)
    slots = [trees[order].root if order in trees else 0 for order in range(page_size // 8)]
    image.write(root, schema.build(slots))
    return OrderTable(root, trees)
