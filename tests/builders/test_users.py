from __future__ import annotations

from itertools import pairwise

import construct
import pytest

from khodump.abi.block import KHO_BLOCK_HEADER_SER, block_capacity
from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.abi.kho_test import PROP_FOLIOS_INFO
from khodump.abi.luo import LUO_FILE_SER, LUO_FLB_HEADER_SER, LUO_HEADER, LUO_SESSION_SER, PROP_ABI_HEADER
from khodump.abi.memfd import (
    MEMFD_LUO_FOLIO_SER,
    MEMFD_LUO_SER,
    MEMFD_LUO_SER_V1,
    PROP_FOLIOS,
    PROP_SIZE,
    FolioFlags,
    Seals,
)
from khodump.abi.vmalloc import KHO_VMALLOC, VmallocFlags, chunk_capacity, kho_vmalloc_chunk
from khodump.fdt import parse_fdt
from tests.builders.chains import Writer, write_blocks, write_vmalloc, write_vmalloc_chain
from tests.builders.fdt import u64
from tests.builders.handover import Description, MapFormat, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd, MemfdFormat, folios_of
from tests.builders.memory import MemoryImage
from tests.builders.users import KhoTest, Memblock, ReserveMem, User

_ENTRY = construct.Struct("value" / construct.Int64ul)
_EVERYTHING: dict[str, bytes | User] = {
    "memblock": Memblock((ReserveMem("trace", 0x40000000, 3 << 20),)),
    "LUO": Luo(
        sessions=(
            Session(
                "vm", (LuoFile(0, Memfd(folios_of({0: b"zero", 7: b"seven"}))), LuoFile(2**64 - 1, 5, "x"))
            ),
            Session(b"empty"),
        ),
        flbs=(Flb("flb", 0xFEED),),
    ),
    "kho_test": KhoTest((0, 1, 2)),
    "unknown": b"whatever",
}


@pytest.fixture(params=PAGE_SIZES)
def writer(request):
    return Writer(MemoryImage(1 << 30), request.param)


def read(writer, schema, phys):
    return schema.parse(writer.image.read(phys, schema.sizeof()))


def follow(writer, descriptor):
    """The entries of each chunk, as their walk finds them."""
    schema, chunks, at = kho_vmalloc_chunk(writer.page_size), [], KHO_VMALLOC.parse(descriptor).first
    while at:
        chunk = read(writer, schema, at)
        chunks.append([phys for phys in chunk.phys if phys])
        at = chunk.next
    return chunks


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_full_chunk_is_followed_by_another(writer, extra):
    capacity = chunk_capacity(writer.page_size)
    blocks = [writer.page_size * (2 + i) for i in range(capacity + extra)]
    descriptor = write_vmalloc_chain(writer, blocks)
    chunks = follow(writer, descriptor)
    assert [phys for chunk in chunks for phys in chunk] == blocks
    assert [len(chunk) for chunk in chunks] == ([capacity - 1] if extra < 0 else [capacity, extra])
    assert KHO_VMALLOC.parse(descriptor).total_pages == len(blocks)
    assert writer.blocks == [(phys, 0) for phys in writer.places["chunks"]]
    assert len(chunks) == len(writer.blocks)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_vmalloc_area_holds_its_data_in_blocks_of_its_order(writer, order):
    size = writer.page_size << order
    data = bytes(range(1, 251)) * (size // 100)
    descriptor = KHO_VMALLOC.parse(raw := write_vmalloc(writer, data, order))
    count = -(-len(data) // size)
    assert (descriptor.total_pages, descriptor.order) == (count << order, order)
    assert descriptor.flags == VmallocFlags.ALLOC | (VmallocFlags.HUGE_VMAP if order else 0)
    (blocks,) = follow(writer, raw)
    assert b"".join(writer.image.read(block, size) for block in blocks) == data.ljust(count * size, b"\0")
    assert sorted(writer.blocks) == sorted([(descriptor.first, 0), *((block, order) for block in blocks)])


def test_an_empty_vmalloc_area_is_all_zero(writer):
    assert write_vmalloc(writer, b"") == bytes(16)
    assert not writer.blocks


@pytest.mark.parametrize(("extra", "tail"), [(0, []), (1, [1])])
def test_blocks_fill_up_one_after_the_other(writer, extra, tail):
    capacity = block_capacity(writer.page_size, _ENTRY.sizeof())
    rows = [{"value": value} for value in range(capacity + extra)]
    at, headers = write_blocks(writer, _ENTRY, rows), []
    while at:
        headers.append(KHO_BLOCK_HEADER_SER.parse(writer.image.read(at, KHO_BLOCK_HEADER_SER.size)))
        at = headers[-1].next
    assert [header.count for header in headers] == [capacity, *tail]
    assert [read(writer, _ENTRY, phys).value for phys in writer.places["entries"]] == list(range(len(rows)))
    assert writer.blocks == [(phys, 0) for phys in writer.places[""]]


def test_no_entries_take_no_block(writer):
    assert write_blocks(writer, _ENTRY, []) == 0


@pytest.mark.parametrize(
    ("pfn", "pages", "orders"),
    [(256, 256, [8]), (1, 7, [0, 1, 2]), (6, 5, [1, 1, 0]), (0, 4, [2]), (3, 0, [])],
)
def test_pages_are_preserved_as_their_natural_blocks(writer, pfn, pages, orders):
    writer.preserve_pages(pfn * writer.page_size, pages)
    assert [order for _, order in writer.blocks] == orders


@pytest.mark.parametrize("form", MemfdFormat)
def test_a_memfd_reads_back(writer, form):
    folios = (Folio(0, b"first"), Folio(4, b"huge", 2, FolioFlags.UPTODATE), Folio(9, None))
    memfd = Memfd(folios, pos=3, seals=Seals.GROW, format=form)
    phys = memfd.write(writer)
    raw = writer.image.read(phys, writer.page_size)
    if form is MemfdFormat.DRAFT:
        fdt = parse_fdt(raw)
        size, descriptor, nr_folios = fdt.u64(PROP_SIZE), fdt.properties[PROP_FOLIOS], fdt.u64("nr_folios")
    elif form is MemfdFormat.V1:
        v1 = MEMFD_LUO_SER_V1.parse(raw)
        size, descriptor, nr_folios = v1.size, v1.folios, v1.nr_folios
    else:
        v2 = MEMFD_LUO_SER.parse(raw)
        assert v2.seals == Seals.GROW
        size, descriptor, nr_folios = v2.size, v2.folios, v2.nr_folios
    assert (size, nr_folios) == (10 * writer.page_size, 3)
    assert follow(writer, descriptor) == [writer.places["folios/blocks"]]
    entries = [read(writer, MEMFD_LUO_FOLIO_SER, at) for at in writer.places["folios/entries"]]
    assert [entry.index for entry in entries] == [0, 4, 9]
    pfns = [contents // writer.page_size for contents in writer.places["contents"]]
    assert pfns[2] == entries[2].folio == 0
    if form is MemfdFormat.DRAFT:
        assert [entry.folio for entry in entries[:2]] == [pfns[0] << 12 | 3, pfns[1] << 12 | 2]
    else:
        assert [entry.folio for entry in entries[:2]] == [pfns[0] | 3 << 52, pfns[1] | 2 << 52]
    assert writer.image.read(writer.places["contents"][1], 4) == b"huge"
    assert {(phys, 0), (pfns[0] * writer.page_size, 0), (pfns[1] * writer.page_size, 2)} < set(writer.blocks)


def test_a_memfd_of_no_length_has_no_array(writer):
    raw = writer.image.read(Memfd().write(writer), MEMFD_LUO_SER.size)
    assert raw == bytes(MEMFD_LUO_SER.size)


def luo_header(writer, version, blob):
    if version >= 3:
        assert blob[:8] == f"luo-v{version}\0\0".encode()
        return LUO_HEADER.parse(blob[8:])
    fdt = parse_fdt(blob)
    assert fdt.string("compatible") == f"luo-v{version}"
    if version == 2:
        (phys,) = writer.places["LUO/header"]
        assert fdt.u64(PROP_ABI_HEADER) == phys
        return LUO_HEADER.parse(writer.image.read(phys, LUO_HEADER.size))
    sessions, flbs = fdt.children
    words = [
        fdt.properties["liveupdate-number"],
        sessions.properties["luo-session-header"],
        flbs.properties["luo-flb-header"],
    ]
    return LUO_HEADER.parse(b"".join(words))


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("serialized", [True, False])
def test_luo_reads_back(writer, version, serialized):
    files = (LuoFile(7, Memfd(folios_of({0: b"x"}))), LuoFile(0, 0xABC, "other-v1"))
    luo = Luo((Session("a", files), Session("b")), (Flb("f", 1),), 3, version, serialized)
    blob = luo.write(writer.at("LUO"))
    header = luo_header(writer, version, blob)
    places = writer.places
    assert header.liveupdate_num == 3
    assert [header.flbs_pa] == places["LUO/flbs"]
    assert [header.sessions_pa] == (places["LUO/sessions"] if serialized or version < 4 else [0])
    flbs = LUO_FLB_HEADER_SER.parse(writer.image.read(header.flbs_pa, LUO_FLB_HEADER_SER.size))
    assert (flbs.pgcnt, flbs.count) == (1, serialized)
    orders = dict(writer.blocks)
    assert orders[places["LUO/sessions"][0]] == (4 if version < 4 else 0)
    assert orders[places["LUO/sessions/0/files"][0]] == (1 if version < 5 else 0)
    assert "LUO/sessions/1/files" not in places
    assert len(places["LUO/sessions/0/files/0"]) == 1
    entries = places.get("LUO/sessions/entries", [])
    assert len(entries) == (2 if serialized else 0)
    if serialized:
        assert entries[0] == header.sessions_pa + (8 if version < 4 else 16)
        first, second = (read(writer, LUO_SESSION_SER, at) for at in entries)
        assert (first.name.rstrip(b"\0"), [first.files], first.count) == (
            b"a",
            places["LUO/sessions/0/files"],
            2,
        )
        assert (second.files, second.count) == (0, 0)
        first, second = (read(writer, LUO_FILE_SER, at) for at in places["LUO/sessions/0/files/entries"])
        assert ([first.data], first.token) == (places["LUO/sessions/0/files/0"], 7)
        assert first.compatible.rstrip(b"\0") == b"memfd-v2"
        assert (second.data, second.token, second.compatible.rstrip(b"\0")) == (0xABC, 0, b"other-v1")


def test_the_first_luo_had_no_flbs(writer):
    fdt = parse_fdt(Luo(flbs=None, version=1).write(writer))
    assert [child.name for child in fdt.children] == ["luo-session"]


def test_arrays_refuse_what_blocks_take():
    writer = Writer(MemoryImage(), 4096)
    files = (LuoFile(0, 0, "x"),)
    assert Luo((Session("s", files * 128),), version=1).write(writer)
    with pytest.raises(ValueError, match="129 entries where 128 fit"):
        Luo((Session("s", files * 129),), version=1).write(writer)
    with pytest.raises(ValueError, match="820 entries where 819 fit"):
        Luo((Session("s"),) * 820, version=1).write(writer)
    with pytest.raises(ValueError, match="64 entries where 63 fit"):
        Luo(flbs=(Flb("f"),) * 64).write(writer)
    luo = writer.at("LUO")
    assert Luo((Session("s", files * 129),) * 52).write(luo)
    assert len(writer.places["LUO/sessions"]) == 2
    assert len(writer.places["LUO/sessions/51/files"]) == 3


@pytest.mark.parametrize("inline", [True, False])
def test_kho_test_lists_its_folios(writer, inline):
    fdt = parse_fdt(KhoTest((0, 2, 5), inline).write(writer))
    info = fdt.children[0].properties[PROP_FOLIOS_INFO]
    words = info if inline else writer.image.read(*writer.places["folios_info/blocks"], 24)
    folios = [phys | order for phys, order in zip(writer.places["folios"], (0, 2, 5), strict=True)]
    assert words == b"".join(u64(word) for word in folios)


@pytest.mark.parametrize("map_format", MapFormat)
@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_a_handover_preserves_what_its_users_wrote(page_size, map_format):
    built = build_handover(Description(page_size=page_size, map_format=map_format, subtrees=_EVERYTHING))
    assert {(phys, 0) for phys in built.blobs.values()} < built.blocks
    assert {(phys, 0) for phys in built.places["LUO/sessions/0/files/0/contents"]} < built.blocks
    assert built.places["memblock/trace"] == [0x40000000]
    trace = [block for block in built.blocks if 0x40000000 <= block[0] < 0x40000000 + (3 << 20)]
    assert sum(page_size << order for _, order in trace) == 3 << 20
    assert built.image.read(built.blobs["unknown"], 8) == b"whatever"
    ends = sorted((phys, phys + (page_size << order)) for phys, order in built.blocks)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_a_region_on_top_of_metadata_is_refused():
    memblock = Memblock((ReserveMem("trace", 1 << 20, 1 << 20),))
    with pytest.raises(ValueError, match="covers metadata"):
        build_handover(Description(subtrees={"memblock": memblock}))


def test_a_region_smaller_than_a_page_is_listed_but_not_preserved(writer):
    fdt = parse_fdt(Memblock((ReserveMem("tiny", 0x1234, 0x10),)).write(writer))
    assert (fdt.children[0].u64("start"), fdt.children[0].u64("size")) == (0x1234, 0x10)
    assert not writer.blocks
