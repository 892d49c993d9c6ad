"""The slots of the map that lead to an address, one line each: its table, its number, where it stands, what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from khodump.fdt import property_entry
from khodump.handover import Handover
from khodump.memory import Hole
from khodump.tracker import Trace, TraceNode
from khodump.trackers import map_property

_POINTER: Final = 8
#: More levels than any tree has.
_MOST_STEPS: Final = 16


def slots_to_block(handover: Handover, trace: Trace) -> Iterator[str]:
    """The way to the bit of a block, whether that is set or not, as far as it can be followed."""
    yield from _root(handover)
    for node in trace.nodes:
        if node.level:
            yield _slot(handover, node)
        else:
            yield _bit(node, trace.is_set)


def slots_to_page(handover: Handover, address: int) -> Iterator[str]:
    """The way to the page of the map at this address."""
    steps = steps_to_page(handover, address)
    if not steps:
        return
    yield from _root(handover)
    for node in steps[:-1]:
        yield _slot(handover, node)
    last = steps[-1]
    inner = address % handover.page_size
    at = f", in its slot {inner // _POINTER}" if last.level and handover.tracker.depth is not None else ""
    yield f"level {last.level}: the page at {last.phys:#x}{at}"


def steps_to_page(handover: Handover, address: int) -> Sequence[TraceNode]:
    """The tables on the way to the page of the map at this address, each with the slot taken, and the page itself.

    Empty for what is no page of the map. The slot of the last is that of the address.
    """
    nodes = handover.nodes
    page = address // handover.page_size * handover.page_size
    rows = np.flatnonzero(nodes.phys == np.uint64(page))
    if not len(rows):
        return ()
    row = int(rows[0])
    steps = [TraceNode(page, int(nodes.level[row]), (address - page) // _POINTER)]
    while nodes.parent[row] and len(steps) <= _MOST_STEPS:
        parent = int(nodes.parent[row])
        above = np.flatnonzero(nodes.phys == np.uint64(parent))
        level = int(nodes.level[above[0]]) if len(above) else steps[0].level + 1
        steps.insert(0, TraceNode(parent, level, int(nodes.slot[row])))
        if not len(above):
            break
        row = int(above[0])
    return steps


def _root(handover: Handover) -> Iterator[str]:
    """The property of the root FDT that leads to the map; where the FDT lies is not searched for here."""
    prop = map_property(handover.fdt.tree, handover.version)
    if prop is None:
        return
    phys = handover.fdt.phys
    entry = None if phys is None else property_entry(handover.fdt.tree, prop, phys, "root FDT")
    what = f"property {prop} in the root FDT" if entry is None else entry.place
    yield f"{what}, holds {handover.tracker.root:#x}"


def _slot(handover: Handover, node: TraceNode) -> str:
    entry = handover.tracker.slot_entry(node.phys, node.slot)
    held = handover.memory.read(entry.at, _POINTER)
    if isinstance(held, Hole):
        holds = f"is {handover.memory.hole_at(held.phys, held.presence)}"
    else:
        holds = f"holds {int.from_bytes(held, 'little'):#x}"
    return f"level {node.level}: {entry.place}, {holds}"


def _bit(node: TraceNode, is_set: bool | None) -> str:
    said = {True: "is set", False: "is not set", None: "cannot be read"}[is_set]
    at = node.phys + node.slot // 8
    return f"level 0: bit {node.slot} of leaf {node.phys:#x}, at {at:#x}, {said}"
