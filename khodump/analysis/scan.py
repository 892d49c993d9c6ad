"""`khodump scan`: the root FDTs of an image, and what speaks for each."""

from __future__ import annotations

from collections.abc import Sequence

from khodump.locate import Candidate
from khodump.memory import PhysicalMemory
from khodump.rows import Column, Fact, Head, Kind, Result, Rows, Tail

_COLUMNS = (
    Column("phys", Kind.ADDRESS),
    Column("compatible", Kind.TEXT),
    Column("valid", Kind.TRUTH),
    Column("own page preserved", Kind.TRUTH),
    Column("page size", Kind.SIZE),
    Column("release", Kind.TEXT),
    Column("kexec count", Kind.COUNT),
    Column("remarks", Kind.TEXT),
)


def scan(memory: PhysicalMemory, found: Sequence[Candidate]) -> Result:
    """The candidates, the likeliest first."""
    block = (
        [candidate.phys for candidate in found],
        [candidate.fdt.compatible if candidate.fdt else None for candidate in found],
        [candidate.fdt is not None for candidate in found],
        [candidate.own_page_preserved for candidate in found],
        [candidate.page_size for candidate in found],
        [candidate.metadata.release if candidate.metadata else None for candidate in found],
        [candidate.metadata.kexec_count if candidate.metadata else None for candidate in found],
        [candidate.remarks or None for candidate in found],
    )
    facts = (Fact("image", memory.description, Kind.TEXT),)
    summary = f"root FDTs found: {len(found)}"
    if found and found[0].problem is None and not found[0].unknown_version:
        summary += f"; khodump inspect takes the one at {found[0].phys:#x}"
    return Result(
        "khodump.scan/1", lambda: Head(facts), Rows("candidates", _COLUMNS, [block]), lambda: Tail(summary)
    )
