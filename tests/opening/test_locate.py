"""Finding the root FDT among what else an image holds."""

from __future__ import annotations

from typing import Any

import pytest

import khodump
from khodump.api import search
from khodump.errors import NoHandoverError
from khodump.fdt import FdtNode, parse_fdt
from khodump.memories import open_memory
from khodump.opening.candidates import Candidate
from khodump.opening.locate import landmarks
from khodump.placement import Basis
from khodump.subtrees.kexec_metadata import KexecMetadata
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.handover import Description, build_handover
from tests.builders.memory import MemoryImage

PAGE = 4096


def merged(*built) -> MemoryImage:
    image = MemoryImage()
    for one in built:
        for start, end in one.image.ranges:
            image.write(start, one.image.read(start, end - start))
    return image


def candidates(image) -> list[Candidate]:
    survey = search(image)
    survey.memory.close()
    return list(survey.candidates)


def pages(memory, progress=None) -> list[int]:
    return [mark.phys for mark in landmarks(memory, progress)]


def at(start: int, **what) -> Description:
    return Description(metadata_start=start, preservations=((0x4000_0000, 0),), **what)


def test_the_highest_kexec_count_wins_among_healthy_ones(tmp_path):
    old, new, older = (
        build_handover(at(start << 20, kexec_count=n)) for start, n in ((1, 4), (3, 5), (5, 3))
    )
    image = merged(old, new, older).to_raw(tmp_path / "mem.img")
    with khodump.open(image) as handover:
        assert handover.fdt.phys == new.fdt_phys
        assert "2 more" in str(handover.notes[0])
    found = candidates(image)
    assert [candidate.phys for candidate in found] == [new.fdt_phys, old.fdt_phys, older.fdt_phys]
    with khodump.open(image, fdt=older.fdt_phys) as handover:
        assert handover.metadata
        assert handover.metadata.kexec_count == 3


def made(kexec_count: int) -> KexecMetadata:
    return KexecMetadata("7.3", kexec_count)


#: What speaks for a candidate and what does not, the weightiest first.
RANKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "it is no damaged tree": ({}, {"problem": "no tree"}),
    "its own page is in its map": ({"own_page_preserved": True}, {"own_page_preserved": None}),
    "its map can be read": ({"root_readable": True}, {"root_readable": False}),
    "its version is known": ({"unknown_version": False}, {"unknown_version": True}),
    "its kernel is a later one": ({"metadata": made(9)}, {"metadata": made(1)}),
    "it comes first": ({"phys": 0x1000}, {"phys": 0x2000}),
}


@pytest.mark.parametrize("number", range(len(RANKS)), ids=list(RANKS))
def test_what_weighs_more_decides_against_all_that_weighs_less(number):
    pairs = list(RANKS.values())
    better: dict[str, Any] = {"phys": 0}
    worse: dict[str, Any] = {"phys": 0}
    for place, (good, bad) in enumerate(pairs[number:]):
        better |= good if place == 0 else bad
        worse |= bad if place == 0 else good
    assert Candidate(**better).rank > Candidate(**worse).rank


@pytest.mark.parametrize("by", [PAGE, 1 << 20, 1 << 30])
def test_memory_that_was_given_its_place_stays_there(tmp_path, by):
    """Even where the map says that it is wrong: what the user said is answered, not corrected in silence."""
    built = build_handover(at(1 << 20))
    image = built.image.to_raw(tmp_path / "mem.img")
    survey = search(f"{image}@{by:#x}")
    with survey.memory as memory:
        assert memory.placement is not None
        assert memory.placement.basis is Basis.GIVEN
    assert survey.notes == ()
    assert [candidate.phys for candidate in survey.candidates] == [built.fdt_phys + by]


def test_a_stale_copy_is_not_in_its_own_map(tmp_path):
    built = build_handover(at(1 << 20))
    copy = 0x80_0000
    built.image.write(copy, built.fdt)
    found = candidates(built.image.to_raw(tmp_path / "mem.img"))
    assert [(candidate.phys, candidate.own_page_preserved) for candidate in found] == [
        (built.fdt_phys, True),
        (copy, False),
    ]


def test_a_stale_copy_of_a_later_kexec_loses_to_a_healthy_one(tmp_path):
    healthy, freed = build_handover(at(1 << 20, kexec_count=1)), build_handover(at(3 << 20, kexec_count=9))
    image = merged(healthy, freed)
    image.write(freed.tree.root, b"\xa5" * 4096)
    with khodump.open(image.to_raw(tmp_path / "mem.img")) as handover:
        assert handover.fdt.phys == healthy.fdt_phys


def test_damaged_and_foreign_trees_are_told_apart(tmp_path):
    built = build_handover(at(1 << 20))
    image = built.image
    image.write(0x70_0000, built.fdt[:56] + b"\0\0\0\7" + built.fdt[60:])
    image.write(0x71_0000, build_fdt(FdtNode("", {"compatible": string("memblock-v1")})))
    image.write(0x72_0800, built.fdt)  # not at the start of a page
    found = candidates(image.to_raw(tmp_path / "mem.img"))
    assert [candidate.phys for candidate in found] == [built.fdt_phys, 0x70_0000]
    assert "unknown tag" in (found[1].problem or "")


def test_only_damaged_trees_are_an_error_that_says_so(tmp_path):
    image = MemoryImage()
    fdt = build_handover(at(1 << 20)).fdt
    image.write(0x70_0000, fdt[:56] + b"\0\0\0\7" + fdt[60:])
    with pytest.raises(NoHandoverError, match="0x700000, is damaged: unknown tag"):
        khodump.open(image.to_raw(tmp_path / "mem.img"))


def test_an_unknown_version_is_refused_but_shown(tmp_path):
    built = build_handover(at(1 << 20, compatible="kho-v5"))
    image = built.image.to_raw(tmp_path / "mem.img")
    with pytest.raises(NoHandoverError, match=f"{built.fdt_phys:#x} says kho-v5"):
        khodump.open(image)
    (candidate,) = candidates(image)
    assert candidate.unknown_version
    assert candidate.own_page_preserved
    with khodump.open(image, version="kho-v4") as handover:
        assert set(handover.preserved) == built.blocks


def test_a_known_version_is_preferred_to_an_unknown_one(tmp_path):
    known, unknown = (
        build_handover(at(1 << 20)),
        build_handover(at(3 << 20, compatible="kho-v5", kexec_count=7)),
    )
    with khodump.open(merged(known, unknown).to_raw(tmp_path / "mem.img")) as handover:
        assert handover.fdt.phys == known.fdt_phys


def test_an_fdt_that_debugfs_cut_short_is_found_whole(tmp_path):
    built = build_handover(at(1 << 20, subtrees={"LUO": b"x" * 32, "memblock": b"y" * 64}))
    built.image.write(0x80_0000, built.fdt)  # a stale copy
    cut = tmp_path / "fdt"
    cut.write_bytes(built.fdt[:150])
    image = built.image.to_raw(tmp_path / "mem.img")
    with khodump.open(image, fdt=cut) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert f"cut short: 150 of {len(built.fdt)} bytes" in str(handover.notes[0])
        assert set(handover.preserved) == built.blocks


def test_an_fdt_cut_short_before_a_subtree_was_added_leads_by_its_map(tmp_path):
    """debugfs was read, then a user came, then the dump was taken: the newest node stands first."""
    built = build_handover(at(1 << 20, subtrees={"memblock": b"m" * 64}))
    tree = parse_fdt(built.fdt)
    older = tmp_path / "fdt"
    older.write_bytes(built.fdt[:150])
    newer = FdtNode("", tree.properties, (FdtNode("LUO", {"preserved-data": u64(0x1000)}), *tree.children))
    built.image.write(built.fdt_phys, build_fdt(newer))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img"), fdt=older) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert "older than the image" in str(handover.notes[-1])
        assert set(handover.preserved) == built.blocks


def test_an_fdt_cut_short_of_another_image_is_refused(tmp_path):
    cut = tmp_path / "fdt"
    cut.write_bytes(build_handover(at(1 << 20, subtrees={"LUO": b""})).fdt[:150])
    image = build_handover(at(3 << 20)).image.to_raw(tmp_path / "mem.img")
    with pytest.raises(NoHandoverError, match="no page of the image begins with its bytes"):
        khodump.open(image, fdt=cut)


def test_holes_of_a_sparse_file_are_skipped(tmp_path):
    built = build_handover(at(1 << 20))
    image = tmp_path / "mem.img"
    built.image.to_raw(image, end=1 << 43)  # 8 TiB
    seen: list[tuple[int, int]] = []
    with open_memory([image]) as memory:
        assert pages(memory, lambda done, total: seen.append((done, total))) == [built.fdt_phys]
    assert seen[-1][0] == seen[-1][1] < 1 << 20


@pytest.mark.parametrize("base", [0, 0x4000_0000, 0x1234_5000])
def test_every_page_of_a_dense_image_is_looked_at(tmp_path, base):
    fdt = build_fdt(FdtNode("", {"compatible": string("kho-v4"), "preserved-memory-map": u64(0x1000)}))
    numbers = [0, 1, 1023, 1024, 1025, 4095]
    data = bytearray(b"\xd0\x0d\xfe\xef" * (1024 * 4096))
    for page in numbers:
        data[page << 12 : (page << 12) + len(fdt)] = fdt
    image = tmp_path / "mem.img"
    image.write_bytes(data)
    with open_memory([f"{image}@{base:#x}"]) as memory:
        assert pages(memory) == [base + (page << 12) for page in numbers]
