"""`khodump lookup`: everything that is known of single physical addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from khodump.analysis.key import key_bits
from khodump.analysis.ownership import own
from khodump.extents import Preservation
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.memory import Hole
from khodump.rows import Cell, Column, Fact, Head, Kind, Result, Rows, Tail
from khodump.subtrees.luo_state import file_owner
from khodump.subtrees.memfd import Memfd
from khodump.tracker import Trace

_COLUMNS: Final = (
    Column("address", Kind.ADDRESS),
    Column("state", Kind.TEXT),
    Column("order", Kind.COUNT),
    Column("start", Kind.ADDRESS),
    Column("end", Kind.ADDRESS),
    Column("distance", Kind.SIZE),
    Column("key", Kind.ADDRESS),
    Column("key bits", Kind.TEXT),
    Column("owner", Kind.TEXT),
    Column("memfd offset", Kind.ADDRESS),
    Column("file", Kind.TEXT),
    Column("file offset", Kind.ADDRESS),
    Column("bytes", Kind.TEXT),
    Column("path", Kind.TEXT),
)


#: More levels than any tree has.
_MOST_STEPS: Final = 16


class _Place(NamedTuple):
    """Where the image holds a byte, and else why not."""

    file: str | None = None
    offset: int | None = None
    presence: str | None = None


class _Match(NamedTuple):
    """A preserved block, and what it is to an address.

    Attributes:
        state: what it is.
        block: the preservation.
        at: the byte of the block that is asked about.
        distance: bytes between block and address; None for a block that covers it.
    """

    state: str
    block: Preservation
    at: int
    distance: int | None = None


def lookup(handover: Handover, addresses: Sequence[int]) -> Result:
    """A row for each preservation that covers an address, or else one for the address and one for each neighbour.

    Args:
        handover: an open handover.
        addresses: physical, in bytes.
    """
    finder = _Finder(handover)
    rows = [row for address in addresses for row in finder.rows(address)]
    return Result(
        "khodump.lookup/1",
        lambda: _head(handover),
        Rows("addresses", _COLUMNS, [list(zip(*rows, strict=True))]),
        lambda: _tail(handover, addresses),
    )


def is_unknown(handover: Handover, address: int) -> bool:
    """Whether damage of the map leaves it open if a byte is preserved, where no block that is known covers it."""
    if handover.is_refuted:
        return True
    if not any(finding.severity is Severity.ERROR for finding in handover.findings):
        return False
    orders = range(64 - handover.tracker.page_shift)
    sizes = (handover.page_size << order for order in orders)
    return any(
        handover.tracker.holds(address // size * size, order) is None
        for order, size in zip(orders, sizes, strict=True)
    )


class _Finder:
    """Answers about one handover; what several answers need is worked out once."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._preserved = handover.preserved
        self._ownership = own(handover)
        self._memfds = _memfds(handover)
        self._regions = [region for region in handover.scratch or () if not region.wraps]
        self._no_owner = handover.nobody if handover.user_findings else None

    def rows(self, address: int) -> Iterator[tuple[Cell, ...]]:
        """The rows of one address."""
        blocks, kinds, place = self._preserved.lookup(address), self._kinds(address), self._place(address)
        for block in blocks:
            yield self._row(address, _Match(", ".join(["preserved", *kinds]), block, address), place)
        if blocks:
            return
        state = ", ".join(kinds) or ("unknown" if is_unknown(self._handover, address) else "not preserved")
        yield address, state, *(None,) * 6, self._claimant(address), None, *place, self._way_to(address)
        for match in self._neighbours(address):
            yield self._row(address, match, _Place())

    def _row(self, address: int, match: _Match, place: _Place) -> tuple[Cell, ...]:
        block, trace = match.block, self._handover.tracker.trace(*match.block)
        end = block.phys + (self._handover.page_size << block.order)
        bits = None if trace.key is None else key_bits(trace.key, trace.marker)
        about = (block.order, block.phys, end, match.distance, trace.key, bits)
        owner = self._ownership.at(match.at, block.order) or self._no_owner
        offset = self._memfd_offset(owner, block, match.at) if match.distance is None else None
        return address, match.state, *about, owner, offset, *place, _path(trace)

    def _kinds(self, address: int) -> list[str]:
        """What KHO itself uses this byte for."""
        kinds = []
        if any(region.addr <= address < region.end for region in self._regions):
            kinds.append("scratch")
        nodes, leaf_size = self._handover.nodes, self._handover.tracker.leaf_size
        size = np.where(nodes.level == 0, leaf_size, self._handover.page_size).astype(np.uint64)
        at = np.uint64(address)
        if ((nodes.phys <= at) & (at - np.minimum(nodes.phys, at) < size)).any():
            kinds.append("map's own page")
        return kinds

    def _claimant(self, address: int) -> str | None:
        """Who counts on a byte that is not preserved."""
        ownership, at = self._ownership, np.uint64(address)
        rows = np.flatnonzero((ownership.missing_start <= at) & (at < ownership.missing_end))
        return ownership.name(int(ownership.missing_owner[rows[0]])) if len(rows) else None

    def _way_to(self, address: int) -> str | None:
        """The slots that lead to a page of the map, from its first page on; None for other pages."""
        nodes, page_size = self._handover.nodes, self._handover.page_size
        page = np.uint64(address // page_size * page_size)
        rows = np.flatnonzero(nodes.phys == page)
        if not len(rows):
            return None
        steps = [f"{address // page_size * page_size:#x}"]
        row = int(rows[0])
        while nodes.parent[row] and len(steps) <= _MOST_STEPS:
            parent, slot = int(nodes.parent[row]), int(nodes.slot[row])
            steps.insert(0, f"{parent:#x}[{slot}]")
            above = np.flatnonzero(nodes.phys == np.uint64(parent))
            if not len(above):
                break
            row = int(above[0])
        return " > ".join(steps)

    def _place(self, address: int) -> _Place:
        memory = self._handover.memory
        byte = memory.read(address, 1)
        if isinstance(byte, Hole):
            return _Place(presence=memory.hole_at(address, byte.presence))
        found = memory.locate(address)
        if found is None:
            return _Place(presence="present, but compressed or left out as zeros")
        return _Place(*found, "present")

    def _memfd_offset(self, owner: str | None, block: Preservation, address: int) -> int | None:
        """Where the byte is in the file whose folio the block is, if it is one."""
        size = self._handover.page_size
        page = np.uint64(address // size * size)
        for memfd in self._memfds.get(owner or "", ()):
            for batch in memfd.folios():
                # A folio that does not begin where a block does counts as a page, here as among the owners.
                rows = np.flatnonzero((batch.phys == np.uint64(block.phys)) | (batch.phys == page))
                if len(rows):
                    folio, index = int(batch.phys[rows[0]]), int(batch.index[rows[0]])
                    return index * size + address - folio
        return None

    def _neighbours(self, address: int) -> Iterator[_Match]:
        """The nearest blocks below and above an address that none covers."""
        runs, at = self._preserved, np.uint64(address)
        below = np.flatnonzero(runs.end <= at)
        if len(below):
            run = below[np.argmax(runs.end[below])]
            end, order = int(runs.end[run]), int(runs.order[run])
            block = Preservation(end - (self._handover.page_size << order), order)
            yield _Match("nearest below", block, end - 1, address - end)
        above = int(np.searchsorted(runs.phys, at, "right"))
        if above < runs.runs:
            block = Preservation(int(runs.phys[above]), int(runs.order[above]))
            yield _Match("nearest above", block, block.phys, block.phys - address)


def _memfds(handover: Handover) -> dict[str, list[Memfd]]:
    """The memfds by the owner of their folios; hostile sessions may share a name."""
    found: dict[str, list[Memfd]] = {}
    written = handover.luo.sessions if handover.luo else ()
    listed = handover.unserialized.sessions if handover.unserialized else ()
    for session in (*written, *listed):
        for file in session.files:
            if file.state is not None:
                found.setdefault(f"{file_owner(session.name, file.token, file.handler)}/folios", []).append(
                    file.state
                )
    return found


def _path(trace: Trace) -> str:
    """The pages on the way, each with the slot that leads on."""
    steps = [
        f"{node.phys:#x}[{node.slot}]" if node.level else f"leaf {node.phys:#x} bit {node.slot}"
        for node in trace.nodes
    ]
    return " > ".join(steps)


def _head(handover: Handover) -> Head:
    scratch = None if handover.scratch is None else len(handover.scratch)
    facts = (
        Fact("image", handover.memory.description, Kind.TEXT),
        Fact("fdt", handover.fdt.phys, Kind.ADDRESS),
        Fact("read as", handover.version, Kind.TEXT),
        Fact("page size", handover.page_size, Kind.SIZE),
        Fact("map", handover.tracker.shape, Kind.TEXT),
        Fact("scratch regions", scratch, Kind.COUNT),
    )
    return Head(facts)


def _tail(handover: Handover, addresses: Sequence[int]) -> Tail:
    count = sum(bool(handover.preserved.lookup(address)) for address in addresses)
    summary = f"{count} of {len(addresses)} addresses preserved"
    if handover.scratch is None:
        summary += "; nothing tells where scratch is"
    if handover.user_findings and handover.successor is not None:
        summary += "; owners may be missing: some of what KHO's users wrote was given back"
    elif handover.user_findings:
        summary += f"; owners may be missing: {handover.nobody}"
    lost = sum(handover.nodes.missing().values())
    if lost:
        summary += f"; {lost} of the map's {len(handover.nodes)} nodes unreadable"
    if handover.is_map_gone:
        summary += "; the map was given back: what is not found in it may have been preserved"
    return Tail(summary, handover.told(handover.all_findings), is_partial=handover.is_map_gone)
