"""What a search covered, as a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from khodump.memories import open_memory
from khodump.memory import Presence
from khodump.opening.candidates import survey
from khodump.opening.searched import Lack, Misses, Reason
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.kdump import build_kdump

PAGE = 4096


def test_misses_are_joined_by_reason():
    misses = Misses()
    kinds = [Presence.PRESENT, Presence.DAMAGED, Presence.TRUNCATED, Presence.DAMAGED]
    presence = np.array(kinds, np.uint8)
    misses.add(np.arange(4, dtype=np.uint64) * PAGE, presence, PAGE, 3 * PAGE + 10)
    misses.add(np.array([9 * PAGE], np.uint64), presence[1:2], PAGE, 10 * PAGE)
    assert set(misses.lacks) == {
        Lack(Reason.DAMAGED, 2 * PAGE + 10, PAGE),
        Lack(Reason.CUT_OFF, PAGE, 2 * PAGE),
    }


@given(
    st.dictionaries(st.integers(0, 600), st.sampled_from(["held", "excluded", "unwritten"]), min_size=1),
)
def test_every_page_that_a_dump_speaks_of_is_searched_or_lacks_once(tmp_path_factory, pages):
    of = {kind: [pfn * PAGE for pfn, each in pages.items() if each == kind] for kind in pages.values()}
    excluded, unwritten = of.get("excluded", []), of.get("unwritten", [])
    held = dict.fromkeys((*of.get("held", []), *unwritten), b"x" * PAGE)
    path = tmp_path_factory.mktemp("searched") / "dump"
    path.write_bytes(build_kdump(held, excluded=excluded, unwritten=unwritten))
    with open_memory([path]) as memory:
        searched = survey(memory).searched
        sizes = {lack.reason: (lack.size, lack.start) for lack in searched.lacks}
        assert searched.size == len(of.get("held", [])) * PAGE
        assert searched.total == len(pages) * PAGE
    wanted = {Reason.EXCLUDED: excluded, Reason.CUT_OFF: unwritten}
    assert sizes == {reason: (len(at) * PAGE, min(at)) for reason, at in wanted.items() if at}


@given(st.integers(1, 8 * PAGE))
def test_a_core_cut_anywhere_adds_up_to_the_byte(tmp_path_factory, lost):
    path = tmp_path_factory.mktemp("searched") / "core"
    segments = [ElfSegment(0x1000, b"a" * 3 * PAGE), ElfSegment(0x10_0000, b"b" * 5 * PAGE, 9 * PAGE)]
    path.write_bytes(build_elf(segments)[:-lost])
    with open_memory([Path(path)]) as memory:
        searched = survey(memory).searched
        assert (searched.size, searched.total) == (8 * PAGE - lost, 12 * PAGE)
        assert {lack.reason: lack.size for lack in searched.lacks} == {
            Reason.CUT_OFF: lost,
            Reason.EXCLUDED: 4 * PAGE,
        }
