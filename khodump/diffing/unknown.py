"""Where a map does not tell: the memory that its unreadable pages, and pointers that were not followed, stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.extents import NO_ORDER
from khodump.columns.intervals import Intervals
from khodump.columns.steps import Steps
from khodump.diffing.side import masks_of
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.memory import Presence
from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.radix import RadixTracker

#: Errors that leave nothing open: the next kernel restores no more than is listed.
_TELLING: Final = ("map-root-missing",)


class Unknown(NamedTuple):
    """Whether this memory is preserved at this order, nobody can tell: physical bytes `start` to `end` (exclusive)."""

    start: int
    end: int
    order: int


def unknown(handover: Handover) -> list[Unknown]:
    """What the map leaves open, by order and address."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for found in _unknown(handover):
        spans.setdefault(found.order, []).append((found.start >> 12, found.end >> 12))
    joined = []
    for order in sorted(spans):
        start, end = np.array(spans[order], np.uint64).T
        pages = Intervals.covering(start, end)
        joined += [
            Unknown(low << 12, high << 12, order)
            for low, high in zip(pages.start.tolist(), pages.end.tolist(), strict=True)
        ]
    return joined


def unknown_steps(spans: list[Unknown], page_shift: int, unit: int) -> Steps | None:
    """The same as masks of block sizes, by page number; None when the map tells all.

    Args:
        spans: what is unknown.
        page_shift: log2 of the page size that gives orders their size.
        unit: log2 of the bytes that page numbers count.
    """
    by_size: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        by_size.setdefault(page_shift + span.order, []).append((span.start >> unit, span.end >> unit))
    if not by_size:
        return None
    return masks_of(
        (shift, Intervals.covering(*np.array(pages, np.uint64).T)) for shift, pages in by_size.items()
    )


def _unknown(handover: Handover) -> Iterator[Unknown]:
    if handover.is_map_unknown:
        yield from _everything(handover)
        return
    problems = [
        finding
        for finding in handover.findings
        if finding.severity is Severity.ERROR and finding.rule not in _TELLING
    ]
    tracker = handover.tracker
    for finding in problems:
        if isinstance(tracker, RadixTracker):
            yield from _below(tracker, finding)
        elif isinstance(tracker, BitmapChainTracker) and _is_bitmap(handover, finding):
            pass
        else:
            yield from _everything(handover)
            return
    if isinstance(tracker, BitmapChainTracker):
        nodes = handover.nodes
        rows = np.flatnonzero((nodes.presence != Presence.PRESENT) & (nodes.level == 0))
        for row in rows.tolist():
            start, order = int(nodes.prefix[row]), int(nodes.order[row])
            yield Unknown(start, start + (tracker.leaf_size * 8 << tracker.page_shift + order), order)


def _is_bitmap(handover: Handover, finding: Finding) -> bool:
    """Whether it is about a bitmap that could not be read; the nodes tell what that stands for."""
    nodes = handover.nodes
    missing = nodes.phys[
        (nodes.presence != Presence.PRESENT) & (nodes.level == 0) & (nodes.order != NO_ORDER)
    ]
    return finding.rule in ("map-node-unreadable", "map-pointer-outside-memory") and finding.phys in missing


def _below(tracker: RadixTracker, finding: Finding) -> Iterator[Unknown]:
    """The memory of all keys below a node of a radix tree that was not walked, or of its parent, where several were not."""
    geometry, evidence = tracker.geometry, finding.evidence
    if "prefix" not in evidence:
        return
    level, prefix = evidence["level"], evidence["prefix"]
    if evidence.get("slots", 1) > 1:
        level, prefix = level + 1, prefix >> geometry.table_bits
    first = prefix << geometry.key_shift(level)
    last = first + (1 << geometry.key_shift(level)) - 1
    for band in geometry.bands:
        low, high = max(first, band.first), min(last, band.last)
        if low <= high:
            shift = geometry.page_shift + band.order
            yield Unknown(low - band.base << shift, high + 1 - band.base << shift, band.order)


def _everything(handover: Handover) -> Iterator[Unknown]:
    shift = handover.tracker.page_shift
    return (Unknown(0, 1 << 64, order) for order in range(64 - shift))
