"""Where what a finding is about stands: the table, the slot and the value of a bad entry, and its place in the file."""

from __future__ import annotations

from typing import Final

from khodump.analysis.rules.case import Case
from khodump.findings import Finding
from khodump.memory import Hole
from khodump.problems import (
    MapKeyImpossible,
    MapNodeShared,
    MapNodeUnreadable,
    MapPointerOutsideMemory,
    MapPointerUnaligned,
    MapProblem,
)
from khodump.trackers.radix import RadixTracker

#: The rules of entries of a table. What they name a finding by is the table, but for these two the page it leads to.
_POINTERS: Final[tuple[type[MapProblem], ...]] = (MapPointerUnaligned, MapNodeShared, MapKeyImpossible)
_LED_TO: Final[tuple[type[MapProblem], ...]] = (MapPointerOutsideMemory, MapNodeUnreadable)
_POINTER_SIZE: Final = 8


def standing(case: Case, finding: Finding) -> str | None:
    """Words for where it stands; None for what has no address, or is not in the image."""
    entry = _entry(case, finding)
    if entry is None:
        return None if finding.phys is None else _in_file(case, finding.phys)
    table, slot = entry
    address = table + _POINTER_SIZE * slot
    data = case.memory.read(address, _POINTER_SIZE)
    place = _in_file(case, address)
    words = f"slot {slot} of the table at {table:#x}, at {address:#x}"
    if not isinstance(data, Hole):
        words += f", which holds {int.from_bytes(data, 'little'):#x}"
    return words if place is None else f"{words}; {place}"


def _entry(case: Case, finding: Finding) -> tuple[int, int] | None:
    """The table and the slot of the radix tree's entry that a finding is about, if it is about one."""
    tracker = case.handover.tracker if case.handover else None
    if not isinstance(tracker, RadixTracker) or finding.rule not in {
        kind.name for kind in (*_POINTERS, *_LED_TO)
    }:
        return None
    seen, prefix = finding.evidence, finding.evidence.get("prefix")
    is_led_to = finding.rule in {kind.name for kind in _LED_TO}
    table = seen.get("parent") if is_led_to else finding.phys
    if (
        prefix is None or not table or seen.get("level") == tracker.geometry.depth - 1
    ):  # the root FDT's own pointer
        return None
    return table, prefix & ((1 << tracker.geometry.table_bits) - 1)


def _in_file(case: Case, phys: int) -> str | None:
    place = case.memory.locate(phys) if 0 <= phys < 1 << 64 else None
    return None if place is None else f"{place[0]} at offset {place[1]:#x}"
