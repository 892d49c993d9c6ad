"""diff before the jump: the kernel's own lists tell of sessions that nothing is written down of yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from khodump.api import open_in
from khodump.diffing.batch import Change
from khodump.tables.diff import Diff
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltSession
from tests.builders.memfd import Folio, Memfd

DISK = Memfd((Folio(0, b"disk", 1), Folio(2, b"end")))


@contextmanager
def compared(old: LivingKernel, new: LivingKernel) -> Iterator[Diff]:
    with old.kernel.opened() as before, new.kernel.opened() as after:
        yield Diff(open_in(before), open_in(after))


def kernel(
    *, serialized: bool = False, more: tuple[BuiltSession, ...] = (), memfd: Memfd = DISK
) -> LivingKernel:
    living = LivingKernel.of(memfd, serialized=serialized)
    living.lists.write(outgoing=[living.prepared(1), *more])
    return living


def sessions_of(diff: Diff) -> set[tuple[Change, str, str, str | None]]:
    kinds = {"session", "file"}
    return {
        (each.change, each.what, each.name, each.field)
        for each in diff.meaning.differences
        if each.what in kinds
    }


def test_the_same_lists_are_no_difference_and_their_basis_is_said():
    with compared(kernel(), kernel()) as diff:
        assert sessions_of(diff) == set()
        assert diff.complete
        head = {fact.name: fact.value for fact in diff.result().head().facts}
        assert head["old sessions"] == "1 sessions of LUO are from the kernel's lists: not yet serialized"


def test_a_session_that_was_added_to_the_list_is():
    with compared(kernel(), kernel(more=(BuiltSession("late"),))) as diff:
        assert sessions_of(diff) == {(Change.ADDED, "session", "late", None)}
        assert diff.differ


def test_a_file_that_grew_is():
    grown = Memfd(DISK.folios, size=5 * 4096)
    with compared(kernel(), kernel(memfd=grown)) as diff:
        assert (Change.CHANGED, "file", "vm/0x1", "size") in sessions_of(diff)


@pytest.mark.parametrize("other_way", [False, True])
def test_what_was_serialized_is_held_against_the_list(other_way):
    pair = (kernel(), kernel(serialized=True))
    with compared(*(reversed(pair) if other_way else pair)) as diff:
        assert {change for change, *_ in sessions_of(diff)} <= {Change.MOVED}
        assert diff.meaning.serialization == (not other_way, 1)


def test_a_damaged_list_leaves_what_it_lacks_open():
    damaged = kernel(more=(BuiltSession("late"),))
    node = damaged.lists.nodes["vm"]
    damaged.kernel.poke(node, node.to_bytes(8, "little"))
    with compared(kernel(more=(BuiltSession("late"),)), damaged) as diff:
        assert ("session", "late") in diff.meaning.unsure
        assert not any(change is Change.REMOVED for change, *_ in sessions_of(diff))
        assert not diff.complete
