"""`khodump scan`: the root FDTs of an image, what speaks for each, and what the boot protocol says."""

from __future__ import annotations

from collections.abc import Sequence

from khodump.opening.candidates import Candidate, Survey
from khodump.opening.succession import find_successor
from khodump.rows import Column, Fact, Head, Kind, Result, Rows, Tail

_COLUMNS = (
    Column("phys", Kind.ADDRESS),
    Column("compatible", Kind.TEXT),
    Column("valid", Kind.TRUTH),
    Column("own page preserved", Kind.TRUTH),
    Column("announced", Kind.TRUTH),
    Column("page size", Kind.SIZE),
    Column("release", Kind.TEXT),
    Column("kexec count", Kind.COUNT),
    Column("remarks", Kind.TEXT),
)
_NOTICE_COLUMNS = (
    Column("fdt", Kind.ADDRESS),
    Column("scratch table", Kind.ADDRESS),
    Column("scratch table size", Kind.SIZE),
    Column("told by", Kind.TEXT),
)


def scan(survey: Survey) -> Result:
    """The candidates, the likeliest first; `announced` are those that the boot protocol told some kernel of."""
    found = survey.candidates
    notices = survey.boot.notices
    announced = {notice.fdt for notice in notices}
    block = (
        [candidate.phys for candidate in found],
        [candidate.fdt.compatible if candidate.fdt else None for candidate in found],
        [candidate.fdt is not None for candidate in found],
        [candidate.own_page_preserved for candidate in found],
        [candidate.phys in announced for candidate in found],
        [candidate.page_size for candidate in found],
        [candidate.metadata.release if candidate.metadata else None for candidate in found],
        [candidate.metadata.kexec_count if candidate.metadata else None for candidate in found],
        [_remarks(candidate, found) for candidate in found],
    )
    told = (
        [notice.fdt for notice in notices],
        [notice.scratch_addr for notice in notices],
        [notice.scratch_size for notice in notices],
        [notice.source for notice in notices],
    )
    head = Head(
        (Fact("image", survey.memory.description, Kind.TEXT),),
        (Rows("boot protocol", _NOTICE_COLUMNS, [told]),),
    )
    summary = f"root FDTs found: {len(found)}; boot protocol entries that tell of one: {len(notices)}"
    if found and found[0].problem is None and not found[0].unknown_version:
        summary += f"; khodump inspect takes the one at {found[0].phys:#x}"
    return Result(
        "khodump.scan/1", lambda: head, Rows("candidates", _COLUMNS, [block]), lambda: Tail(summary)
    )


def _remarks(candidate: Candidate, found: Sequence[Candidate]) -> str | None:
    """What is unusual about a candidate, which the others may explain."""
    intact = candidate.own_page_preserved is True
    successor = candidate.fdt and find_successor(candidate.fdt, candidate.metadata, found, is_intact=intact)
    if successor and successor.fdt is not None:
        return f"taken over at boot by the kernel whose root FDT is at {successor.fdt:#x}: its map was given back"
    return candidate.remarks or None
