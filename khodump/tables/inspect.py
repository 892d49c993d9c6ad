"""`khodump inspect`: everything that is preserved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

from khodump.columns.extents import Extents, OrderTotal
from khodump.findings import Finding
from khodump.handover import Handover
from khodump.numbers import format_size
from khodump.rows import Block, Column, Fact, Head, Kind, Result, Rows, Tail
from khodump.tracker import Nodes, Walk

_RUN_COLUMNS = (
    Column("phys", Kind.ADDRESS),
    Column("end", Kind.ADDRESS),
    Column("order", Kind.COUNT),
    Column("count", Kind.COUNT),
    Column("size", Kind.SIZE),
)
_PAGE_COLUMNS = (Column("phys", Kind.ADDRESS), Column("order", Kind.COUNT))
_TOTAL_COLUMNS = (
    Column("order", Kind.COUNT),
    Column("block", Kind.SIZE),
    Column("count", Kind.COUNT),
    Column("size", Kind.SIZE),
)
_SCRATCH_COLUMNS = (Column("scratch", Kind.ADDRESS), Column("end", Kind.ADDRESS), Column("size", Kind.SIZE))
_BLOCK_ROWS = 1 << 15


@dataclass(frozen=True)
class Selection:
    """Which preservations to list.

    Attributes:
        orders: only these; None for all.
        start, end: only those that touch these physical bytes, end exclusive; None for no end.
    """

    orders: tuple[int, ...] | None = None
    start: int = 0
    end: int | None = None

    def of(self, extents: Extents) -> Extents:
        """The selected part of `extents`."""
        if self == Selection():
            return extents
        return extents.select(orders=self.orders, start=self.start, end=self.end)


@dataclass
class _Tally:
    """What has passed by so far."""

    count: int = 0
    size: int = 0

    def counted(self, parts: Iterable[Extents]) -> Iterator[Extents]:
        for part in parts:
            for total in part.totals():
                self.count += total.count
                self.size += total.size
            yield part


def inspect(
    handover: Handover,
    selection: Selection,
    *,
    pages: bool = False,
    walk_order: bool = False,
    owners: bool = False,
) -> Result:
    """Header, totals by order, and the preservations. Runs are held; `pages` are not, but for a damaged map.

    Args:
        handover: an open handover.
        selection: which preservations to list and total.
        pages: list every preservation instead of runs.
        walk_order: in the kernel's walk order instead of by address.
        owners: say whose each run or preservation is; always by address.
    """
    if owners:
        return _owned(handover, selection, pages=pages)
    tally = _Tally()
    parts: Iterable[Extents]
    source: Walk | Handover
    if walk_order:
        source = handover.walk()
        parts = source if pages else _whole(handover, source)
    elif pages:
        source = parts = handover.walk_by_address()
    else:
        source, parts = handover, [handover.preserved]
    rows = _rows(tally.counted(map(selection.of, parts)), pages=pages)
    return Result(
        "khodump.inspect/1",
        lambda: _head(handover, selection, streams=pages),
        rows,
        lambda: _tail(handover, tally, source.nodes, source.findings),
    )


def _owned(handover: Handover, selection: Selection, *, pages: bool) -> Result:
    """As `inspect`, with a column that says whose it is."""
    ownership = handover.ownership
    extents, owner = ownership.extents(handover.tracker.page_shift)
    chosen, kept = extents.selected(orders=selection.orders, start=selection.start, end=selection.end)
    nobody = handover.nobody if handover.user_findings else None
    words = [*map(str, ownership.owners), nobody]  # NOBODY is the last
    names = [words[row] for row in owner[kept].tolist()]
    rows = _rows([chosen], pages=pages)
    tally = _Tally(len(chosen), chosen.total_size)
    return Result(
        "khodump.inspect/1",
        lambda: _head(handover, selection),
        Rows(
            rows.name, (*rows.columns, Column("owner", Kind.TEXT)), _owned_blocks(chosen, names, pages=pages)
        ),
        lambda: _tail(handover, tally, handover.nodes, handover.findings),
    )


def _owned_blocks(extents: Extents, names: Sequence[str | None], *, pages: bool) -> Iterator[Block]:
    if pages:
        for phys, order, run in extents.pages(_BLOCK_ROWS):
            yield phys, order, [names[row] for row in run.tolist()]
        return
    for number, block in enumerate(_run_blocks(extents)):
        yield *block, names[number * _BLOCK_ROWS : (number + 1) * _BLOCK_ROWS]


def _whole(handover: Handover, walk: Iterable[Extents]) -> Iterator[Extents]:
    """The batches as one, so that runs are not cut between them."""
    yield Extents.concatenate(handover.tracker.page_shift, walk)


def _rows(parts: Iterable[Extents], *, pages: bool) -> Rows:
    if pages:
        return Rows(
            "pages", _PAGE_COLUMNS, (block[:2] for part in parts for block in part.pages(_BLOCK_ROWS))
        )
    return Rows("runs", _RUN_COLUMNS, (block for part in parts for block in _run_blocks(part)))


def _run_blocks(extents: Extents) -> Iterator[Block]:
    for at in range(0, extents.runs, _BLOCK_ROWS):
        part = extents.take(slice(at, at + _BLOCK_ROWS))
        yield part.phys, part.end, part.order, part.count, part.size


def _totals(handover: Handover, selection: Selection, *, streams: bool) -> tuple[Sequence[OrderTotal], Nodes]:
    """What is preserved at each order, and the map's nodes; by a walk of their own if the map is not to be held."""
    if not streams:
        return selection.of(handover.preserved).totals(), handover.nodes
    walk = handover.walk()
    sums: dict[int, OrderTotal] = {}
    for part in walk:
        for order, count, size in map(astuple, selection.of(part).totals()):
            before = sums.get(order, OrderTotal(order, 0, 0))
            sums[order] = OrderTotal(order, before.count + count, before.size + size)
    return [sums[order] for order in sorted(sums)], walk.nodes


def _head(handover: Handover, selection: Selection, *, streams: bool = False) -> Head:
    tracker, metadata = handover.tracker, handover.metadata
    totals, nodes = _totals(handover, selection, streams=streams)
    gone = handover.is_map_unknown
    facts = (
        Fact("image", handover.memory.description, Kind.TEXT),
        Fact("fdt", handover.fdt.phys, Kind.ADDRESS),
        Fact("fdt source", handover.fdt.source, Kind.TEXT),
        Fact("compatible", handover.fdt.said, Kind.TEXT),
        Fact("read as", handover.version, Kind.TEXT),
        Fact("release", metadata.release if metadata else None, Kind.TEXT),
        Fact("kexec count", metadata.kexec_count if metadata else None, Kind.COUNT),
        Fact("page size", handover.page_size, Kind.SIZE),
        Fact("page size from", handover.geometry_reason, Kind.TEXT),
        Fact("map", tracker.shape, Kind.TEXT),
        Fact("depth", tracker.depth, Kind.COUNT),
        Fact("root", tracker.root, Kind.ADDRESS),
        Fact("nodes", len(nodes), Kind.COUNT),
        Fact("leaves", nodes.leaves, Kind.COUNT),
        Fact("empty nodes", nodes.empties, Kind.COUNT),
        Fact("unreadable nodes", sum(nodes.missing().values()), Kind.COUNT),
        Fact("preservations", None if gone else sum(total.count for total in totals), Kind.COUNT),
        Fact("preserved", None if gone else sum(total.size for total in totals), Kind.SIZE),
    )
    block = (
        [total.order for total in totals],
        [handover.page_size << total.order for total in totals],
        [total.count for total in totals],
        [total.size for total in totals],
    )
    totals_table = Rows("totals", _TOTAL_COLUMNS, [block])
    if handover.scratch is None:
        return Head(facts, (totals_table,))
    regions = handover.scratch
    scratch = (
        [region.addr for region in regions],
        [None if region.wraps else region.end for region in regions],
        [region.size for region in regions],
    )
    return Head(facts, (Rows("scratch", _SCRATCH_COLUMNS, [scratch]), totals_table))


def _tail(handover: Handover, tally: _Tally, nodes: Nodes, findings: Sequence[Finding]) -> Tail:
    """What was listed, what of the map could not be, and what is wrong with that and with all else."""
    others = handover.other_findings
    if handover.is_map_gone:
        summary = (
            f"{tally.count} preservations, {format_size(tally.size)}, are left of a map that was given back"
        )
        return Tail(
            f"{summary}: what else it listed cannot be read",
            handover.told([*findings, *others]),
            is_partial=True,
        )
    missing = nodes.missing()
    counted = (
        "what is preserved is not listed"
        if handover.is_refuted
        else f"{tally.count} preservations, {format_size(tally.size)}"
    )
    summary = f"{counted}; walked {len(nodes) - sum(missing.values())} of {len(nodes)} nodes"
    if missing:
        why = ", ".join(f"{count} {presence.reason}" for presence, count in missing.items())
        summary += f"; {sum(missing.values())} unreadable ({why})"
    of_map = [finding for finding in findings if finding.rule.startswith("map-")]
    bad = sum(finding.evidence.get("slots", 1) for finding in of_map) - sum(missing.values())
    if bad:
        summary += f"; {bad} bad pointers or keys not followed"
    if handover.basis_of_sessions:
        summary += f"; {handover.basis_of_sessions}"
    if others:
        summary += f"; problems beside the map: {len(others)}"
    return Tail(summary, handover.told([*findings, *others]))
