"""Which owners claim the same memory, against a plain search for it."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import cast

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from khodump.checking import shared
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals
from khodump.handover import Handover
from khodump.subtree import Claims

PAGE = 4096
#: Claims of up to five owners, in pages.
CLAIMS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=20
)


def shared_by(batches):
    """What is told of these batches of claims, as (owner, start column, size column)."""

    handover = SimpleNamespace(
        preserved=Extents.empty(12),
        claims=lambda: iter(Claims(*batch) for batch in batches),
    )
    start = np.concatenate([batch[1] for batch in batches])
    end = start + np.concatenate([batch[2] for batch in batches])
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)[:-1]
    return shared.shared_claims(
        cast("Handover", handover), Intervals.covering(start[1:], np.minimum(end[1:], reach))
    )


def batch(owner, first, pages):
    return owner, np.array([first * PAGE], np.uint64), np.array([pages * PAGE], np.uint64)


@given(CLAIMS)
@example([("a", 0, 1), ("b", 0, 1), ("c", 1, 1), ("d", 1, 1)])  # b ends where c begins
def test_all_who_share_memory_are_told_and_nobody_else(claims):
    told = shared_by([batch(*claim) for claim in claims])
    pairs = {
        frozenset((one, other))
        for (one, at, size), (other, by, length) in combinations(claims, 2)
        if at < by + length and by < at + size
    }
    assert {frozenset((each.first, each.second)) for each in told} <= pairs
    assert {each.first for each in told} | {each.second for each in told} == {
        owner for pair in pairs for owner in pair
    }


def test_no_count_of_pieces_hides_those_that_come_after():
    """Two owners share more than 2^20 pages, one by one; the last two come behind them."""
    many = (1 << 20) + 1
    pages = np.arange(many, dtype=np.uint64) * np.uint64(2 * PAGE)
    size = np.full(many, PAGE, np.uint64)
    last = np.array([1 << 50], np.uint64)
    told = shared_by([("a", pages, size), ("b", pages, size), ("c", last, size[:1]), ("d", last, size[:1])])
    assert [(each.first, each.second, each.size) for each in told] == [
        ("a", "b", many * PAGE),
        ("c", "d", PAGE),
    ]
