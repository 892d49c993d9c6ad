"""Where what a finding is about stands: the table, the slot and the value of a bad entry, and its place in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from khodump.checking.case import Case
from khodump.fdt import property_entry
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.problems import (
    MapKeyImpossible,
    MapNodeShared,
    MapNodeUnreadable,
    MapPointerOutsideMemory,
    MapPointerUnaligned,
    MapProblem,
    MapRootMissing,
)
from khodump.trackers.radix import RadixTracker

#: The rules of entries of a table. What they name a finding by is the table, but for these two the page it leads to.
_POINTERS: Final[tuple[type[MapProblem], ...]] = (MapPointerUnaligned, MapNodeShared, MapKeyImpossible)
_LED_TO: Final[tuple[type[MapProblem], ...]] = (MapPointerOutsideMemory, MapNodeUnreadable)
#: Those that may be about the root FDT's own pointer to the map.
_OF_ROOT: Final[tuple[type[MapProblem], ...]] = (*_LED_TO, MapPointerUnaligned, MapRootMissing)
_POINTER_SIZE: Final = 8


@dataclass(frozen=True)
class Standing:
    """Where a bad entry stands, or else the address that a finding is about.

    Attributes:
        entry: the entry; None where the finding names its place itself.
        value: the 8 bytes there as a number; None where there is no entry, or the image does not hold it.
        file: that holds the first byte; None where none holds that very byte.
        offset: of it in the file.
    """

    entry: Entry | None
    value: int | None
    file: str | None
    offset: int | None

    def __str__(self) -> str:
        parts = []
        if self.entry is not None:
            holds = "" if self.value is None else f", which holds {self.value:#x}"
            parts.append(f"{self.entry.place}{holds}")
        if self.file is not None:
            parts.append(f"{self.file} at offset {self.offset:#x}")
        return "; ".join(parts)


def standing(case: Case, finding: Finding) -> Standing | None:
    """Where it stands; None for what has no address, or is not in the image."""
    entry = finding.entry or _entry(case, finding)
    phys = finding.phys if entry is None else entry.at
    place = None
    if phys is not None and 0 <= phys < 1 << 64:
        place = case.memory.locate(phys)
    if entry is None and place is None:
        return None
    file, offset = place or (None, None)
    return Standing(entry, None if entry is None else _value(case, entry.at), file, offset)


def root_property(case: Case, prop: str) -> Entry | None:
    """Where a property of the root FDT stands; None where it has none, or where the FDT lies is not known."""
    root = case.fdt
    if root is None or case.fdt_phys is None:
        return None
    return property_entry(root.tree, prop, case.fdt_phys, "root FDT")


def _value(case: Case, at: int) -> int | None:
    data = case.memory.read(at, _POINTER_SIZE)
    return None if isinstance(data, Hole) else int.from_bytes(data, "little")


def _entry(case: Case, finding: Finding) -> Entry | None:
    """The entry of the map that a finding of its tracker is about, if it is about one."""
    tracker = case.handover.tracker if case.handover else None
    if tracker is None:
        return None
    if _is_of(finding, _OF_ROOT) and finding.evidence.get("value") == tracker.root:
        return root_property(case, case.reader.prop)
    if not isinstance(tracker, RadixTracker) or not _is_of(finding, (*_POINTERS, *_LED_TO)):
        return None
    prefix = finding.evidence.get("prefix")
    table = finding.evidence.get("parent") if _is_of(finding, _LED_TO) else finding.phys
    is_root = finding.evidence.get("level") == tracker.geometry.depth - 1
    if prefix is None or not table or is_root:
        return None
    slot = prefix & ((1 << tracker.geometry.table_bits) - 1)
    return tracker.slot_entry(table, slot)


def _is_of(finding: Finding, kinds: tuple[type[MapProblem], ...]) -> bool:
    return finding.rule in {kind.name for kind in kinds}
