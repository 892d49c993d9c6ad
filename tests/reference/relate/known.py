"""Relations that khodump is known to break. Each is left out here until it is mended, and named in one place."""

from __future__ import annotations

from typing import NamedTuple

from tests.reference.read.handover import Circumstances


class Known(NamedTuple):
    """A relation that does not hold of some handovers."""

    relation: str
    dialects: tuple[str, ...]
    page_shifts: tuple[int, ...]
    why: str


FAULTS = (
    Known(
        "slimming",
        ("kho-v2-posted", "kho-v2", "kho-v3-shallow"),
        (14,),
        "a slim core of a shallow tree does not tell where RAM ended, which tells bare page numbers from keys",
    ),
)


def is_known(relation: str, circumstances: Circumstances) -> bool:
    """Whether this relation is left out for such handovers."""
    return any(
        fault.relation == relation
        and circumstances.dialect.name in fault.dialects
        and circumstances.page_shift in fault.page_shifts
        for fault in FAULTS
    )
