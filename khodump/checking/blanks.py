"""What is known of a finding for the commands that confirm it: addresses, sessions, tokens and keys, as words."""

from __future__ import annotations

from typing import Final

from khodump.abi.khoser import SMALL_BITMAP_SIZE
from khodump.advice import Blank, Words
from khodump.checking.case import Case
from khodump.checking.standing import Standing
from khodump.findings import Finding
from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.radix import RadixTracker

_PAGE: Final = 4096
_TOP: Final = 1 << 64


def words_of(case: Case, finding: Finding, stands: Standing | None) -> Words:
    """The words for what commands leave open, as far as they are known."""
    known = {
        Blank.PHYS: _address(finding.phys),
        Blank.AROUND: _around(finding.phys),
        Blank.ENTRY: _address(stands.entry.at if stands and stands.entry else None),
        Blank.FDT: _address(case.fdt_phys),
        Blank.SESSION: _session(case, finding),
        Blank.TOKEN: _token(case, finding),
        Blank.KEY: _key(case, finding),
        Blank.PAGE_SIZE: None if case.handover is None else str(case.handover.page_size),
        Blank.OTHER_VERSION: _other_version(case),
    }
    return {blank: word for blank, word in known.items() if word is not None}


def _address(phys: int | None) -> str | None:
    return f"{phys:#x}" if phys is not None and 0 <= phys < _TOP else None


def _around(phys: int | None) -> str | None:
    """The page of an address, as a range."""
    if phys is None or not 0 <= phys < _TOP - _PAGE:
        return None
    start = phys - phys % _PAGE
    return f"{start:#x}-{start + _PAGE:#x}"


def _session(case: Case, finding: Finding) -> str | None:
    """The session that the owner is, or belongs to; also of what the running kernel received."""
    owner = finding.owner
    if owner is None or (case.session_of(owner) is None and owner.session not in case.listed_sessions):
        return None
    return owner.session


def _token(case: Case, finding: Finding) -> str | None:
    file = case.file_of(finding.owner)
    token = finding.evidence.get("token") if file is None else file.file.token
    return None if token is None else f"{token:#x}"


def _key(case: Case, finding: Finding) -> str | None:
    """The key of the radix tree that cannot be: the first of a leaf, or that of a block that no machine has."""
    tracker = case.handover.tracker if case.handover else None
    order = finding.evidence.get("order")
    if "first" in finding.evidence:
        return f"{finding.evidence['first']:#x}"
    if not isinstance(tracker, RadixTracker) or order is None or finding.phys is None:
        return None
    key = tracker.trace(finding.phys, order).key
    return None if key is None else f"{key:#x}"


def _other_version(case: Case) -> str | None:
    """Of the two versions that call themselves kho-v1, the one that the map is not read as."""
    tracker = case.handover.tracker if case.handover else None
    if not isinstance(tracker, BitmapChainTracker):
        return None
    return "kho-v1b" if tracker.leaf_size == SMALL_BITMAP_SIZE else "kho-v1a"
