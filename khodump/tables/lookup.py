"""`khodump lookup`: everything that is known of single physical addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from khodump.claimants import Claimant, find_claimants
from khodump.columns.extents import Preservation
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.mapless import MaplessRoot
from khodump.owner import Owner
from khodump.rows import Address, Count, Fact, Head, Kind, Lines, Result, Size, Tail, Text, table
from khodump.subtrees.luo_state import file_owner
from khodump.subtrees.memfd import FOLIOS, Memfd
from khodump.tables.key import key_bits
from khodump.tables.slots import slots_to_block, slots_to_page, steps_to_page
from khodump.tracker import Trace

_SHOWN_BYTES: Final = 16
_VALUE_SIZE: Final = 8
_PRINTABLE: Final = range(0x20, 0x7F)


@dataclass(frozen=True)
class LookupRow:
    """A row of `khodump lookup`.

    Attributes:
        address: that was asked about.
        state: what it is, or what the block of the row is to it.
        order, start, end: of the block.
        distance: bytes between block and address; None for a block that covers it.
        key, key_bits: of the block.
        owner: of the byte, or of the block.
        memfd_offset: where the byte is in the memfd whose folio the block is.
        file, file_offset: where the image holds it.
        bytes: whether the image holds it, and why not.
        path: the pages of the map on the way, each with the slot that leads on.
        value: the 8 bytes there as a number.
        holds: the bytes there.
        slots: the way through the map, a line a level.
        claimed_by: all who claim it, and where each says so.
    """

    address: Address
    state: Text
    order: Count | None = None
    start: Address | None = None
    end: Address | None = None
    distance: Size | None = None
    key: Address | None = None
    key_bits: Text | None = None
    owner: Text | None = None
    memfd_offset: Address | None = None
    file: Text | None = None
    file_offset: Address | None = None
    bytes: Text | None = None
    path: Text | None = None
    value: Address | None = None
    holds: Text | None = None
    slots: Lines | None = None
    claimed_by: Lines | None = None


class _Place(NamedTuple):
    """What the image holds of a byte, and of those behind it; the fields are columns of `LookupRow`."""

    file: str | None = None
    file_offset: int | None = None
    bytes: str | None = None
    value: int | None = None
    holds: str | None = None


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
    finder = _Finder(handover, addresses)
    rows = [row for address in addresses for row in finder.rows(address)]
    return Result(
        "khodump.lookup/1",
        lambda: _head(handover),
        table("addresses", LookupRow, rows, upright=True),
        lambda: _tail(handover, addresses),
    )


def lookup_bytes(root: MaplessRoot, addresses: Sequence[int]) -> Result:
    """What the image holds at these addresses, where no handover can be read, so that nothing else can be told."""
    rows = [
        LookupRow(address, "unknown", **place_of(root.memory, address)._asdict()) for address in addresses
    ]
    facts = (
        Fact("image", root.memory.description, Kind.TEXT),
        Fact("fdt", root.phys, Kind.ADDRESS),
    )
    summary = "only what the image holds can be told, for no handover can be read"
    return Result(
        "khodump.lookup/1",
        lambda: Head(facts),
        table("addresses", LookupRow, rows, upright=True),
        lambda: Tail(summary, is_partial=True),
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

    def __init__(self, handover: Handover, addresses: Sequence[int]) -> None:
        self._handover = handover
        self._preserved = handover.preserved
        self._ownership = handover.ownership
        self._memfds = _memfds(handover)
        self._regions = [region for region in handover.scratch or () if not region.wraps]
        self._no_owner = handover.nobody if handover.user_findings else None
        self._claimants = find_claimants(handover, addresses)

    def rows(self, address: int) -> Iterator[LookupRow]:
        """The rows of one address."""
        blocks, kinds = self._preserved.lookup(address), self._kinds(address)
        place = place_of(self._handover.memory, address)
        for block in blocks:
            row = self._row(address, _Match(", ".join(["preserved", *kinds]), block, address))
            slots = slots_to_page(self._handover, address)  # of a page of the map, the way to it tells more
            lines = list(slots) or slots_to_block(self._handover, self._handover.tracker.trace(*block))
            yield self._with_all(row, place, lines)
        if blocks:
            return
        state = ", ".join(kinds) or ("unknown" if is_unknown(self._handover, address) else "not preserved")
        row = LookupRow(address, state, owner=self._claimant(address), path=self._way_to(address))
        yield self._with_all(row, place, self._slots(address))
        for match in self._neighbours(address):
            yield self._row(address, match)

    def _row(self, address: int, match: _Match) -> LookupRow:
        """What there is to say of a block."""
        block, trace = match.block, self._handover.tracker.trace(*match.block)
        owner = self._ownership.at(match.at, block.order)
        return LookupRow(
            address,
            match.state,
            block.order,
            block.phys,
            block.phys + (self._handover.page_size << block.order),
            match.distance,
            trace.key,
            None if trace.key is None else key_bits(trace.key, trace.marker),
            self._no_owner if owner is None else str(owner),
            self._memfd_offset(owner, block, match.at) if match.distance is None else None,
            path=_path(trace),
        )

    def _with_all(self, row: LookupRow, place: _Place, slots: Iterable[str]) -> LookupRow:
        """The row with what is known of the address itself."""
        claimants = self._claimants[row.address]
        return replace(
            row,
            **place._asdict(),
            slots="\n".join(slots) or None,
            claimed_by="\n".join(self._claim(claimant) for claimant in claimants) or None,
        )

    def _claim(self, claimant: Claimant) -> str:
        """Who claims, and the entry that says so. Names may hold line ends, which would make two lines of one."""
        owner = str(claimant.owner).replace("\n", " ")
        if claimant.entry is None:
            return owner
        what, at = claimant.entry
        place = self._handover.memory.locate(at)
        words = f"{owner}: {what}, at {at:#x}"
        return words if place is None else f"{words}; {place[0]} at offset {place[1]:#x}"

    def _slots(self, address: int) -> list[str]:
        """The way to a page of the map, or else to the bit that would preserve the address by itself."""
        to_page = list(slots_to_page(self._handover, address))
        page = address // self._handover.page_size * self._handover.page_size
        if to_page or "map's own page" in self._kinds(address):
            return to_page
        return list(slots_to_block(self._handover, self._handover.tracker.trace(page, 0)))

    def _kinds(self, address: int) -> list[str]:
        """What KHO itself uses this byte for."""
        kinds = []
        if any(region.addr <= address < region.end for region in self._regions):
            kinds.append("scratch")
        start, end = self._handover.map_pages
        at = np.uint64(address)
        if ((start <= at) & (at - start < end - start)).any():  # the last may end where addresses do
            kinds.append("map's own page")
        return kinds

    def _claimant(self, address: int) -> str | None:
        """Who counts on a byte that is not preserved."""
        ownership, at = self._ownership, np.uint64(address)
        rows = np.flatnonzero((ownership.missing_start <= at) & (at < ownership.missing_end))
        return str(ownership.owner_of(int(ownership.missing_owner[rows[0]]))) if len(rows) else None

    def _way_to(self, address: int) -> str | None:
        """The slots that lead to a page of the map, from its first page on; None for other pages."""
        steps = steps_to_page(self._handover, address)
        tables = [f"{table.phys:#x}[{table.slot}]" for table in steps[:-1]]
        pages = [f"{page.phys:#x}" for page in steps[-1:]]
        return " > ".join([*tables, *pages]) or None

    def _memfd_offset(self, owner: Owner | None, block: Preservation, address: int) -> int | None:
        """Where the byte is in the file whose folio the block is, if it is one."""
        size = self._handover.page_size
        page = np.uint64(address // size * size)
        for memfd in self._memfds.get(owner, ()) if owner else ():
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


def place_of(memory: PhysicalMemory, address: int) -> _Place:
    """What the image holds at an address, and where."""
    data = memory.read(address, min(_SHOWN_BYTES, (1 << 64) - address))
    if isinstance(data, Hole):
        data = memory.read(address, 1)
    if isinstance(data, Hole):
        return _Place(bytes=memory.hole_at(address, data.presence))
    value = int.from_bytes(data[:_VALUE_SIZE], "little") if len(data) >= _VALUE_SIZE else None
    letters = "".join(chr(byte) if byte in _PRINTABLE else "." for byte in data)
    holds = f"{data.hex(' ')}  {letters}"
    found = memory.locate(address)
    if found is None:
        return _Place(None, None, "present, but compressed or left out as zeros", value, holds)
    return _Place(*found, "present", value, holds)


def _memfds(handover: Handover) -> dict[Owner, list[Memfd]]:
    """The memfds by the owner of their folios; hostile sessions may share a name."""
    found: dict[Owner, list[Memfd]] = {}
    written = handover.luo.sessions if handover.luo else ()
    listed = handover.unserialized.sessions if handover.unserialized else ()
    for session in (*written, *listed):
        for file in session.files:
            if file.state is not None:
                owner = file_owner(session.name, file.token, file.handler).with_part(FOLIOS)
                found.setdefault(owner, []).append(file.state)
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
