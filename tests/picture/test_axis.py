"""The axis: bins follow each other without gaps, what is empty is left out, and labels keep apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.columns.intervals import Intervals
from khodump.picture.axis import Axis, Canvas, island_axis, linear_axis

PAGE = 4096
CANVAS = Canvas(columns=120, gap=4, islands=6)


def filled(*spans: tuple[int, int]) -> Intervals:
    start, end = np.array(spans, np.uint64).reshape(-1, 2).T
    return Intervals.covering(start, end)


def islands_of(axis: Axis) -> list[tuple[int, int]]:
    edges = [axis.start, *(edge for cut in axis.cuts for edge in cut), axis.end]
    return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]


def check(axis: Axis, start: int, end: int, canvas: Canvas) -> None:
    assert (axis.start, axis.end, axis.columns) == (start, end, canvas.columns)
    assert (axis.edges[1:] > axis.edges[:-1]).all()
    assert (np.diff(axis.left) >= 1).all() or len(axis.cut) < canvas.columns
    assert set(np.diff(axis.left)[axis.cut].tolist()) <= {canvas.gap}
    ticks = axis.ticks(12)
    assert all(later.column - tick.column >= 12 for tick, later in pairwise(ticks))
    assert all(axis.columns_of(np.array([tick.phys], np.uint64))[0] == tick.column for tick in ticks)


def test_a_linear_axis_gives_every_column_as_many_bytes():
    axis = linear_axis(0x1000, 0x1000 + 120 * PAGE, CANVAS)
    check(axis, 0x1000, 0x1000 + 120 * PAGE, CANVAS)
    assert set(np.diff(axis.edges).tolist()) == {PAGE}
    assert axis.cuts == []


def test_what_is_empty_is_left_out_whatever_its_size():
    small, large = (0x10_0000, 0x11_0000), (1 << 40, (1 << 40) + (1 << 30))
    axis = island_axis(0, 1 << 41, filled(small, large), CANVAS, PAGE)
    check(axis, 0, 1 << 41, CANVAS)
    assert islands_of(axis) == [small, large]
    widths = np.diff(axis.columns_of(np.array([*small, *large], np.uint64)))[[0, 2]].tolist()
    assert 30 < widths[0] < widths[1] < 80  # 16 pages against 262144


def test_small_gaps_stay():
    axis = island_axis(0, 100 * PAGE, filled((0, 40 * PAGE), (42 * PAGE, 100 * PAGE)), CANVAS, PAGE)
    assert axis.cuts == []


def test_something_tiny_beside_something_vast_becomes_an_island():
    spans = (PAGE, 2 * PAGE), (4 << 30, 300 << 30)
    axis = island_axis(PAGE, 300 << 30, filled(*spans), CANVAS, PAGE)
    assert islands_of(axis) == list(spans)


def test_there_are_never_more_islands_than_there_is_room_for():
    spans = [(at << 40, (at << 40) + PAGE) for at in range(1, 30)]
    axis = island_axis(1 << 40, (29 << 40) + PAGE, filled(*spans), CANVAS, PAGE)
    assert len(islands_of(axis)) == CANVAS.islands


def test_a_range_with_nothing_in_it_is_linear():
    assert island_axis(0, 1 << 30, filled(), CANVAS, PAGE).cuts == []


@pytest.mark.parametrize("size", [PAGE, 1 << 63, (1 << 64) - (1 << 16)])
def test_any_size_of_memory_has_an_axis(size):
    check(linear_axis(0, size, CANVAS), 0, size, CANVAS)
    check(island_axis(0, size, filled((0, PAGE)), CANVAS, PAGE), 0, size, CANVAS)


SPANS = st.lists(
    st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 20)).map(
        lambda span: (span[0] * PAGE, (span[0] + span[1]) * PAGE)
    ),
    min_size=1,
    max_size=60,
)


@given(SPANS)
def test_what_is_left_out_is_empty(spans):
    shown = filled(*spans)
    start, end = int(shown.start[0]), int(shown.end[-1])
    axis = island_axis(start, end, shown, CANVAS, PAGE)
    check(axis, start, end, CANVAS)
    for low, high in axis.cuts:
        assert all(high <= span[0] or span[1] <= low for span in spans)
