from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.errors import ImageError, KhodumpError
from khodump.memories import open_memory
from khodump.memories.file import ImageFile
from khodump.memories.flattened import FlattenedFile
from khodump.memory import Hole, Presence
from tests.builders.flattened import flat_stream, flatten
from tests.builders.kdump import build_kdump

A, B = b"A" * 4096, b"B" * 4096
PAGES = {0x1000: A, 0x2000: bytes(4096), 0x5000: B}


def flattened(path: Path, stream: bytes) -> FlattenedFile:
    path.write_bytes(stream)
    return FlattenedFile(ImageFile(path))


@pytest.mark.parametrize("record", [100, 4096, 1 << 20])
@pytest.mark.parametrize("skip_zeros", [False, True])
def test_a_kdump_in_pieces(tmp_path, record, skip_zeros):
    dump = build_kdump(PAGES, excluded=[0x3000])
    (tmp_path / "flat").write_bytes(flatten(dump, record=record, skip_zeros=skip_zeros))
    with open_memory([tmp_path / "flat"]) as memory:
        assert memory.warnings == ()
        assert [memory.read(at, 4096) for at in PAGES] == list(PAGES.values())
        assert memory.read(0x3000, 1) == Hole(0x3000, Presence.EXCLUDED)
        assert memory.read(0x4000, 1) == Hole(0x4000, Presence.ABSENT)


def test_later_records_override_earlier_ones(tmp_path):
    file = flattened(tmp_path / "flat", flat_stream([(4, b"aaaa"), (0, b"bbbbbb"), (10, b"cc"), (11, b"d")]))
    assert (file.size, file.is_whole) == (12, True)
    assert file.read(0, 100) == b"bbbbbbaa\0\0cd"
    assert file.read(7, 2) == b"a\0"
    assert file.read(12, 1) == file.read(100, 1) == b""


def test_what_a_cut_stream_lacks_is_missing_and_not_zero(tmp_path):
    stream = flat_stream([(8, b"x" * 8), (0, b"y" * 4), (20, b"z" * 8)])
    file = flattened(tmp_path / "flat", stream[: -16 - 3])
    assert (file.size, file.is_whole) == (25, False)
    assert file.read(0, 25) == b"yyyy"
    assert file.read(8, 9) == b"x" * 8
    assert file.read(20, 8) == b"z" * 5
    assert file.missing(4) is Presence.TRUNCATED


def test_a_cut_kdump_is_truncated_where_its_records_are_missing(tmp_path):
    dump = build_kdump(PAGES, codec="raw")
    tail = len(dump) - 4096
    stream = flat_stream(
        [(0, dump[: tail - 4096]), (tail, dump[tail:]), (tail - 4096, bytes(4096))], end=False
    )
    (tmp_path / "flat").write_bytes(stream[:-4096])
    with open_memory([tmp_path / "flat"]) as memory:
        assert "no end mark" in memory.warnings[0]
        assert memory.read(0x1000, 4096) == A
        assert memory.read(0x2000, 1) == Hole(0x2000, Presence.TRUNCATED)
        assert memory.read(0x5000, 4096) == B


@pytest.mark.parametrize(
    "stream",
    [
        flat_stream([(-7, b"x")]),
        flat_stream([((1 << 63) - 1, b"xx")]),
        flat_stream([(0, b"")]),
        flat_stream([]),
        flat_stream([(0, b"plain text")]),
        flat_stream([])[:20],
        flat_stream([(0, b"KDUMP   ")], end=False),
    ],
)
def test_streams_that_make_no_sense(tmp_path, stream):
    (tmp_path / "flat").write_bytes(stream)
    with pytest.raises(ImageError):
        open_memory([tmp_path / "flat"])


records = st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=80)), min_size=1, max_size=8)


@given(records, st.integers(0, 300), st.integers(0, 300))
def test_reads_what_makedumpfile_would_restore(tmp_path_factory, written, offset, size):
    restored = bytearray(max(at + len(data) for at, data in written))
    for at, data in written:
        restored[at : at + len(data)] = data
    file = flattened(tmp_path_factory.mktemp("flat") / "flat", flat_stream(written))
    assert file.read(offset, size) == restored[offset : offset + size]
    file.close()


@given(st.data())
def test_damage_gives_answers_or_khodump_errors(tmp_path_factory, data):
    stream = bytearray(flatten(build_kdump(PAGES), record=6000))
    places = st.sampled_from([*range(32), *range(4096, 4112), *range(4112 + 6000, 4112 + 6016)])
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        stream[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("flat") / "flat"
    path.write_bytes(stream[: data.draw(st.integers(4096, len(stream)))])
    try:
        memory = open_memory([f"{path}"])
    except KhodumpError:
        return
    with memory:
        memory.read(0x1000, 0x8000)


def test_what_no_record_wrote_is_not_searched(tmp_path):
    """Joined where records, and the page around each, meet; cut to what is asked for."""
    far = 1 << 40
    file = flattened(tmp_path / "flat", flat_stream([(0, bytes(100)), (70_000, bytes(10)), (far, b"x")]))
    assert list(file.data_extents(0, far + 1)) == [(0, 70_010 + 65536), (far - 65536, far + 1)]
    assert list(file.data_extents(1 << 30, 1 << 31)) == []
    assert list(file.data_extents(50, 60)) == [(50, 60)]
    assert list(file.data_extents(far, far + 1)) == [(far, far + 1)]
    file.close()
