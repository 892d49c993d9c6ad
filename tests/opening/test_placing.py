"""Raw files that are several stretches of RAM laid end to end: read right, or not read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.boot import machine_tree, write_boot_params
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.users import Memblock, ReserveMem
from tests.transcript import run

PAGE = 4096
MIB, GIB = 1 << 20, 1 << 30
GIB_4 = 4 * GIB
RAM, RESERVED = 1, 2
EXAMPLES = int(os.environ.get("PLACING_EXAMPLES", "60"))

Span = tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """Where a machine's RAM is, and how it is described.

    Attributes:
        spans: what the file holds, one after the other.
        kept: bytes at the end of each span that firmware reserves.
        says_reserved: whether /proc/iomem lists these.
    """

    spans: tuple[Span, ...]
    kept: int = 0
    says_reserved: bool = True

    @property
    def e820(self) -> list[tuple[int, int, int]]:
        """What firmware tells the kernel."""
        table = []
        for start, end in self.spans:
            table.append((start, end - self.kept, RAM))
            if self.kept:
                table.append((end - self.kept, end, RESERVED))
        return table

    def iomem(self, home: Path) -> Path:
        """Its /proc/iomem."""
        names = {RAM: "System RAM", RESERVED: "Reserved"}
        lines = [
            f"{start:08x}-{end - 1:08x} : {names[kind]}\n"
            for start, end, kind in self.e820
            if kind == RAM or self.says_reserved
        ]
        path = home / "iomem"
        path.write_text("".join(lines))
        return path


@dataclass(frozen=True)
class Case:
    """A handover in a machine: built, laid out in a file, and what `extract` should give."""

    built: BuiltHandover
    machine: Machine
    image: Path
    region: bytes

    @property
    def listing(self) -> set[str]:
        """The rows of `inspect --pages -f tsv`."""
        return {f"{phys:#x}\t{order}" for phys, order in self.built.blocks}


def build(machine: Machine, home: Path, *, where: int, scatter: tuple[Span, ...], told: str = "") -> Case:
    """A handover whose own pages are taken from `scatter`, with a region of reserve_mem= at `where`."""
    region = ReserveMem("trace", where, 4 * PAGE)
    built = build_handover(Description(subtrees={"memblock": Memblock((region,))}, scatter=scatter))
    content = b"of this very machine".ljust(4 * PAGE, b"!")
    built.image.write(where, content)
    first = machine.spans[0][0]
    if told == "e820":
        write_boot_params(built.image, first + 0x9_0840, e820=machine.e820)
    if told == "device tree":
        built.image.write(first + 0x8_0000, machine_tree(None, None, ram=machine.spans))
    image = built.image.to_squeezed(home / "ram", machine.spans)
    return Case(built, machine, image, content)


def examine(case: Case, *options: str | Path) -> tuple[int, int]:
    """Hold what khodump says to the truth; returns the statuses of `inspect` and `extract`."""
    listed = run("inspect", case.image, *options, "--pages", "--format", "tsv")
    rows = set(listed.stdout.splitlines()[1:])
    assert listed.status in (0, 4)
    assert rows == case.listing if listed.status == 0 else rows <= case.listing
    out = run("extract", case.image, *options, "--reserve-mem", "trace")
    assert out.status in (0, 4), out.stderr
    assert out.stdout.encode() == (case.region if out.status == 0 else b"")
    return listed.status, out.status


def near(start: int, size: int = 64 * MIB) -> Span:
    return (start, start + size)


QEMU = Machine(((0, 3 * GIB), (GIB_4, GIB_4 + 2 * GIB)), kept=128 << 10)


def test_the_map_above_the_hole_and_the_fdt_below_it(tmp_path):
    case = build(QEMU, tmp_path, where=0x5000_0000, scatter=(near(GIB), near(GIB_4 + 128 * MIB)))
    assert examine(case) == (0, 0)


def test_ordinary_iomem_of_a_file_that_holds_what_firmware_reserves(tmp_path):
    case = build(QEMU, tmp_path, where=GIB_4 + 512 * MIB, scatter=(near(GIB), near(GIB_4 + 128 * MIB)))
    assert examine(case, "--ranges", QEMU.iomem(tmp_path)) == (0, 0)


def test_a_base_that_equals_the_size_of_a_usual_hole_is_not_trusted_with_content(tmp_path):
    """All of KHO above 4 GiB: the whole file moved up by 1 GiB would put it in the same place."""
    case = build(QEMU, tmp_path, where=GIB, scatter=(near(GIB_4 + GIB),))
    assert examine(case) == (0, 4)


def test_content_above_the_last_place_that_proves_itself_is_not_served(tmp_path):
    machine = Machine(((0, 3 * GIB), (GIB_4, 2 * GIB_4)))
    case = build(machine, tmp_path, where=GIB_4 + 512 * MIB, scatter=(near(GIB),))
    assert examine(case) == (0, 4)
    assert examine(case, "--ranges", machine.iomem(tmp_path)) == (0, 0)


def test_forced_it_is_served_and_said(tmp_path):
    machine = Machine(((0, 3 * GIB), (GIB_4, 2 * GIB_4)))
    case = build(machine, tmp_path, where=GIB_4 + 512 * MIB, scatter=(near(GIB),))
    forced = run("extract", case.image, "--reserve-mem", "trace", "--force-placement")
    assert "--force-placement: the file is read as" in forced.stderr
    assert "nothing proves where" not in forced.stderr


@pytest.mark.parametrize("told", ["e820", "device tree"])
def test_what_the_machine_was_told_settles_it(tmp_path, told):
    machine = Machine(((0, 3 * GIB), (GIB_4, 2 * GIB_4)))
    case = build(machine, tmp_path, where=GIB_4 + 512 * MIB, scatter=(near(GIB),), told=told)
    assert examine(case) == (0, 0)
    assert "adds up to the file's size" in run("inspect", case.image).stderr


def test_parts_of_a_file_are_placed_by_hand(tmp_path):
    case = build(QEMU, tmp_path, where=GIB_4 + 512 * MIB, scatter=(near(GIB), near(GIB_4 + 128 * MIB)))
    parts = [f"{case.image}[0+3G]@0", f"{case.image}[0xC0000000+2G]@4G"]
    listed = run("inspect", *parts, "--pages", "--format", "tsv")
    assert listed.status == 0
    assert set(listed.stdout.splitlines()[1:]) == case.listing
    assert run("extract", *parts, "--reserve-mem", "trace").stdout.encode() == case.region
    beyond = run("inspect", f"{case.image}[4G+2G]@0")
    assert beyond.status == 2
    assert "FILE[OFFSET+SIZE]@BASE" in beyond.stderr


def test_memory_behind_a_header_that_nobody_knows(tmp_path):
    built = build_handover(Description(preservations=((0x70_0000, 0),)))
    plain = built.image.to_raw(tmp_path / "plain", end=8 * MIB).read_bytes()
    (tmp_path / "ram").write_bytes(b"\xa5" * PAGE + plain)
    listed = run("inspect", tmp_path / "ram", "--pages", "--format", "tsv")
    assert listed.status == 0
    assert set(listed.stdout.splitlines()[1:]) == {f"{phys:#x}\t{order}" for phys, order in built.blocks}
    assert "4096 bytes of something else" in listed.stderr


def test_a_contradicted_reading_accuses_nobody(tmp_path):
    """A file cut before the memory that its map preserves: nothing tells whether it is cut, or lies elsewhere."""
    built = build_handover(Description(preservations=((GIB, 0),)))
    image = built.image.to_raw(tmp_path / "ram", end=64 * MIB)
    listed = run("inspect", image)
    assert listed.status == 4
    assert "reading-in-doubt" in listed.stderr
    checked = run("check", image)
    assert "cannot be told" in checked.stdout
    assert "would be refused" not in checked.stdout
    assert "would panic" not in checked.stdout


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """RAM as it usually is: with a hole below 4 GiB, in banks, from some base, or from 0 in a row."""
    kept = draw(st.sampled_from([0, 0, 64 << 10, MIB]))
    kind = draw(st.sampled_from(["hole", "banks", "base", "row"]))
    if kind == "hole":
        start = draw(st.sampled_from([2 * GIB, 3 * GIB, 13 * GIB // 4, 7 * GIB // 2]))
        above = draw(st.integers(1, 32)) * 128 * MIB
        spans: list[Span] = [(0, start), (GIB_4, GIB_4 + above)]
    elif kind == "banks":
        at = draw(st.sampled_from([0, GIB, 2 * GIB]))
        spans = []
        for _ in range(draw(st.integers(2, 3))):
            size = draw(st.integers(1, 64)) * 32 * MIB
            spans.append((at, at + size))
            at += size + draw(st.sampled_from([16 * MIB, 256 * MIB, GIB, 30 * GIB]))
        if spans[0][0] == 0 and spans[0][1] < 2 * GIB:
            spans = [(start + GIB, end + GIB) for start, end in spans]
    else:
        base = 0 if kind == "row" else draw(st.sampled_from([GIB, 2 * GIB, 0x4720_0000, 0x4_1237_0000]))
        spans = [(base, base + draw(st.integers(1, 96)) * 64 * MIB)]
    return Machine(tuple(spans), kept, draw(st.booleans()))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Machine, int, tuple[Span, ...], str]:
    """A machine, where its region lies, where the kernel allocates, and what tells of its RAM."""
    machine = draw(machines())

    def somewhere(room: int) -> int:
        start, end = draw(st.sampled_from(machine.spans))
        low, high = start + MIB, end - MIB - room
        at = draw(st.integers(0, max(high - low, 0) // (2 * MIB))) * 2 * MIB
        return (low + at) // (2 * MIB) * 2 * MIB + PAGE

    where = somewhere(4 * MIB) - PAGE + MIB
    scatter = tuple(near(somewhere(2 * MIB), 960 << 10) for _ in range(draw(st.integers(1, 4))))
    apart = dict.fromkeys(span for span in scatter if not span[0] <= where < span[1] + MIB)
    told = draw(st.sampled_from(["", "", "", "e820", "device tree"]))
    return machine, where, tuple(apart) or (near(where + 2 * MIB, MIB),), told


@settings(max_examples=EXAMPLES, deadline=None)
@given(layout=layouts())
def test_any_usual_layout_is_read_right_or_not_at_all(tmp_path_factory, layout):
    machine, where, scatter, told = layout
    home = tmp_path_factory.mktemp("ram")
    case = build(machine, home, where=where, scatter=scatter, told=told)
    examine(case)
    examine(case, "--ranges", machine.iomem(home))
    case.image.unlink()
