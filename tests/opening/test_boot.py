"""What the boot protocol says of a handover, and what only looks as if it did."""

from __future__ import annotations

import json

import pytest

import khodump
from khodump.abi.kexec_handover import KhoScratch
from khodump.api import search
from khodump.errors import FdtError, ImageError
from khodump.opening.boot import Notice
from tests.builders.boot import (
    SETUP_DTB,
    Entry,
    kho_data,
    machine_tree,
    write_boot_params,
    write_entry,
    write_scratch,
)
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.transcript import run

BOOT_PARAMS = 0x9_0000
ENTRY, SECOND, THIRD = 0xA_0040, 0xA_2F80, 0xB_0010  # setup_data is aligned to little
TABLE = 0x80_0000
REGIONS = ((0x40_0000, 0x10_0000), (0x4000_0000, 0x800_0000), (0x8000_0000, 0))
TOLD = kho_data(0x10_0000, TABLE, 48)


@pytest.fixture
def built() -> BuiltHandover:
    return build_handover(Description(preservations=((0x70_0000, 0),)))


@pytest.fixture
def notices(built, tmp_path):
    """What a search of the image as it is by then, or of another, finds."""

    def find(**how) -> list[Notice]:
        survey = search(built.image.to_elf(tmp_path / "core"), **how)
        survey.memory.close()
        return list(survey.boot.notices)

    return find


def test_a_linked_entry_tells(built, notices):
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, TOLD)])
    source = f"setup_data at {ENTRY:#x}, from the boot_params at {BOOT_PARAMS:#x}"
    assert notices() == [Notice(source, 0x10_0000, TABLE, 48)]


def test_an_entry_that_nothing_links_does_not(built, notices):
    """A kernel loaded without KHO has one, filled in, beside the list."""
    write_boot_params(built.image, BOOT_PARAMS, [Entry(SECOND, b"e820", SETUP_DTB)])
    write_entry(built.image, Entry(ENTRY, TOLD))
    assert notices() == []


def test_an_empty_list_tells_nothing(built, notices):
    write_boot_params(built.image, BOOT_PARAMS)
    assert notices() == []


def test_entries_of_other_types_are_passed_over(built, notices):
    entries = [
        Entry(ENTRY, TOLD, SETUP_DTB),
        Entry(SECOND, kho_data(0x20_0000)),
        Entry(THIRD, bytes(40), 9),
    ]
    write_boot_params(built.image, BOOT_PARAMS, entries)
    assert [notice.fdt for notice in notices()] == [0x20_0000]


@pytest.mark.parametrize("claims", [0, 16, 31, 33, 0xFFFF_FFFF])
def test_an_entry_of_another_length_is_none_of_khos(built, notices, claims):
    entries = [Entry(ENTRY, TOLD, claims=claims), Entry(SECOND, kho_data(0x20_0000))]
    write_boot_params(built.image, BOOT_PARAMS, entries)
    assert [notice.fdt for notice in notices()] == [0x20_0000]


@pytest.mark.parametrize("back_to", [ENTRY, SECOND])
def test_a_cycle_ends(built, notices, back_to):
    entries = [Entry(ENTRY, TOLD), Entry(SECOND, kho_data(0x20_0000))]
    write_boot_params(built.image, BOOT_PARAMS, entries, last_next=back_to)
    assert [notice.fdt for notice in notices()] == [0x10_0000, 0x20_0000]


def test_a_list_longer_than_any_is_given_up(built, notices):
    fillers = [Entry(0x50_0000 + 16 * number, b"", SETUP_DTB) for number in range(4096)]
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, TOLD), *fillers, Entry(SECOND, TOLD)])
    assert [notice.source.partition(",")[0] for notice in notices()] == [f"setup_data at {ENTRY:#x}"]


@pytest.mark.parametrize("lost", [0x7000_0000, 1 << 52, (1 << 64) - 1])
def test_a_next_that_cannot_be_read_ends_the_list(built, notices, lost):
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, TOLD)], last_next=lost)
    assert [notice.fdt for notice in notices()] == [0x10_0000]


def test_a_head_that_cannot_be_read_is_an_empty_list(built, notices):
    write_boot_params(built.image, BOOT_PARAMS, last_next=0x7000_0000)
    assert notices() == []


def test_an_entry_whose_data_cannot_be_read_tells_nothing(built, notices):
    write_boot_params(built.image, BOOT_PARAMS, [Entry(0xA_0FF0, TOLD)])
    built.image.drop(0xA_1000)
    assert notices() == []


def test_boot_params_within_a_page_take_a_deep_search(built, notices):
    write_boot_params(built.image, BOOT_PARAMS + 0x123, [Entry(ENTRY, TOLD)])
    assert notices() == []
    assert [notice.fdt for notice in notices(deep=True)] == [0x10_0000]


@pytest.mark.parametrize("before", [1, 0x100, 0x202, 0x203, 0x206])
def test_a_deep_search_sees_what_lies_across_two_reads(built, notices, monkeypatch, before):
    monkeypatch.setattr("khodump.opening.locate._CHUNK", 0x4000)
    built.image.write(BOOT_PARAMS, bytes(0x8000))  # one range: it is read in two pieces
    write_boot_params(built.image, BOOT_PARAMS + 0x4000 - before, [Entry(THIRD, TOLD)])
    assert [notice.fdt for notice in notices(deep=True)] == [0x10_0000]


@pytest.mark.parametrize("deep", [False, True])
def test_one_list_seen_from_two_boot_params_tells_twice(built, notices, deep):
    """The first kernel's own, and the copy that a later one keeps."""
    for phys in (BOOT_PARAMS, 0xC_0000):
        write_boot_params(built.image, phys, [Entry(ENTRY, TOLD)])
    assert [notice.fdt for notice in notices(deep=deep)] == [0x10_0000] * 2


CELLS = [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("cells", CELLS)
def test_a_device_tree_in_the_image(built, notices, cells):
    built.image.write(0x30_0000, machine_tree((0x10_0000, 4096), (TABLE, 48), cells=cells))
    source = "/chosen of the device tree at 0x300000"
    assert notices() == [Notice(source, 0x10_0000, TABLE, 48)]


@pytest.mark.parametrize("cells", CELLS)
def test_a_device_tree_in_a_file(notices, tmp_path, cells):
    path = tmp_path / "machine.dtb"
    path.write_bytes(machine_tree((0x10_0000, 4096), (TABLE, 48), cells=cells))
    assert notices(devicetree=path) == [
        Notice(f"/chosen of the device tree file {path}", 0x10_0000, TABLE, 48)
    ]


def test_addresses_above_4_gib_take_two_cells(notices, tmp_path):
    path = tmp_path / "machine.dtb"
    path.write_bytes(machine_tree((0x12_3456_7000, 65536), (0xF_EDCB_0000, 64)))
    (notice,) = notices(devicetree=path)
    assert (notice.fdt, notice.scratch_addr) == (0x12_3456_7000, 0xF_EDCB_0000)


def test_a_device_tree_without_cells_has_one_of_each(notices, tmp_path):
    """OF_ROOT_NODE_ADDR_CELLS_DEFAULT and OF_ROOT_NODE_SIZE_CELLS_DEFAULT, by which the kernel reads /chosen."""
    path = tmp_path / "machine.dtb"
    tree = machine_tree((0x10_0000, 4096), (TABLE, 48), cells=(1, 1))
    path.write_bytes(tree.replace(b"#address-cells", b"#another-cells").replace(b"#size-", b"#some-"))
    assert [(notice.fdt, notice.scratch_addr) for notice in notices(devicetree=path)] == [(0x10_0000, TABLE)]


SILENT = {
    "no /chosen": machine_tree((1, 2), (3, 4), chosen="chosen@0"),
    "no kho-fdt": machine_tree(None, (3, 4)),
    "no kho-scratch": machine_tree((1, 2), None),
    "no cells": machine_tree((0, 0), (0, 0), cells=(0, 0)),
    "three cells": machine_tree((1, 2), (3, 4), cells=(3, 2)),
    "a length of other cells": machine_tree((1, 2), (3, 4), cells=(2, 2)).replace(
        b"\0\0\0\2", b"\0\0\0\1", 1
    ),
}


@pytest.mark.parametrize("why", SILENT)
def test_a_device_tree_that_tells_of_no_handover(built, notices, tmp_path, why):
    path = tmp_path / "machine.dtb"
    path.write_bytes(SILENT[why])
    built.image.write(0x30_0000, SILENT[why])
    assert notices(devicetree=path) == []


def test_a_damaged_device_tree_is_ignored_in_the_image_and_refused_as_a_file(built, notices, tmp_path):
    tree = machine_tree((0x10_0000, 4096), (TABLE, 48))
    path = tmp_path / "machine.dtb"
    for damaged in (tree[:-40], tree[:56] + b"\0\0\0\7" + tree[60:]):
        built.image.write(0x30_0000, damaged.ljust(4096, b"\0"))
        assert notices() == []
        path.write_bytes(damaged)
        with pytest.raises(FdtError, match=f"{path} is not a usable device tree"):
            notices(devicetree=path)
    with pytest.raises(ImageError, match="cannot read the device tree .*: No such file"):
        notices(devicetree=tmp_path / "missing")


def test_scan_says_which_fdt_was_announced(built, tmp_path):
    built.image.write(0x30_0000, built.fdt)  # a stale copy
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, TOLD)])
    ran = run("scan", built.image.to_elf(tmp_path / "core"), "--format", "json")
    scanned = json.loads(ran.stdout)
    assert {row["phys"]: row["announced"] for row in scanned["candidates"]} == {
        built.fdt_phys: True,
        0x30_0000: False,
    }
    (told,) = scanned["boot_protocol"]
    assert (told["fdt"], told["scratch_table"], told["scratch_table_size"]) == (0x10_0000, TABLE, 48)
    assert "boot protocol entries that tell of one: 1" in ran.stderr


def test_the_scratch_table_comes_from_the_boot_protocol(built, tmp_path):
    size = write_scratch(built.image, TABLE, REGIONS)
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, kho_data(built.fdt_phys, TABLE, size))])
    core = built.image.to_elf(tmp_path / "core")
    with khodump.open(core) as handover:
        assert handover.scratch == tuple(KhoScratch(*region) for region in REGIONS)
    facts = json.loads(run("inspect", core, "--format", "json").stdout)
    assert facts["scratch"][1] == {"scratch": 0x4000_0000, "end": 0x4800_0000, "size": 0x800_0000}
    table = run("inspect", core).stdout
    for line in ("0x40000000  0x48000000  128 MiB", "0x80000000  0x80000000      0 B"):
        assert line in table, "zero-length regions are listed as well"


def test_the_scratch_table_of_a_device_tree_in_the_image(built, tmp_path):
    size = write_scratch(built.image, TABLE, REGIONS[:2])
    built.image.write(0x30_0000, machine_tree((built.fdt_phys, 4096), (TABLE, size)))
    with khodump.open(built.image.to_elf(tmp_path / "core")) as handover:
        assert handover.scratch == tuple(KhoScratch(*region) for region in REGIONS[:2])


def test_a_scratch_table_that_is_not_in_the_image_is_no_empty_one(built, tmp_path):
    write_boot_params(built.image, BOOT_PARAMS, [Entry(ENTRY, TOLD)])
    core = built.image.to_elf(tmp_path / "core")
    with khodump.open(core) as handover:
        assert handover.scratch is None
    assert "scratch" not in json.loads(run("inspect", core, "--format", "json").stdout)


def test_the_scratch_table_told_with_the_fdt_that_is_taken_comes_first(built, tmp_path):
    """A stale boot_params may lie below the one that counts."""
    for phys, fdt, regions in ((0x40_0000, 0x60_0000, REGIONS[:1]), (0x50_0000, built.fdt_phys, REGIONS)):
        size = write_scratch(built.image, phys + 0x2000, regions)
        entry = Entry(phys + 0x1000, kho_data(fdt, phys + 0x2000, size))
        write_boot_params(built.image, phys, [entry])
    with khodump.open(built.image.to_elf(tmp_path / "core")) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert handover.scratch == tuple(KhoScratch(*region) for region in REGIONS)
