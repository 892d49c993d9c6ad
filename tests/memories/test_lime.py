from __future__ import annotations

from pathlib import Path

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.errors import ImageError, KhodumpError
from khodump.memories import open_memory
from khodump.memory import Hole, PhysicalMemory, Presence, Range
from tests.builders.lime import avml_block, build_avml, build_lime

NOISE = np.random.default_rng(1).bytes(4096)
PAGES = {0x1000: b"A" * 4096, 0x2000: NOISE, 0x8000: b"B" * 4096}
WRITERS = {"LiME": build_lime, "AVML": build_avml}


@pytest.fixture
def opened(tmp_path: Path):
    def write_and_open(dump: bytes) -> PhysicalMemory:
        path = tmp_path / "dump"
        path.write_bytes(dump)
        return open_memory([path])

    return write_and_open


@pytest.mark.parametrize("name", WRITERS)
def test_ranges_and_holes(opened, name):
    with opened(WRITERS[name](PAGES)) as memory:
        assert name in memory.description
        assert memory.warnings == ()
        assert memory.ranges == (
            Range(0x1000, 0x3000, Presence.PRESENT),
            Range(0x8000, 0x9000, Presence.PRESENT),
        )
        assert memory.read(0x1FFF, 2) == b"A" + NOISE[:1]
        assert memory.read(0x2FFF, 2) == Hole(0x3000, Presence.ABSENT)
        assert memory.gather(np.array([8, 2, 3], np.uint64) * 4096, 4096).presence.tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", WRITERS)
def test_cut_off(opened, name):
    pages = {0x1000: NOISE, 0x2000: NOISE[::-1], 0x8000: NOISE}
    with opened(WRITERS[name](pages)[:-100]) as memory:
        assert "cut" in memory.warnings[0]
        assert memory.read(0x1000, 8192) == NOISE + NOISE[::-1]
        found = memory.read(0x8000, 4096)
        assert isinstance(found, Hole)
        assert found.presence is Presence.TRUNCATED


@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_header_ends_the_list_and_says_so(opened, name):
    first, second = WRITERS[name]({0x1000: NOISE}), WRITERS[name]({0x8000: NOISE})
    with opened(first + b"JUNK" + second[4:]) as memory:
        assert "no range header" in memory.warnings[0]
        assert memory.ranges == (Range(0x1000, 0x2000, Presence.PRESENT),)
        assert memory.read(0x1000, 4096) == NOISE
    with pytest.raises(ImageError, match="first header makes no sense"):
        opened(first[:4] + b"\x09" + first[5:])
    with pytest.raises(ImageError, match="first header makes no sense"):
        opened(first[:20])


def test_a_damaged_chunk_hurts_only_itself(opened):
    data = np.random.default_rng(2).bytes(1 << 18)
    dump = bytearray(avml_block(0, data) + avml_block(1 << 20, data))
    dump[70_000 + 32] ^= 1  # in the second chunk of the first block
    with opened(bytes(dump)) as memory:
        assert memory.warnings == ()
        assert memory.read(0, 1 << 16) == data[: 1 << 16]
        assert memory.read(0, 1 << 18) == Hole(1 << 16, Presence.DAMAGED)
        assert memory.read(2 << 16, 1 << 16) == data[2 << 16 : 3 << 16]
        assert memory.read(1 << 20, 1 << 18) == data
        got = memory.gather(np.arange(64, dtype=np.uint64) * 4096, 4096).presence
        assert got.tolist() == [0] * 16 + [Presence.DAMAGED] * 16 + [0] * 32


def test_a_stream_that_is_shorter_or_longer_than_its_block(opened):
    short = avml_block(0, bytes(8192), bytes(cramjam.snappy.compress(NOISE)))
    with opened(short + avml_block(0x8000, NOISE)) as memory:
        assert memory.read(0, 4096) == NOISE
        assert memory.read(0, 4097) == Hole(4096, Presence.DAMAGED)
        assert memory.read(0x8000, 4096) == NOISE
    with opened(avml_block(0, bytes(4096), bytes(cramjam.snappy.compress(bytes(1 << 20))))) as memory:
        assert memory.read(0, 4096) == Hole(0, Presence.DAMAGED)


def test_avml_leaves_zero_blocks_out(opened):
    pages = {at: bytes(4096) if at < 0x4000 else NOISE for at in range(0, 0x8000, 4096)}
    with opened(build_avml(pages, block=0x4000)) as memory:
        assert memory.read(0, 1) == Hole(0, Presence.ABSENT)
        assert memory.read(0x4000, 4096) == NOISE


def test_snappy_missing_names_the_extra(opened, monkeypatch):
    def no_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("khodump.extras.import_module", no_module)
    with pytest.raises(ImageError, match="cramjam") as caught:
        opened(build_avml(PAGES))
    assert caught.value.hint == "pip install 'khodump[kdump]'"
    opened(build_lime(PAGES)).close()


def test_lime_parts_combine_with_raw(tmp_path):
    for name, build in WRITERS.items():
        (tmp_path / name).write_bytes(build({0x1000: NOISE}))
        (tmp_path / "raw").write_bytes(b"\xf0" * 4096)
        with open_memory([tmp_path / name, f"{tmp_path / 'raw'}@0x2000"]) as memory:
            assert memory.read(0x1000, 8192) == NOISE + b"\xf0" * 4096


seeds = st.integers(0, 30)


@given(st.dictionaries(st.integers(0, 80), seeds, min_size=1), st.sampled_from(sorted(WRITERS)), st.data())
def test_round_trip(tmp_path_factory, pages, name, data):
    bodies = {pfn * 4096: bytes([seed + 1]) * 4096 if seed % 2 else NOISE for pfn, seed in pages.items()}
    block = data.draw(st.sampled_from([4096, 1 << 16, 1 << 24]))
    dump = build_avml(bodies, block) if name == "AVML" else build_lime(bodies)
    path = tmp_path_factory.mktemp("lime") / "dump"
    path.write_bytes(dump)
    with open_memory([path]) as memory:
        got = memory.gather(np.arange(82, dtype=np.uint64) * 4096, 4096)
        assert got.presence.tolist() == [
            Presence.PRESENT if n in pages else Presence.ABSENT for n in range(82)
        ]
        assert all(memory.read(at, 4096) == body for at, body in bodies.items())
        assert all(got.data[at // 4096].tobytes() == body for at, body in bodies.items())


@given(
    st.sampled_from(sorted(WRITERS)), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255))), st.data()
)
def test_damage_gives_answers_or_khodump_errors(tmp_path_factory, name, flips, data):
    dump = bytearray(WRITERS[name](PAGES))
    for at, value in flips:
        dump[at if at < 100 else -at] = value
    path = tmp_path_factory.mktemp("lime") / "dump"
    path.write_bytes(bytes(dump[: data.draw(st.integers(1, len(dump)))]))
    try:
        memory = open_memory([f"{path}"])
    except KhodumpError:
        return
    with memory:
        memory.read(0x1000, 0x8000)
        memory.gather(np.arange(16, dtype=np.uint64) * 4096, 4096)
