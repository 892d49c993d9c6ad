"""The order table of the "Make KHO Stateless" RFC: one tree of tables an order. Never merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from khodump.abi.kho_order_table import HUGETLB_PAGE_ORDER, OrderGeometry, kho_order_table
from khodump.abi.layout import dtype_of
from khodump.columns.extents import Extents
from khodump.findings import Finding
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.numbers import format_size
from khodump.problems import MapOrderNotRestored, MapPointerUnaligned
from khodump.tracker import READING_IN_DOUBT, Coverage, Nodes, Trace, TraceNode, Tracker, Walk, node_problem
from khodump.trackers.coverage import coverage_of
from khodump.trackers.evidence import Readings
from khodump.trackers.tables import TableTree


class OrderTableTracker(Tracker):
    """A table of orders, each with a tree of its own."""

    shape = "order table"

    def __init__(self, memory: PhysicalMemory, root: int, page_size: int) -> None:
        self.root = root
        self.page_shift = page_size.bit_length() - 1
        self.depth = OrderGeometry.of(self.page_shift, 0).depth
        self.leaf_size = page_size
        self.reading = f"{format_size(page_size)} pages"
        self._memory = memory
        self._page_size = page_size

    def walk(self) -> Walk:
        """See `Tracker.walk`."""
        walk = Walk()
        if self.demand_root(walk) and self._is_aligned(walk):
            walk.batches = self._orders(walk)
        return walk

    def _is_aligned(self, walk: Walk) -> bool:
        """Whether the order table begins a page; a finding if not."""
        if self.root % self._page_size == 0:
            return True
        message = f"the root pointer {self.root:#x} is not page-aligned"
        walk.findings.append(MapPointerUnaligned(self.root).finding(self.root, message))
        return False

    def holds(self, phys: int, order: int) -> bool | None:
        """See `Tracker.holds`."""
        slots = self._slots()
        if slots is None:
            return None
        if not slots[order] or phys % (self._page_size << order):
            return False
        geometry = OrderGeometry.of(self.page_shift, order)
        return TableTree(self._memory, slots[order], geometry).holds(geometry.encode(phys))

    def trace(self, phys: int, order: int) -> Trace:
        """See `Tracker.trace`: the slot of the order table comes first."""
        geometry = OrderGeometry.of(self.page_shift, order)
        key = geometry.encode(phys)
        top, slots = (TraceNode(self.root, self.depth or 0, order),), self._slots()
        if slots is None or not slots[order]:
            return Trace(top, geometry.path(key)[1], None if slots is None else False, key)
        found = TableTree(self._memory, slots[order], geometry).trace(key)
        return replace(found, nodes=(*top, *found.nodes))

    def covers(self, nodes: Nodes) -> Coverage:
        """See `Tracker.covers`: each tree's nodes follow its top, which stands in the slot of its order."""
        tops = np.flatnonzero(nodes.parent == np.uint64(self.root)).tolist()
        parts = []
        for top, stop in pairwise([*tops, len(nodes)]):
            geometry = OrderGeometry.of(self.page_shift, int(nodes.slot[top]))
            found = coverage_of(geometry, nodes.take(slice(top, stop)))
            parts.append(Coverage(found.node + top, found.order, found.start, found.end))
        return Coverage.concatenate(parts).sorted()

    def flaws(self) -> set[str]:
        """See `Tracker.flaws`: which they are is not told."""
        walk, slots = Walk(), self._slots()
        for order, top in enumerate(slots or ()):
            if top:
                TableTree(self._memory, top, OrderGeometry.of(self.page_shift, order)).descend(walk)
        return set() if any(slots or ()) and not walk.findings else {READING_IN_DOUBT}

    def _orders(self, walk: Walk) -> Iterator[Extents]:
        """The preservations of every order that was written down, ascending, those past the array included."""
        page = self._memory.read(self.root, self._page_size)
        presence = page.presence if isinstance(page, Hole) else Presence.PRESENT
        walk.node_parts.append(
            Nodes.single(self.root, self.depth or 0, presence, empty=page == bytes(self._page_size))
        )
        if isinstance(page, Hole):
            what = f"the order table at {self.root:#x}"
            walk.findings.append(node_problem(self._memory, page.phys, presence, what))
        for order, top in enumerate(self._slots() or ()):
            if not top:
                continue
            geometry = OrderGeometry.of(self.page_shift, order)
            name = f"slot {order} of the order table,"
            blocks = 0
            for extents in TableTree(self._memory, top, geometry, name, above=(self.root, order)).walk(walk):
                blocks += len(extents)
                yield extents
            if order > HUGETLB_PAGE_ORDER[self.page_shift]:
                walk.findings.append(self._beyond(order, top, blocks))

    def _beyond(self, order: int, top: int, blocks: int) -> Finding:
        message = (
            f"order {order} has a table at {top:#x}, in a slot past the order table's array "
            f"(HUGETLB_PAGE_ORDER is {HUGETLB_PAGE_ORDER[self.page_shift]}): the next kernel does not restore its "
            f"{blocks} block{'' if blocks == 1 else 's'}"
        )
        return MapOrderNotRestored(top, slot=order).finding(self.root, message)

    def _slots(self) -> list[int] | None:
        """The top table of each order, by order; None when the order table cannot be read."""
        page = self._memory.read(self.root, self._page_size)
        if isinstance(page, Hole) or self.root % self._page_size:
            return None
        highest = 64 - self.page_shift
        slots: list[int] = np.frombuffer(page, dtype_of(kho_order_table(self._page_size)).base)[
            :highest
        ].tolist()
        return slots


def readings(memory: PhysicalMemory, root: int, release: str, page_size: int) -> Readings:  # noqa: ARG001 - see below
    """The one way to read it with this page size, whatever the release."""
    return Readings([OrderTableTracker(memory, root, page_size)])
