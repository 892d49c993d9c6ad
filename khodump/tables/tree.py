"""`khodump tree`: the map's own pages, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from khodump.columns.arrays import I64
from khodump.columns.extents import NO_ORDER
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.memory import Presence
from khodump.rows import Block, Cell, Column, Fact, Head, Kind, Result, Rows, Tail
from khodump.tables.lookup import is_unknown
from khodump.tables.nodetree import NO_PARENT, NodeTree, node_tree
from khodump.tracker import NO_SLOT

_COLUMNS: Final = (
    Column("phys", Kind.ADDRESS),
    Column("level", Kind.COUNT),
    Column("parent", Kind.ADDRESS),
    Column("slot", Kind.COUNT),
    Column("key prefix", Kind.ADDRESS),
    Column("order", Kind.COUNT),
    Column("highest order", Kind.COUNT),
    Column("from", Kind.ADDRESS),
    Column("to", Kind.ADDRESS),
    Column("children", Kind.COUNT),
    Column("preservations", Kind.COUNT),
    Column("state", Kind.TEXT),
    Column("why", Kind.TEXT),
)
_BITS: Final = Column("bits", Kind.TEXT)
_BLOCK_ROWS: Final = 1 << 14


@dataclass(frozen=True)
class Branches:
    """Which nodes to list.

    Attributes:
        depth: only so many levels below the top; None for all.
        level: only nodes of this level.
        phys: only the ways to this physical byte address, at any order.
    """

    depth: int | None = None
    level: int | None = None
    phys: int | None = None


@dataclass(frozen=True, eq=False)
class Listing:
    """The nodes to list.

    Attributes:
        tree: all nodes.
        rows: int64, those to list, ascending.
        branches: why those.
        bits: for each leaf on the way to an address, by row: what it says of it.
        holding: orders at which the address is preserved.
    """

    tree: NodeTree
    rows: I64
    branches: Branches
    bits: Mapping[int, str] = field(default_factory=dict)
    holding: tuple[int, ...] = ()

    def state(self, row: int) -> str:
        """Whether a node was walked, and held anything."""
        if self.tree.nodes.presence[row] != Presence.PRESENT:
            return "unreadable"
        return "empty" if self.tree.nodes.empty[row] else "walked"


def listing(handover: Handover, branches: Branches) -> Listing:
    """Choose the nodes to list."""
    tree = node_tree(handover)
    kept = np.ones(len(tree), np.bool_)
    bits: dict[int, str] = {}
    holding: list[int] = []
    if branches.phys is not None:
        ends = tree.standing_for(branches.phys)
        leaves = np.flatnonzero(ends & (tree.nodes.level == 0))
        bits = {row: _bits(handover, tree, row, branches.phys, holding) for row in leaves.tolist()}
        unread = tree.nodes.presence != Presence.PRESENT
        kept = tree.above(ends & (tree.nodes.level == 0) | unread & (ends | (tree.low == NO_ORDER)))
    if branches.depth is not None:
        kept &= tree.depth <= branches.depth
    if branches.level is not None:
        kept &= tree.nodes.level == branches.level
    return Listing(tree, np.flatnonzero(kept), branches, bits, tuple(holding))


def tree(handover: Handover, branches: Branches) -> Result:
    """A row a node, each followed by what is below it."""
    chosen = listing(handover, branches)
    columns = _COLUMNS if branches.phys is None else (*_COLUMNS, _BITS)
    return Result(
        "khodump.tree/1",
        lambda: _head(handover, chosen),
        Rows("nodes", columns, _blocks(handover, chosen)),
        lambda: tail_of(handover, chosen),
    )


def tail_of(handover: Handover, chosen: Listing) -> Tail:
    """What the tree holds, and what of it could not be read."""
    nodes = handover.nodes
    missing = nodes.missing()
    summary = f"{len(nodes)} nodes, {nodes.leaves} leaves, {nodes.empties} empty; {len(handover.preserved)} preservations"
    if missing:
        why = ", ".join(f"{count} {presence.reason}" for presence, count in missing.items())
        summary += f"; {sum(missing.values())} unreadable ({why})"
    if len(chosen.rows) < len(chosen.tree):
        summary = f"{len(chosen.rows)} of {summary}"
    if chosen.branches.phys is not None:
        orders = ", ".join(map(str, chosen.holding))
        if orders:
            said = f"it is preserved at order {orders}"
        elif is_unknown(handover, chosen.branches.phys):
            said = f"whether it is preserved cannot be told: {_why_unknown(handover)}"
        else:
            said = "it is not preserved"
        summary += f"; leaves that stand for {chosen.branches.phys:#x}: {len(chosen.bits)}; {said}"
    if handover.is_map_gone:
        summary += "; this is what is left of a map that was given back"
    return Tail(summary, handover.told(handover.all_findings), is_partial=handover.is_map_gone)


def _why_unknown(handover: Handover) -> str:
    if handover.is_map_gone:
        return "the map was given back"
    if handover.is_refuted:
        return "how to read the map is not known"
    unread = all(finding.unread for finding in handover.findings if finding.severity is Severity.ERROR)
    return "part of the map could not be read" if unread else "the map is damaged"


def _bits(handover: Handover, tree: NodeTree, row: int, phys: int, holding: list[int]) -> str:
    """The bits of a leaf that stand for an address, and whether they are set; orders at which they are are noted."""
    found = tree.coverage
    first, stop = np.searchsorted(found.node, [row, row + 1])
    texts = []
    for index in range(int(first), int(stop)):
        if found.start[index] <= phys < found.end[index]:
            order = int(found.order[index])
            trace = handover.tracker.trace(phys - phys % (handover.page_size << order), order)
            said = {True: "set", False: "not set", None: "unreadable"}[trace.is_set]
            texts.append(f"order {order}: bit {trace.bit} {said}")
            holding += [order] if trace.is_set else []
    return ", ".join(texts)


def _head(handover: Handover, chosen: Listing) -> Head:
    tracker = handover.tracker
    facts = (
        Fact("map", tracker.shape, Kind.TEXT),
        Fact("root", tracker.root, Kind.ADDRESS),
        Fact("depth", tracker.depth, Kind.COUNT),
        Fact("page size", handover.page_size, Kind.SIZE),
        Fact("listed", len(chosen.rows), Kind.COUNT),
    )
    return Head(facts)


def _blocks(handover: Handover, chosen: Listing) -> Iterator[Block]:
    for at in range(0, len(chosen.rows), _BLOCK_ROWS):
        yield _block(handover, chosen, chosen.rows[at : at + _BLOCK_ROWS])


def _block(handover: Handover, chosen: Listing, rows: I64) -> Block:
    found, nodes = chosen.tree, chosen.tree.nodes
    known = (found.low[rows] != NO_ORDER).tolist()
    keyed = handover.tracker.depth is not None
    parent = np.where(found.parent[rows] == NO_PARENT, 0, nodes.parent[rows])
    block: list[list[Cell]] = [
        nodes.phys[rows].tolist(),
        nodes.level[rows].tolist(),
        [each or None for each in parent.tolist()],
        [None if slot == NO_SLOT else slot for slot in nodes.slot[rows].tolist()],
        nodes.prefix[rows].tolist() if keyed else [None] * len(rows),
        *(
            [
                value if is_known else None
                for value, is_known in zip(column[rows].tolist(), known, strict=True)
            ]
            for column in (found.low, found.high, found.start, found.end)
        ),
        found.children[rows].tolist(),
        found.preservations[rows].tolist(),
        [chosen.state(row) for row in rows.tolist()],
        [_why(presence) for presence in nodes.presence[rows].tolist()],
    ]
    if chosen.branches.phys is not None:
        block.append([chosen.bits.get(row) for row in rows.tolist()])
    return block


def _why(presence: int) -> str | None:
    return None if presence == Presence.PRESENT else Presence(presence).reason
