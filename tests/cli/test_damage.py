"""Damaged handovers: a documented status, one clear message, and everything that can still be read."""

from __future__ import annotations

import pytest

from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.transcript import Run, run

BLOCKS = ((0x4000_0000, 0), (0x4000_1000, 0), (0x8000_0000, 9), (0xC000_0000, 3))


@pytest.fixture
def built() -> BuiltHandover:
    return build_handover(Description(preservations=BLOCKS))


def inspected(built: BuiltHandover, tmp_path, *arguments) -> Run:
    image = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    return run("inspect", image, "--fdt", hex(built.fdt_phys), "--pages", "--format", "tsv", *arguments)


def rows(ran: Run) -> set[tuple[int, int]]:
    lines = (line.split("\t") for line in ran.stdout.splitlines()[1:])
    return {(int(phys, 16), int(order)) for phys, order in lines}


def leaf_of(built: BuiltHandover, block: tuple[int, int]) -> tuple[int, int]:
    """The address of the leaf that holds `block`, and of the slot that points to it."""
    geometry = built.geometry
    key = geometry.encode(*block)
    leaf = built.tree.nodes[0, key >> geometry.key_shift(0)]
    table = built.tree.nodes[1, key >> geometry.key_shift(1)]
    return leaf, table + 8 * geometry.path(key)[0][-1]


def test_a_healthy_one_ends_with_0(built, tmp_path):
    ran = inspected(built, tmp_path)
    assert ran.status == 0
    assert rows(ran) == built.blocks


POINTERS = {
    "unaligned": (0x123, "map-pointer-unaligned", "is not page-aligned"),
    "outside": (1 << 45, "map-pointer-outside-memory", "outside memory"),
    "between ranges": (0x7000_0000, "map-node-unreadable", "not in the dump"),
}


@pytest.mark.parametrize("damage", POINTERS)
def test_a_bad_pointer_costs_its_subtree_only(built, tmp_path, damage):
    value, rule, words = POINTERS[damage]
    _, slot = leaf_of(built, (0x8000_0000, 9))
    built.image.write(0x9000_0000, b"the dump reaches this far")
    built.image.write(slot, u64(value))
    ran = inspected(built, tmp_path)
    assert ran.status == 4
    assert rule in ran.stderr
    assert words in ran.stderr
    assert rows(ran) == built.blocks - {(0x8000_0000, 9)}


def test_a_pointer_back_up_is_followed_once(built, tmp_path):
    _, slot = leaf_of(built, (0x8000_0000, 9))
    built.image.write(slot, u64(built.tree.root))
    ran = inspected(built, tmp_path)
    assert ran.status == 4
    assert "map-node-shared" in ran.stderr
    assert rows(ran) == built.blocks - {(0x8000_0000, 9)}


def test_an_excluded_leaf_is_told_from_an_empty_one(built, tmp_path):
    leaf, _ = leaf_of(built, (0xC000_0000, 3))
    image = built.image.to_elf(tmp_path / "core", machine="EM_X86_64", excluded=[(leaf, leaf + 4096)])
    ran = run("inspect", image, "--pages", "--format", "tsv")
    assert ran.status == 4
    assert f"the leaf at {leaf:#x}" in ran.stderr
    assert "1 unreadable (1 excluded from the dump)" in ran.stderr
    assert rows(ran) == built.blocks - {(0xC000_0000, 3)}
    zeroed = run("inspect", image, "--pages", "--format", "tsv", "--assume-zero")
    assert zeroed.status == 0
    assert rows(zeroed) == rows(ran)


def test_an_excluded_root_leaves_the_header(built, tmp_path):
    root = built.tree.root
    image = built.image.to_elf(tmp_path / "core", machine="EM_X86_64", excluded=[(root, root + 4096)])
    ran = run("inspect", image, "--fdt", hex(built.fdt_phys))
    assert ran.status == 4
    assert "compatible        kho-v4" in ran.stdout
    assert "walked 0 of 1 nodes; 1 unreadable (1 excluded from the dump)" in ran.stderr


@pytest.mark.parametrize(
    ("root", "rule"),
    [
        (0, "map-root-missing"),
        (1 << 45, "map-pointer-outside-memory"),
        (0x10_0008, "map-pointer-unaligned"),
    ],
)
def test_a_bad_root_pointer(built, tmp_path, root, rule):
    at = built.fdt.index(u64(built.tree.root))
    built.image.write(built.fdt_phys + at, u64(root))
    ran = inspected(built, tmp_path)
    assert (ran.status, rows(ran)) == (4, set())
    assert rule in ran.stderr


def test_a_truncated_image_says_what_is_cut_off(built, tmp_path):
    image = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    leaf, _ = leaf_of(built, (0x4000_0000, 0))
    held = [end - start for start, end in built.image.ranges]
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - sum(held) + (leaf - built.image.ranges[0][0]) + 100)
    ran = run("inspect", image, "--fdt", hex(built.fdt_phys), "--pages", "--format", "tsv")
    assert ran.status == 4
    assert "cut off: the image file ends before it" in ran.stderr
    assert f"{leaf:#x}" in ran.stderr


def test_the_end_of_a_raw_image_is_not_the_end_of_memory(built, tmp_path):
    leaf, _ = leaf_of(built, (0x4000_0000, 0))
    image = built.image.to_raw(tmp_path / "mem.img", end=leaf)
    ran = run("inspect", image, "--fdt", hex(built.fdt_phys), "--pages", "--format", "tsv")
    assert ran.status == 4
    assert "map-node-unreadable" in ran.stderr
    assert f"{leaf:#x} (level 0, key prefix 0x2000000008) is not in the dump" in ran.stderr
    assert "outside" not in ran.stderr


FDT_DAMAGE = {
    "unknown tag": (lambda fdt: fdt[:56] + b"\0\0\0\7" + fdt[60:], "unknown tag 0x7"),
    "a length past the end": (
        lambda fdt: fdt.replace(b"\0\0\0\3\0\0\0\7", b"\0\0\0\3\xff\xff\xff\xf0", 1),
        "claims 4294967280 bytes",
    ),
    "other magic": (lambda fdt: b"\xd0\x0d\xfe\xee" + fdt[4:], "no FDT magic"),
}


FDT_ODD = {
    "no end": (
        lambda fdt: fdt.replace(b"\0\0\0\2\0\0\0\x09", b"\0\0\0\1\0\0\0\x09", 1),
        "a node without a name",
    ),
    "unknown tag behind the root's properties": (
        lambda fdt: fdt.replace(b"\0\0\0\1kexec", b"\0\0\0\7kexec", 1),
        "unknown tag 0x7",
    ),
}


@pytest.mark.parametrize("damage", FDT_ODD)
def test_an_fdt_whose_root_libfdt_finds_is_read_and_said_to_be_odd(built, tmp_path, damage):
    spoil, words = FDT_ODD[damage]
    spoiled = spoil(built.fdt)
    assert spoiled != built.fdt
    expected = run("inspect", built.image.to_raw(tmp_path / "mem.img"), "-q", "--pages", "-f", "tsv").stdout
    dtb = tmp_path / "kho.dtb"
    dtb.write_bytes(spoiled)
    built.image.write(built.fdt_phys, spoiled)
    image = built.image.to_raw(tmp_path / "mem.img")
    for fdt in (["--fdt", dtb], ["--fdt", hex(built.fdt_phys)], []):
        ran = run("inspect", image, *fdt, "--pages", "-f", "tsv")
        assert (ran.status, ran.stdout) == (4, expected)
        assert "error: fdt-odd: the root FDT is odd: " in ran.stderr
        assert words in ran.stderr


@pytest.mark.parametrize("damage", FDT_DAMAGE)
def test_a_damaged_fdt(built, tmp_path, damage):
    spoil, words = FDT_DAMAGE[damage]
    spoiled = spoil(built.fdt)
    assert spoiled != built.fdt
    dtb = tmp_path / "kho.dtb"
    dtb.write_bytes(spoiled)
    image = built.image.to_raw(tmp_path / "mem.img")
    ran = run("inspect", image, "--fdt", dtb)
    assert (ran.status, ran.stdout) == (2, "")
    assert words in ran.stderr
    built.image.write(built.fdt_phys, spoiled)
    image = built.image.to_raw(tmp_path / "mem.img")
    for fdt in (["--fdt", hex(built.fdt_phys)], []):
        ran = run("inspect", image, *fdt)
        assert (ran.status, ran.stdout) == (3, "")
        assert "hint: " in ran.stderr


def test_an_image_without_kho(tmp_path):
    image = tmp_path / "mem.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    ran = run("inspect", image)
    assert (ran.status, ran.stdout) == (3, "")
    assert "no root FDT in the image" in ran.stderr
    ran = run("scan", image, "--format", "tsv")
    assert (ran.status, ran.stdout.count("\n")) == (3, 1)


def test_an_empty_file_and_a_compressed_one(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    assert run("inspect", empty).status == 2
    packed = tmp_path / "mem.img"  # recognised by content, whatever it is called
    packed.write_bytes(b"\x1f\x8b\x08" + bytes(100))
    ran = run("inspect", packed)
    assert ran.status == 2
    assert "gzip -dc" in ran.stderr
