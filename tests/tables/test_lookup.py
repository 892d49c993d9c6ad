"""Single addresses: on real captures against their truth, on built images against what was built."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import khodump
from khodump.memory import PhysicalMemory
from tests.builders.flattened import flatten
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.kdump import build_kdump
from tests.builders.lime import build_avml, build_lime
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd, MemfdFormat
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import run

EVERY = CAPTURES | HISTORIC
STEP = re.compile(r"(?:leaf )?0x([0-9a-f]+)(?:\[| bit )(\d+)")
BASE = 0x4000_0000


def looked_up(image: str | Path, *arguments: str | Path | int, status: int = 0) -> list[dict[str, Any]]:
    """The rows of `khodump lookup`."""
    ran = run("lookup", image, *arguments, "--format", "jsonl")
    assert ran.status == status, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def word(memory: PhysicalMemory, phys: int) -> int:
    data = memory.read(phys, 8)
    assert isinstance(data, bytes)
    return int.from_bytes(data, "little")


def follow(memory: PhysicalMemory, path: str, first_entry: int = 0) -> None:
    """Hold a path to the memory: each slot points to the next page, and the leaf's bit is set.

    Args:
        memory: the image.
        path: as printed.
        first_entry: bytes before the first element of a chunk, whose pointers come second of two words; 0 for tables.
    """
    steps = [(int(phys, 16), int(slot)) for phys, slot in STEP.findall(path)]
    assert path.count(" > ") == len(steps) - 1
    for (page, slot), (below, _) in pairwise(steps):
        at = page + first_entry + slot * 16 + 8 if first_entry else page + slot * 8
        assert word(memory, at) == below
    leaf, bit = steps[-1]
    assert word(memory, leaf + bit // 64 * 8) >> bit % 64 & 1


@pytest.mark.parametrize("name", EVERY)
def test_the_path_to_every_real_block_leads_there(name):
    capture, options = EVERY[name], ["--as", "kho-v4"] if name == "fail-compat serialized" else []
    blocks = capture.blocks()[:: max(1, len(EVERY[name].blocks()) // 40)]
    rows = looked_up(capture.path, *(hex(phys + 0x123) for phys, _ in blocks), *options)
    assert [(row["start"], row["order"]) for row in rows] == blocks
    assert {row["state"] for row in rows} == {"preserved"}
    version = options[1] if options else None
    with khodump.open(capture.path, version=version) as handover:
        chained = handover.tracker.depth is None
        for row in rows:
            assert row["end"] - row["start"] == 4096 << row["order"]
            follow(handover.memory, row["path"], 16 if chained else 0)
            if name in CAPTURES:
                order, pages = row["order"], row["start"] >> 12 + row["order"]
                assert row["key"] == 1 << 52 - order | pages
                assert row["key_bits"] == f"order bit {52 - order} | {pages:#x}"


def test_historic_maps_have_keys_without_an_order_or_none():
    (row,) = looked_up(HISTORIC["rfc1"].path, hex(HISTORIC["rfc1"].fdt_phys))
    assert row["key"] == row["start"] >> 12
    assert row["key_bits"] == f"no order bit | {row['key']:#x}"
    (row,) = looked_up(HISTORIC["v1a"].path, hex(HISTORIC["v1a"].fdt_phys))
    assert (row["key"], row["key_bits"]) == (None, None)
    assert row["path"].count(" > ") == 1


GEOMETRIES = {
    "4K": Description(),
    "16K": Description(page_size=16384),
    "16K, depth 4": Description("kho-v3", page_size=16384, counts_marker=False),
    "64K": Description(page_size=65536),
    "chain of small bitmaps": Description("kho-v1", MapFormat.CHAIN, 512, kexec_count=None),
    "chain of 64K": Description("kho-v1", MapFormat.CHAIN, page_size=65536, kexec_count=None),
    "order table": Description("kho-v1", MapFormat.ORDER_TABLE, page_size=16384, kexec_count=None),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry(name, tmp_path):
    page_size = GEOMETRIES[name].page_size
    blocks = [(BASE, 0), (BASE + page_size, 0), (1 << 36, 3), (1 << 37, 9), (3 << 37, 9)]
    built = build_handover(replace(GEOMETRIES[name], preservations=tuple(blocks)))
    image = built.image.to_elf(tmp_path / "core", machine="EM_AARCH64")
    ends = [phys + (page_size << order) - 1 for phys, order in blocks]
    rows = looked_up(image, *ends, "--page-size", page_size)
    assert [(row["start"], row["order"]) for row in rows] == blocks
    with khodump.open(image, page_size=page_size) as handover:
        for row in rows:
            follow(handover.memory, row["path"], 16 if handover.tracker.depth is None else 0)
        depth = handover.tracker.depth
    chained, is_table = depth is None, GEOMETRIES[name].map_format is MapFormat.ORDER_TABLE
    assert rows[0]["path"].count(" > ") + 1 == (2 if chained else (depth or 0) + is_table)
    nodes = looked_up(image, *sorted(built.map_nodes), "--page-size", page_size)
    assert sum(row["state"] == "map's own page" for row in nodes) == len(built.map_nodes)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Blocks at BASE + 1M (order 0) and BASE + 4M (order 4, and its second page at order 0 too), and the raw image."""
    inner = (BASE + (4 << 20) + 0x1000, 0)
    blocks = ((BASE + (1 << 20), 0), (BASE + (4 << 20), 4), inner)
    built = build_handover(Description(preservations=blocks))
    return built, built.image.to_raw(tmp_path_factory.mktemp("plain") / "mem.img")


def test_the_neighbours_of_what_is_not_preserved(plain):
    _, image = plain
    address = BASE + (2 << 20) + 0x10
    here, below, above = looked_up(image, address)
    assert (here["state"], here["order"], here["path"]) == ("not preserved", None, None)
    assert (below["state"], below["start"], below["order"]) == ("nearest below", BASE + (1 << 20), 0)
    assert below["distance"] == address - below["end"]
    assert (above["state"], above["start"], above["order"]) == ("nearest above", BASE + (4 << 20), 4)
    assert above["distance"] == above["start"] - address
    assert {row["address"] for row in (here, below, above)} == {address}


def test_neighbours_on_one_side_only(plain):
    _, image = plain
    assert [row["state"] for row in looked_up(image, 0)] == ["not preserved", "nearest above"]
    rows = looked_up(image, (1 << 64) - 1)
    assert [row["state"] for row in rows] == ["not preserved", "nearest below"]
    assert rows[1]["start"] == BASE + (4 << 20), "the block that ends last, not the one that begins last"
    assert rows[0]["bytes"].startswith("outside memory")


def test_right_at_the_edge_of_a_block(plain):
    _, image = plain
    rows = looked_up(image, BASE + (1 << 20), BASE + (1 << 20) + 0xFFF, BASE + (1 << 20) + 0x1000)
    assert [row["state"] for row in rows] == [
        "preserved",
        "preserved",
        "not preserved",
        "nearest below",
        "nearest above",
    ]
    assert rows[3]["distance"] == 0


def test_a_page_that_is_preserved_at_two_orders_has_two_rows(plain):
    _, image = plain
    low, high = looked_up(image, BASE + (4 << 20) + 0x1008)
    assert [(row["order"], row["state"]) for row in (low, high)] == [(0, "preserved"), (4, "preserved")]
    (alone,) = looked_up(image, BASE + (4 << 20) + 0x2008)
    assert alone["order"] == 4


def test_scratch(plain, tmp_path):
    _, image = plain
    (tmp_path / "scratch_phys").write_text(f"{BASE:#x}\n{BASE + (4 << 20):#x}\n")
    (tmp_path / "scratch_len").write_text("0x1000\n0x1000\n")
    rows = looked_up(image, BASE + 0xFFF, BASE + 0x1000, BASE + (4 << 20), "--scratch", tmp_path)
    assert [row["state"] for row in rows if not row["state"].startswith("nearest")] == [
        "scratch",
        "not preserved",
        "preserved, scratch",
    ]


def test_nobody_and_the_root_fdt(plain):
    built, image = plain
    rows = looked_up(image, BASE + (1 << 20), built.fdt_phys)
    assert [row["owner"] for row in rows] == [None, "KHO/root FDT"]


FOLIOS = (
    Folio(0, b"A" * 4096),
    Folio(2, b"B" * 8192, order=1),
    Folio(9, b"C" * 4096),
    Folio(16, b"D" * 65536, order=4),
)


@pytest.mark.parametrize("form", MemfdFormat)
def test_the_offset_in_a_memfd(form, tmp_path):
    decoy = Memfd((Folio(5, b"x" * 4096),), format=form)
    memfd = Memfd(FOLIOS, format=form)
    files = (LuoFile(1, decoy), LuoFile(2, memfd))
    sessions = (Session("a", (LuoFile(2, decoy),)), Session('v"m', files))
    built = build_handover(Description(subtrees={"LUO": Luo(sessions)}))
    places = built.places["LUO/sessions/1/files/1/contents"]
    asked = [
        (phys + at, (folio.index << 12) + at)
        for folio, phys in zip(FOLIOS, places, strict=True)
        if phys
        for at in {0, 0x123, (4096 << folio.order) - 1}
    ]
    rows = looked_up(built.image.to_raw(tmp_path / "mem.img"), *(address for address, _ in asked))
    assert [row["memfd_offset"] for row in rows] == [offset for _, offset in asked]
    assert {row["owner"] for row in rows} == {'LUO/session "v"m"/file 0x2 (memfd)/folios'}
    (state,) = looked_up(tmp_path / "mem.img", built.blobs["LUO"])
    assert (state["owner"], state["memfd_offset"]) == ("LUO/blob", None)


def test_real_memfds_are_whole():
    """Every page of a file of 1 MiB in order-4 folios is found at its own offset."""
    with khodump.open(CAPTURES["luo-memfd serialized"].path) as handover:
        runs = handover.preserved.take(handover.preserved.order == 4)
        pages = [block.phys + at for block in runs for at in range(0, 1 << 16, 4096)]
    rows = looked_up(CAPTURES["luo-memfd serialized"].path, *pages)
    owner = 'LUO/session "vm-alpha"/file 0x4 (memfd)/folios'
    offsets = {row["memfd_offset"] for row in rows if row["owner"] == owner}
    assert offsets >= set(range(0, 1 << 20, 4096))


def image_pages(built: BuiltHandover) -> dict[int, bytes]:
    """The pages of a built memory by address."""
    spans = (range(start, end, 4096) for start, end in built.image.ranges)
    return {at: built.image.read(at, 4096) for span in spans for at in span}


@pytest.mark.parametrize("form", ["raw", "elf", "lime", "flattened elf", "kdump", "avml"])
def test_where_the_byte_is(form, plain, tmp_path):
    built, raw = plain
    core = built.image.to_elf(tmp_path / "core")
    pages = image_pages(built)
    images = {
        "raw": raw.read_bytes,
        "elf": core.read_bytes,
        "lime": lambda: build_lime(pages),
        "flattened elf": lambda: flatten(core.read_bytes()),
        "kdump": lambda: build_kdump(pages),
        "avml": lambda: build_avml(pages),
    }
    image = tmp_path / "image"
    image.write_bytes(images[form]())
    (row,) = looked_up(image, built.fdt_phys + 4)
    if form in ("kdump", "avml"):
        assert (row["file"], row["file_offset"]) == (None, None)
        assert row["bytes"].startswith("present, but compressed")
    else:
        assert (row["file"], row["bytes"]) == (str(image), "present")
        at = row["file_offset"]
        assert image.read_bytes()[at : at + 16] == built.fdt[4:20]


def test_an_image_of_several_files(plain, tmp_path):
    built, _ = plain
    cut = built.fdt_phys
    end = max(end for _, end in built.image.ranges)
    parts = built.image.to_raw_parts(tmp_path, [(cut, end), (0x1000, cut)])
    (row,) = looked_up(parts[0], built.fdt_phys + 0x10, "--image", parts[1])
    assert (row["file"], row["file_offset"]) == (parts[0].split("@")[0], 0x10)


def test_bytes_that_are_not_there(plain, tmp_path):
    built, _ = plain
    hole = (BASE, BASE + 0x1000)
    core = built.image.to_elf(tmp_path / "core", excluded=[hole])
    row, *_ = looked_up(core, BASE)
    assert (row["bytes"], row["file"]) == ("excluded from the dump", None)
    row, *_ = looked_up(core, BASE, "--assume-zero")
    assert (row["bytes"], row["file"]) == ("present, but compressed or left out as zeros", None)
    row, *_ = looked_up(core, 0x2000)
    assert row["bytes"] == "not in the dump"


def test_a_damaged_map_leaves_it_open_what_is_preserved(tmp_path):
    blocks = ((BASE, 0), (BASE + (64 << 20), 9))
    built = build_handover(Description(preservations=blocks))
    leaf = built.tree.nodes[0, built.geometry.encode(BASE, 0) >> 15]
    image = built.image.to_elf(tmp_path / "core", excluded=[(leaf, leaf + 4096)])
    options = ("--fdt", hex(built.fdt_phys))
    here, *_ = looked_up(image, BASE, *options, status=4)
    assert here["state"] == "unknown"
    (held,) = looked_up(image, BASE + (64 << 20) + 5, *options, status=4)
    assert held["state"] == "preserved"
    far, *_ = looked_up(image, 1 << 40, *options, status=4)
    assert far["state"] == "not preserved", "another leaf, which is not there, would tell of it"
    assert "1 of the map's" in run("lookup", image, BASE, *options).stderr


def test_a_file_in_the_place_of_an_address_is_explained(plain):
    _, image = plain
    ran = run("lookup", image, image, 0)
    assert ran.status == 2
    assert "is a file, not an address" in ran.stderr
    assert "--image" in ran.stderr
