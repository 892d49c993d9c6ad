"""What millions of scattered pages take: a run of the map costs a bounded number of bytes, whatever is asked of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

import khodump
from khodump.checking.checkup import examine
from khodump.handover import Handover
from khodump.picture.axis import Canvas
from khodump.picture.picture import paint
from khodump.picture.view import By, View
from tests.builders.dense import RUNS_A_LEAF, build_dense

LEAVES = 32
ROOM = Canvas(800, 4, 8)

#: A picture holds the columns of owners and of pieces at once: the handover keeps the former, so that a report joins once.
PICTURE = 112

ASKED: dict[str, tuple[Callable[[Handover], object], int]] = {
    "owners": (lambda handover: handover.ownership, 80),
    "check": (examine, 100),
    "map": (lambda handover: paint(handover, View(), ROOM), PICTURE),
    "map by owner": (lambda handover: paint(handover, View(by=By.OWNER), ROOM), PICTURE),
}


@pytest.mark.parametrize(("ask", "bytes_a_run"), ASKED.values(), ids=ASKED)
def test_a_run_costs_a_few_columns(ask, bytes_a_run, tmp_path):
    core = build_dense(LEAVES).image.to_elf(tmp_path / "core")
    with khodump.open(core) as handover:
        tracemalloc.start()
        try:
            ask(handover)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert handover.preserved.runs > LEAVES * RUNS_A_LEAF
    assert peak < (8 << 20) + bytes_a_run * LEAVES * RUNS_A_LEAF
