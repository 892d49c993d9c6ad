"""The radix tree of kho-v2, kho-v3 and kho-v4: kho_radix_walk_tree() of kernel/liveupdate/kexec_handover.c.

The walk is breadth-first and by columns: a level is the addresses of its nodes and their key prefixes. The kernel
trusts every entry; here each is checked for alignment, range and repetition before it is followed, so the walk ends
on any input, after at most one visit a page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import RadixGeometry, kho_radix_leaf, kho_radix_node
from khodump.abi.layout import dtype_of
from khodump.arrays import I64, U64, Bool
from khodump.extents import Extents
from khodump.findings import Finding, Severity
from khodump.memory import Hole, PhysicalMemory, Presence, page_numbers
from khodump.tracker import Nodes, Tracker, Walk
from khodump.trackers.bitmaps import runs_of_set_bits

_BATCH_BYTES: Final = 8 << 20


@dataclass(frozen=True, eq=False)
class _Entries:
    """Pointers to the nodes of one level, as columns.

    Attributes:
        phys: uint64, where they point.
        prefix: uint64, the key prefix of the node pointed to.
        parent: uint64, physical address of the table that holds the pointer.
    """

    phys: U64
    prefix: U64
    parent: U64

    def take(self, index: Bool | I64 | slice) -> _Entries:
        return _Entries(self.phys[index], self.prefix[index], self.parent[index])


class RadixTracker(Tracker):
    """A preserved-memory radix tree."""

    def __init__(self, memory: PhysicalMemory, root: int, geometry: RadixGeometry) -> None:
        self.root = root
        self.page_shift = geometry.page_shift
        self.geometry = geometry
        self.depth = geometry.depth
        self.shape = "radix tree"
        self._memory = memory
        self._entry = dtype_of(kho_radix_node(geometry.page_size)).base
        self._word = dtype_of(kho_radix_leaf(geometry.page_size)).base

    def walk(self) -> Walk:
        """See `Tracker.walk`."""
        walk = Walk()
        walk.batches = self._leaf_runs(self.descend(walk), walk)
        return walk

    def holds(self, phys: int, order: int) -> bool | None:
        """See `Tracker.holds`."""
        geometry, node = self.geometry, self.root
        if phys % (geometry.page_size << order):
            return False
        slots, bit = geometry.path(geometry.encode(phys, order))
        for slot in slots:
            entry = self._memory.read(node + slot * self._entry.itemsize, self._entry.itemsize)
            if isinstance(entry, Hole):
                return None
            node = int.from_bytes(entry, "little")
            if not node:
                return False
            if node % geometry.page_size:
                return None
        found = self._memory.read(node + bit // 8, 1)
        return None if isinstance(found, Hole) else bool(found[0] >> bit % 8 & 1)

    def descend(self, walk: Walk) -> _Entries:
        """Walk the tables, level by level, and return the pointers to the leaves in ascending key order."""
        none = np.zeros(1, np.uint64)
        level = self.geometry.depth - 1
        if not self.root:
            message = "the map's root pointer is 0: nothing was handed over, or the map was not finished"
            walk.findings.append(Finding("map-root-missing", Severity.ERROR, None, message, {"value": 0}))
            return _Entries(none[:0], none[:0], none[:0])
        entries = _Entries(np.array([self.root], np.uint64), none, none)
        seen: U64 = np.zeros(0, np.uint64)
        while True:
            entries = self._admit(entries, level, seen, walk)
            if not level or not len(entries.phys):
                return entries
            seen = np.union1d(seen, entries.phys)
            entries = self._children(entries, level, walk)
            level -= 1

    def _children(self, tables: _Entries, level: int, walk: Walk) -> _Entries:
        """The pointers in these tables, in ascending key order."""
        found = []
        for part in self._batches(tables):
            words, readable = self._gather(part, level, walk, self._entry)
            row, slot = np.nonzero(words)
            table = np.flatnonzero(readable)[row]
            prefix = (part.prefix[table] << np.uint64(self.geometry.table_bits)) | slot.astype(np.uint64)
            found.append(_Entries(words[row, slot].astype(np.uint64), prefix, part.phys[table]))
        columns = ("phys", "prefix", "parent")
        return _Entries(*(np.concatenate([getattr(part, name) for part in found]) for name in columns))

    def _batches(self, entries: _Entries) -> Iterator[_Entries]:
        step = _BATCH_BYTES // self.geometry.page_size
        for at in range(0, len(entries.phys), step):
            yield entries.take(slice(at, at + step))

    def _gather(
        self, entries: _Entries, level: int, walk: Walk, word: np.dtype[np.uint64]
    ) -> tuple[U64, Bool]:
        """The words of the nodes that could be read, one row a node, and which those are; notes them all."""
        pages = self._memory.pages(
            page_numbers(entries.phys, self.geometry.page_size), self.geometry.page_size
        )
        readable: Bool = pages.presence == Presence.PRESENT
        words = pages.data.view(word)
        if not readable.all():
            words = words[readable]
        empty = np.zeros(len(entries.phys), np.bool_)
        empty[readable] = ~words.any(axis=1)
        levels = np.full(len(entries.phys), level, np.uint8)
        walk.node_parts.append(Nodes(entries.phys, levels, entries.prefix, pages.presence, empty))
        for index in np.flatnonzero(~readable).tolist():
            phys, prefix, parent = (
                int(column[index]) for column in (entries.phys, entries.prefix, entries.parent)
            )
            why = self._memory.hole_at(phys, Presence(int(pages.presence[index])))
            outside = phys >= self._memory.end
            message = f"the {_kind(level)} at {phys:#x} (level {level}, key prefix {prefix:#x}) is {why}"
            evidence = {"level": level, "prefix": prefix, "parent": parent, "value": phys}
            rule = "map-pointer-outside-memory" if outside else "map-node-unreadable"
            walk.findings.append(Finding(rule, Severity.ERROR, phys, message, evidence))
        return words, readable

    def _admit(self, entries: _Entries, level: int, seen: U64, walk: Walk) -> _Entries:
        """Without the pointers that no kernel writes; each table with such pointers gives one finding a rule."""
        width = self.geometry.key_width - self.geometry.key_shift(level)
        first_seen = np.zeros(len(entries.phys), np.bool_)
        first_seen[np.unique(entries.phys, return_index=True)[1]] = True
        checks = (
            (
                "map-key-impossible",
                entries.prefix >> np.uint64(max(width, 0)) != 0,
                "makes keys wider than any kernel's",
            ),
            (
                "map-pointer-unaligned",
                entries.phys % np.uint64(self.geometry.page_size) != 0,
                "is not page-aligned",
            ),
            ("map-node-shared", ~first_seen | np.isin(entries.phys, seen), "is a node that was met before"),
        )
        good = np.ones(len(entries.phys), np.bool_)
        for rule, bad, what in checks:
            self._report(rule, what, entries.take(good & bad), level, walk)
            good &= ~bad
        return entries if good.all() else entries.take(good)

    def _report(self, rule: str, what: str, bad: _Entries, level: int, walk: Walk) -> None:
        _, firsts, counts = np.unique(bad.parent, return_index=True, return_counts=True)
        for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
            phys, prefix, parent = (int(column[first]) for column in (bad.phys, bad.prefix, bad.parent))
            slot = prefix & ((1 << self.geometry.table_bits) - 1)
            if level == self.geometry.depth - 1:
                message = f"the root pointer {phys:#x} {what}"
            else:
                message = (
                    f"slot {slot} of the table at {parent:#x} (level {level + 1}) points to {phys:#x}, which {what}; "
                    f"nothing below key prefix {prefix:#x} is listed"
                )
            if count > 1:
                message += f" ({count} such slots in this table)"
            evidence = {"level": level, "prefix": prefix, "slot": slot, "value": phys, "slots": count}
            walk.findings.append(Finding(rule, Severity.ERROR, parent or phys, message, evidence))

    def _leaf_runs(self, leaves: _Entries, walk: Walk) -> Iterator[Extents]:
        """The preservations of these leaves, a batch of leaves at a time."""
        bits = np.uint64(self.geometry.leaf_bits)
        for part in self._batches(leaves):
            words, readable = self._gather(part, 0, walk, self._word)
            part = part.take(readable)  # noqa: PLW2901 - unreadable leaves are dealt with
            first, last = runs_of_set_bits(words)
            leaf = first >> bits
            base = part.prefix[leaf] << bits
            mask = (np.uint64(1) << bits) - np.uint64(1)
            yield self._decode(base | first & mask, base | last & mask, part.phys[leaf], walk)

    def _decode(self, first: U64, last: U64, leaf: U64, walk: Walk) -> Extents:
        """Runs of keys `first` to `last` (inclusive) as extents; keys that no kernel makes become findings."""
        starts, ends, bases, orders = (
            np.array(column, np.uint64) for column in zip(*self.geometry.bands, strict=True)
        )
        band = np.searchsorted(starts, first, "right") - 1
        straddling = (band < 0) | (last > ends[band])
        if straddling.any():
            first, last = self._split(first, last, leaf, straddling, walk)
            band = np.searchsorted(starts, first, "right") - 1
        shift = orders[band] + np.uint64(self.page_shift)
        phys = (first - bases[band]) << shift
        return Extents(
            self.page_shift, phys, orders[band].astype(np.uint8), last - first + np.uint64(1)
        ).joined()

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
                evidence = {"level": 0, "first": low, "last": high, "keys": lost}
                walk.findings.append(Finding("map-key-impossible", Severity.ERROR, node, message, evidence))
        cut = np.array(pieces, np.uint64).reshape(-1, 2)
        first, last = (
            np.concatenate([kept[~straddling], more])
            for kept, more in ((first, cut[:, 0]), (last, cut[:, 1]))
        )
        ascending = np.argsort(first, kind="stable")
        return first[ascending], last[ascending]


def _kind(level: int) -> str:
    return "table" if level else "leaf"
