"""Blocks of zeros that AVML leaves out, or writes as a header alone: what is zero, and what only may be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.memories import open_memory
from khodump.memories.zero_blocks import BLOCK_BYTES, Span, skipped
from khodump.memory import Hole, PhysicalMemory, Presence
from tests.builders.lime import avml_block, bare_header, build_avml, build_lime, lime_range

PAGE = 4096
NOISE = np.random.default_rng(1).bytes(PAGE)
FORMS = {"compressed": True, "in LiME form": False}


@pytest.fixture(params=FORMS)
def compress(request) -> bool:
    return FORMS[request.param]


@pytest.fixture
def opened(tmp_path):
    def write_and_open(dump: bytes, *, assume_zero: bool = False) -> PhysicalMemory:
        path = tmp_path / "dump"
        path.write_bytes(dump)
        return open_memory([path], assume_zero=assume_zero)

    return write_and_open


def block(start: int, size: int = BLOCK_BYTES, *, compress: bool) -> bytes:
    """A block whose first page is noise."""
    data = NOISE + bytes(size - PAGE)
    return avml_block(start, data) if compress else lime_range(start, data)


def bare(start: int, size: int = BLOCK_BYTES, *, compress: bool) -> bytes:
    return bare_header(start, size, compress=compress)


def at(*numbers: int) -> list[int]:
    return [number * BLOCK_BYTES for number in numbers]


@pytest.mark.parametrize("layout", ["Z#", "ZZ#", "#Z#", "#ZZ#Z#", "Z#ZZ#ZZ"])
def test_a_bare_header_is_a_block_of_zeros(opened, compress, layout):
    parts = [
        (bare if kind == "Z" else block)(number * BLOCK_BYTES, compress=compress)
        for number, kind in enumerate(layout)
    ]
    with opened(b"".join(parts)) as memory:
        assert memory.warnings == ()
        assert [(span.start, span.end, span.presence) for span in memory.ranges] == [
            (0, len(layout) * BLOCK_BYTES, Presence.PRESENT)
        ]
        for number, kind in enumerate(layout):
            assert memory.read(number * BLOCK_BYTES, PAGE) == (NOISE if kind == "#" else bytes(PAGE))
        assert sum(span.end - span.start for span in memory.populated()) == layout.count("#") * BLOCK_BYTES


def test_bare_headers_go_on_behind_damage(opened):
    """The way from the start of the file, taken when the lengths do not lead to it from the end."""
    parts = [bare(0, compress=True), *(block(start, compress=True) for start in at(1, 2))]
    with opened(b"".join(parts)[:-100]) as memory:
        assert "cut off" in memory.warnings[0]
        assert memory.read(0, PAGE) == bytes(PAGE)
        assert memory.read(BLOCK_BYTES, PAGE) == NOISE
        assert memory.read(2 * BLOCK_BYTES, PAGE) == NOISE


def test_one_bare_header_at_the_very_end_may_be_where_the_file_was_cut(opened, compress):
    parts = block(0, compress=compress) + bare(BLOCK_BYTES, compress=compress)
    with opened(parts) as memory:
        assert "cut short" in memory.warnings[0]
        assert memory.read(0, PAGE) == NOISE
        assert memory.read(BLOCK_BYTES, PAGE) == Hole(BLOCK_BYTES, Presence.TRUNCATED)


def test_memory_that_begins_with_a_lime_header_is_no_bare_header(opened):
    """The page cache of a machine that holds a LiME dump."""
    data = (bare(BLOCK_BYTES, compress=False) + NOISE).ljust(BLOCK_BYTES, b"\1")
    with opened(lime_range(0, data) + block(BLOCK_BYTES, compress=False)) as memory:
        assert memory.warnings == ()
        assert memory.read(0, len(data)) == data
        assert memory.read(BLOCK_BYTES, PAGE) == NOISE


def test_a_header_in_data_of_another_place_is_no_bare_header(opened):
    """What follows a bare header continues the list; this one would lead back."""
    data = (bare(0, compress=False) + NOISE).ljust(8 * PAGE, b"\1")
    with opened(lime_range(BLOCK_BYTES, data)[:-100]) as memory:
        assert "cut short" in memory.warnings[0]
        assert memory.read(BLOCK_BYTES, PAGE) == data[:PAGE]


def test_skipped_blocks_are_absent_unless_assumed_zero(opened, compress):
    dump = b"".join(block(start, compress=compress) for start in at(1, 4))
    with opened(dump) as memory:
        assert memory.read(2 * BLOCK_BYTES, PAGE) == Hole(2 * BLOCK_BYTES, Presence.ABSENT)
    with opened(dump, assume_zero=True) as memory:
        assert memory.read(2 * BLOCK_BYTES, 2 * BLOCK_BYTES) == bytes(2 * BLOCK_BYTES)
        assert memory.read(0, PAGE) == Hole(0, Presence.ABSENT), "before the first block nothing is known"
        assert memory.read(5 * BLOCK_BYTES, PAGE) == Hole(5 * BLOCK_BYTES, Presence.ABSENT)


def test_a_file_with_bare_headers_skips_nothing(opened, compress):
    parts = [block(0, compress=compress), bare(BLOCK_BYTES, compress=compress)]
    dump = b"".join([*parts, block(4 * BLOCK_BYTES, compress=compress)])
    with opened(dump, assume_zero=True) as memory:
        assert memory.read(BLOCK_BYTES, PAGE) == bytes(PAGE)
        assert memory.read(2 * BLOCK_BYTES, PAGE) == Hole(2 * BLOCK_BYTES, Presence.ABSENT)


@pytest.mark.parametrize(
    ("blocks", "gaps"),
    [
        ([(0, 1 << 24), (3 << 24, 4 << 24)], [(1 << 24, 3 << 24)]),
        ([(0x100000, 0x1100000), (0x2100000, 0x2200000)], [(0x1100000, 0x2100000)]),  # a PC's, from 1 MiB on
        ([(0, 1 << 23), (1 << 24, 2 << 24)], []),  # a shorter block ends its range: a hole of the machine
        ([(0x100000, 0x1100000), (2 << 24, 3 << 24)], []),  # not on the grid of the one before
        ([(0, 1 << 25), (3 << 24, 4 << 24)], []),  # LiME's own ranges are as long as they are
        ([(0, 1 << 24), (1 << 24, 2 << 24)], []),
    ],
)
def test_which_gaps_can_be_avmls(blocks, gaps):
    assert list(skipped([Span(*each) for each in blocks])) == gaps


def test_lime_dumps_of_lime_know_no_skipped_blocks(opened):
    dump = build_lime({0: NOISE, 1 << 24: NOISE})
    with opened(dump, assume_zero=True) as memory:
        assert memory.read(PAGE, PAGE) == Hole(PAGE, Presence.ABSENT)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.booleans(), min_size=1, max_size=6)), max_size=4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_assumed_zeros_are_never_bytes_of_a_block(ranges, compress, bare_ones, assume_zero):
    """Ranges of small blocks, some zero, at random distances: what is read is right, or a hole of the file."""
    small = 1 << 14
    pages: dict[int, bytes] = {}
    start = 0
    for distance, blocks in ranges:
        start += distance * small // 2
        for is_zero in blocks:
            for page in range(small // PAGE):
                pages[start + page * PAGE] = bytes(PAGE) if is_zero else NOISE
            start += small
    if not any(body == NOISE for body in pages.values()):
        return
    dump = build_avml(pages, small, compress=compress, bare=bare_ones)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("khodump.memories.zero_blocks.BLOCK_BYTES", small)
        patch.setattr("khodump.memories.lime.BLOCK_BYTES", small)
        patch.setattr("khodump.memories.lime._MOST_LOST", small // 2)
        _compare(dump, pages, assume_zero=assume_zero)


def _compare(dump: bytes, pages: dict[int, bytes], *, assume_zero: bool) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis and tmp_path do not go together

    with tempfile.NamedTemporaryFile() as file:
        file.write(dump)
        file.flush()
        with open_memory([file.name], assume_zero=assume_zero) as memory:
            for phys, body in pages.items():
                found = memory.read(phys, PAGE)
                assert found == body or (body == bytes(PAGE) and isinstance(found, Hole))
            for phys, behind in pairwise(sorted(pages)):
                if behind - phys > PAGE and not assume_zero:
                    assert isinstance(memory.read(phys + PAGE, 1), Hole), "a hole of the machine"
