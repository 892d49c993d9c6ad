"""`khodump slim`: what it keeps answers as before, and what it must not keep is not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KhoBlockHeaderSer
from khodump.api import open_handover
from khodump.extraction.sinks import FileSink
from khodump.extraction.slim import Slim, _Spans
from khodump.fdt import FdtNode
from khodump.memories import open_memory
from khodump.memory import Hole, Presence
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd, MemfdFormat
from tests.builders.memory import MemoryImage
from tests.builders.users import KhoTest, Memblock, ReserveMem, User
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import ROOT, Run, run

EVERY = CAPTURES | HISTORIC
AS = {"fail-compat serialized": ["--as", "kho-v4"]}
SECRET = b"\x07secret of a customer\x07"
COMMANDS = (["inspect", "--pages"], ["inspect", "--owners"], ["sessions"], ["owners"], ["subtrees"])


def slim(image: Path, out: Path, *options: str | Path | int, status: int = 0) -> dict[str, Any]:
    """What `khodump slim` says in JSON; it must end as told."""
    ran = run("slim", image, "--output", out, "--format", "json", *options)
    assert ran.status == status, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    assert said["file_size"] == out.stat().st_size
    return said


CONTENTS = re.compile(r"; [^;]* in their folios are not in the image")


def answers(image: Path, *options: str) -> list[tuple[int, dict[str, Any]]]:
    """What the commands say of an image, but for its name, and how much of the contents it holds: a core holds none."""
    said = []
    for name, *own in COMMANDS:
        ran = run(name, image, *own, *options, "--format", "json")
        told = {**json.loads(ran.stdout), "image": None}
        told.pop("not_in_the_image", None)
        if "summary" in told:
            told["summary"] = CONTENTS.sub("", told["summary"])
        said.append((ran.status, told))
    return said


def left_out(said: dict[str, Any]) -> dict[str, int]:
    """Bytes that were left out, by owner."""
    return {row["owner"]: row["left_out"] for row in said["kept"] if row["left_out"]}


@pytest.mark.parametrize("name", EVERY)
def test_captures_answer_the_same_from_their_slim_form(name, tmp_path):
    options = AS.get(name, [])
    once, twice = tmp_path / "once.elf", tmp_path / "twice.elf"
    said = slim(EVERY[name].path, once, *options)
    assert said["file_size"] <= EVERY[name].path.stat().st_size
    assert said["findings"] == [] or name == "rfc1"
    assert answers(once, *options) == answers(EVERY[name].path, *options)
    slim(once, twice, *options)
    assert twice.read_bytes() == once.read_bytes()


def test_a_capture_loses_the_folios_it_holds(tmp_path):
    said = slim(CAPTURES["luo-memfd serialized"].path, tmp_path / "out.elf")
    assert said["pages"] * 4096 < CAPTURES["luo-memfd serialized"].path.stat().st_size
    ran = run("extract", tmp_path / "out.elf", "--memfd", "many-files/0x445", "--output", tmp_path / "memfd")
    assert ran.status == 4
    assert "not in the dump" in ran.stderr


@contextmanager
def dirty_allocator(monkeypatch) -> Iterator[None]:
    """Pages come from the builders' allocator as they were left: full of a secret."""
    allocate = MemoryImage.alloc_page

    def dirty(self, size=4096, align=None):
        phys = allocate(self, size, align)
        if phys % 4096 == 0:  # later objects of a page find it in use
            self.write(phys, (SECRET * (max(size, 4096) // len(SECRET) + 1))[: max(size, 4096)])
        return phys

    with monkeypatch.context() as patched:
        patched.setattr(MemoryImage, "alloc_page", dirty)
        yield


def padded(text: str, secret: bool) -> str:
    """A string of the ABI, maybe with something behind its NUL."""
    return f"{text}\0{SECRET.decode()}" if secret else text


def luo(version: int, formats: tuple[MemfdFormat, ...], *, secret: bool) -> Luo:
    """Sessions for more than one block, with every kind of folio and a file of a stranger."""
    folios = (Folio(0), Folio(4, b"x", 2), Folio(8, b"y"))
    files = [
        LuoFile(token, Memfd(folios, format=form, array_order=1), padded(form.compatible, secret))
        for token, form in enumerate(formats)
    ]
    files.append(LuoFile(77, 0xDEAD000, padded("stranger-v1", secret)))
    single = (LuoFile(1, Memfd((Folio(0),), format=formats[0])),)
    sessions = [Session(padded("vm", secret), tuple(files)), Session(padded("empty", secret))]
    sessions += [Session(f"many-{number}", single) for number in range(60)]
    return Luo(tuple(sessions), (Flb(padded("flb", secret), 0xFEED, 2),), 3, version)


OLD = {"compatible": "kho-v1", "kexec_count": None}
MERGED = (MemfdFormat.V1, MemfdFormat.V2)
#: The handover, LUO's version, and the formats of memfds.
SHAPES: dict[str, tuple[dict[str, Any], int, tuple[MemfdFormat, ...]]] = {
    "kho-v4 luo-v5": ({}, 5, MERGED),
    "kho-v4 luo-v4": ({}, 4, MERGED),
    "kho-v4 luo-v3": ({}, 3, MERGED),
    "kho-v3 luo-v2": ({"compatible": "kho-v3"}, 2, MERGED),
    "kho-v3 luo-v1": ({"compatible": "kho-v3"}, 1, MERGED),
    "kho-v2 draft": ({"compatible": "kho-v2", "kexec_count": None}, 1, (MemfdFormat.DRAFT,)),
    "16K": ({"page_size": 16384}, 5, MERGED),
    "64K": ({"page_size": 65536}, 5, MERGED),
    "kho-v1a": ({**OLD, "map_format": MapFormat.CHAIN, "bitmap_size": 512}, 1, MERGED),
    "kho-v1b": ({**OLD, "map_format": MapFormat.CHAIN}, 1, MERGED),
    "order table": ({**OLD, "map_format": MapFormat.ORDER_TABLE}, 1, MERGED),
}
RESERVED = 1 << 33


def everything(name: str, *, secret: bool) -> BuiltHandover:
    """A handover with all that khodump knows, and a user it does not; nothing differs with `secret` but secrets."""
    shape, version, formats = SHAPES[name]
    size = shape.get("page_size", 4096)
    content = SECRET if secret else bytes(len(SECRET))
    users: dict[str, bytes | User] = {
        "memblock": Memblock((ReserveMem("logs", RESERVED, 3 * size),)),
        "LUO": luo(version, formats, secret=secret),
        "kho_test": KhoTest((0, 1, 3), inline=shape.get("compatible") == "kho-v1"),
        "stranger": build_fdt(FdtNode("", {"compatible": string("stranger-v1"), "key": content})),
    }
    blocks = tuple((1 << 34 | number * 2 * size, 0) for number in range(50))
    release = padded("7.3.4", secret)
    built = build_handover(Description(**shape, preservations=blocks, subtrees=users, release=release))
    for phys in (RESERVED, *(phys for phys, _ in blocks[:5]), 1 << 35):
        built.image.write(phys, content * 100)
    return built


def to_core(built: BuiltHandover, path: Path, **lines: str) -> Path:
    """An ELF core of it, with these lines of VMCOREINFO."""
    machine = "EM_X86_64" if built.geometry.page_size == 4096 else "EM_AARCH64"
    return built.image.to_elf(path, machine=machine, vmcoreinfo={"OSRELEASE": "7.3.4", **lines})


def known(subtrees: tuple[int, dict[str, Any]]) -> list[Any]:
    """What `subtrees` says of users that are known."""
    return [row for row in subtrees[1]["values"] if row["node"] != "stranger"]


@pytest.mark.parametrize("name", SHAPES)
def test_no_secret_is_kept_and_nothing_is_lost(name, tmp_path, monkeypatch):
    clean = to_core(everything(name, secret=False), tmp_path / "clean")
    with dirty_allocator(monkeypatch):
        dirty = to_core(everything(name, secret=True), tmp_path / "dirty", SYMBOL=SECRET.decode())
    said = slim(dirty, tmp_path / "out.elf")
    assert set(left_out(said)) == {"stranger/blob"}
    kept = (tmp_path / "out.elf").read_bytes()
    assert not any((SECRET * 2)[at : at + 4] in kept for at in range(len(SECRET)))
    slim(clean, tmp_path / "other.elf")
    assert kept == (tmp_path / "other.elf").read_bytes()
    before, after = answers(dirty), answers(tmp_path / "out.elf")
    assert after[:-1] == before[:-1]
    assert known(after[-1]) == known(before[-1])
    slim(tmp_path / "out.elf", tmp_path / "again.elf")
    assert (tmp_path / "again.elf").read_bytes() == kept


def test_what_is_unknown_is_kept_when_asked_for(tmp_path):
    source = to_core(everything("kho-v4 luo-v5", secret=True), tmp_path / "core")
    said = slim(source, tmp_path / "out.elf", "--keep-unknown")
    assert not left_out(said)
    kept = (tmp_path / "out.elf").read_bytes()
    assert kept.count(SECRET) == 1  # the stranger's, but no folio and no reserve_mem
    assert answers(tmp_path / "out.elf") == answers(source)


def test_what_is_left_out_is_said(tmp_path):
    source = to_core(everything("kho-v4 luo-v5", secret=True), tmp_path / "core")
    ran = run("slim", source, "--output", tmp_path / "out.elf")
    (row,) = [line for line in ran.stdout.splitlines() if line.startswith("stranger/blob")]
    assert row.split()[1:6] == ["blob", "that", "is", "not", "understood"]
    assert ran.stderr.splitlines()[-1].endswith(
        "that may be anybody's data (stranger/blob): --keep-unknown keeps it"
    )


def damaged(tmp_path: Path, page: int, data: bytes, *options: str) -> tuple[dict[str, Any], bytes]:
    """What slim says of a handover into which `data` was written at `page`, and the core."""
    built = everything("kho-v4 luo-v5", secret=False)
    built.image.write(page, data)
    out = tmp_path / "out.elf"
    source = to_core(built, tmp_path / "core")
    return slim(source, out, "--force", *options, status=4), out.read_bytes()


PLACES = everything("kho-v4 luo-v5", secret=False)
ASCII = (b"mail of a customer, and more of it; " * 200)[:4096]
TABLE = next(phys for (level, _), phys in PLACES.tree.nodes.items() if level == 1)
FILES = PLACES.places["LUO/sessions/5/files"][0]
CHUNK = PLACES.places["LUO/sessions/0/files/0/folios/chunks"][0]


@pytest.mark.parametrize(
    ("page", "data", "owner"),
    [
        (TABLE, ASCII, "KHO/map"),
        (
            FILES,
            KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(0, 64)) + ASCII[:4080],
            'LUO/session "many-3"/files',
        ),
        (CHUNK, u64(0) + ASCII[:4088], 'LUO/session "vm"/file 0x0 (memfd)/folio array chunks'),
        (PLACES.blobs["LUO"], ASCII[:64], "LUO/blob"),
        (PLACES.blobs["kexec-metadata"], ASCII[:73], "kexec-metadata/blob"),
    ],
    ids=["table", "block", "chunk", "LUO", "metadata"],
)
def test_pages_that_were_used_again_are_left_out(page, data, owner, tmp_path):
    said, kept = damaged(tmp_path, page, data)
    assert left_out(said).keys() == {owner, "stranger/blob"}
    assert b"customer" not in kept
    said, kept = damaged(tmp_path, page, data, "--keep-unknown")
    assert not left_out(said)
    assert b"customer" in kept


def test_a_folio_that_a_damaged_pointer_makes_a_node_is_left_out(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    folio = built.places["LUO/sessions/0/files/0/contents"][0]
    built.image.write(folio, ASCII)
    built.image.write(TABLE + 8 * 511, u64(folio))
    source = to_core(built, tmp_path / "core")
    said = slim(source, tmp_path / "out.elf", status=4)
    assert left_out(said)["KHO/map"] == 4096
    assert b"customer" not in (tmp_path / "out.elf").read_bytes()


def test_a_strangers_page_that_a_table_which_was_used_again_leads_to_is_left_out(tmp_path):
    """Of what stands in such a table, anything may look like a pointer, and any page be read as a leaf."""
    stranger = 1 << 36
    built = everything("kho-v4 luo-v5", secret=False)
    built.image.write(stranger, ASCII)
    built.image.write(TABLE, b"no pointer at all, none; " * 163 + b"!" * 13 + u64(stranger))
    source = to_core(built, tmp_path / "core")
    with open_handover([source]) as handover:
        assert stranger in handover.nodes.phys
        assert not handover.preserved.lookup(stranger)
    said = slim(source, tmp_path / "out.elf", status=4)
    assert "KHO/map" in left_out(said)
    kept = (tmp_path / "out.elf").read_bytes()
    assert b"customer" not in kept
    assert b"no pointer" not in kept


def test_bytes_that_would_wrap_around_the_address_space_are_in_no_page():
    top = (1 << 64) - 4096
    start, length = np.array([[0x1000, top, top, 0x5000], [100, 4096, 8192, (1 << 64) - 1]], np.uint64)
    spans = _Spans([start], [length])
    assert [column.tolist() for column in spans.columns] == [[0x1000], [0x1064]]
    assert [column.tolist() for column in (spans.pages(4096).start, spans.pages(4096).end)] == [
        [0x1000],
        [0x2000],
    ]


def make_up(built: BuiltHandover, phys: int, order: int) -> None:
    """Let the map preserve the block that `phys` lies in."""
    key = built.geometry.encode(phys >> 12 + order << 12 + order, order)
    prefix, bit = divmod(key, 1 << built.geometry.leaf_bits)
    at = built.tree.nodes[(0, prefix)] + bit // 8
    built.image.write(at, bytes([built.image.read(at, 1)[0] | 1 << bit % 8]))


@pytest.mark.parametrize("order", [0, 2])
def test_tables_that_a_made_up_block_covers_are_kept(order, tmp_path):
    """A bit too many in a leaf preserves a block around a table: the table is one still."""
    real = Description(preservations=((0x800_0000, order), (0x1_0000_0000, 4)))
    for (level, _), node in build_handover(real).tree.nodes.items():
        built = build_handover(real)
        make_up(built, node, order)
        source = to_core(built, tmp_path / "core")
        with open_handover([source]) as handover:
            assert handover.preserved.lookup(node)
            core = Slim.of(handover)
        assert not [row for row in core.rows if row.left_out and row.what == "tables"]
        if level:
            assert (core.pages.start <= node).sum() == (core.pages.end <= node).sum() + 1


def test_what_is_left_out_of_the_map_is_named_and_no_success(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    folio = built.places["LUO/sessions/0/files/0/contents"][0]
    built.image.write(folio, ASCII)
    built.image.write(TABLE + 8 * 511, u64(folio))
    source = to_core(built, tmp_path / "core")
    said = slim(source, tmp_path / "out.elf", status=4)
    assert [(finding["rule"], finding["phys"]) for finding in said["findings"]] == [("slim-left-out", folio)]
    ours, theirs = (
        run("inspect", path, "--pages", "-q", "-f", "tsv") for path in (source, tmp_path / "out.elf")
    )
    listed = [set(said.stdout.splitlines()) for said in (ours, theirs)]
    assert listed[1] < listed[0]
    assert {tuple(block) for block in built.blocks} == {
        (int(phys, 16), int(order))
        for phys, order, *_ in (line.split("\t") for line in listed[1] if line.startswith("0x"))
    }


def test_a_chunk_of_the_map_that_counts_too_much_is_left_out(tmp_path):
    built = everything("kho-v1b", secret=False)
    root = built.tree.root
    built.image.write(root + 12, (256).to_bytes(4, "little") + ASCII[: 4096 - 16])
    said = slim(to_core(built, tmp_path / "core"), tmp_path / "out.elf", status=4)
    assert left_out(said)["KHO/map"] == 4080
    assert b"customer" not in (tmp_path / "out.elf").read_bytes()


def test_entries_that_no_kernel_writes_are_left_out(tmp_path):
    array = PLACES.places["LUO/sessions/0/files/0/folios/blocks"][0]
    built = everything("kho-v4 luo-v5", secret=False)
    built.image.write(array + 16, ASCII[:16])
    source = to_core(built, tmp_path / "core")
    said = slim(source, tmp_path / "out.elf", status=4)
    assert [finding["rule"] for finding in said["findings"]] == ["slim-left-out"]
    assert left_out(said)['LUO/session "vm"/file 0x0 (memfd)/folio array'] == 48
    assert ASCII[:16] not in (tmp_path / "out.elf").read_bytes()


def test_a_bit_flip_in_the_map_is_kept_for_the_report(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    built.image.write(TABLE + 8 * 511, u64(0x1001))
    source = to_core(built, tmp_path / "core")
    slim(source, tmp_path / "out.elf", status=4)
    assert answers(tmp_path / "out.elf")[0] == answers(source)[0]


def test_missing_pages_are_listed_and_the_rest_is_written(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    array = built.places["LUO/sessions/0/files/1/folios/blocks"][0]
    built.image.drop(array)
    built.image.drop(FILES)
    source = to_core(built, tmp_path / "core")
    said = slim(source, tmp_path / "out.elf", status=4)
    assert {row["owner"]: row["missing"] for row in said["kept"] if row["missing"]} == {
        'LUO/session "vm"/file 0x1 (memfd)/folio array': 1
    }
    assert {(finding["rule"], finding["phys"]) for finding in said["findings"]} >= {
        ("slim-page-missing", array),
        ("blob-unreadable", FILES),
    }
    assert "; pages that are not in the image: 1; " in said["summary"]
    assert answers(tmp_path / "out.elf")[2] == answers(source)[2]


def test_the_scratch_table_is_kept_but_not_what_else_a_loader_told(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    regions = [(1 << 36, 1 << 24), (1 << 37, 0)]
    size = write_scratch(built.image, 0x9F000, regions)
    seed, told = Entry(0x93000, SECRET, 9), Entry(0x94000, kho_data(built.fdt_phys, 0x9F000, size))
    odd = Entry(0x95000, SECRET * 4)  # says that it is KHO's, and has another length
    built.image.write(0x90000, SECRET * 200)
    write_boot_params(built.image, 0x90000, [seed, odd, told])
    built.image.write(0x9F000 + size, SECRET)
    raw = built.image.to_raw(tmp_path / "mem.img")
    said = slim(raw, tmp_path / "out.elf")
    assert SECRET[:4] not in (tmp_path / "out.elf").read_bytes()
    assert said["findings"] == []
    before, after = answers(raw)[0][1], answers(tmp_path / "out.elf")[0][1]
    assert (
        after["scratch"]
        == before["scratch"]
        == [{"scratch": addr, "end": addr + length, "size": length} for addr, length in regions]
    )
    assert after["pages"] == before["pages"]
    assert slim(tmp_path / "out.elf", tmp_path / "again.elf")["pages"] == said["pages"]


def test_scratch_regions_that_cannot_be_kept_are_said(tmp_path):
    source = CAPTURES["luo-memfd serialized"].path
    said = slim(source, tmp_path / "out.elf", "--scratch", source.parent)
    assert [finding["rule"] for finding in said["findings"]] == ["scratch-not-kept"]


@pytest.mark.parametrize("options", [[], ["--page-size", "16K"]])
def test_the_page_size_is_found_again(options, tmp_path):
    built = everything("16K", secret=False)
    raw = built.image.to_raw(tmp_path / "mem.img")
    slim(raw, tmp_path / "out.elf", *options)
    listed = json.loads(run("inspect", tmp_path / "out.elf", "--format", "json").stdout)
    assert listed["page_size"] == 16384
    assert "aarch64" in listed["image"]
    assert listed["page_size_from"] == "its own page in the map, found only with this size"


def test_a_page_size_that_was_forced_is_written_down(tmp_path):
    built = build_handover(Description(page_size=16384))
    source = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    slim(source, tmp_path / "out.elf", "--page-size", "16K")
    assert json.loads(run("inspect", tmp_path / "out.elf", "--format", "json").stdout)["page_size"] == 16384


def test_of_several_copies_of_an_fdt_that_which_is_preserved_is_kept(tmp_path):
    """A stale copy lies below it, in a page that is anybody's by now."""
    built = everything("kho-v4 luo-v5", secret=False)
    stale = 0x8000
    built.image.write(stale, built.fdt)
    (tmp_path / "kho.dtb").write_bytes(built.fdt)
    slim(to_core(built, tmp_path / "core"), tmp_path / "out.elf", "--fdt", tmp_path / "kho.dtb")
    with open_memory([tmp_path / "out.elf"]) as memory:
        assert memory.read(built.fdt_phys, len(built.fdt)) == built.fdt
        assert memory.read(stale, len(built.fdt)) == Hole(stale, Presence.EXCLUDED)


def test_an_fdt_from_a_file_is_found_in_the_image(tmp_path):
    built = everything("kho-v4 luo-v5", secret=False)
    (tmp_path / "kho.dtb").write_bytes(built.fdt)
    slim(to_core(built, tmp_path / "core"), tmp_path / "out.elf", "--fdt", tmp_path / "kho.dtb")
    assert answers(tmp_path / "out.elf")[:-1] == answers(tmp_path / "core")[:-1]
    built.image.drop(built.fdt_phys)
    source = to_core(built, tmp_path / "core")
    said = slim(source, tmp_path / "bare.elf", "--fdt", tmp_path / "kho.dtb", status=4)
    assert [finding["rule"] for finding in said["findings"]] == ["root-fdt-missing"]
    listed = ["--fdt", str(tmp_path / "kho.dtb"), "--format", "tsv"]
    assert run("owners", tmp_path / "bare.elf", *listed).stdout == run("owners", source, *listed).stdout


@pytest.fixture
def source(tmp_path) -> Path:
    return to_core(everything("kho-v4 luo-v5", secret=False), tmp_path / "core")


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def refused(ran: Run, why: str, status: int = 2) -> None:
    assert (ran.status, ran.stdout) == (status, "")
    assert why in ran.stderr


def test_nothing_is_overwritten_unless_forced(source, tmp_path):
    out = tmp_path / "out.elf"
    out.write_bytes(b"mine")
    before = files(tmp_path)
    refused(run("slim", source, "--output", out), "exists already")
    assert files(tmp_path) == before
    slim(source, out, "--force")
    assert out.read_bytes().startswith(b"\x7fELF")


def test_the_image_itself_is_never_replaced(source, tmp_path):
    before = files(tmp_path)
    refused(run("slim", source, "--output", source, "--force"), "is read by this command")
    assert files(tmp_path) == before


def test_a_file_must_be_named(source):
    refused(run("slim", source), "no file to write named")


#: The command, with a disk or a person that stops it as it begins to write.
STOPPED = """
import sys
from khodump.extraction.sinks import FileSink
from khodump.cli import main
write, parts = FileSink.write, []
def stopped(self, data):
    parts.append(write(self, data))
    if len(parts) == 2:
        raise {error}
FileSink.write = stopped
sys.argv[0] = "khodump"
main()
"""


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [("KeyboardInterrupt", 130, "interrupted"), ("OSError(28, 'No space left')", 2, "No space left")],
)
def test_nothing_half_written_is_left(error, status, why, source, tmp_path):
    before = files(tmp_path)
    command = [sys.executable, "-c", STOPPED.format(error=error), "slim", source, "-o", tmp_path / "out.elf"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert why in ended.stderr.splitlines()[-2 if status == 2 else -1]
    assert "Traceback" not in ended.stderr
    assert files(tmp_path) == before


def test_an_image_that_changes_meanwhile_is_said(source, tmp_path, monkeypatch):
    write = FileSink.write
    before = files(tmp_path)

    def cut(self, data):
        os.truncate(source, 4096)
        write(self, data)

    monkeypatch.setattr("khodump.extraction.sinks.FileSink.write", cut)
    refused(run("slim", source, "--output", tmp_path / "out.elf"), "changed while it was read")
    assert set(files(tmp_path)) == set(before)
