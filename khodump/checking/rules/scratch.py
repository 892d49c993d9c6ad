"""Rules of the scratch regions, the memory in which the next kernel boots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from khodump.abi.kexec_handover import MAX_PAGE_ORDER, PAGEBLOCK_ORDER
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case, producer
from khodump.checking.rule import Effect, Hit, Need, Outcome, Rule
from khodump.columns.intervals import Intervals, meet
from khodump.findings import Finding, Severity
from khodump.numbers import format_size
from khodump.opening.scratch import OWNER, Scratch
from khodump.problems import ScratchWraps


def _overlap(case: Case) -> Iterator[Hit]:
    handover = case.opened
    told = handover.scratch or Scratch(())
    regions = [region for region in told if region.size and not region.wraps]
    scratch = Intervals.covering(
        np.array([region.addr for region in regions], np.uint64),
        np.array([region.end for region in regions], np.uint64),
    )
    for start, end, what in (
        (case.kept.start, case.kept.end, "preserved memory"),
        (*case.opened.map_pages, "pages of the map"),
    ):
        low, high, _, row = meet(start, end, scratch.start, scratch.end)
        if len(low):
            lost, phys, region = int((high - low).sum()), int(low[0]), int(scratch.start[row[0]])
            message = f"{format_size(lost)} of {what} lie in scratch, the first at {phys:#x} in the region at {region:#x}"
            number = next(index for index, each in enumerate(told) if each.addr <= phys < each.end)
            evidence = {"region": region, "size": lost}
            yield Hit(phys, message, OWNER, evidence, entry=told.entry_of(number, "addr"))


def _misaligned(case: Case) -> Iterator[Hit]:
    shift = case.opened.tracker.page_shift
    orders = MAX_PAGE_ORDER if producer(case.subject).max_order_scratch else PAGEBLOCK_ORDER
    unit = 1 << (shift + orders[shift])
    scratch = case.opened.scratch or Scratch(())
    for number, region in enumerate(scratch):
        if region.size and not region.wraps and (region.addr % unit or region.size % unit):
            message = (
                f"the scratch region at {region.addr:#x}, {format_size(region.size)}, is not aligned to "
                f"{format_size(unit)} at both ends"
            )
            entry = scratch.entry_of(number, "addr" if region.addr % unit else "size")
            yield Hit(region.addr, message, OWNER, {"size": region.size, "unit": unit}, entry=entry)


def _wraps_outcome(case: Case, finding: Finding) -> Outcome:
    seen = ScratchWraps.of(finding)
    if seen is not None and (case.kept.end > seen.value).any():
        return Outcome(
            Effect.OVERWRITTEN, "takes all memory from there on for scratch, with what is preserved there"
        )
    return Outcome(
        Effect.UNJUDGED, "takes whatever memory there is from there on for scratch; none of it is preserved"
    )


_REGIONS: Final = see("inspect", "--range", Blank.AROUND, shows="lists the scratch regions")

RULES: Final = (
    Rule(
        "scratch-overlap",
        Severity.ERROR,
        "preserved memory, or the map itself, lies in scratch",
        "It boots in scratch and allocates from it before it has walked the map: what lies there is overwritten.",
        confirm(
            see(
                "lookup",
                Blank.PHYS,
                shows="says that the page is both scratch and preserved, or the map's own",
            ),
            remark="Only CONFIG_KEXEC_HANDOVER_DEBUG makes a kernel refuse.",
        ),
        "fa759cd75bce, a2fff99f92da, e38f65d317df (KFENCE in scratch); kho_preserve_folio(), kernel/liveupdate/kexec_handover.c",
        Outcome(
            Effect.OVERWRITTEN,
            "allocates from that region before it has walked the map, and overwrites what lies there",
        ),
        needs=(Need.MAP, Need.SCRATCH),
        look=_overlap,
    ),
    Rule(
        "scratch-misaligned",
        Severity.ERROR,
        "a scratch region is not aligned as the page allocator needs it",
        "It turns scratch into CMA pageblocks, with whatever else lies in the first and the last of them.",
        confirm(
            _REGIONS,
            remark="Compare them with PAGE_SIZE << MAX_PAGE_ORDER (7.3) or the pageblock size (before).",
        ),
        "3a29a9841f4b, 797fe91e50d6",
        Outcome(Effect.OVERWRITTEN, "takes whole pageblocks for scratch, with memory in them that is not"),
        needs=(Need.MAP, Need.SCRATCH),
        look=_misaligned,
    ),
    Rule(
        ScratchWraps.name,
        ScratchWraps.severity,
        ScratchWraps.title,
        "It adds the region to its memory, cut off at the end of the address space, and boots in what it takes for it.",
        confirm(_REGIONS, remark="This one has no end."),
        "kho_populate(), kernel/liveupdate/kexec_handover.c; memblock_cap_size(), mm/memblock.c",
        _wraps_outcome,
    ),
)
