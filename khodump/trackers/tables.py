"""Trees of page-sized tables over page-sized bitmaps, walked breadth-first and by columns.

A level is the addresses of its nodes and their key prefixes. The kernel trusts every entry; here each is checked for
alignment, range and repetition before it is followed, so a walk ends on any input, after at most one visit a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import KeyGeometry, kho_radix_leaf, kho_radix_node
from khodump.abi.layout import dtype_of
from khodump.columns.arrays import I64, U8, U64, Bool, among, distinct, repeats, warm_heap
from khodump.columns.extents import NO_ORDER, Extents
from khodump.columns.table import Columns
from khodump.findings import Finding
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.problems import MapKeyImpossible, MapNodeShared, MapPointerUnaligned, MapProblem
from khodump.tracker import NO_SLOT, Nodes, Trace, TraceNode, Walk, node_problem, slot_words
from khodump.trackers.bitmaps import runs_of_set_bits
from khodump.trackers.merging import merged

_ONE = np.uint64(1)
_BATCH_BYTES: Final = 1 << 20  # what it unpacks to still fits a cache


@dataclass(frozen=True, eq=False)
class Entries(Columns):
    """Pointers to the nodes of one level, as columns.

    Attributes:
        phys: uint64, where they point.
        prefix: uint64, the key prefix of the node pointed to.
        parent: uint64, physical address of the table that holds the pointer.
    """

    phys: U64
    prefix: U64
    parent: U64


class TableTree:
    """One tree in memory.

    Args:
        memory: where it is.
        root: physical address of its top node.
        geometry: its depth, and what its keys stand for.
        root_name: what points to the root, for messages.
        above: physical address of the page that does, if it is of the map, and the slot there.
    """

    def __init__(
        self,
        memory: PhysicalMemory,
        root: int,
        geometry: KeyGeometry,
        root_name: str = "the root pointer",
        above: tuple[int, int] = (0, NO_SLOT),
    ) -> None:
        self.root = root
        self.geometry = geometry
        self._memory = memory
        self._root_name = root_name
        self._above = above
        self._entry = dtype_of(kho_radix_node(geometry.page_size)).base
        self._word = dtype_of(kho_radix_leaf(geometry.page_size)).base

    def holds(self, key: int) -> bool | None:
        """Whether the bit of `key` is set; None when the nodes that say so cannot be read or make no sense."""
        return self.trace(key).is_set

    def trace(self, key: int) -> Trace:
        """The way to the bit of `key`."""
        node, nodes = self.root, []
        slots, bit = self.geometry.path(key)
        if node % self.geometry.page_size:
            return Trace((), bit, None, key)
        for level, slot in zip(range(len(slots), 0, -1), slots, strict=True):
            nodes.append(TraceNode(node, level, slot))
            entry = self._memory.read(node + slot * self._entry.itemsize, self._entry.itemsize)
            node = 0 if isinstance(entry, Hole) else int.from_bytes(entry, "little")
            if not node or node % self.geometry.page_size:
                empty = not isinstance(entry, Hole) and not node
                return Trace(tuple(nodes), bit, False if empty else None, key)
        nodes.append(TraceNode(node, 0, bit))
        found = self._memory.read(node + bit // 8, 1)
        is_set = None if isinstance(found, Hole) else bool(found[0] >> bit % 8 & 1)
        return Trace(tuple(nodes), bit, is_set, key)

    def walk(self, walk: Walk) -> Iterator[Extents]:
        """The preservations in ascending key order, a batch of leaves at a time; `walk` takes nodes and findings."""
        return self._leaf_runs(self.descend(walk), walk)

    def walk_by_address(self, walk: Walk) -> Iterator[Extents]:
        """As `walk`, but by ascending address. Held whole where the tables are damaged, or orders share leaves oddly."""
        leaves = self.descend(walk)
        orders = self._leaf_orders(leaves)
        # The highest orders meet in the first leaf, and several orders meet nowhere else in an undamaged map.
        several = orders == NO_ORDER
        if walk.findings or several[1:].any():
            yield Extents.concatenate(self.geometry.page_shift, self._leaf_runs(leaves, walk)).sorted()
            return
        first = Extents.concatenate(self.geometry.page_shift, self._leaf_runs(leaves.take(several), walk))
        # The keys of one order ascend as its addresses do, so the runs of each order are merged, a batch of each at a time.
        known = distinct(np.concatenate([orders[~several], first.order]))
        step = max(_BATCH_BYTES // self.geometry.page_size // max(len(known), 1), 1)
        by_order: list[Iterator[Extents]] = []
        for order in known:
            in_first = first.take(first.order == order)
            others = self._leaf_runs(leaves.take(orders == order), walk, step)
            by_order.append(chain([in_first], others))
        yield from merged(by_order)
        walk.findings.sort(key=self._leaf_of)

    def _leaf_of(self, finding: Finding) -> int:
        """The key prefix of the leaf that a finding is about."""
        told = finding.evidence
        return told["prefix"] if "prefix" in told else told["first"] >> self.geometry.leaf_bits

    def descend(self, walk: Walk) -> Entries:
        """Walk the tables, level by level, and return the pointers to the leaves in ascending key order."""
        none = np.zeros(1, np.uint64)
        level = self.geometry.depth - 1
        entries = Entries(np.array([self.root], np.uint64), none, none)
        seen = np.sort(walk.nodes.phys)
        while True:
            entries = self._admit(entries, level, seen, walk)
            if not level or not len(entries.phys):
                return entries
            seen = np.sort(np.concatenate([seen, entries.phys]))
            entries = self._children(entries, level, walk)
            level -= 1

    def bitmaps(self, leaves: Entries, walk: Walk) -> tuple[U64, U8]:
        """The words of those leaves that can be read, a row each, and of what order their blocks are.

        NO_ORDER stands for several orders, and for keys that no kernel makes. `walk` takes nodes and findings.
        """
        words, readable = self._gather(leaves, 0, walk, self._word)
        held = leaves.take(readable)
        orders = self._leaf_orders(held)
        end = (held.prefix + _ONE) << np.uint64(self.geometry.leaf_bits)
        ends = np.sort(np.array([band.last for band in self.geometry.bands], np.uint64)) + np.uint64(2)
        orders[among(end, ends) & (words[:, -1] >> np.uint64(63) != 0)] = NO_ORDER
        return words, orders

    def _children(self, tables: Entries, level: int, walk: Walk) -> Entries:
        """The pointers in these tables, in ascending key order."""
        parts = []
        for part in self._batches(tables):
            words, readable = self._gather(part, level, walk, self._entry)
            row, slot = np.nonzero(words)
            table = np.flatnonzero(readable)[row]
            prefix = (part.prefix[table] << np.uint64(self.geometry.table_bits)) | slot.astype(np.uint64)
            parts.append(Entries(words[row, slot].astype(np.uint64), prefix, part.phys[table]))
        return Entries.concatenate(parts)

    def _batches(self, entries: Entries, step: int | None = None) -> Iterator[Entries]:
        step = step or _BATCH_BYTES // self.geometry.page_size
        for at in range(0, len(entries.phys), step):
            yield entries.take(slice(at, at + step))

    def _gather(
        self, entries: Entries, level: int, walk: Walk, word: np.dtype[np.uint64]
    ) -> tuple[U64, Bool]:
        """The words of the nodes that could be read, one row a node, and which those are; notes them all."""
        pages = self._memory.gather(entries.phys, self.geometry.page_size)
        readable: Bool = pages.presence == Presence.PRESENT
        words = pages.data.view(word)
        if not readable.all():
            words = words[readable]
        empty = np.zeros(len(entries), np.bool_)
        empty[readable] = ~words.any(axis=1)
        walk.node_parts.append(self._nodes(entries, level, pages.presence, empty))
        self._report_missing(entries, level, pages.presence, walk)
        return words, readable

    def _nodes(self, entries: Entries, level: int, presence: U8, empty: Bool) -> Nodes:
        """The nodes that these pointers lead to."""
        levels = np.full(len(entries), level, np.uint8)
        orders = np.full(len(entries), NO_ORDER, np.uint8) if level else self._leaf_orders(entries)
        parent, slot = self._seats(entries, level)
        return Nodes(entries.phys, levels, entries.prefix, presence, empty, orders, parent, slot)

    def _report_missing(self, entries: Entries, level: int, presence: U8, walk: Walk) -> None:
        """A finding for each node that could not be read."""
        for index in np.flatnonzero(presence != Presence.PRESENT).tolist():
            phys = int(entries.phys[index])
            prefix = int(entries.prefix[index])
            where = {"level": level, "prefix": prefix, "parent": int(entries.parent[index])}
            what = f"the {_kind(level)} at {phys:#x} (level {level}, key prefix {prefix:#x})"
            missing = Presence(int(presence[index]))
            walk.findings.append(node_problem(self._memory, phys, missing, what, **where))

    def _seats(self, entries: Entries, level: int) -> tuple[U64, I64]:
        """The parent of each node, and the slot there."""
        if level == self.geometry.depth - 1:
            return np.array(self._above[:1], np.uint64), np.array(self._above[1:], np.int64)
        mask = np.uint64((1 << self.geometry.table_bits) - 1)
        return entries.parent, (entries.prefix & mask).astype(np.int64)

    def _leaf_orders(self, leaves: Entries) -> U8:
        """The order of each leaf's blocks; NO_ORDER for a leaf whose keys are of several orders, or of none.

        With pages of 4 KiB a leaf has 2^15 keys, those of order 0 begin at 2^52, and those of order 1 at 2^51. So the leaf
        of prefix 2^37 has order 0, and that of prefix 2^36 order 1. The leaf of prefix 0 has the keys of all orders from 37
        on.
        """
        bits = np.uint64(self.geometry.leaf_bits)
        first = leaves.prefix << bits
        last = first + ((_ONE << bits) - _ONE)
        starts, ends, _, orders = self._bands()
        band = np.searchsorted(starts, first, "right") - 1
        # One key past the end of a band may share its last leaf: no kernel sets it (`bitmaps` looks for it).
        is_of_one = (band >= 0) & (last <= ends[band] + _ONE)
        return np.where(is_of_one, orders[band], NO_ORDER).astype(np.uint8)

    def _bands(self) -> tuple[U64, U64, U64, U64]:
        """The first and the last key of each order, what is taken off its keys, and the orders; by ascending keys."""
        first, last, base, order = (
            np.array(column, np.uint64) for column in zip(*self.geometry.bands, strict=True)
        )
        return first, last, base, order

    def _admit(self, entries: Entries, level: int, seen: U64, walk: Walk) -> Entries:
        """Without the pointers that no kernel writes; each table with such pointers gives one finding a rule."""
        width = self.geometry.key_width - self.geometry.key_shift(level)
        too_wide = entries.prefix >> np.uint64(max(width, 0)) != 0
        unaligned = entries.phys % np.uint64(self.geometry.page_size) != 0
        met_before = repeats(entries.phys) | among(entries.phys, seen)
        checks = (
            (MapKeyImpossible, too_wide, "makes keys wider than any kernel's"),
            (MapPointerUnaligned, unaligned, "is not page-aligned"),
            (MapNodeShared, met_before, "is a node that was met before"),
        )
        good = np.ones(len(entries), np.bool_)
        for kind, bad, what in checks:
            self._report(kind, what, entries.take(good & bad), level, walk)
            good &= ~bad
        return entries if good.all() else entries.take(good)

    def _report(self, kind: type[MapProblem], what: str, bad: Entries, level: int, walk: Walk) -> None:
        _, firsts, counts = np.unique(bad.parent, return_index=True, return_counts=True)
        for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
            phys, prefix, parent = (int(column[first]) for column in (bad.phys, bad.prefix, bad.parent))
            slot = prefix & ((1 << self.geometry.table_bits) - 1)
            if level == self.geometry.depth - 1:
                message = f"{self._root_name} {phys:#x} {what}"
            else:
                message = (
                    f"{slot_words(parent, slot)} (level {level + 1}) points to {phys:#x}, which {what}; "
                    f"nothing below key prefix {prefix:#x} is listed"
                )
            if count > 1:
                message += f" ({count} such slots in this table)"
            problem = kind(phys, level=level, prefix=prefix, slot=slot, slots=count)
            walk.findings.append(problem.finding(parent or phys, message))

    def _leaf_runs(self, leaves: Entries, walk: Walk, step: int | None = None) -> Iterator[Extents]:
        """The preservations of these leaves, a batch of leaves (`step`) at a time."""
        if len(leaves) > _BATCH_BYTES // self.geometry.page_size:
            warm_heap()
        for part in self._batches(leaves, step):
            words, readable = self._gather(part, 0, walk, self._word)
            held = part.take(readable)
            runs = self._of_one_order(words, held)
            yield self._of_several_orders(words, held, walk) if runs is None else runs

    def _of_one_order(self, words: U64, leaves: Entries) -> Extents | None:
        """The preservations of leaves that are all of one order, as most are; None for others."""
        bits = np.uint64(self.geometry.leaf_bits)
        apart = np.ones(len(words), np.bool_)
        apart[1:] = np.diff(leaves.prefix) != 1
        apart[:1] = False
        first, count = runs_of_set_bits(words, apart)
        if not len(first):
            return Extents.empty(self.geometry.page_shift)
        if apart.any():
            row = first >> bits
            first += (leaves.prefix[row] - row) << bits
        else:
            first += leaves.prefix[0] << bits
        for known in self.geometry.bands:
            if known.first <= first[0] and first[-1] + count[-1] - _ONE <= known.last:
                first -= np.uint64(known.base)
                first <<= np.uint64(self.geometry.page_shift + known.order)
                order = np.full(len(first), known.order, np.uint8)
                return Extents(self.geometry.page_shift, first, order, count)
        return None

    def _of_several_orders(self, words: U64, leaves: Entries, walk: Walk) -> Extents:
        """The preservations of any leaves; keys that no kernel makes become findings."""
        bits = np.uint64(self.geometry.leaf_bits)
        first, count = runs_of_set_bits(words)
        row = first >> bits
        first += (leaves.prefix[row] - row) << bits
        last = first + count - _ONE
        starts, ends, bases, orders = self._bands()
        band = np.searchsorted(starts, first, "right") - 1
        straddling = (band < 0) | (last > ends[band])
        if straddling.any():
            first, last = self._split(first, last, leaves.phys[row], straddling, walk)
            band = np.searchsorted(starts, first, "right") - 1
        shift = self.geometry.page_shift
        phys = (first - bases[band]) << (orders[band] + np.uint64(shift))
        return Extents(shift, phys, orders[band].astype(np.uint8), last - first + _ONE).joined()

    def _split(self, first: U64, last: U64, leaf: U64, straddling: Bool, walk: Walk) -> tuple[U64, U64]:
        """Cut runs that cross from one order to the next; what lies in no band becomes a finding. Rare."""
        pieces = []
        for low, high, node in zip(
            *(column[straddling].tolist() for column in (first, last, leaf)), strict=True
        ):
            inside = [(max(low, band.first), min(high, band.last)) for band in self.geometry.bands]
            inside = [(left, right) for left, right in inside if left <= right]
            pieces += inside
            lost = high - low + 1 - sum(right - left + 1 for left, right in inside)
            if lost:
                message = (
                    f"{lost} of the keys {low:#x} to {high:#x} in the leaf at {node:#x} have no order bit, or "
                    "stand for memory past the end of the address space; they are not listed"
                )
                problem = MapKeyImpossible(low, level=0, first=low, last=high, keys=lost)
                walk.findings.append(problem.finding(node, message))
        cut = np.array(pieces, np.uint64).reshape(-1, 2)
        first, last = (
            np.concatenate([kept[~straddling], more])
            for kept, more in ((first, cut[:, 0]), (last, cut[:, 1]))
        )
        ascending = np.argsort(first, kind="stable")
        return first[ascending], last[ascending]


def _kind(level: int) -> str:
    return "table" if level else "leaf"
