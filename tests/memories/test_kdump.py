from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.errors import ImageError, KhodumpError, UsageError
from khodump.memories import open_memory
from khodump.memories.kdump_header import DISK_DUMP_HEADER, KDUMP_SUB_HEADER, PAGE_DESCRIPTOR
from khodump.memory import Hole, PhysicalMemory, Presence, Range
from tests.builders.kdump import FLAGS, build_kdump, split_kdump

A, B = b"A" * 4096, b"B" * 4096
PAGES = {0x1000: A, 0x2000: bytes(4096), 0x5000: B}
CODECS = sorted(FLAGS)


@pytest.fixture
def opened(tmp_path: Path):
    def write_and_open(*dumps: bytes, assume_zero: bool = False) -> PhysicalMemory:
        paths = [tmp_path / f"dump{i}" for i in range(len(dumps))]
        for path, dump in zip(paths, dumps, strict=True):
            path.write_bytes(dump)
        return open_memory(paths, assume_zero=assume_zero)

    return write_and_open


def presences(memory: PhysicalMemory, count: int, page_size: int = 4096) -> list[Presence]:
    return [
        Presence(p)
        for p in memory.gather(np.arange(count, dtype=np.uint64) * page_size, page_size).presence.tolist()
    ]


def test_header_sizes_are_those_of_the_64_bit_structures():
    assert (DISK_DUMP_HEADER.size, KDUMP_SUB_HEADER.size, PAGE_DESCRIPTOR.size) == (464, 104, 24)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("page_size", [4096, 65536])
def test_every_codec(opened, codec, page_size):
    noise = np.random.default_rng(1).bytes(page_size)
    pages = {page_size: b"x" * page_size, 3 * page_size: noise, 4 * page_size: bytes(page_size)}
    with opened(build_kdump(pages, codec=codec, page_size=page_size)) as memory:
        for address, data in pages.items():
            assert memory.read(address, page_size) == data
        assert memory.read(0, 1) == Hole(0, Presence.ABSENT)


def test_holes_are_told_apart(opened):
    with opened(build_kdump(PAGES, excluded=[0x3000], max_mapnr=8)) as memory:
        assert memory.ranges == (
            Range(0x1000, 0x3000, Presence.PRESENT),
            Range(0x3000, 0x4000, Presence.EXCLUDED),
            Range(0x5000, 0x6000, Presence.PRESENT),
        )
        assert list(memory.populated()) == [r for r in memory.ranges if r.presence is Presence.PRESENT]
        assert memory.end == 0x8000
        assert memory.read(0x2000, 4096) == bytes(4096)
        assert memory.read(0x1FFF, 0x1002) == Hole(0x3000, Presence.EXCLUDED)
        assert memory.read(0x1FFF, 0x1001) == A[:1] + bytes(4096)
        assert memory.read(0x5800, 0x1000) == Hole(0x6000, Presence.ABSENT)
        assert memory.read(0x100000000, 1) == Hole(0x100000000, Presence.ABSENT)
        assert memory.read(0x1234, 0) == b""
        assert presences(memory, 6) == [
            Presence.ABSENT,
            Presence.PRESENT,
            Presence.PRESENT,
            Presence.EXCLUDED,
            Presence.ABSENT,
            Presence.PRESENT,
        ]


def test_assume_zero_fills_what_was_excluded_and_nothing_else(opened):
    with opened(build_kdump(PAGES, excluded=[0x3000]), assume_zero=True) as memory:
        assert memory.read(0x3000, 4096) == bytes(4096)
        assert memory.read(0x4000, 1) == Hole(0x4000, Presence.ABSENT)
        assert Range(0x1000, 0x4000, Presence.PRESENT) in memory.ranges
        assert [tuple(r)[:2] for r in memory.populated()] == [(0x1000, 0x3000), (0x5000, 0x6000)]


def test_page_sizes_other_than_the_dumps(opened):
    pages = {pfn * 4096: bytes([pfn]) * 4096 for pfn in range(64) if pfn != 21}
    with opened(build_kdump(pages, excluded=[21 * 4096])) as memory:
        got = memory.gather(np.array([0, 1, 2], np.uint64) * 65536, 65536)
        assert got.presence.tolist() == [Presence.PRESENT, Presence.EXCLUDED, Presence.PRESENT]
        assert got.data[2].tobytes() == b"".join(pages[pfn * 4096] for pfn in range(32, 48))
    big = bytes(range(256)) * 256
    with opened(build_kdump({65536: big}, page_size=65536)) as memory:
        got = memory.gather(np.array([15, 16, 31, 17], np.uint64) * 4096, 4096)
        assert got.presence.tolist() == [Presence.ABSENT, *[Presence.PRESENT] * 3]
        assert got.data[2].tobytes() == big[-4096:]


def test_cut_off_in_the_data_and_in_the_descriptors(opened):
    dump = build_kdump({0x1000: A, 0x2000: B}, codec="raw")
    with opened(dump[:-1]) as memory:
        assert presences(memory, 3) == [Presence.ABSENT, Presence.PRESENT, Presence.TRUNCATED]
    with opened(dump[: -2 * 4096 - 1]) as memory:
        assert presences(memory, 3) == [Presence.ABSENT, Presence.TRUNCATED, Presence.TRUNCATED]
        assert memory.read(0x1000, 1) == Hole(0x1000, Presence.TRUNCATED)


def test_an_incomplete_dump_says_so(opened):
    with opened(build_kdump(PAGES, unwritten=[0x5000], status=0x8)) as memory:
        assert "incomplete" in memory.warnings[0]
        assert memory.read(0x5000, 1) == Hole(0x5000, Presence.TRUNCATED)
        assert memory.read(0x1000, 4096) == A
    with opened(build_kdump(PAGES)) as memory:
        assert memory.warnings == ()


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_page_does_not_hurt_the_others(opened, codec):
    dump = bytearray(build_kdump({0x1000: A, 0x2000: B}, codec=codec))
    table = 4 * 4096  # headers and bitmaps take a block each
    wrong = PAGE_DESCRIPTOR.parse(bytes(dump[table : table + 24]))
    for field, value in (("flags", 0x40), ("size", 0), ("size", 5), ("size", 1 << 31)):
        broken = type(wrong)(**{**{name: getattr(wrong, name) for name in wrong.__slots__}, field: value})
        with opened(
            bytes(dump[:table]) + PAGE_DESCRIPTOR.build(broken) + bytes(dump[table + 24 :])
        ) as memory:
            assert memory.read(0x1000, 1) == Hole(0x1000, Presence.DAMAGED)
            assert memory.read(0x2000, 4096) == B


@pytest.mark.parametrize("codec", ["zlib", "lzo", "snappy", "zstd"])
def test_a_page_that_unpacks_to_more_than_a_page_is_damaged(opened, codec):
    with opened(build_kdump({0: bytes(1 << 20)}, codec=codec)) as memory:
        assert presences(memory, 1) == [Presence.DAMAGED]


def test_split_dumps_make_one_memory_in_any_order(opened):
    pages = {pfn * 4096: bytes([pfn]) * 4096 for pfn in range(20) if pfn % 3}
    parts = split_kdump(pages, [7, 13])
    with opened(parts[2], parts[0], parts[1]) as memory:
        assert memory.warnings == ()
        assert [memory.read(at, 4096) for at in pages] == list(pages.values())
        assert memory.read(0x3000, 1) == Hole(0x3000, Presence.ABSENT)
    with opened(parts[0], parts[2]) as memory:
        assert memory.warnings == ("this is a split dump, and the part with 0x7000 to 0xd000 was not named",)
        assert memory.read(0x8000, 1) == Hole(0x8000, Presence.ABSENT)


def test_files_that_are_no_parts_of_one_dump(opened):
    whole = build_kdump(PAGES)
    left, right = split_kdump(PAGES, [2])
    with pytest.raises(UsageError, match="not parts of one split dump"):
        opened(whole, whole)
    with pytest.raises(UsageError, match="both claim physical address"):
        opened(left, left)
    with pytest.raises(UsageError, match="different dumps"):
        opened(left, split_kdump({0x9000: A}, [5])[1])
    with pytest.raises(UsageError, match="no kdump-compressed dump"):
        opened(left, b"\xf0" * 4096)
    assert right


@pytest.mark.parametrize("version", range(1, 7))
def test_header_versions(opened, version):
    with opened(build_kdump(PAGES, version=version, vmcoreinfo=b"OSRELEASE=7.3\nPAGESIZE=4096\n")) as memory:
        assert memory.read(0x5000, 4096) == B
        assert memory.platform.machine == "x86_64"
        assert memory.platform.vmcoreinfo.get("OSRELEASE") == ("7.3" if version >= 3 else None)


def test_a_newer_version_is_read_with_a_warning(opened):
    with opened(build_kdump(PAGES, version=7)) as memory:
        assert "header version 7" in memory.warnings[0]


def test_one_bitmap_stands_for_both(opened):
    with opened(build_kdump(PAGES, one_bitmap=True)) as memory:
        assert memory.read(0x5000, 4096) == B
        assert memory.read(0x4000, 1) == Hole(0x4000, Presence.ABSENT)


def test_a_bitmap_that_claims_more_than_the_file_has_is_not_allocated(opened):
    dump = bytearray(build_kdump(PAGES))
    sub = KDUMP_SUB_HEADER.parse(bytes(dump[4096:]))
    dump[4096:4200] = KDUMP_SUB_HEADER.build(
        type(sub)(**{**{name: getattr(sub, name) for name in sub.__slots__}, "max_mapnr_64": 1 << 50})
    )
    with pytest.raises(ImageError, match="claims 1125899906842624 pages"):
        opened(bytes(dump))
    dump[0x1B4:0x1B8] = b"\xff" * 4
    dump[4096:4200] = KDUMP_SUB_HEADER.build(
        type(sub)(**{**{name: getattr(sub, name) for name in sub.__slots__}, "max_mapnr_64": 1 << 36})
    )
    with pytest.raises(ImageError, match="ends inside its page bitmaps"):
        opened(bytes(dump))


@pytest.mark.parametrize("size", [8, 100, 4096, 4100, 8192, 3 * 4096 + 1])
def test_cut_off_in_the_headers(opened, size):
    with pytest.raises(ImageError, match="ends inside"):
        opened(build_kdump(PAGES)[:size])


def test_32_bit_and_big_endian_are_refused(opened):
    with pytest.raises(ImageError, match="no kdump-compressed dump of a 64-bit little-endian machine"):
        opened(b"KDUMP   " + bytes(8000))


def test_a_missing_codec_names_the_extra(opened, monkeypatch):
    def no_module(name: str) -> None:
        raise ImportError(name)

    dump = build_kdump(PAGES, codec="lzo")
    monkeypatch.setattr("khodump.extras.import_module", no_module)
    with pytest.raises(ImageError, match="lzo compression needs the Python module lzallright") as caught:
        opened(dump)
    assert caught.value.hint == "pip install 'khodump[kdump]'"
    with opened(build_kdump(PAGES)) as memory:
        assert memory.read(0x1000, 4096) == A


pfns = st.integers(0, 300)
seeds = st.integers(0, 40)  # of a page's bytes; 0 is a page of zeros


def body(seed: int) -> bytes:
    """A page that packs well, or, for every third seed, one that does not."""
    return (
        bytes([seed]) * 4096 if seed % 3 else np.random.default_rng(seed).bytes(4096) if seed else bytes(4096)
    )


@given(
    st.dictionaries(pfns, seeds, min_size=1),
    st.sets(pfns),
    st.sampled_from(CODECS),
    st.lists(pfns, max_size=3),
    st.sampled_from([4096, 16384]),
)
def test_round_trip(tmp_path_factory, pages, excluded, codec, edges, asked):
    excluded -= pages.keys()
    dump = {pfn * 4096: body(seed) for pfn, seed in pages.items()}
    holes = [pfn * 4096 for pfn in excluded]
    count = max(*pages, *excluded, 0) + 1
    bounds = sorted({0, count, *(edge for edge in edges if edge < count)})
    home = tmp_path_factory.mktemp("split")
    paths = []
    for window in pairwise(bounds):
        paths.append(home / f"part{window[0]}")
        whole = len(bounds) == 2
        paths[-1].write_bytes(
            build_kdump(dump, excluded=holes, codec=codec, window=None if whole else window, max_mapnr=count)
        )
    with open_memory(paths) as memory:
        assert memory.warnings == ()
        wanted = [
            Presence.PRESENT if pfn in pages else Presence.EXCLUDED if pfn in excluded else Presence.ABSENT
            for pfn in range(304)
        ]
        got = memory.gather(np.arange(304, dtype=np.uint64) * 4096, 4096)
        assert got.presence.tolist() == wanted
        assert all(got.data[pfn].tobytes() == body(seed) for pfn, seed in pages.items())
        ranges = {pfn: r.presence for r in memory.ranges for pfn in range(r.start >> 12, r.end >> 12)}
        assert [ranges.get(pfn, Presence.ABSENT) for pfn in range(304)] == wanted
        other = memory.gather(np.arange(304 * 4096 // asked, dtype=np.uint64) * asked, asked)
        for pfn, presence in enumerate(other.presence.tolist()):
            found = memory.read(pfn * asked, asked)
            assert presence == (found.presence if isinstance(found, Hole) else Presence.PRESENT)
            assert isinstance(found, Hole) or found == other.data[pfn].tobytes()


@given(
    st.lists(st.tuples(st.integers(0, 5 * 4096 + 200), st.integers(0, 255)), min_size=1, max_size=12),
    st.data(),
)
@settings(max_examples=300)
def test_damage_gives_answers_or_khodump_errors(tmp_path_factory, flips, data):
    dump = bytearray(build_kdump(PAGES, codec=data.draw(st.sampled_from(CODECS)), excluded=[0x3000]))
    fields = st.sampled_from([8, *range(424, 464), *range(4096, 4200)])
    for at, value in [*flips, (data.draw(fields), data.draw(st.integers(0, 255)))]:
        dump[min(at, len(dump) - 1)] = value
    path = tmp_path_factory.mktemp("damaged") / "dump"
    path.write_bytes(dump)
    try:
        memory = open_memory([path])
    except KhodumpError:
        return
    with memory:
        memory.gather(np.arange(64, dtype=np.uint64) * 4096, 4096)
        memory.read(0, 1 << 16)
        assert len(memory.ranges) <= 64 * 4096
