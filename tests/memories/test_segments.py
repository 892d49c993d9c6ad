"""Reads of many pages against reads of bytes, and both against a model, on made-up segment tables."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.memories.file import ImageFile
from khodump.memories.segments import ZERO_FILE, SegmentedMemory, Segments
from khodump.memory import Hole, PhysicalMemory, Platform, Presence

PAGE = 4096
STEP = 512  # segments begin and end at multiples of it, so that pages cross them
CONTENT = np.random.default_rng(1).bytes(16 * PAGE)
PRESENCES = st.sampled_from([Presence.PRESENT] * 3 + list(Presence))
Row = tuple[int, int, Presence, int, int]


@pytest.fixture(scope="module")
def files():
    with TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name in "ab"]
        for path, data in zip(paths, (CONTENT, CONTENT[::-1]), strict=True):
            path.write_bytes(data)
        opened = [ImageFile(path) for path in paths]
        yield opened
        for file in opened:
            file.close()


@st.composite
def tables(draw) -> list[Row]:
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        start, length = draw(st.integers(0, 8 * 8)) * STEP, draw(st.integers(0, 4 * 8)) * STEP
        file = draw(st.sampled_from([0, 1, ZERO_FILE]))
        offset = draw(st.integers(0, (16 * PAGE - length) // STEP)) * STEP
        rows.append((start, start + length, draw(PRESENCES), file, offset))
    return rows


def memory_of(files: list[ImageFile], rows: list[Row]) -> PhysicalMemory:
    return SegmentedMemory(files, Segments.of_rows(rows), description="", platform=Platform())


def model(rows: list[Row], phys: int) -> tuple[Presence, int]:
    """Who holds the byte at `phys`, and the byte.

    Bytes win over assumed zeros, those over holes, and among equals the first row wins.
    """
    holders = [(row[2], row[3] == ZERO_FILE, at) for at, row in enumerate(rows) if row[0] <= phys < row[1]]
    if not holders:
        return Presence.ABSENT, 0
    presence, _, index = min(holders)
    start, _, _, file, offset = rows[index]
    source = {0: CONTENT, 1: CONTENT[::-1], ZERO_FILE: bytes(len(CONTENT))}[file]
    return presence, source[offset + phys - start]


@given(tables())
def test_read_follows_the_model(files, rows):
    memory = memory_of(files, rows)
    for phys in range(0, 13 * PAGE, STEP):
        presence, byte = model(rows, phys)
        found = memory.read(phys, 1)
        assert found == (bytes([byte]) if presence is Presence.PRESENT else Hole(phys, presence))


@given(tables())
def test_ranges_follow_the_model(files, rows):
    memory = memory_of(files, rows)
    for span, after in zip(memory.ranges, memory.ranges[1:], strict=False):
        assert span.end <= after.start
        assert span.end < after.start or span.presence != after.presence, (
            "neighbours that are alike are joined"
        )
    told = {at: span.presence for span in memory.ranges for at in range(span.start, span.end, STEP)}
    for phys in range(0, 13 * PAGE, STEP):
        covered = any(start <= phys < end for start, end, *_ in rows)
        assert told.get(phys) == (model(rows, phys)[0] if covered else None)
    assert memory.end == max((end for start, end, *_ in rows if start < end), default=0)


@given(tables(), st.sampled_from([PAGE, 4 * PAGE]), st.data())
def test_pages_agree_with_read(files, rows, page_size, data):
    memory = memory_of(files, rows)
    pfns = data.draw(st.lists(st.integers(0, 14 * PAGE // page_size), max_size=20))
    pages = memory.gather(np.array(pfns, np.uint64) * page_size, page_size)
    assert pages.data.shape == (len(pfns), page_size)
    for row, pfn in enumerate(pfns):
        found = memory.read(pfn * page_size, page_size)
        assert pages.presence[row] == (found.presence if isinstance(found, Hole) else Presence.PRESENT)
        if not isinstance(found, Hole):
            assert pages.data[row].tobytes() == found


@given(tables())
def test_populated_are_the_present_ranges_that_stand_in_a_file(files, rows):
    memory = memory_of(files, rows)
    spans = list(memory.populated())
    assert spans == sorted(spans)
    covered = {at for span in spans for at in range(span.start, span.end, STEP)}
    for phys in range(0, 13 * PAGE, STEP):
        presence, byte = model(rows, phys)
        assert phys in covered or presence is not Presence.PRESENT or byte == 0
        assert phys not in covered or presence is Presence.PRESENT


@pytest.mark.parametrize("count", [1, 2, 300])
def test_neighbours_in_any_order(files, count):
    """A gather joins what stands in a row in the file, and must not mix up what does not."""
    memory = memory_of(files, [(0, 16 * PAGE, Presence.PRESENT, 0, 0)])
    pfns = np.random.default_rng(count).integers(0, 16, count).astype(np.uint64)
    pages = memory.gather(pfns * PAGE, PAGE)
    for row, pfn in enumerate(pfns.tolist()):
        assert pages.data[row].tobytes() == CONTENT[pfn * PAGE : (pfn + 1) * PAGE]


def test_a_hole_says_why(files):
    memory = memory_of(
        files, [(0, PAGE, Presence.EXCLUDED, 0, 0), (PAGE, 2 * PAGE, Presence.TRUNCATED, 0, 0)]
    )
    assert memory.hole_at(0, Presence.EXCLUDED) == "excluded from the dump"
    assert "file ends" in memory.hole_at(PAGE, Presence.TRUNCATED)
    assert memory.hole_at(100, Presence.ABSENT) == "not in the dump"
    assert memory.hole_at(2 * PAGE, Presence.ABSENT) == "not in the dump"
