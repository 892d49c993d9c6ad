"""Step functions against plain dictionaries of every address."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from khodump.columns.steps import Steps, overlay

TOP = 64
LAYERS = st.lists(
    st.lists(st.tuples(st.integers(0, 7), st.integers(1, 7), st.integers(0, 3)), max_size=6),
    min_size=1,
    max_size=5,
)


def steps(gaps) -> Steps:
    """From (gap, length, state) triples, so that runs are sorted and apart, and may touch."""
    at, runs = 0, []
    for gap, length, state in gaps:
        runs.append((at + gap, at + gap + length, state))
        at += gap + length
    start, end, state = np.array(runs, np.uint64).reshape(-1, 3).T
    return Steps.of_runs(start, end, state)


def model(gaps) -> list[int]:
    """The state of every address."""
    states, at = [0] * 128, 0
    for gap, length, state in gaps:
        at += gap
        states[at : at + length] = [state] * length
        at += length
    return states


def sampled(edge, state, start, end) -> list[int]:
    found = [0] * 128
    ends = [*edge.tolist(), end][1:]
    for low, high, value in zip(edge.tolist(), ends, state.tolist(), strict=True):
        found[low:high] = [value] * (high - low)
    return found[start:end]


@given(LAYERS)
def test_overlay_gives_the_state_of_every_layer_everywhere(layers):
    edge, states = overlay([steps(gaps) for gaps in layers])
    assert (edge[1:] > edge[:-1]).all()
    for gaps, state in zip(layers, states, strict=True):
        assert sampled(edge, state, 0, 128) == model(gaps)


@given(LAYERS, st.integers(0, 100), st.integers(1, 27))
def test_between_is_the_same_there(layers, start, size):
    end = start + size
    edge, states = overlay([steps(gaps).between(start, end) for gaps in layers])
    assert ((start <= edge) & (edge <= end)).all()
    for gaps, state in zip(layers, states, strict=True):
        assert sampled(edge, state, start, end) == model(gaps)[start:end]


@given(LAYERS, st.integers(1, 4))
def test_marks_bound_the_edges_between_them(layers, every):
    for gaps in layers:
        layer = steps(gaps)
        marks = [0, *layer.marks(every).tolist(), 128]
        counts = [int(((low <= layer.edge) & (layer.edge < high)).sum()) for low, high in pairwise(marks)]
        assert sum(counts) == len(layer.edge)
