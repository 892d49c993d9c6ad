"""Who owns what: on real captures everything, once; on built ones, what is amiss is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import khodump
from khodump.owner import Owner
from khodump.ownership import NOBODY
from tests.builders.fdt import u64
from tests.builders.handover import Description, MapFormat, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.builders.users import KhoTest, Memblock, ReserveMem, User
from tests.captures import CAPTURES
from tests.transcript import run

WHOLLY_OWNED = ["luo-memfd serialized", "luo-memfd next-out", "kho-test serialized", "fail-compat next-out"]


@pytest.mark.parametrize("name", WHOLLY_OWNED)
def test_every_preserved_page_of_a_real_kernel_has_one_owner(name):
    with khodump.open(CAPTURES[name].path) as handover:
        ownership = handover.ownership
        assert NOBODY not in ownership.owner
        assert len(ownership.missing_start) == 0
        assert ownership.claimed_twice.size == 0
        assert int((ownership.end - ownership.start).sum()) == handover.preserved.total_size


def test_before_serialization_files_have_no_owner_on_record_but_nothing_is_missing():
    with khodump.open(CAPTURES["luo-memfd pre"].path) as handover:
        ownership = handover.ownership
        assert NOBODY in ownership.owner
        assert len(ownership.missing_start) == 0
        assert ownership.claimed_twice.size == 0


def described(**what) -> Description:
    memfd = Memfd(folios=folios_of({0: b"a", 1: b"b", 9: b"c"}))
    users: dict[str, bytes | User] = {
        "memblock": Memblock(
            (ReserveMem("trace", 0x4000_0000, 0x30_0000), ReserveMem("tiny", 0x5000_0800, 64))
        ),
        "LUO": Luo(sessions=(Session(b"vm", (LuoFile(2, memfd), LuoFile(3, memfd))),)),
        "kho_test": KhoTest(orders=(0, 3, 1)),
        "somebody": b"whatever",
    }
    return Description(subtrees=users, **what)


def opened(built, tmp_path):
    return khodump.open(built.image.to_raw(tmp_path / "mem.img"))


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_every_page_that_the_builders_preserve_has_one_owner(page_size, tmp_path):
    with opened(build_handover(described(page_size=page_size)), tmp_path) as handover:
        ownership = handover.ownership
        assert NOBODY not in ownership.owner
        assert len(ownership.missing_start) == 0
        assert ownership.claimed_twice.size == 0
        assert {owner.user for owner in ownership.owners} == {
            "KHO",
            "kexec-metadata",
            "memblock",
            "LUO",
            "kho_test",
            "somebody",
        }


@pytest.mark.parametrize("map_format", [MapFormat.CHAIN, MapFormat.ORDER_TABLE])
def test_owners_do_not_depend_on_the_map(map_format, tmp_path):
    with opened(
        build_handover(described(compatible="kho-v1", map_format=map_format, kexec_count=None)), tmp_path
    ) as handover:
        unsized = {subtree.name for subtree in handover.subtrees if subtree.blob is None}
        ownership = handover.ownership
        assert unsized == {"LUO", "somebody"}  # kho-v1 knows FDTs only
        assert Owner("kho_test", part="folios") in ownership.owners


def test_a_leak_belongs_to_nobody(tmp_path):
    with opened(build_handover(described(preservations=((0x8000_0000, 4),))), tmp_path) as handover:
        ownership = handover.ownership
        rows = (ownership.owner == NOBODY).nonzero()[0].tolist()
        assert [(int(ownership.start[row]), int(ownership.order[row])) for row in rows] == [(0x8000_0000, 4)]
        assert ownership.at(0x8000_0000, 4) is None
        assert str(ownership.at(0x4000_0001, 9)) == 'memblock/reserve_mem "trace"'


def test_a_claim_that_is_not_preserved_is_named(tmp_path):
    built = build_handover(described())
    fdt = built.blobs["memblock"]
    data = built.image.read(fdt, 4096)
    built.image.write(fdt, data.replace(u64(0x30_0000), u64(0x40_0000)))
    with opened(built, tmp_path) as handover:
        ownership = handover.ownership
        assert ownership.missing_start.tolist() == [0x4030_0000]
        assert ownership.missing_end.tolist() == [0x4040_0000]
        assert str(ownership.owner_of(int(ownership.missing_owner[0]))) == 'memblock/reserve_mem "trace"'
    core = built.image.to_elf(tmp_path / "core")  # of which no reading is in doubt
    assert "1 MiB claimed but not preserved" in run("owners", core).stderr


def test_what_two_claim_is_counted(tmp_path):
    built = build_handover(described())
    first, second = built.places["LUO/sessions/0/files/0"][0], built.places["LUO/sessions/0/files/entries"][1]
    built.image.write(second + 48, u64(first))  # luo_file_ser.data of the second file
    with opened(built, tmp_path) as handover:
        ownership = handover.ownership
        assert ownership.claimed_twice.size == handover.page_size * 6  # state, array, its chunk, three folios
        assert NOBODY in ownership.owner


def test_inspect_cuts_runs_where_owners_change(tmp_path):
    image = build_handover(described()).image.to_raw(tmp_path / "mem.img")
    rows = run("inspect", image, "--owners", "--format", "tsv").stdout.splitlines()
    assert rows[0].split("\t")[-1] == "owner"
    plain = run("inspect", image, "--pages", "--format", "tsv").stdout
    owned = run("inspect", image, "--pages", "--owners", "--format", "tsv").stdout
    assert [line.split("\t")[:2] for line in owned.splitlines()] == [
        line.split("\t") for line in plain.splitlines()
    ]
    assert any("file 0x3 (memfd)/folios" in line for line in owned.splitlines())


@pytest.mark.parametrize(("bitmap_size", "page_size"), [(512, 4096), (512, 16384), (4096, 4096)])
def test_the_maps_own_pages_are_pages_though_several_bitmaps_share_one(bitmap_size, page_size, tmp_path):
    description = described(compatible="kho-v1", map_format=MapFormat.CHAIN, page_size=page_size)
    built = build_handover(replace(description, bitmap_size=bitmap_size, kexec_count=None))
    image = built.image.to_elf(
        tmp_path / "core", machine="EM_AARCH64", vmcoreinfo={"PAGESIZE": str(page_size)}
    )
    told = json.loads(run("owners", image, "--format", "json").stdout)
    assert told["map's_own_pages"] == len({phys // page_size for phys in built.map_nodes})
