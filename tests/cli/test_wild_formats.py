"""Files as they are met in the field, each after a public report: what was misread once is read, or named."""

from __future__ import annotations

import lzma
import re
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from khodump.fdt import FdtNode
from khodump.memories import open_memory
from tests.builders.fdt import build_fdt, string
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.kdump import split_kdump
from tests.builders.lime import build_avml, build_lime
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.builders.named import build_vmware, build_xen_dump, build_zip
from tests.transcript import run

PAGE = 4096
BLOCK = 1 << 24
BLOCKS = ((0x300_0000, 0), (0x320_0000, 9), (0x340_0000, 0))


def ram(built: BuiltHandover, end: int, start: int = 0) -> dict[int, bytes]:
    """All pages of RAM, those that were never written as zeros."""
    return {at: built.image.read(at, PAGE) for at in range(start, end, PAGE)}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def high() -> BuiltHandover:
    """All of it is in the third and fourth block of 16 MiB, and the last page of the fifth is in use."""
    built = build_handover(Description(preservations=BLOCKS, metadata_start=2 * BLOCK))
    built.image.write(3 * BLOCK, b"preserved")
    built.image.write(5 * BLOCK - PAGE, b"not preserved")
    return built


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "in LiME form"])
def test_f2a_avml_0_17_writes_bare_headers_for_blocks_of_zeros(high, tmp_path, compress):
    """microsoft/avml#760."""
    pages = ram(high, 5 * BLOCK)
    bare = write(tmp_path / "0.17", build_avml(pages, compress=compress, bare=True))
    skipped = write(tmp_path / "0.15", build_avml(pages, compress=compress))
    assert bare.stat().st_size > skipped.stat().st_size
    ran, same = (run("inspect", path, "--pages", "-f", "tsv") for path in (bare, skipped))
    assert (ran.stdout, ran.status) == (same.stdout, 0)
    listed = [line.split("\t") for line in ran.stdout.splitlines()[1:]]
    assert {(int(phys, 16), int(order)) for phys, order in listed} == set(high.blocks)


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "in LiME form"])
def test_f2b_a_bare_header_in_the_middle_is_no_end(high, tmp_path, compress):
    pages = {
        at: bytes(PAGE) if 3 * BLOCK <= at < 4 * BLOCK else body for at, body in ram(high, 5 * BLOCK).items()
    }
    ran = run("inspect", write(tmp_path / "dump", build_avml(pages, compress=compress, bare=True)))
    assert ran.status == 0
    assert "is read" not in ran.stderr


def test_f4_arm64_ram_that_begins_with_the_machines_device_tree(tmp_path):
    """Written by QEMU for its virt machine: RAM from 1 GiB on."""
    base = 1 << 30
    built = build_handover(
        Description(preservations=((base + 0x40_0000, 3),), metadata_start=base + 0x10_0000)
    )
    tree = build_fdt(FdtNode("", {"compatible": string("linux,dummy-virt")}), pack_to=1 << 17)
    built.image.write(base, tree)
    path = built.image.to_raw(tmp_path / "ram", base=base, end=base + (8 << 20))
    ran = run("inspect", path, "--pages", "-f", "tsv")
    assert ran.status == 0
    assert f"{base + 0x40_0000:#x}\t3\n" in ran.stdout


def raw(built: BuiltHandover) -> bytes:
    return built.image.read(0, 4 * BLOCK)


FILES = {
    "F6 memory behind a VMware header": ("VMware state", lambda built: build_vmware(raw(built), 0xBED2BED2)),
    "F6 with its bytes swapped": ("VMware state", lambda built: build_vmware(raw(built), 0xBAD1BAD1, ">")),
    "F7a xl dump-core": ("Xen dump-core", lambda built: build_xen_dump(ram(built, PAGE * 16))),
    "F7b LiME with compress=1": ("zlib", lambda built: zlib.compress(build_lime(ram(built, 2 << 20)), 3)),
    "F7c an interrupted virsh save": ("interrupted libvirt", lambda built: b"LibvirtQemudPart" + raw(built)),
    "F7d AFF4": (
        "zip archive \\(AFF4",
        lambda built: build_zip(raw(built)[: 1 << 20], "container.description"),
    ),
    "F7e lzop": ("lzop", lambda built: b"\x89LZO\0\r\n\x1a\n" + lzma.compress(raw(built)[:PAGE])),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["inspect", "check", "scan"])
def test_f6_and_f7_are_named_with_a_command_and_judged_by_none(high, tmp_path, name, command):
    says, build = FILES[name]
    ran = run(command, write(tmp_path / "image", build(high)))
    assert (ran.stdout, ran.status) == ("", 2)
    assert re.search(f"format that khodump does not read: .*{says}", ran.stderr)
    assert "hint: " in ran.stderr


@pytest.mark.parametrize("compress", [True, False], ids=["compressed", "in LiME form"])
def test_f8_blocks_of_zeros_left_out_are_zeros_when_the_user_says_so(tmp_path, compress):
    """microsoft/avml#803: a memfd whose second folio is a block of zeros."""
    memfd = Memfd((Folio(0, b"head", order=11), Folio(2048, order=12), Folio(6144, b"tail", order=11)))
    built = build_handover(Description(subtrees={"LUO": Luo((Session("vm", (LuoFile(1, memfd),)),))}))
    end = max(top for _, top in built.image.ranges)
    pages = ram(built, -(-end // BLOCK) * BLOCK)
    dump = write(tmp_path / "dump", build_avml(pages, compress=compress))
    truth = built.image.to_elf(tmp_path / "truth")
    asked = ("--memfd", "vm/1", "-o")
    assert run("extract", truth, *asked, tmp_path / "right").status == 0
    assert run("extract", dump, *asked, tmp_path / "same", "--assume-zero").status == 0
    assert (tmp_path / "same").read_bytes() == (tmp_path / "right").read_bytes()
    missing = run("extract", dump, *asked, tmp_path / "none")
    assert missing.status == 4
    assert "16 MiB" in missing.stderr
    assert not (tmp_path / "none").exists()


def test_each_part_of_a_split_dump_says_which_others_lack(high, tmp_path):
    pages = {at: high.image.read(at, PAGE) for low, top in high.image.ranges for at in range(low, top, PAGE)}
    ends = [0, 2 * BLOCK + 4 * PAGE, 3 * BLOCK, max(pages) + PAGE]
    parts = split_kdump(pages, [end // PAGE for end in ends[1:-1]])
    for number, part in enumerate(parts):
        with open_memory([write(tmp_path / f"part{number}", part)]) as memory:
            said = " ".join(memory.warnings)
        for other, (low, high_end) in enumerate(pairwise(ends)):
            is_lacking = f"the part with {low:#x}" in said or f"to {high_end:#x} was not named" in said
            assert is_lacking == (other != number)
