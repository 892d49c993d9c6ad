"""Whose the pages of a map are, as a function of the page number."""

from __future__ import annotations

import numpy as np

from khodump.columns.steps import Steps
from khodump.handover import Handover
from khodump.owner import Owner
from khodump.ownership import NOBODY


def owner_steps(handover: Handover, unit: int, names: dict[Owner, int]) -> Steps:
    """The number of each page's owner; 0 for nobody's.

    Args:
        handover: whose map it is.
        unit: log2 of the bytes that page numbers count.
        names: numbers of owners, from 1 on; new ones are added.
    """
    ownership = handover.ownership
    extents, owner = ownership.extents(handover.tracker.page_shift)
    numbers = [names.setdefault(each, len(names) + 1) for each in ownership.owners]
    state = np.array([*numbers, 0], np.uint64)[np.where(owner == NOBODY, len(numbers), owner)]
    by_start = np.argsort(extents.phys, kind="stable")
    start = extents.phys[by_start] >> np.uint64(unit)
    end = start + (extents.size[by_start] >> np.uint64(unit))
    reach = np.concatenate([np.zeros(1, np.uint64), np.maximum.accumulate(end)])[:-1]
    start = np.maximum(start, reach)  # where blocks overlap, the first one's owner counts
    kept = start < end
    return Steps.of_runs(start[kept], end[kept], state[by_start][kept])
