"""Where no root FDT is found: what was not searched, and why; and what is wrong with an image reaches everybody, once."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from khodump.memories.kdump_header import STATUS_INCOMPLETE
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.kdump import build_kdump, split_kdump
from tests.builders.lime import build_avml, build_lime
from tests.builders.memory import MemoryImage
from tests.transcript import Run, run

PAGE = 4096
UNUSED = "may not have used KHO"


@pytest.fixture
def built() -> BuiltHandover:
    """A handover above 4 MiB, which takes 13 pages, and 27 pages of other memory below it."""
    made = build_handover(Description(preservations=((0x80_0000, 3),), metadata_start=4 << 20))
    for at in range(27):
        made.image.write(0x10_0000 + at * PAGE, os.urandom(PAGE))
    return made


def pages_of(image: MemoryImage) -> dict[int, bytes]:
    return {at: image.read(at, PAGE) for low, high in image.ranges for at in range(low, high, PAGE)}


def cut(data: bytes, part: float) -> bytes:
    return data[: int(len(data) * part)]


def cut_lime(built: BuiltHandover) -> bytes:
    """Case F5a."""
    return cut(build_lime(pages_of(built.image)), 0.5)[:-100]  # within a page: whole ones may have been lost


def cut_elf(built: BuiltHandover) -> bytes:
    """Case F5b."""
    segments = [ElfSegment(low, built.image.read(low, high - low)) for low, high in built.image.ranges]
    return cut(build_elf(segments), 0.5)


def incomplete_kdump(built: BuiltHandover) -> bytes:
    """Case F5c: its writer says that it ran out of room."""
    pages = pages_of(built.image)
    unwritten = [at for at in pages if at >= 4 << 20]
    return build_kdump(pages, unwritten=unwritten, status=STATUS_INCOMPLETE)


def damaged_kdump(built: BuiltHandover) -> bytes:
    """Case F5d: the page of the root FDT cannot be unpacked."""
    dump = build_kdump(pages_of(built.image))
    stored = zlib.compress(built.image.read(built.fdt_phys, PAGE))
    assert dump.count(stored) == 1
    return dump.replace(stored, b"\xff" * len(stored))


def cut_kdump(built: BuiltHandover) -> bytes:
    """Case F5e: it ends among its descriptors."""
    dump = build_kdump(pages_of(built.image), codec="raw")
    return dump[: -len(pages_of(built.image)) * PAGE - 100]


def cut_avml(built: BuiltHandover) -> bytes:
    """Case F5f."""
    pytest.importorskip("cramjam", reason="AVML takes the extra kdump")
    return cut(build_avml(pages_of(built.image), block=PAGE), 0.5)


CUTS: list[tuple[Callable[[BuiltHandover], bytes], str]] = [
    (cut_lime, "is cut short: its last range would take"),
    (cut_elf, "is cut short: "),
    (incomplete_kdump, "says that it is incomplete"),
    (cut_kdump, "is cut short: it should describe"),
    (cut_avml, "is damaged or cut off"),
]


def written(home: Path, data: bytes) -> Path:
    path = home / "dump"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("made", "warning"), CUTS)
def test_an_image_that_ends_early_does_not_speak_of_a_kernel_without_kho(built, tmp_path, made, warning):
    ran = run("inspect", written(tmp_path, made(built)))
    assert (ran.status, ran.stdout) == (3, "")
    assert ran.stderr.count(warning) == 1
    assert "Not searched: " in ran.stderr
    assert "cut off: the file ends, or its writer stopped, before them" in ran.stderr
    assert UNUSED not in ran.stderr


def test_pages_that_cannot_be_decoded_are_told(built, tmp_path):
    ran = run("inspect", written(tmp_path, damaged_kdump(built)))
    assert ran.status == 3
    lack = f"4 KiB (2.5%), the lowest at {built.fdt_phys:#x}, damaged: what is stored of them could not be decoded"
    assert lack in ran.stderr
    assert UNUSED not in ran.stderr


def test_excluded_pages_are_told(built, tmp_path):
    kdump = build_kdump(
        {0x10_0000: b"x" * PAGE}, excluded=[at for at in pages_of(built.image) if at != 0x10_0000]
    )
    elf = build_elf([ElfSegment(0x10_0000, b"x" * PAGE, 40 * PAGE)])
    for dump in (kdump, elf):
        ran = run("inspect", written(tmp_path, dump))
        assert ran.status == 3
        assert "only 4 KiB of 160 KiB could be searched. Not searched: 156 KiB (97.5%)" in ran.stderr
        assert "excluded: left out of the dump on purpose" in ran.stderr
        assert "makedumpfile -d 0" in ran.stderr
        assert UNUSED not in ran.stderr


def test_the_parts_of_a_split_dump_that_lack_are_told(built, tmp_path):
    parts = split_kdump(pages_of(built.image), [0x200])
    ran = run("inspect", written(tmp_path, parts[0]))
    assert ran.status == 3
    assert "the part with 0x200000 to " in ran.stderr
    assert (
        "Not searched: 52 KiB (32.5%), the lowest at 0x400000, in parts of the split dump that were not named"
        in (ran.stderr)
    )
    assert "hint: name all parts of the split dump" in ran.stderr
    assert UNUSED not in ran.stderr


def test_the_largest_lack_stands_first(tmp_path):
    pages = {at * PAGE: os.urandom(PAGE) for at in range(8)}
    dump = build_kdump(pages, excluded=[0x10_0000], unwritten=[0x6000, 0x7000], status=STATUS_INCOMPLETE)
    ran = run("inspect", written(tmp_path, dump))
    assert (
        "only 24 KiB of 36 KiB could be searched. Not searched: 8 KiB (22.2%), the lowest at 0x6000, cut off"
        in (ran.stderr)
    )
    assert "; 4 KiB (11.1%), the lowest at 0x100000, excluded" in ran.stderr
    assert "hint: copy the dump again" in ran.stderr


@pytest.mark.parametrize("dump", [build_elf([]), build_kdump({}, max_mapnr=64), build_kdump({}, max_mapnr=0)])
def test_an_image_with_nothing_to_search_says_so(tmp_path, dump):
    for command in ("inspect", "scan", "check"):
        ran = run(command, written(tmp_path, dump))
        assert ran.status == 3
        assert "nothing in the image can be searched: it speaks of no memory" in ran.stderr
        assert UNUSED not in ran.stderr


def test_only_when_all_was_searched_may_the_kernel_not_have_used_kho(tmp_path):
    image = MemoryImage()
    image.write(0x1000, b"x" * (3 * PAGE))
    pages = pages_of(image)
    for dump in (
        build_elf([ElfSegment(0x1000, image.read(0x1000, 3 * PAGE))]),
        build_kdump(pages),
        build_lime(pages),
    ):
        ran = run("inspect", written(tmp_path, dump))
        assert ran.status == 3
        assert "no root FDT in the image" in ran.stderr
        assert "all 12 KiB of it were searched" in ran.stderr
        assert UNUSED in ran.stderr


def test_the_holes_of_a_sparse_file_count_as_searched(tmp_path):
    image = MemoryImage()
    image.write(0x1000, b"x")
    ran = run("inspect", image.to_raw(tmp_path / "raw", end=8 << 20))
    assert "all 8 MiB of it were searched" in ran.stderr


def commands(home: Path, path: Path) -> Iterator[list[str | Path]]:
    """Every command that reads an image."""
    for name in ("inspect", "scan", "check", "subtrees", "sessions", "owners", "map", "tree"):
        yield [name, path]
    yield ["lookup", path, "0x800000"]
    yield ["extract", path, "--range", "0x800000+4096", "--fill", "-o", home / "bytes", "--force"]
    yield ["slim", path, "-o", home / "slim", "--force"]
    yield ["report", path, "-o", home / "page.html", "--force"]


def told(ran: Run, warning: str) -> int:
    return sum(warning in line for line in ran.stderr.splitlines())


@pytest.mark.parametrize(("made", "warning"), CUTS)
def test_every_command_says_once_what_is_wrong_with_an_image_it_finds_nothing_in(
    built, tmp_path, made, warning
):
    path = written(tmp_path, made(built))
    for command in commands(tmp_path, path):
        ran = run(*command)
        assert (ran.status, told(ran, warning)) == (3, 1), command
        assert "Not searched: " in ran.stderr
        assert told(run(*command, "-q"), warning) == 0
    whole = built.image.to_elf(tmp_path / "whole")
    ran = run("diff", whole, path)
    assert (ran.status, told(ran, warning)) == (2, 1)
    assert told(ran, "khodump: new: ") == 2


def cut_behind(built: BuiltHandover, form: str) -> bytes:
    """Cut in memory that no command needs."""
    built.image.write(0x1000_0000, os.urandom(8 * PAGE))
    if form == "ELF":
        segments = [ElfSegment(low, built.image.read(low, high - low)) for low, high in built.image.ranges]
        return build_elf(segments)[:-PAGE]
    if form == "LiME":
        return build_lime(pages_of(built.image))[: 96 - PAGE]  # within its last page
    return build_kdump(pages_of(built.image))[:-PAGE]


@pytest.mark.parametrize("form", ["ELF", "LiME", "kdump"])
def test_every_command_says_once_that_an_image_is_cut_short_that_it_can_answer_from(built, tmp_path, form):
    path = written(tmp_path, cut_behind(built, form))
    for command in commands(tmp_path, path):
        ran = run(*command)
        assert (ran.status, told(ran, "is cut short")) == (4 if command[0] == "extract" else 0, 1), (
            command,
            ran.stderr,
        )
    ran = run("diff", path, path)
    assert told(ran, "is cut short") == 2
    assert told(ran, "khodump: old: ") == told(ran, "khodump: new: ")


def test_a_broken_handover_does_not_hide_that_the_image_is_cut_short(built, tmp_path):
    built.image.write(built.fdt_phys, built.fdt.replace(b"kho-v4", b"kho-v9"))
    path = written(tmp_path, cut_behind(built, "LiME"))
    for command in ("check", "inspect"):
        assert told(run(command, path, "--fdt", hex(built.fdt_phys)), "is cut short") == 1
