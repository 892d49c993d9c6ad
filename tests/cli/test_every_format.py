"""One handover in every form in which memory and maps are written: the same answer, and holes told apart."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import khodump
from khodump.memories.file import ImageFile
from khodump.memory import Presence
from tests.builders.flattened import flatten
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.kdump import FLAGS, build_kdump, split_kdump
from tests.builders.lime import build_avml, build_lime
from tests.captures import CAPTURES, SAMPLES
from tests.cli.test_inspect import GEOMETRIES
from tests.transcript import Run, run

PAGE = 4096
BLOCKS = ((0x4000, 0), (0x40_0000, 9), *((0x60_0000 + at * PAGE, 0) for at in range(70)), (0x1_0000_0000, 4))


def pages_of(built: BuiltHandover) -> dict[int, bytes]:
    image = built.image
    return {at: image.read(at, PAGE) for low, high in image.ranges for at in range(low, high, PAGE)}


def listed(*arguments) -> Run:
    return run("inspect", *arguments, "--pages", "--format", "tsv")


def text_of(blocks) -> str:
    return "phys\torder\n" + "".join(f"{phys:#x}\t{order}\n" for phys, order in sorted(blocks))


@pytest.fixture(scope="module")
def handover() -> BuiltHandover:
    """Its pages are in two ranges of RAM, and there are two more."""
    built = build_handover(Description(preservations=BLOCKS, subtrees={"clock": b"tick" * 15_000}))
    built.image.write(0x4000, b"low memory")
    built.image.write(0x60_0000, b"preserved".ljust(70 * PAGE))
    assert len(built.image.ranges) == 4
    return built


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def raw(built: BuiltHandover, home: Path) -> list[object]:
    """What the image holds, and no more: blocks that were never written may lie behind it."""
    return [f"{built.image.to_raw(home / 'raw', end=built.image.ranges[-1][1])}@0"]


def raw_by_ranges(built: BuiltHandover, home: Path) -> list[object]:
    ranges = built.image.ranges
    data = b"".join(built.image.read(start, end - start) for start, end in ranges)
    lines = (f"{start:08x}-{end - 1:08x} : System RAM\n" for start, end in ranges)
    (home / "iomem").write_text("".join(lines))
    return [write(home / "raw", data), "--ranges", home / "iomem"]


def split(built: BuiltHandover, home: Path) -> list[object]:
    pages = pages_of(built)
    numbers = sorted(at // PAGE for at in pages)
    dumps = split_kdump(pages, [numbers[len(numbers) // 3], numbers[-1]])
    return [write(home / f"part{number}", dump) for number, dump in enumerate(dumps)]


def kdump_of(codec: str) -> Callable[[BuiltHandover, Path], list[object]]:
    return lambda built, home: [write(home / "kdump", build_kdump(pages_of(built), codec=codec))]


DUMPS: dict[str, Callable[[BuiltHandover, Path], list[object]]] = {
    "raw": raw,
    "raw parts": lambda built, home: list(built.image.to_raw_parts(home, built.image.ranges)),
    "raw by ranges": raw_by_ranges,
    "ELF": lambda built, home: [built.image.to_elf(home / "core")],
    "ELF as QEMU writes it": lambda built, home: [built.image.to_elf(home / "core", qemu=True)],
    **{f"kdump {codec}": kdump_of(codec) for codec in sorted(FLAGS)},
    "split kdump": split,
    "flattened ELF": lambda built, home: [
        write(home / "flat", flatten(built.image.to_elf(home / "core").read_bytes()))
    ],
    "flattened kdump": lambda built, home: [write(home / "flat", flatten(build_kdump(pages_of(built))))],
    "LiME": lambda built, home: [write(home / "lime", build_lime(pages_of(built)))],
    "AVML": lambda built, home: [write(home / "avml", build_avml(pages_of(built)))],
    "URL": lambda built, home: [built.image.to_elf(home / "core").as_uri()],
}


@pytest.mark.parametrize("name", DUMPS)
def test_every_dump_format_lists_the_same_bytes(handover, tmp_path, name):
    ran = listed(*DUMPS[name](handover, tmp_path))
    assert (ran.stdout, ran.status) == (text_of(handover.blocks), 0)
    assert "unreadable" not in ran.stderr


@pytest.mark.parametrize("kind", ["elf", "kdump-zlib", "kdump-zlib-flat"])
def test_every_dump_of_a_real_machine_lists_the_same_bytes(kind):
    ran = listed(SAMPLES / "captures" / "luo-memfd" / f"serialized.{kind}")
    assert (ran.stdout, ran.status) == (text_of(CAPTURES["luo-memfd serialized"].blocks()), 0)


SET = {
    (0, 0),
    (0xFF_FFFF_0000, 0),
    *((0x4000_0000 + at * 65536, at % 2) for at in range(0, 70, 2)),
    *(((order << 34) + (at << 16 + order), order) for order in (1, 5, 9) for at in (0, 1, 3)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_map_format_gives_the_same_set(tmp_path, name):
    built = build_handover(replace(GEOMETRIES[name], preservations=tuple(SET)))
    with khodump.open(built.image.to_raw(tmp_path / "raw")) as handover:
        kernels_own = built.blocks - SET
        assert all(phys < 0x4000_0000 for phys, _ in kernels_own)
        assert set(handover.preserved) - kernels_own == SET


class Hole(NamedTuple):
    """A dump, in `form`, of a handover whose topmost page, a leaf, is not there; and why the summary says it is not."""

    form: str
    why: Presence
    dump: Callable[[BuiltHandover, int, Path], list[object]]


def without(pages: dict[int, bytes], leaf: int) -> dict[int, bytes]:
    return {at: data for at, data in pages.items() if at != leaf}


def dropped(name: str) -> Hole:
    """The dump was made of a machine without it."""

    def dump(built: BuiltHandover, leaf: int, home: Path) -> list[object]:
        built.image.drop(leaf)
        return DUMPS[name](built, home)

    return Hole(name, Presence.ABSENT, dump)


def cut(name: str, by: int = 100) -> Hole:
    """The file ends within it."""

    def dump(built: BuiltHandover, _: int, home: Path) -> list[object]:
        files = DUMPS[name](built, home)
        path = Path(str(files[0]).partition("@")[0])
        path.write_bytes(path.read_bytes()[:-by])
        return files

    return Hole(name, Presence.TRUNCATED, dump)


def excluded_elf(built: BuiltHandover, leaf: int, home: Path) -> list[object]:
    return [built.image.to_elf(home / "core", excluded=[(leaf, leaf + PAGE)])]


def excluded_kdump(built: BuiltHandover, leaf: int, home: Path) -> list[object]:
    return [write(home / "kdump", build_kdump(without(pages_of(built), leaf), excluded=[leaf]))]


def unwritten_kdump(built: BuiltHandover, leaf: int, home: Path) -> list[object]:
    return [write(home / "kdump", build_kdump(pages_of(built), unwritten=[leaf]))]


def cut_avml(built: BuiltHandover, _: int, home: Path) -> list[object]:
    return [write(home / "avml", build_avml(pages_of(built), block=PAGE)[:-100])]


def flattened(made: Callable[[BuiltHandover, int, Path], list[object]]) -> Callable[..., list[object]]:
    def dump(built: BuiltHandover, leaf: int, home: Path) -> list[object]:
        (path,) = made(built, leaf, home)
        return [write(home / "flat", flatten(Path(str(path)).read_bytes()))]

    return dump


HOLES = [
    *map(dropped, DUMPS),
    Hole("ELF", Presence.EXCLUDED, excluded_elf),
    Hole("kdump", Presence.EXCLUDED, excluded_kdump),
    Hole("flattened ELF", Presence.EXCLUDED, flattened(excluded_elf)),
    Hole("flattened kdump", Presence.EXCLUDED, flattened(excluded_kdump)),
    Hole("kdump never finished", Presence.TRUNCATED, unwritten_kdump),
    Hole("flattened kdump never finished", Presence.TRUNCATED, flattened(unwritten_kdump)),
    Hole("AVML", Presence.TRUNCATED, cut_avml),
    *map(cut, ["raw by ranges", "ELF", "kdump raw", "LiME"]),
    cut("kdump zlib", by=1),
]


@pytest.fixture
def small() -> tuple[BuiltHandover, int]:
    """A handover whose topmost page is a leaf, and that leaf."""
    built = build_handover(Description(preservations=((0x4000, 0), (0x40_0000, 9))))
    leaf = max(built.map_nodes)
    assert leaf in built.tree.leaves()
    assert leaf + PAGE == built.image.ranges[-1][1]
    return built, leaf


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: f"{hole.form}, {hole.why.name.lower()}")
def test_the_summary_says_why_a_page_is_missing(small, tmp_path, hole):
    built, leaf = small
    ran = listed(*hole.dump(built, leaf, tmp_path))
    assert ran.status == 4
    assert f"1 unreadable (1 {hole.why.reason})" in ran.stderr.splitlines()[-1]
    assert text_of(built.blocks) != ran.stdout != text_of([])


@pytest.mark.parametrize("name", DUMPS)
def test_a_page_of_zeros_is_not_missing(small, tmp_path, name):
    built, leaf = small
    built.image.write(leaf, bytes(PAGE))
    ran = listed(*DUMPS[name](built, tmp_path))
    assert ran.status == 0
    nodes = len(built.map_nodes)
    assert ran.stderr.splitlines()[-1].endswith(f"walked {nodes} of {nodes} nodes")
    assert text_of(built.blocks) != ran.stdout != text_of([])


@pytest.fixture
def read(monkeypatch) -> list[int]:
    """The bytes of every read of a file."""
    sizes: list[int] = []
    read_into = ImageFile.read_into

    def counted(self, buffer, offset):
        sizes.append(len(buffer))
        return read_into(self, buffer, offset)

    monkeypatch.setattr(ImageFile, "read_into", counted)
    return sizes


def peak_of(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_sparse_image_of_1_tib_is_hardly_touched(handover, tmp_path, read):
    image = handover.image.to_raw(tmp_path / "raw", end=1 << 40)

    def look() -> None:
        with khodump.open(image) as opened:
            assert set(opened.preserved) == handover.blocks

    assert peak_of(look) < 8 << 20
    assert sum(read) < 4 << 20


PHDR = np.dtype(
    [("type", "<u4"), ("flags", "<u4"), *((name, "<u8") for name in ("offset", "virtual", "physical"))]
    + [(name, "<u8") for name in ("filesz", "memsz", "align")]
)


def test_a_core_of_100_000_segments_is_hardly_touched(handover, tmp_path, read):
    """Over 64 GiB, 4 KiB each, in a sparse file."""
    count = 100_000
    core = handover.image.to_elf(tmp_path / "core", null_headers=count)
    data = bytearray(core.read_bytes())
    end = -(-len(data) // PAGE) * PAGE
    headers = np.frombuffer(data, PHDR, count, 128)  # behind the header and the section that counts them
    assert not headers["type"].any()
    number = np.arange(count)
    headers["type"], headers["filesz"], headers["memsz"] = 1, PAGE, PAGE
    headers["physical"], headers["offset"] = (2 << 32) + number * 0xA_0000, end + number * PAGE
    core.write_bytes(data)
    with core.open("r+b") as file:
        file.truncate(end + count * PAGE)

    def look() -> None:
        with khodump.open(core, fdt=handover.fdt_phys) as opened:
            assert len(opened.memory.ranges) == count + len(handover.image.ranges)
            assert set(opened.preserved) == handover.blocks

    assert peak_of(look) < 32 << 20
    assert sum(read) < 6 << 20  # 5.6 MB of which are the headers
