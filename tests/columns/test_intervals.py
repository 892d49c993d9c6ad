"""Interval columns against plain sets of bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from khodump.columns.intervals import Intervals, meet

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12)


def columns(spans):
    start = np.array([start for start, _ in spans], np.uint64)
    return start, start + np.array([size for _, size in spans], np.uint64)


def members(start, end) -> set[int]:
    return {byte for low, high in zip(start.tolist(), end.tolist(), strict=True) for byte in range(low, high)}


def covering(spans) -> Intervals:
    return Intervals.covering(*columns(spans))


@given(SPANS)
def test_covering_keeps_every_byte_once(spans):
    found = covering(spans)
    assert members(found.start, found.end) == members(*columns(spans))
    assert found.size == len(members(*columns(spans)))
    assert (found.start < found.end).all()
    assert (found.start[1:] > found.end[:-1]).all()


@given(SPANS, SPANS)
def test_minus(spans, others):
    left = covering(spans).minus(covering(others))
    assert members(left.start, left.end) == members(*columns(spans)) - members(*columns(others))


@given(SPANS, SPANS)
def test_meet_tells_which_rows_meet_where(spans, others):
    other = covering(others)
    start, end = columns(spans)
    low, high, row, hit = meet(start, end, other.start, other.end)
    pairs = zip(low.tolist(), high.tolist(), row.tolist(), hit.tolist(), strict=True)
    found = {(byte, r, o) for a, b, r, o in pairs for byte in range(a, b)}
    expected = {
        (byte, r, o)
        for r in range(len(start))
        for o in range(len(other.start))
        for byte in range(int(start[r]), int(end[r]))
        if other.start[o] <= byte < other.end[o]
    }
    assert found == expected


def test_minus_nothing_reaches_the_end_of_the_address_space():
    top = np.array([(1 << 64) - 2], np.uint64)
    whole = Intervals(top, top + np.uint64(1))
    left = whole.minus(covering([]))
    assert (left.start.tolist(), left.end.tolist()) == (whole.start.tolist(), whole.end.tolist())
