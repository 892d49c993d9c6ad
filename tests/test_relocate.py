"""Raw images whose first byte is not at physical address 0."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import khodump
from khodump.api import search
from khodump.memories.file import ImageFile
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.memory import MemoryImage
from tests.transcript import run

BASES = {
    "arm64 RAM": 0x4000_0000,
    "the second GiB pair": 0x8000_0000,
    "above 4 GiB": 0x1_0000_0000,
    "2 MiB-aligned": 0x47A0_0000,
    "64K-aligned": 0x4_1237_0000,
}
MAPS = {
    "kho-v4": Description(),
    "kho-v1, small bitmaps": Description("kho-v1", MapFormat.CHAIN, 512, kexec_count=None),
    "kho-v1, page bitmaps": Description("kho-v1", MapFormat.CHAIN, kexec_count=None),
    "order table": Description("kho-v1", MapFormat.ORDER_TABLE, kexec_count=None),
}


def handover_at(base: int, description: Description = MAPS["kho-v4"]) -> BuiltHandover:
    """One in RAM that begins at `base`, with some of it above its pages and some below."""
    size = description.page_size
    preserved = ((base + 0x40_0000, 0), (base + 0x40_0000 + 3 * size, 0))
    return build_handover(replace(description, preservations=preserved, metadata_start=base + 0x12_0000))


def raw(built: BuiltHandover, base: int, path):
    return built.image.to_raw(path, base=base, end=base + 0x50_0000)


def dtb(built: BuiltHandover, path):
    path.write_bytes(built.fdt)
    return path


@pytest.mark.parametrize("with_fdt", [False, True], ids=["searched", "FDT given"])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("name", MAPS)
def test_the_base_is_worked_out_from_the_map(tmp_path, name, base, with_fdt):
    built = handover_at(base, MAPS[name])
    fdt = dtb(built, tmp_path / "kho.dtb") if with_fdt else None
    with khodump.open(raw(built, base, tmp_path / "mem.img"), fdt=fdt) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert set(handover.preserved) == built.blocks
        assert handover.findings == ()
        assert handover.memory.ranges[0].start == base
        (note,) = (note for note in map(str, handover.notes) if "does not begin at physical 0" in note)
        assert f"base {base:#x}" in note


@pytest.mark.parametrize("page_size", [16384, 65536])
@pytest.mark.parametrize("name", MAPS)
def test_larger_pages_are_told_at_the_same_time(tmp_path, name, page_size):
    base = 0x4000_0000
    built = handover_at(base, replace(MAPS[name], page_size=page_size))
    image = raw(built, base, tmp_path / "mem.img")
    for fdt in (None, dtb(built, tmp_path / "kho.dtb")):
        with khodump.open(image, fdt=fdt) as handover:
            assert handover.page_size == page_size
            assert set(handover.preserved) == built.blocks


@pytest.mark.parametrize("stale", [0x1000, 0x45_0000], ids=["below", "above"])
@pytest.mark.parametrize("with_fdt", [False, True], ids=["searched", "FDT given"])
def test_a_stale_copy_of_the_fdt_does_not_mislead(tmp_path, stale, with_fdt):
    base = 0x4000_0000
    built = handover_at(base)
    built.image.write(base + stale, built.fdt)
    fdt = dtb(built, tmp_path / "kho.dtb") if with_fdt else None
    with khodump.open(raw(built, base, tmp_path / "mem.img"), fdt=fdt) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert set(handover.preserved) == built.blocks


def test_a_padded_image_is_left_alone(tmp_path):
    built = handover_at(0x4000_0000)
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        assert handover.memory.ranges[0].start == 0
        assert set(handover.preserved) == built.blocks
        assert not any("base" in str(note) for note in handover.notes)


def test_a_forced_base_is_obeyed_even_when_wrong(tmp_path):
    base = 0x4000_0000
    built = handover_at(base)
    image = raw(built, base, tmp_path / "mem.img")
    with khodump.open(f"{image}@0") as handover:
        assert handover.memory.ranges[0].start == 0
        assert [finding.rule for finding in handover.findings] == ["map-node-unreadable"]
        assert not any("base" in str(note) for note in handover.notes)
    with khodump.open(f"{image}@{base:#x}") as handover:
        assert set(handover.preserved) == built.blocks


@pytest.mark.parametrize("with_fdt", [False, True], ids=["searched", "FDT given"])
def test_without_the_root_of_its_map_an_image_stays_at_0(tmp_path, with_fdt):
    base = 0x4000_0000
    built = handover_at(base)
    built.image.write(built.tree.root, bytes(4096))
    fdt = dtb(built, tmp_path / "kho.dtb") if with_fdt else None
    with khodump.open(raw(built, base, tmp_path / "mem.img"), fdt=fdt) as handover:
        assert handover.memory.ranges[0].start == 0
        (finding,) = handover.findings
        assert finding.rule == "map-node-unreadable"
        assert f"{built.tree.root:#x}" in finding.message
        assert "not in the dump" in finding.message


def test_an_fdt_cut_short_is_completed_at_its_place(tmp_path):
    base = 0x8000_0000
    built = handover_at(base, Description(subtrees={"LUO": b"x" * 32, "memblock": b"y" * 64}))
    cut = tmp_path / "fdt"
    cut.write_bytes(built.fdt[:150])
    with khodump.open(raw(built, base, tmp_path / "mem.img"), fdt=cut) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert set(handover.preserved) == built.blocks


def test_the_address_that_scan_lists_is_one_that_can_be_asked_for(tmp_path):
    base = 0x4000_0000
    built = handover_at(base)
    image = raw(built, base, tmp_path / "mem.img")
    survey = search(image)
    survey.memory.close()
    assert [candidate.phys for candidate in survey.candidates] == [built.fdt_phys]
    assert f"base {base:#x}" in str(survey.notes[0])
    with khodump.open(image, fdt=survey.candidates[0].phys) as handover:
        assert set(handover.preserved) == built.blocks


def test_the_boot_protocol_is_read_at_its_place(tmp_path):
    base = 0x1_0000_0000
    built = handover_at(base)
    size = write_scratch(built.image, base + 0x44_0000, [(base, 0x10_0000)])
    told = kho_data(built.fdt_phys, base + 0x44_0000, size)
    write_boot_params(built.image, base + 0x9_0000, [Entry(base + 0xA_0000, told)])
    with khodump.open(raw(built, base, tmp_path / "mem.img")) as handover:
        assert handover.scratch
        assert [(region.addr, region.size) for region in handover.scratch] == [(base, 0x10_0000)]


def test_noise_that_looks_like_roots_is_weighed_and_left(tmp_path):
    """Pages at rounder bases that begin like a table, and hold no such key."""
    base = 0x4_1237_0000
    built = handover_at(base)
    noise = MemoryImage()
    for at in range(base, base + 0x50_0000, 4096):
        page = built.image.read(at, 4096)
        noise.write(at, page if any(page) else (at + 4096).to_bytes(8, "little") * 512)
    with khodump.open(noise.to_raw(tmp_path / "mem.img", base=base)) as handover:
        assert handover.memory.ranges[0].start == base
        assert set(handover.preserved) == built.blocks


def test_a_padded_image_whose_map_is_lost_is_not_read_all_over(tmp_path, monkeypatch):
    """A kernel that runs has often overwritten the tree it was given: no base can be told, and the holes tell none."""
    built = handover_at(0xC000_0000)
    built.image.write(built.tree.root, b"overwritten ".ljust(4096))
    read, whole = [], ImageFile.read_into

    def counted(self, buffer, offset):
        read.append(len(buffer))
        return whole(self, buffer, offset)

    monkeypatch.setattr(ImageFile, "read_into", counted)
    with khodump.open(built.image.to_raw(tmp_path / "mem.img", end=1 << 32)) as handover:
        assert handover.memory.ranges[0].start == 0
    assert sum(read) < 32 << 20


def test_the_command_line_says_what_it_took_for_granted(tmp_path):
    base = 0x4000_0000
    built = handover_at(base)
    image = raw(built, base, tmp_path / "mem.img")
    ran = run("inspect", image, "--format", "json")
    assert ran.status == 0
    assert "khodump: the image does not begin at physical 0: with base 0x40000000" in ran.stderr
    assert json.loads(ran.stdout)["image"] == f"{image} (raw) at 0x40000000"
    assert "with base 0x40000000" in run("scan", image).stderr
