"""`khodump scan`: the root FDTs of an image, what speaks for each, and what the boot protocol says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from khodump.opening.candidates import Candidate, Survey
from khodump.opening.succession import find_successor
from khodump.rows import Address, Count, Fact, Head, Kind, Result, Size, Tail, Text, Truth, table


@dataclass(frozen=True)
class CandidateRow:
    """A root FDT that was found.

    Attributes:
        phys: where it lies.
        compatible: what it says it is.
        valid: whether it is a well-formed FDT.
        own_page_preserved: whether its page is in its own map; None where that cannot be told.
        announced: whether the boot protocol told some kernel of it.
        page_size: that its map is read with.
        release, kexec_count: of the kernel that made it.
        remarks: what is unusual about it.
    """

    phys: Address
    compatible: Text | None
    valid: Truth
    own_page_preserved: Truth | None
    announced: Truth
    page_size: Size | None
    release: Text | None
    kexec_count: Count | None
    remarks: Text | None


@dataclass(frozen=True)
class NoticeRow:
    """What the boot protocol tells of a handover."""

    fdt: Address
    scratch_table: Address
    scratch_table_size: Size
    told_by: Text


def scan(survey: Survey) -> Result:
    """The candidates, the likeliest first; `announced` are those that the boot protocol told some kernel of."""
    found = survey.candidates
    notices = survey.boot.notices
    announced = {notice.fdt for notice in notices}
    rows = [
        CandidateRow(
            candidate.phys,
            candidate.fdt.compatible if candidate.fdt else None,
            candidate.fdt is not None,
            candidate.own_page_preserved,
            candidate.phys in announced,
            candidate.page_size,
            candidate.metadata.release if candidate.metadata else None,
            candidate.metadata.kexec_count if candidate.metadata else None,
            _remarks(candidate, found),
        )
        for candidate in found
    ]
    told = [
        NoticeRow(notice.fdt, notice.scratch_addr, notice.scratch_size, notice.source) for notice in notices
    ]
    image = Fact("image", survey.memory.description, Kind.TEXT)
    head = Head((image,), (table("boot protocol", NoticeRow, told),))
    summary = f"root FDTs found: {len(found)}; boot protocol entries that tell of one: {len(notices)}"
    if found and found[0].problem is None and not found[0].unknown_version:
        summary += f"; khodump inspect takes the one at {found[0].phys:#x}"
    return Result(
        "khodump.scan/1", lambda: head, table("candidates", CandidateRow, rows), lambda: Tail(summary)
    )


def _remarks(candidate: Candidate, found: Sequence[Candidate]) -> str | None:
    """What is unusual about a candidate, which the others may explain."""
    intact = candidate.own_page_preserved is True
    successor = candidate.fdt and find_successor(candidate.fdt, candidate.metadata, found, is_intact=intact)
    if successor and successor.fdt is not None:
        return f"taken over at boot by the kernel whose root FDT is at {successor.fdt:#x}: its map was given back"
    return candidate.remarks or None
