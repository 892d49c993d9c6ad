"""Lists of folios are kept once they were read, as far as there is room for them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import khodump
from khodump.subtree import Budget, Context
from khodump.subtrees.memfd import Memfd, decode_memfd
from khodump.subtrees.vmalloc import VmallocArea
from tests.captures import SAMPLES

IMAGE = SAMPLES / "captures/luo-memfd/serialized.elf"


@pytest.fixture(scope="module")
def handover():
    with khodump.open(IMAGE) as opened:
        yield opened


def memfds(handover, context: Context) -> list[Memfd]:
    files = [file for session in handover.luo.sessions for file in session.files]
    states = [decode_memfd(context, file.handler, file.data, "a file") for file in files]
    return [state for state in states if isinstance(state, Memfd) and state.nr_folios]


def columns(memfd: Memfd) -> list[list[int]]:
    batches = list(memfd.folios())
    names = ("phys", "index", "flags", "number", "nameless")
    return [np.concatenate([getattr(batch, name) for batch in batches]).tolist() for name in names]


def test_a_list_is_the_same_whether_it_was_kept_or_is_read_again(handover, monkeypatch):
    reads: Counter[int | None] = Counter()
    batches = VmallocArea.batches

    def counted(area, limit):
        reads[area.at] += 1
        return batches(area, limit)

    monkeypatch.setattr(VmallocArea, "batches", counted)
    unkept = memfds(handover, Context(handover.memory, handover.page_size))
    plain = [(columns(memfd), memfd.listing) for memfd in unkept]
    assert set(reads.values()) == {2}
    reads.clear()
    room = 32 * sum(memfd.nr_folios for memfd in unkept[:3])
    kept = memfds(handover, Context(handover.memory, handover.page_size, budget=Budget(room)))
    assert [(columns(memfd), memfd.listing) for memfd in kept] == plain
    assert {reads[memfd.array.at] for memfd in kept[:3]} == {1}
    assert reads[kept[-1].array.at] == 2


def test_a_budget_is_never_overdrawn():
    budget = Budget(10)
    assert [budget.take(size) for size in (4, 7, 6, 1, 0)] == [True, False, True, False, True]
