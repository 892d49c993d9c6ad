"""The bitmaps of a kdump file: as cheap as what they have set, wherever in the address space it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.errors import ImageError
from khodump.memories import open_memory
from khodump.memories.bitmap import PageBitmap, stretches
from khodump.memories.file import ByteSource, ImageFile
from khodump.memories.kdump import KdumpMemory
from khodump.memory import Presence, Range
from tests.builders.kdump import sparse_kdump

BLOCK = 4096  # pages
FAR = 96 << 40


class Counted(ByteSource):
    """Another file; counts what is read of it."""

    def __init__(self, file: ByteSource) -> None:
        self.name, self.size = file.name, file.size
        self._file = file
        self.bytes_read = 0

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self.bytes_read += len(buffer)
        return self._file.read_into(buffer, offset)

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        return self._file.data_extents(start, end)

    def close(self) -> None:
        self._file.close()


def test_ram_at_96_tib_costs_what_its_pages_take(tmp_path: Path):
    pages = {FAR + at * 4096: bytes([at]) * 4096 for at in range(30)}
    path = sparse_kdump(tmp_path / "far", pages)
    assert path.stat().st_size > 6 << 30
    file = Counted(ImageFile(path))
    with KdumpMemory([file], description="far") as memory:
        assert [span[:2] for span in memory.populated()] == [(FAR, FAR + 30 * 4096)]
        assert memory.ranges == tuple(memory.populated())
        assert all(memory.read(at, 4096) == data for at, data in pages.items())
        assert memory.gather(np.array([0, FAR >> 1, FAR], np.uint64), 4096).presence.tolist() == [
            1,
            1,
            0,
        ]
    assert file.bytes_read < 1 << 20


def test_far_pages_are_the_same_in_a_file_that_has_no_holes(tmp_path: Path):
    pages = {0x1000: b"a" * 4096, (1 << 36) + 0x3000: b"b" * 4096}
    path = sparse_kdump(tmp_path / "sparse", pages)
    dense = tmp_path / "dense"
    dense.write_bytes(path.read_bytes())
    with open_memory([path]) as one, open_memory([dense]) as other:
        assert one.ranges == other.ranges == tuple(Range(at, at + 4096, Presence.PRESENT) for at in pages)
        assert [other.read(at, 4096) for at in pages] == list(pages.values())


@given(st.sets(st.integers(0, 40 * BLOCK - 1), max_size=60), st.data())
def test_ranks_and_flags_are_those_of_a_plain_list(tmp_path_factory, bits, data):
    pages = 40 * BLOCK
    packed = bytearray(pages // 8)
    for bit in bits:
        packed[bit // 8] |= 1 << bit % 8
    path = tmp_path_factory.mktemp("bitmap") / "bits"
    with path.open("wb") as file:
        file.truncate(4096 + len(packed))
        for at in range(0, len(packed), 4096):
            if any(packed[at : at + 4096]):
                os.pwrite(file.fileno(), packed[at : at + 4096], 4096 + at)
    bitmap = PageBitmap(ImageFile(path), 4096, pages)
    asked = data.draw(
        st.lists(st.one_of(st.integers(0, pages - 1), st.sampled_from(sorted(bits) or [0])), min_size=1)
    )
    looked = bitmap.look_up(np.array(asked, np.uint64))
    assert looked.is_set.tolist() == [pfn in bits for pfn in asked]
    assert looked.rank.tolist() == [sum(bit < pfn for bit in bits) for pfn in asked]
    assert [bitmap.rank(pfn) for pfn in (*asked, pages)] == [*looked.rank.tolist(), len(bits)]
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, pages)] * 2)))
    told = [
        start + at
        for start, end, blocks in stretches((bitmap,), first, last)
        for at in np.flatnonzero(
            bitmap.flags(blocks)[start - int(blocks[0]) * BLOCK :][: end - start]
        ).tolist()
    ]
    assert told == sorted(bit for bit in bits if first <= bit < last)
    count = data.draw(st.integers(0, len(bits)))
    assert bitmap.reach(count) == (sorted(bits)[count - 1] + 1 if count else 0)
    assert bitmap.reach(len(bits) + 1) == pages


def test_a_bitmap_that_the_file_cuts_off_is_refused(tmp_path: Path):
    path = sparse_kdump(tmp_path / "far", {FAR: b"a" * 4096})
    os.truncate(path, 5 << 30)
    with pytest.raises(ImageError, match="ends inside its page bitmaps"):
        open_memory([path])
