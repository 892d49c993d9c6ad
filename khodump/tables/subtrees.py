"""`khodump subtrees`: the root FDT and what its nodes lead to, decoded."""

from __future__ import annotations

from collections.abc import Iterator

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.handover import Handover
from khodump.rows import Block, Cell, Column, Fact, Head, Kind, Result, Rows, Tail
from khodump.subtree import Subtree

_COLUMNS = (
    Column("node", Kind.TEXT),
    Column("phys", Kind.ADDRESS),
    Column("size", Kind.SIZE),
    Column("what", Kind.TEXT),
    Column("value", Kind.TEXT),
)


def subtrees(handover: Handover) -> Result:
    """A row a decoded value, the root's own first."""
    rows = [*_root(handover), *(row for subtree in handover.subtrees for row in _rows(subtree))]
    block: Block = list(zip(*rows, strict=True))
    facts = (
        Fact("image", handover.memory.description, Kind.TEXT),
        Fact("read as", handover.version, Kind.TEXT),
    )
    unread = sum(subtree.blob is None for subtree in handover.subtrees)
    summary = f"{len(handover.subtrees)} subtrees" + (f"; {unread} could not be read" if unread else "")
    gone = handover.gone_of(handover.subtrees)
    if gone:
        summary += f"; given back when the handover was taken over: {', '.join(gone)}"
    return Result(
        "khodump.subtrees/1",
        lambda: Head(facts),
        Rows("values", _COLUMNS, [block]),
        lambda: Tail(summary, handover.told(handover.all_findings), is_partial=bool(gone)),
    )


def _root(handover: Handover) -> Iterator[tuple[Cell, ...]]:
    fdt = handover.fdt
    yield "/", fdt.phys, len(fdt.blob), PROP_COMPATIBLE, fdt.said
    yield (
        "/",
        fdt.phys,
        len(fdt.blob),
        "preserved memory",
        f"{handover.tracker.shape} at {handover.tracker.root:#x}",
    )


def _rows(subtree: Subtree) -> Iterator[tuple[Cell, ...]]:
    blob = subtree.blob
    where = (subtree.name, blob.phys if blob else None, blob.size if blob else None)
    yield *where, "kind", subtree.decoded.kind
    for fact in subtree.decoded.facts:
        value = f"{fact.value:#x}" if fact.kind is Kind.ADDRESS else str(fact.value)
        yield *where, fact.name, value
