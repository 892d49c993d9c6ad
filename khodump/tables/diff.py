"""`khodump diff`: what two handovers preserve and mean, against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from khodump.columns.arrays import AnyArray
from khodump.diffing.batch import CHANGES, NO_BLOCK, Batch
from khodump.diffing.bits import BitDiff, bit_diff
from khodump.diffing.census import Census, census
from khodump.diffing.map import MapDiff
from khodump.diffing.meaning import Meaning, compare
from khodump.diffing.owner import owner_steps
from khodump.diffing.side import Side
from khodump.diffing.tally import Tally
from khodump.diffing.unknown import Unknown, unknown, unknown_steps
from khodump.diffing.words import map_words, meaning_words
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.owner import Owner
from khodump.rows import (
    Address,
    Block,
    ChangeWord,
    Column,
    Count,
    Fact,
    Head,
    Kind,
    Result,
    Rows,
    Size,
    Tail,
    Text,
    block_of,
    columns_of,
    table,
)

_CHANGE = Column("change", Kind.CHANGE)
_ORDER_COLUMNS = (Column("old order", Kind.COUNT), Column("new order", Kind.COUNT))
_PAGE_COLUMNS = (
    _CHANGE,
    Column("phys", Kind.ADDRESS),
    Column("end", Kind.ADDRESS),
    *_ORDER_COLUMNS,
    Column("size", Kind.SIZE),
)
_RUN_COLUMNS = (*_PAGE_COLUMNS[:-1], Column("count", Kind.COUNT), _PAGE_COLUMNS[-1])
_OWNER_COLUMNS = (Column("old owner", Kind.TEXT), Column("new owner", Kind.TEXT))
_BLOCK_ROWS: Final = 1 << 16
_EQUAL: Final = "the maps are equal"
_SEEM_EQUAL: Final = "the maps are equal where both could be read"


@dataclass(frozen=True)
class TotalRow:
    """What became of the bytes in blocks of one order, on either side; those that are the same are in no runs."""

    change: ChangeWord
    old_order: Count | None
    new_order: Count | None
    runs: Count | None
    size: Size


@dataclass(frozen=True)
class ChangeRow:
    """What came, went, changed or moved, as in `Difference`."""

    change: ChangeWord
    what: Text
    name: Text
    field: Text | None
    old: Text | None
    new: Text | None


@dataclass(frozen=True)
class ChangeCountRow:
    """How many things of a kind changed so."""

    change: ChangeWord
    what: Text
    field: Text | None
    count: Count


@dataclass(frozen=True)
class LeftOpenRow:
    """Memory of which the map of a side, which is named first, does not tell whether it is preserved."""

    unknown: Text
    phys: Address
    end: Address
    order: Count


@dataclass(frozen=True)
class NotComparedRow:
    """A thing that one side's image does not tell enough of: its kind, and its name."""

    not_compared: Text
    name: Text


@dataclass(frozen=True)
class Diff:
    """Two handovers against each other.

    Attributes:
        old, new: open handovers.
        owners: say whose each difference is, and cut runs where owners change.
        stat: totals and counts alone; where bits tell them, runs are not even held.
    """

    old: Handover
    new: Handover
    owners: bool = False
    stat: bool = False

    @property
    def differ(self) -> bool:
        """Whether they surely do, in what is preserved or in what it means; where KHO's own pages lie does not count."""
        return self.meaning.differ or self._tally.differ

    @property
    def complete(self) -> bool:
        """Whether all could be read in which they may differ."""
        if self._gone or self.meaning.unsure:
            return False
        return all(finding.severity is not Severity.ERROR for finding in self._findings)

    @property
    def _gone(self) -> bool:
        """Whether it is not known what a side's map lists, so that it cannot be compared."""
        return any(handover.is_map_unknown for _, handover in self._sides)

    @cached_property
    def meaning(self) -> Meaning:
        """How the meanings differ."""
        return compare(self.old, self.new)

    def result(self, *, pages: bool = False) -> Result:
        """Facts, what changed in meaning, totals, and the runs that differ.

        Args:
            pages: a row a block, of the smaller of the two sides' sizes, instead of runs. Where only a part of a block
                differs so, the row has that part.
        """
        rows = self.totals() if self.stat else self._rows(pages=pages)
        return Result("khodump.diff/1", self._head, rows, self._tail)

    @property
    def _sides(self) -> tuple[tuple[str, Handover], tuple[str, Handover]]:
        return ("old", self.old), ("new", self.new)

    @property
    def _unit(self) -> int:
        """log2 of the smaller page size."""
        return min(handover.tracker.page_shift for _, handover in self._sides)

    @property
    def _legible(self) -> bool:
        """Whether both maps could be read whole."""
        errors = (finding.severity is Severity.ERROR for side in self._census for finding in side.findings)
        return not self._gone and not any(errors)

    @property
    def _equal(self) -> str:
        return _EQUAL if self._legible else _SEEM_EQUAL

    @cached_property
    def _bits(self) -> BitDiff | None:
        return bit_diff(self.old, self.new) if self.stat and not self.owners and not self._gone else None

    @cached_property
    def _census(self) -> tuple[Census, Census]:
        return (self._bits.old, self._bits.new) if self._bits else (census(self.old), census(self.new))

    @property
    def _left_open(self) -> Iterator[tuple[str, list[Unknown]]]:
        """What the map of each side does not tell; a map that tells nothing at all is said otherwise."""
        for (name, handover), spans in zip(self._sides, self._unknown, strict=True):
            if spans and not handover.is_map_unknown:
                yield name, spans

    @cached_property
    def _unknown(self) -> tuple[list[Unknown], list[Unknown]]:
        if self._bits:
            return [], []  # or bits had not told
        return unknown(self.old), unknown(self.new)

    @cached_property
    def _names(self) -> dict[Owner, int]:
        """Owners and their numbers; filled as the sides are made."""
        return {}

    @cached_property
    def _map(self) -> MapDiff:
        return MapDiff(self._side(self.old, self._unknown[0]), self._side(self.new, self._unknown[1]))

    def _side(self, handover: Handover, spans: list[Unknown]) -> Side:
        owner = owner_steps(handover, self._unit, self._names) if self.owners else None
        return Side(handover.preserved, unknown_steps(spans, handover.tracker.page_shift, self._unit), owner)

    @cached_property
    def _tally(self) -> Tally:
        return self._bits.tally if self._bits else Tally.of(self._map.batches())

    def _rows(self, *, pages: bool) -> Rows:
        columns: tuple[Column, ...] = _PAGE_COLUMNS if pages else _RUN_COLUMNS
        columns += _OWNER_COLUMNS if self.owners else ()
        return Rows("pages" if pages else "runs", columns, self._blocks(pages=pages), empty=self._equal)

    def _blocks(self, *, pages: bool) -> Iterator[Block]:
        if not self._tally.runs:
            return
        batches = self._map.batches()
        for batch in self._map.cut(batches, _BLOCK_ROWS) if pages else batches:
            yield self._block(batch, pages=pages)

    def _block(self, batch: Batch, *, pages: bool) -> Block:
        unit = np.uint64(self._unit)
        columns: list[AnyArray] = [
            np.array(CHANGES, np.object_)[batch.change],
            batch.start << unit,
            batch.end << unit,
            _orders(self.old)[batch.old],
            _orders(self.new)[batch.new],
        ]
        columns += [] if pages else [batch.cells(self._unit)]
        columns.append((batch.end - batch.start) << unit)
        if self.owners:
            names = np.array([None, *map(str, self._names)], np.object_)
            columns += [names[batch.old_owner], names[batch.new_owner]]
        return columns

    def totals(self) -> Rows:
        """Runs and bytes by what became of them; nothing when all is the same."""
        blocks = (block_of(TotalRow, rows) for rows in self._totals())
        return Rows("totals", columns_of(TotalRow), blocks, empty=self._equal)

    def _totals(self) -> Iterator[list[TotalRow]]:
        """All rows, worked out when they are taken."""
        old_orders, new_orders = _orders(self.old), _orders(self.new)
        rows = [
            TotalRow("same", old_orders[block], new_orders[block], None, size)
            for block, size in self._same().items()
            if size
        ]
        for (change, old, new), runs in sorted(self._tally.runs.items()):
            size = self._tally.pages[change, old, new] << self._unit
            rows.append(TotalRow(CHANGES[change], old_orders[old], new_orders[new], runs, size))
        yield rows

    def _same(self) -> dict[int, int]:
        """Bytes that both sides preserve in blocks of one size, by log2 of that."""
        shift = self.old.tracker.page_shift
        same = {total.order + shift: total.size for total in self._census[0].totals}
        for (_, old, _), pages in self._tally.pages.items():
            if old != NO_BLOCK:
                same[old] -= pages << self._unit
        return same

    def changes(self) -> Rows:
        """What changed in meaning, one by one."""
        return table("changes", ChangeRow, [ChangeRow(*each) for each in self.meaning.differences])

    def _counts(self) -> Rows:
        """The same, counted."""
        counts = Counter((each.change, each.what, each.field) for each in self.meaning.differences)
        rows = [ChangeCountRow(*kind, count) for kind, count in counts.items()]
        return table("changes", ChangeCountRow, rows)

    def side_facts(self) -> Iterator[Fact]:
        """What tells one side from the other."""
        for (name, handover), side in zip(self._sides, self._census, strict=True):
            yield from _facts(name, handover, side)

    def size_facts(self) -> Iterator[Fact]:
        """How many bytes are the same, and what became of the others."""
        yield Fact("same", sum(self._same().values()), Kind.SIZE)
        for change in CHANGES:
            yield Fact(change, self._tally.size(change, self._unit), Kind.SIZE)

    def doubts(self) -> Iterator[Rows]:
        """What could not be compared, and what the maps leave open; nothing where all could be."""
        unsure = [NotComparedRow(*each) for each in self.meaning.unsure]
        if unsure:
            yield table("not compared", NotComparedRow, unsure)
        spans = [LeftOpenRow(name, *span) for name, found in self._left_open for span in found]
        if spans:
            yield table("left open", LeftOpenRow, spans)

    def _head(self) -> Head:
        changes = self._counts() if self.stat else self.changes()
        totals = () if self.stat else (self.totals(),)
        return Head((*self.side_facts(), *self.size_facts()), (changes, *self.doubts(), *totals))

    @cached_property
    def _findings(self) -> list[Finding]:
        """What the maps leave open, and all that is wrong with either side."""
        found = [_left_open(name, spans) for name, spans in self._left_open]
        for (name, handover), side in zip(self._sides, self._census, strict=True):
            told = handover.told([*side.findings, *handover.other_findings])
            found += [replace(finding, message=f"{name}: {finding.message}") for finding in told]
        return found

    def _tail(self) -> Tail:
        maps = map_words(self._tally, sum(self._same().values()), self._unit, complete=self._legible)
        return Tail("; ".join([maps, *meaning_words(self.meaning)]), self._findings)


def _orders(handover: Handover) -> AnyArray:
    """The order of a block by log2 of its size; None for NO_BLOCK."""
    shift = handover.tracker.page_shift
    return np.array([*(size - shift for size in range(NO_BLOCK)), None], np.object_)


def _facts(name: str, handover: Handover, side: Census) -> Iterator[Fact]:
    """What tells one side from another for a person; where it lies differs without making a difference."""
    metadata = handover.metadata
    yield Fact(f"{name} image", handover.memory.description, Kind.TEXT)
    yield Fact(f"{name} release", metadata.release if metadata else None, Kind.TEXT)
    yield Fact(f"{name} kexec count", metadata.kexec_count if metadata else None, Kind.COUNT)
    yield Fact(f"{name} fdt", handover.fdt.phys, Kind.ADDRESS)
    yield Fact(f"{name} root", handover.tracker.root, Kind.ADDRESS)
    yield Fact(f"{name} nodes", side.nodes, Kind.COUNT)
    yield Fact(f"{name} preserved", None if handover.is_refuted else side.size, Kind.SIZE)
    if handover.basis_of_sessions:
        yield Fact(f"{name} sessions", handover.basis_of_sessions, Kind.TEXT)


def _left_open(name: str, spans: list[Unknown]) -> Finding:
    """A warning that what a map does not tell is not absent."""
    first = spans[0]
    more = f", and {len(spans) - 1} such stretches more" if len(spans) > 1 else ""
    message = (
        f"{name}: nobody can tell whether {first.start:#x}..{first.end:#x} is preserved at order {first.order}{more}: "
        "that part of the map could not be read, so what is missing there is unknown, not absent"
    )
    return Finding("map-part-unknown", Severity.WARNING, None, message, {"stretches": len(spans)})
