from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest

from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, PFN_BITS, FolioFlags
from khodump.api import open_handover
from khodump.errors import UsageError
from khodump.extraction.extract import (
    MissingError,
    UnreadableError,
    extract,
    plan_blob,
    plan_memfd,
    plan_range,
    plan_reserve_mem,
    plan_vmalloc,
)
from khodump.extraction.folios import _untangled
from khodump.extraction.plan import Runs
from khodump.handover import Handover
from tests.builders.chains import Writer, write_vmalloc
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import KEPT, Folio, Memfd, MemfdFormat
from tests.builders.users import Memblock, ReserveMem

ENTRIES = "LUO/sessions/0/files/0/folios/entries"
CONTENTS = "LUO/sessions/0/files/0/contents"


class Recorder:
    """A sink that remembers its bytes and which of them are holes."""

    def __init__(self):
        self.data = bytearray()
        self.holes = []

    def write(self, data):
        self.data += data.tobytes()

    def skip(self, size):
        if size:
            self.holes.append((len(self.data), size))
        self.data += bytes(size)


def built_memfd(memfd: Memfd, page_size: int = 4096) -> BuiltHandover:
    luo = Luo((Session("vm", (LuoFile(1, memfd),)),))
    return build_handover(Description(subtrees={"LUO": luo}, page_size=page_size))


@contextmanager
def opened(built: BuiltHandover, directory, **shape) -> Iterator[Handover]:
    core = built.image.to_elf(directory / "core", **shape)
    size = built.geometry.page_size
    with open_handover([core], fdt=built.fdt_phys, page_size=size) as handover:
        yield handover


def extracted(handover, plan, **options) -> Recorder:
    sink = Recorder()
    extract(handover.memory, plan, lambda _: nullcontext(sink), **options)
    return sink


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def pattern(size: int, seed: int) -> bytes:
    return dice(seed).randbytes(size)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
@pytest.mark.parametrize("form", MemfdFormat)
def test_a_file_is_rebuilt_with_holes_and_a_partial_end(form, page_size, tmp_path):
    small, large = pattern(page_size, 1), pattern(page_size * 4, 2)
    beyond = Folio(12, pattern(page_size, 3))
    folios = (Folio(1, small), Folio(4, large, 2), beyond)
    size = 7 * page_size + 123
    with opened(built_memfd(Memfd(folios, size, format=form), page_size), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        sink = extracted(handover, plan)
    assert bytes(sink.data) == (bytes(page_size) + small + bytes(2 * page_size) + large)[:size]
    assert sink.holes == [(0, page_size), (2 * page_size, 2 * page_size)]
    assert (plan.parts, plan.warnings, plan.gap_size) == ((3, "folio"), (), 3 * page_size)


def test_an_empty_file_and_one_that_is_one_hole(tmp_path):
    with opened(built_memfd(Memfd()), tmp_path) as handover:
        assert extracted(handover, plan_memfd(handover, "vm", 1)).data == b""
    with opened(built_memfd(Memfd(size=5000)), tmp_path) as handover:
        assert extracted(handover, plan_memfd(handover, "vm", 1)).holes == [(0, 5000)]


def test_scattered_and_contiguous_folios_come_in_the_order_of_the_file(tmp_path):
    order = list(range(700))
    dice(4).shuffle(order)
    folios = tuple(Folio(index, index.to_bytes(2, "big") * 2048) for index in order)
    with opened(built_memfd(Memfd(folios)), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        sink = extracted(handover, plan)
    assert sink.data == b"".join(index.to_bytes(2, "big") * 2048 for index in range(700))
    assert plan.warnings == ()
    straight = tuple(Folio(index, bytes([index])) for index in range(200))
    with opened(built_memfd(Memfd(straight)), tmp_path) as handover:
        assert len(plan_memfd(handover, "vm", 1).runs) == 1


def test_the_first_of_overlapping_folios_has_the_page(tmp_path):
    folios = (Folio(2, b"b" * 4096), Folio(0, b"a" * 16384, 2), Folio(3, b"c" * 4096))
    with opened(built_memfd(Memfd(folios)), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        data = extracted(handover, plan).data
    assert data == b"a" * 8192 + b"b" * 4096 + b"a" * 4096
    assert plan.misgivings == ("2 pages are claimed by several folios: the first in the list has them",)


def test_overlaps_are_resolved_as_page_by_page():
    for seed in range(200):
        throw = dice(seed).randrange
        rows = [(throw(1, 1000), throw(40), throw(1, 12)) for _ in range(throw(1, 9))]
        pages: dict[int, int] = {}
        for pfn, page, count in rows:
            for index in range(count):
                pages.setdefault(page + index, pfn + index)
        runs = _untangled(Runs.of_rows(rows))
        columns = zip(runs.pfn.tolist(), runs.page.tolist(), runs.count.tolist(), strict=True)
        found = [(page + i, pfn + i) for pfn, page, count in columns for i in range(count)]
        assert found == sorted(pages.items())


def rewritten(built: BuiltHandover, number: int, pfn: int, index: int, flags: int = KEPT) -> None:
    """Let an entry of the array say something else."""
    entry = MEMFD_LUO_FOLIO_SER.build({"folio": pfn | flags << PFN_BITS, "index": index})
    built.image.write(built.places[ENTRIES][number], entry)


def test_a_folio_that_is_not_preserved_is_as_large_as_its_surroundings_allow(tmp_path):
    built = built_memfd(Memfd((Folio(0), Folio(4), Folio(5)), size=8 * 4096))
    stray = 1 << 30
    built.image.write(stray, pattern(8 * 4096, 5))
    rewritten(built, 0, stray >> 12, 0)  # aligned, and 4 pages before the next
    rewritten(built, 1, (stray >> 12) + 4, 4)  # aligned, but the next follows
    rewritten(built, 2, (stray >> 12) + 6, 6)  # aligned to 2, and nothing follows
    with opened(built, tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        sink = extracted(handover, plan, fill=0xEE)
    expected = pattern(8 * 4096, 5)
    assert sink.data[: 4 * 4096] == expected[: 4 * 4096]
    assert sink.data[4 * 4096 : 6 * 4096] == expected[4 * 4096 : 6 * 4096]
    assert sink.data[6 * 4096 :] == expected[6 * 4096 :]
    assert plan.misgivings[0].startswith("3 folios are not in the preserved map")


def test_flags_say_nothing_but_that_a_folio_is_stale(tmp_path):
    odd = FolioFlags(0xFFC) | KEPT
    folios = (Folio(0, b"x" * 4096, flags=odd), Folio(1, b"y" * 4096, flags=FolioFlags.DIRTY))
    with opened(built_memfd(Memfd(folios)), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        assert extracted(handover, plan).data == b"x" * 4096 + b"y" * 4096
    assert [warning[:31] for warning in plan.warnings] == ["1 folios were not up to date: t"]


@pytest.mark.parametrize("fill", [None, 0, 0xA5])
def test_pages_that_are_missing_stop_it_or_are_filled(fill, tmp_path):
    built = built_memfd(Memfd(tuple(Folio(index, bytes([index + 1]) * 4096) for index in range(4)), 16000))
    gone = built.places[CONTENTS][1]
    with opened(built, tmp_path, excluded=[(gone, gone + 4096)]) as handover:
        plan = plan_memfd(handover, "vm", 1)
        if fill is None:
            with pytest.raises(MissingError) as caught:
                extract(handover.memory, plan, lambda _: pytest.fail("the output was opened"))
            assert list(caught.value.losses.head()) == [(4096, 4096, gone, "excluded from the dump")]
            return
        sink = extracted(handover, plan, fill=fill)
    expected = b"".join(bytes([byte]) * 4096 for byte in (1, fill, 3, 4))
    assert bytes(sink.data) == expected[:16000]
    assert sink.holes == ([(4096, 4096)] if fill == 0 else [])


def test_a_list_of_folios_with_gaps_leaves_no_holes(tmp_path):
    """What no entry tells of may be a hole, or the folio of an entry that is missing."""
    built = built_memfd(Memfd(tuple(Folio(index, b"z" * 4096) for index in range(300))))
    second = built.places["LUO/sessions/0/files/0/folios/blocks"][1]
    built.image.drop(second)
    with opened(built, tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        with pytest.raises(MissingError) as caught:
            extracted(handover, plan)
        assert [(loss.offset, loss.size, loss.phys) for loss in caught.value.losses.head()] == [
            (256 * 4096, 44 * 4096, None)
        ]
        sink = extracted(handover, plan, fill=0x11)
    assert sink.data == b"z" * (256 * 4096) + b"\x11" * (44 * 4096)


def test_what_turns_out_to_be_cut_off_stops_the_copy(tmp_path):
    pages = 600
    built = built_memfd(Memfd(tuple(Folio(index, b"q" * 4096) for index in range(pages))))
    raw = built.image.to_raw(tmp_path / "mem.img")
    with open_handover([raw], fdt=built.fdt_phys) as handover:
        plan = plan_memfd(handover, "vm", 1)
        sink = Recorder()
        os.truncate(raw, built.places[CONTENTS][500])
        with pytest.raises(MissingError) as caught:
            extract(handover.memory, plan, lambda _: nullcontext(sink))
        assert next(caught.value.losses.head()).offset == 500 * 4096
        assert sink.data == b"q" * len(sink.data)
        filled = extracted(handover, plan, fill=0)
    assert filled.data == b"q" * (500 * 4096) + bytes(100 * 4096)


@pytest.mark.parametrize("size", [1 << 62, (1 << 63) - 1])
def test_a_size_that_no_memory_has_is_refused(size, tmp_path):
    with opened(built_memfd(Memfd((Folio(0, b"a"),), size)), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        with pytest.raises(
            UsageError, match="more than 1 GiB: the limit|more than any file can have"
        ) as caught:
            extract(handover.memory, plan, lambda _: pytest.fail("the output was opened"))
        if size < 1 << 63:
            assert caught.value.hint == f"limit={size} allows it"
        with pytest.raises(UsageError):
            extract(handover.memory, plan, lambda _: pytest.fail("opened"), limit=size - 1)


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
def test_a_size_that_no_file_can_have_is_refused_whatever_the_limit(size, tmp_path):
    with opened(built_memfd(Memfd((Folio(0, b"a"),), size)), tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        with pytest.raises(UsageError, match="no file has more than 9223372036854775807"):
            extract(handover.memory, plan, lambda _: pytest.fail("opened"), fill=0, limit=size)


def test_hostile_entries_cost_what_the_file_has(tmp_path):
    built = built_memfd(Memfd((Folio(0, b"a" * 4096), Folio(1), Folio(2)), size=3 * 4096))
    rewritten(built, 1, (1 << PFN_BITS) - 1, 1)
    rewritten(built, 2, 1 << 51, (1 << 64) - 1)
    with opened(built, tmp_path) as handover:
        plan = plan_memfd(handover, "vm", 1)
        assert plan.runs.pages == 2
        assert extracted(handover, plan, fill=7).data == b"a" * 4096 + b"\7" * 4096 + bytes(4096)


def test_a_range_may_begin_and_end_inside_pages(tmp_path):
    built = built_memfd(Memfd((Folio(0, pattern(4 * 4096, 9), 2),)))
    phys = built.places[CONTENTS][0]
    with opened(built, tmp_path) as handover:
        for start, size in ((0, 4096), (100, 50), (4000, 200), (1, 16383), (8192, 1), (5, 0)):
            plan = plan_range(handover, phys + start, size)
            assert extracted(handover, plan).data == pattern(4 * 4096, 9)[start : start + size]
            assert (plan.data_size, plan.gap_size) == (size, 0)
        with pytest.raises(UsageError, match="address space"):
            plan_range(handover, (1 << 64) - 1, 2)
        plan = plan_range(handover, (1 << 64) - 10, 10)
        assert extracted(handover, plan, fill=3).data == b"\3" * 10


def test_what_is_there_of_a_torn_page_is_given(tmp_path):
    built = built_memfd(Memfd((Folio(0, b"m" * 4096),)))
    torn = built.places[CONTENTS][0]
    built.image.drop(torn)
    parts = [ElfSegment(start, built.image.read(start, end - start)) for start, end in built.image.ranges]
    core = tmp_path / "core"
    core.write_bytes(
        build_elf([*parts, ElfSegment(torn + 1000, b"m" * 50), ElfSegment(torn + 1050, b"", 10)])
    )
    with open_handover([core], fdt=built.fdt_phys) as handover:
        for start, size in ((1000, 50), (1049, 1), (1010, 10)):
            assert extracted(handover, plan_range(handover, torn + start, size)).data == b"m" * size
        for start in (999, 1001):
            with pytest.raises(MissingError) as caught:
                extracted(handover, plan_range(handover, torn + start, 50))
            assert list(caught.value.losses.head()) == [(0, 50, torn + start, "excluded from the dump")]


def test_regions_and_blobs_are_found_by_name(tmp_path):
    users = {"memblock": Memblock((ReserveMem("trace", 1 << 30, 8192), ReserveMem("tiny", 0x9010, 100)))}
    built = build_handover(Description(subtrees=users))
    built.image.write(1 << 30, pattern(8192, 6))
    built.image.write(0x9010, b"t" * 100)
    with opened(built, tmp_path) as handover:
        assert extracted(handover, plan_reserve_mem(handover, "trace")).data == pattern(8192, 6)
        assert extracted(handover, plan_reserve_mem(handover, "tiny")).data == b"t" * 100
        blob = extracted(handover, plan_blob(handover, "memblock")).data
        assert blob == built.image.read(built.blobs["memblock"], len(blob))
        with pytest.raises(UsageError) as caught:
            plan_reserve_mem(handover, "../etc/passwd")
        assert caught.value.hint == "the regions are trace, tiny"
        with pytest.raises(UsageError):
            plan_blob(handover, "LUO")
        with pytest.raises(UsageError, match="no node"):
            plan_memfd(handover, "vm", 1)


class Area:
    """A user whose blob is a struct kho_vmalloc."""

    def __init__(self, data: bytes, order: int):
        self.data, self.order = data, order

    def write(self, writer: Writer) -> bytes:
        return write_vmalloc(writer, self.data, self.order)


@pytest.mark.parametrize(("pages", "order"), [(1, 0), (511, 0), (512, 0), (1100, 0), (8, 2)])
def test_a_vmalloc_area_is_read_through_its_chunks(pages, order, tmp_path):
    data = pattern(pages * 4096, 7)
    built = build_handover(Description(subtrees={"area": Area(data, order)}))
    with opened(built, tmp_path) as handover:
        plan = plan_vmalloc(handover, built.blobs["area"])
        assert extracted(handover, plan).data == data
        assert plan.parts == (pages >> order, "block")


def test_a_broken_chain_leaves_the_rest_unknown(tmp_path):
    data = pattern(1100 * 4096, 8)
    built = build_handover(Description(subtrees={"area": Area(data, 0)}))
    built.image.drop(built.places["area/chunks"][1])
    with opened(built, tmp_path) as handover:
        plan = plan_vmalloc(handover, built.blobs["area"])
        with pytest.raises(MissingError):
            extracted(handover, plan)
        assert extracted(handover, plan, fill=0).data == data[: 511 * 4096] + bytes(589 * 4096)
        with pytest.raises(UnreadableError):
            plan_vmalloc(handover, 1 << 50)


def test_a_state_that_is_gone_is_no_file(tmp_path):
    built = built_memfd(Memfd((Folio(0, b"a"),)))
    state = built.places["LUO/sessions/0/files/0"][0]
    built.image.drop(state)
    with opened(built, tmp_path) as handover, pytest.raises(UnreadableError):
        plan_memfd(handover, "vm", 1)


def test_what_is_not_there_is_named_with_what_is(tmp_path):
    with opened(built_memfd(Memfd()), tmp_path) as handover:
        with pytest.raises(UsageError, match="no session") as caught:
            plan_memfd(handover, "other", 1)
        assert caught.value.hint == "the sessions are vm"
        with pytest.raises(UsageError, match="no file 0x2") as caught:
            plan_memfd(handover, "vm", 2)
        assert caught.value.hint == "did you mean 0x1? the files are 0x1"


def test_files_of_others_and_files_not_written_down_yet_are_refused(tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, 0x1000, "iommu-v1"),)),))
    for users, message in ((luo, "iommu-v1"), (replace(luo, serialized=False), "no sessions written down")):
        built = build_handover(Description(subtrees={"LUO": users}))
        with opened(built, tmp_path) as handover, pytest.raises(UsageError, match=message):
            plan_memfd(handover, "vm", 1)


def test_progress_ends_at_the_whole(tmp_path):
    seen: list[tuple[int, int]] = []
    folios = tuple(Folio(index, b"a") for index in range(600))
    with opened(built_memfd(Memfd(folios)), tmp_path) as handover:
        extracted(handover, plan_memfd(handover, "vm", 1), progress=lambda *at: seen.append(at))
    assert seen[-1] == (600 * 4096, 600 * 4096)
    assert np.all(np.diff([done for done, _ in seen]) > 0)
