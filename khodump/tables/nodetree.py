"""The map's own pages as a tree: who is below whom, what each stands for, and how much is preserved below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.columns.arrays import I64, U8, U64, Bool
from khodump.columns.extents import NO_ORDER, Extents
from khodump.handover import Handover
from khodump.tracker import Coverage, Nodes

#: The row of the parent of what has none.
NO_PARENT: Final = -1


@dataclass(frozen=True, eq=False)
class NodeTree:
    """Nodes as columns, each followed by all that is below it, siblings by slot.

    Attributes:
        nodes: the map's own pages.
        parent: int64, row of the parent, or NO_PARENT.
        depth: int64, 0 for what has no parent.
        children: int64, nodes that it points to, as far as they were followed.
        preservations: uint64, blocks preserved below it.
        low: uint8, lowest order below it; NO_ORDER where it stands for nothing.
        high: uint8, highest order.
        start: uint64, physical address of the first block that it stands for, of any order.
        end: uint64, the first byte after the last.
        coverage: the same, exactly.
    """

    nodes: Nodes
    parent: I64
    depth: I64
    children: I64
    preservations: U64
    low: U8
    high: U8
    start: U64
    end: U64
    coverage: Coverage

    def __len__(self) -> int:
        return len(self.parent)

    def above(self, rows: Bool) -> Bool:
        """These rows, and all on the way to them."""
        found = rows.copy()
        for depth in range(int(self.depth.max(initial=0)), 0, -1):
            here = found & (self.depth == depth)
            found[self.parent[here]] = True
        return found

    def standing_for(self, phys: int) -> Bool:
        """The rows that stand for a block that holds this byte."""
        at = np.uint64(phys)
        found = np.zeros(len(self), np.bool_)
        found[self.coverage.node[(self.coverage.start <= at) & (at < self.coverage.end)]] = True
        return found


def node_tree(handover: Handover) -> NodeTree:
    """The tree of a handover's map; a map without one is a list of chunks with bitmaps below."""
    nodes = handover.nodes
    parent = _parents(nodes)
    order = _preorder(nodes, parent)
    row = np.empty(len(order), np.int64)
    row[order] = np.arange(len(order))
    found = handover.tracker.covers(nodes)
    by_row = np.argsort(row[found.node], kind="stable")
    coverage = Coverage(row[found.node][by_row], found.order[by_row], found.start[by_row], found.end[by_row])
    nodes = nodes.take(order)
    parent = np.where(parent[order] == NO_PARENT, NO_PARENT, row[parent[order]])
    return _built(handover.preserved, nodes, parent, coverage)


def _built(preserved: Extents, nodes: Nodes, parent: I64, coverage: Coverage) -> NodeTree:
    count = len(nodes)
    children = np.zeros(count, np.int64)
    np.add.at(children, parent[parent != NO_PARENT], 1)
    low, high = np.full(count, NO_ORDER, np.uint8), np.zeros(count, np.uint8)
    start, end = np.full(count, ~np.uint64(0)), np.zeros(count, np.uint64)
    np.minimum.at(low, coverage.node, coverage.order)
    np.maximum.at(high, coverage.node, coverage.order)
    np.minimum.at(start, coverage.node, coverage.start)
    np.maximum.at(end, coverage.node, coverage.end)
    below = _preserved_in(preserved, nodes, coverage)
    depth = np.zeros(count, np.int64)
    levels = np.unique(nodes.level).tolist()
    for level in levels:  # upwards: what stands for nothing by itself stands for what is below it
        here = np.flatnonzero((nodes.level == level) & (parent != NO_PARENT))
        up = parent[here]
        np.add.at(below, up, below[here])
        np.minimum.at(low, up, low[here])
        np.maximum.at(high, up, high[here])
        np.minimum.at(start, up, start[here])
        np.maximum.at(end, up, end[here])
    for level in reversed(levels):
        here = np.flatnonzero((nodes.level == level) & (parent != NO_PARENT))
        depth[here] = depth[parent[here]] + 1
    return NodeTree(nodes, parent, depth, children, below, low, high, start, end, coverage)


def _parents(nodes: Nodes) -> I64:
    """The row of each node's parent."""
    tables = np.flatnonzero(nodes.level)
    tables = tables[np.argsort(nodes.phys[tables], kind="stable")]
    if not len(tables):
        return np.full(len(nodes), NO_PARENT)
    at = np.minimum(np.searchsorted(nodes.phys[tables], nodes.parent), len(tables) - 1)
    # A parent is of a higher level: whatever the addresses say, there are no circles.
    known = (
        (nodes.phys[tables[at]] == nodes.parent)
        & (nodes.level[tables[at]] > nodes.level)
        & (nodes.parent != 0)
    )
    return np.where(known, tables[at], NO_PARENT)


def _preorder(nodes: Nodes, parent: I64) -> I64:
    """The nodes in the order in which a tree is listed: each before what is below it, siblings by slot."""
    count = len(nodes)
    size = np.ones(count, np.int64)
    levels = np.unique(nodes.level).tolist()
    for level in levels:
        here = np.flatnonzero((nodes.level == level) & (parent != NO_PARENT))
        np.add.at(size, parent[here], size[here])
    siblings = np.lexsort((nodes.slot, parent))
    family = parent[siblings]
    before = np.cumsum(size[siblings]) - size[siblings]
    first = np.searchsorted(family, family)  # of each family
    position = np.empty(count, np.int64)
    position[siblings] = before - before[first] if count else before
    for level in reversed(levels):
        here = np.flatnonzero((nodes.level == level) & (parent != NO_PARENT))
        position[here] += position[parent[here]] + 1
    return np.argsort(position, kind="stable")


def _preserved_in(preserved: Extents, nodes: Nodes, coverage: Coverage) -> U64:
    """Blocks preserved in each leaf; of upper nodes none yet."""
    total = np.zeros(len(nodes), np.uint64)
    rows = np.flatnonzero(nodes.level[coverage.node] == 0)
    for order in np.unique(preserved.order).tolist():
        runs = preserved.take(preserved.order == order)
        here = rows[coverage.order[rows] == order]
        count = _blocks_below(runs, coverage.end[here]) - _blocks_below(runs, coverage.start[here])
        np.add.at(total, coverage.node[here], count)
    return total


def _blocks_below(runs: Extents, phys: U64) -> U64:
    """How many blocks of runs, which are sorted and of one order, are below each block boundary."""
    none = np.zeros(1, np.uint64)
    before = np.searchsorted(runs.phys, phys, "left")
    counts = np.concatenate([none, np.cumsum(runs.count, dtype=np.uint64)])
    ends = np.concatenate([none, runs.end])
    past = np.maximum(ends[before], phys) - phys
    blocks: U64 = counts[before] - (past >> runs.block_shift[:1])
    return blocks
