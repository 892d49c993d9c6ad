"""What speaks against the way an image is read: not against the kernel that wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from khodump.advice import told
from khodump.columns.extents import Extents
from khodump.findings import Finding
from khodump.layouts import Layout
from khodump.numbers import format_size
from khodump.placement import Basis, Placement
from khodump.problems import ReadingInDoubt
from khodump.tracker import NO_ROOT, UNREADABLE_NODE, Tracker

IN_DOUBT: Final = ReadingInDoubt.name


def doubts(
    tracker: Tracker,
    fdt_phys: int | None,
    placement: Placement | None,
    outside: int,
    findings: Iterable[Finding] = (),
) -> Iterator[Finding]:
    """The findings that put the whole reading in doubt.

    Args:
        tracker: the map as it is read.
        fdt_phys: where the root FDT is, if known. Every kernel preserves that page, at order 0.
        placement: of a raw file.
        outside: bytes that the map preserves where the raw file has no memory.
        findings: what else is wrong with the map.
    """
    holds_fdt = fdt_phys is None or tracker.holds(fdt_phys, 0)
    is_lost = holds_fdt is None and not {finding.rule for finding in findings} <= {UNREADABLE_NODE, NO_ROOT}
    if tracker.root and (holds_fdt is False or is_lost):
        message = (
            f"the root FDT's own page, {fdt_phys or 0:#x}, is not in its map, though every kernel keeps it there: "
            f"the map is damaged, was given back since, or is misread ({_remedy(placement)})"
        )
        yield ReadingInDoubt().finding(fdt_phys, message)
    if placement is not None and placement.basis is Basis.GUESSED and outside:
        message = (
            f"{format_size(outside)} of what is preserved lie outside the file: it is cut short, "
            f"or lies elsewhere. {told(placement.remedy)}"
        )
        yield ReadingInDoubt(outside).finding(None, message)


def not_listed(fdt_phys: int | None, guess: str, *, is_outside: bool) -> Finding:
    """The finding that takes the place of a map whose reading is a guess that nothing bears out.

    Args:
        fdt_phys: where the root FDT is.
        guess: how the map was read, and what else it may be.
        is_outside: whether the FDT's own page is not in the map; else the part that says so is lost.
    """
    where = "is not in it" if is_outside else "would be in a part that cannot be read"
    message = (
        f"what is preserved is not listed: how to read the map is {guess}, and the root FDT's own page, {fdt_phys or 0:#x}, "
        f"which every kernel keeps in its map, {where}: the map is damaged, or was given back since; "
        f"--page-size and --as list it by one reading"
    )
    return ReadingInDoubt().finding(fdt_phys, message)


def _remedy(placement: Placement | None) -> str:
    """What may be wrong, and what settles it."""
    if placement is None:
        return "try --page-size, or another root FDT of khodump scan"
    return "try --page-size, FILE@BASE or --ranges: where a raw file belongs is not written in it"


def bytes_outside(layout: Layout, extents: Extents) -> int:
    """How many of the preserved bytes lie where the layout has no memory."""
    inside = np.zeros(extents.runs, np.uint64)
    for stretch in layout.stretches:
        low = np.maximum(extents.phys, np.uint64(stretch.phys))
        high = np.minimum(extents.end, np.uint64(stretch.end))
        inside += np.where(low < high, high - low, np.uint64(0))
    return int(
        (extents.size - inside).astype(np.float64).sum()
    )  # blocks of a misread map add up to more than 64 bits
