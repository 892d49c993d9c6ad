"""LiME dumps that lost a page on the way: what lies behind the loss is shifted, and never served."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.memories import open_memory
from khodump.memory import Hole, Presence
from tests.builders.lime import lime_range

PAGE = 4096


def body(seed: int, pages: int) -> bytes:
    return np.random.default_rng(seed).bytes(pages * PAGE)


LOW, MIDDLE, HIGH = body(1, 4), body(2, 8), body(3, 4)


def three(lost: int | None) -> bytes:
    ranges = [lime_range(0, LOW), lime_range(0x10000, MIDDLE, lost), lime_range(0x40000, HIGH)]
    return b"".join(ranges)


@pytest.mark.parametrize("lost", [0, 3, 7])
def test_the_range_is_in_doubt_and_the_list_goes_on(tmp_path, lost):
    path = tmp_path / "dump"
    path.write_bytes(three(lost))
    with open_memory([path]) as memory:
        (warning,) = memory.warnings
        assert "lost 4096 bytes of the range 0x10000 to 0x18000" in warning
        assert "offset 0x4040" in warning
        assert memory.read(0, len(LOW)) == LOW
        assert memory.read(0x40000, len(HIGH)) == HIGH
        for page in range(8):
            phys = 0x10000 + page * PAGE
            assert memory.read(phys, PAGE) == Hole(phys, Presence.DAMAGED)
    where = path.read_bytes()[0x4040:]
    assert where.startswith(MIDDLE[:PAGE] if lost else MIDDLE[PAGE : 2 * PAGE])


def test_losses_in_a_row(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(lime_range(0, LOW, 1) + lime_range(0x10000, MIDDLE, 2) + lime_range(0x40000, HIGH, 0))
    with open_memory([path]) as memory:
        assert len(memory.warnings) == 3
        assert {span.presence for span in memory.ranges} == {Presence.DAMAGED}


@pytest.mark.parametrize("cut", [PAGE, 3 * PAGE, 100, 5000, 3 * PAGE + 1])
def test_an_end_some_pages_early_is_in_doubt_and_any_other_is_cut_short(tmp_path, cut):
    path = tmp_path / "dump"
    path.write_bytes(three(None)[:-cut])
    left = len(HIGH) - cut
    with open_memory([path]) as memory:
        (warning,) = memory.warnings
        assert memory.read(0x10000, len(MIDDLE)) == MIDDLE
        found = memory.read(0x40000, PAGE)
        if cut % PAGE == 0:
            assert f"lost {cut} bytes" in warning
            assert found == Hole(0x40000, Presence.DAMAGED)
            return
        assert "cut short" in warning
        assert found == (HIGH[:PAGE] if left >= PAGE else Hole(0x40000 + left, Presence.TRUNCATED))


def test_a_file_that_lost_pages_and_was_cut_leaves_its_last_range_in_doubt(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(three(3)[:-100])
    with open_memory([path]) as memory:
        assert memory.read(0x40000, PAGE) == Hole(0x40000, Presence.DAMAGED)
        assert memory.read(0, PAGE) == LOW[:PAGE]


def test_a_range_that_lost_all_is_no_block_of_zeros(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(lime_range(0, body(1, 1), 0) + lime_range(0x10000, MIDDLE))
    with open_memory([path]) as memory:
        assert "lost 4096 bytes of the range 0x0 to 0x1000" in memory.warnings[0]
        assert memory.read(0, PAGE) == Hole(0, Presence.DAMAGED)
        assert memory.read(0x10000, PAGE) == MIDDLE[:PAGE]


RANGES = st.lists(st.tuples(st.integers(1, 6), st.none() | st.integers(0, 5)), min_size=1, max_size=5)


@given(RANGES, st.data())
def test_no_shifted_byte_is_served(tmp_path_factory, ranges, data):
    """Pages lost anywhere; or none, and the file cut anywhere."""
    truth = {}
    dump = b""
    for number, (pages, lost) in enumerate(ranges):
        start = number << 20
        content = body(number, pages)
        truth.update({start + at * PAGE: content[at * PAGE :][:PAGE] for at in range(pages)})
        is_lost = lost is not None and lost < pages
        dump += lime_range(start, content, lost if is_lost else None)
    edges = list(accumulate(32 + pages * PAGE for pages, _ in ranges))
    is_whole = len(dump) == edges[-1]
    end = data.draw(st.integers(33, len(dump))) if is_whole else len(dump)
    path = tmp_path_factory.mktemp("lime") / "dump"
    path.write_bytes(dump[:end])
    with open_memory([path]) as memory:
        for phys, page in truth.items():
            found = memory.read(phys, PAGE)
            assert found == page or isinstance(found, Hole)
        assert bool(memory.warnings) == (end not in edges)
