"""`khodump subtrees`: the root FDT and what its nodes lead to, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.handover import Handover
from khodump.rows import Address, Fact, Head, Kind, Result, Size, Tail, Text, table
from khodump.subtree import Subtree


@dataclass(frozen=True)
class ValueRow:
    """A decoded value of what a node of the root FDT leads to, which lies at `phys` and has `size` bytes."""

    node: Text
    phys: Address | None
    size: Size | None
    what: Text
    value: Text | None


def subtrees(handover: Handover) -> Result:
    """A row a decoded value, the root's own first."""
    rows = [*_root(handover), *(row for subtree in handover.subtrees for row in _rows(subtree))]
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
        table("values", ValueRow, rows),
        lambda: Tail(summary, handover.told(handover.all_findings), is_partial=bool(gone)),
    )


def _root(handover: Handover) -> Iterator[ValueRow]:
    fdt = handover.fdt
    where = f"{handover.tracker.shape} at {handover.tracker.root:#x}"
    yield ValueRow("/", fdt.phys, len(fdt.blob), PROP_COMPATIBLE, fdt.said)
    yield ValueRow("/", fdt.phys, len(fdt.blob), "preserved memory", where)


def _rows(subtree: Subtree) -> Iterator[ValueRow]:
    blob = subtree.blob
    phys, size = (blob.phys, blob.size) if blob else (None, None)
    yield ValueRow(subtree.name, phys, size, "kind", subtree.decoded.kind)
    for fact in subtree.decoded.facts:
        value = f"{fact.value:#x}" if fact.kind is Kind.ADDRESS else str(fact.value)
        yield ValueRow(subtree.name, phys, size, fact.name, value)
