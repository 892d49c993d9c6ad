"""The machine that khodump runs on, played by files."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import khodump
import khodump.api
import khodump.memories
from khodump.api import open_live_handover
from khodump.errors import ImageError
from khodump.memories.live import DevMem, LivePaths, is_dev_mem, open_dev_mem, open_live
from khodump.memories.refusal import RefusalPaths
from khodump.memory import Hole, Presence
from khodump.opening.locate import landmarks
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo
from tests.builders.users import Memblock, User
from tests.transcript import run

#: System RAM (end exclusive); the second ends within a page, as firmware's does.
RAM = ((0x1000, 0x9_F000), (0x10_0000, 0x30_0C00), (0x80_0000, 0x90_0000))
#: The whole pages of it, which alone are touched.
PAGES_OF_RAM = ((0x1000, 0x9_F000), (0x10_0000, 0x30_0000), (0x80_0000, 0x90_0000))
DEVICE = (0x40_0000, 0x50_0000)
POISON = b"\xde\xad\xbe\xef" * 1024


@pytest.fixture
def built() -> BuiltHandover:
    subtrees: dict[str, bytes | User] = {"LUO": Luo(), "memblock": Memblock()}
    return build_handover(Description(preservations=((0x80_0000, 3),), subtrees=subtrees))


@pytest.fixture
def paths(built, tmp_path) -> LivePaths:
    """A machine without /proc/kcore, whose device ranges hold poison and a root FDT."""
    with (tmp_path / "mem").open("wb") as mem:
        mem.truncate(1 << 40)
        for start, end in built.image.ranges:
            os.pwrite(mem.fileno(), built.image.read(start, end - start), start)
        for at in (0, *range(0x9_F000, 0x10_0000, 4096), *range(*DEVICE, 4096)):
            os.pwrite(mem.fileno(), POISON, at)
        os.pwrite(mem.fileno(), POISON[:0x400], 0x30_0C00)
        os.pwrite(mem.fileno(), built.fdt, DEVICE[0])
    lines = [
        f"{start:08x}-{end - 1:08x} : System RAM\n  00200000-002fffff : Kernel code\n" for start, end in RAM
    ]
    lines.insert(1, "000a0000-000fffff : PCI Bus 0000:00\n")
    lines.append(f"{DEVICE[0]:08x}-{DEVICE[1] - 1:08x} : 0000:00:02.0\n")
    (tmp_path / "iomem").write_text("".join(lines))
    for side, fdt in (("out", built.fdt[:150]), ("in", built.fdt)):
        (tmp_path / "kho" / side).mkdir(parents=True)
        (tmp_path / "kho" / side / "fdt").write_bytes(fdt)
    return LivePaths(tmp_path / "kcore", tmp_path / "mem", tmp_path / "iomem", tmp_path / "kho")


@pytest.fixture
def touched(monkeypatch) -> list[tuple[int, int]]:
    """Every (start, end) read of /dev/mem; one that leaves RAM fails the test."""
    spans: list[tuple[int, int]] = []
    read_into = DevMem.read_into

    def watched(self, buffer, offset):
        end = offset + len(buffer)
        assert any(low <= offset and end <= high for low, high in PAGES_OF_RAM), (
            f"touches {offset:#x} to {end:#x}"
        )
        spans.append((offset, end))
        return read_into(self, buffer, offset)

    monkeypatch.setattr(DevMem, "read_into", watched)
    return spans


def kcore(built: BuiltHandover, *extra: ElfSegment) -> bytes:
    segments = [ElfSegment(start, built.image.read(start, end - start)) for start, end in built.image.ranges]
    return build_elf([*extra, *segments])


def refuse(monkeypatch, number: int) -> None:
    def preadv(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", preadv)


def test_dev_mem_is_searched_in_ram_alone(paths, built, touched):
    with open_dev_mem(paths) as memory:
        assert [mark.phys for mark in landmarks(memory, deep=True)] == [
            built.fdt_phys,
            built.blobs["memblock"],
        ]
        assert [(span.start, span.end) for span in memory.ranges] == list(PAGES_OF_RAM)
        assert all(span.presence is Presence.PRESENT for span in memory.ranges)
    assert touched


def test_dev_mem_is_never_read_past_the_end_of_ram(paths, touched):
    with open_dev_mem(paths) as memory:
        numbers = [
            0,
            1,
            0x9E,
            0x9F,
            0xA0,
            0xFF,
            0x100,
            0x2FF,
            0x300,
            0x301,
            0x400,
            0x7FF,
            0x800,
            0x8FF,
            0x900,
        ]
        got = memory.gather(np.array(numbers, np.uint64) * 4096, 4096)
        present = [
            number for number, there in zip(numbers, got.presence, strict=True) if there == Presence.PRESENT
        ]
        assert present == [1, 0x9E, 0x100, 0x2FF, 0x800, 0x8FF]
        assert not (got.data == 0xDE).any()
        large = memory.gather(np.arange(64, dtype=np.uint64) * 65536, 65536).presence
        assert np.flatnonzero(large == Presence.PRESENT).tolist() == [*range(1, 9), *range(16, 48)]
        assert memory.read(0x30_0800, 0x400) == Hole(0x30_0800, Presence.ABSENT)
        assert memory.read(0x2F_FFFF, 2) == Hole(0x30_0000, Presence.ABSENT)
        assert memory.read(0x9_EFFF, 2) == Hole(0x9_F000, Presence.ABSENT)
        assert memory.read(DEVICE[0], 1) == Hole(DEVICE[0], Presence.ABSENT)
    assert touched


def test_pointers_into_devices_are_not_followed(paths, built, touched):
    """A damaged map, or a hostile one, must not make khodump read a device's registers."""
    at = built.tree.root + 8
    with paths.mem.open("r+b") as mem:
        os.pwrite(mem.fileno(), (DEVICE[0] + 0x1000).to_bytes(8, "little"), at)
    with open_live_handover(incoming=True, page_size=4096, paths=paths) as handover:
        assert handover.nodes.missing() == {Presence.ABSENT: 1}
    assert touched


def test_iomem_of_another_user_than_root(paths):
    paths.iomem.write_text("00000000-00000000 : System RAM\n" * 3)
    with pytest.raises(ImageError, match="no addresses, only zeros") as caught:
        open_dev_mem(paths)
    assert "root only" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("lockdown", "why"),
    [
        (None, "CONFIG_STRICT_DEVMEM"),
        ("[none] integrity confidentiality", "CONFIG_STRICT_DEVMEM"),
        ("none [integrity] confidentiality", r"locked down \(integrity\)"),
    ],
)
def test_a_kernel_that_refuses_is_explained(paths, monkeypatch, tmp_path, lockdown, why):
    if lockdown:
        (tmp_path / "lockdown").write_text(lockdown)
    paths = replace(paths, refusals=RefusalPaths(tmp_path / "lockdown", tmp_path / "status"))
    with open_dev_mem(paths) as memory:
        refuse(monkeypatch, errno.EPERM)
        with pytest.raises(ImageError, match=f"does not let {paths.mem} be read at 0x2000: .*{why}"):
            memory.read(0x2000, 8)


def test_a_page_that_faults_is_a_hole_and_no_other_is(paths, built, monkeypatch):
    faulty = 0x20_0000
    preadv = os.preadv

    def faults(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset < faulty + 4096 and offset + len(buffers[0]) > faulty:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return preadv(fd, buffers, offset)

    with open_dev_mem(paths) as memory:
        monkeypatch.setattr(os, "preadv", faults)
        assert memory.read(faulty - 4096, 3 * 4096) == Hole(faulty, Presence.ABSENT)
        assert memory.read(built.fdt_phys, len(built.fdt)) == built.fdt
        numbers = np.arange(faulty // 4096 - 1, faulty // 4096 + 2, dtype=np.uint64)
        got = memory.gather(numbers * 4096, 4096).presence.tolist()
        assert got == [Presence.PRESENT, Presence.ABSENT, Presence.PRESENT]


def test_other_failures_are_not_put_down_to_the_kernel(paths, monkeypatch):
    with open_dev_mem(paths) as memory:
        refuse(monkeypatch, errno.EIO)
        with pytest.raises(ImageError, match="cannot read at offset 0x2000") as caught:
            memory.read(0x2000, 8)
    assert "STRICT_DEVMEM" not in (caught.value.hint or "")


def test_kcore_is_preferred_and_its_unplaced_segments_are_left_out(paths, built, touched):
    vmalloc = ElfSegment((1 << 64) - 1, POISON)
    paths.kcore.write_bytes(kcore(built, vmalloc))
    with open_live(paths) as memory:
        assert [(span.start, span.end) for span in memory.ranges] == built.image.ranges
        assert memory.read(built.fdt_phys, len(built.fdt)) == built.fdt
        assert "kcore" in memory.description
        assert memory.platform.machine == "x86_64"
    assert not touched


def test_without_kcore_it_is_dev_mem(paths, built):
    with open_live(paths) as memory:
        assert memory.description == f"{paths.mem} (System RAM of this machine)"
        assert memory.read(built.fdt_phys, len(built.fdt)) == built.fdt


def test_without_either_both_are_named(paths):
    paths.mem.unlink()
    with pytest.raises(ImageError) as caught:
        open_live(paths)
    assert f"cannot open {paths.kcore}: No such file" in str(caught.value)
    assert f"cannot open {paths.mem}: No such file" in str(caught.value)
    assert caught.value.hint == "run as root"


def test_a_kcore_that_is_no_core_is_said_to_be_none_and_closed(paths):
    paths.kcore.write_bytes(b"\x7fELF\1\1" + bytes(100))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ImageError, match="kcore is an ELF file, but not a 64-bit"):
        open_live(paths)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_is_not_taken_for_dev_mem(paths):
    assert not is_dev_mem(paths.mem)
    assert not is_dev_mem("/dev/null")
    assert not is_dev_mem(paths.kcore)


def test_a_device_node_is_told_by_its_number(monkeypatch):
    told = {"/mem": (0o020640, os.makedev(1, 1)), "/block": (0o060640, os.makedev(1, 1))}

    def stat(path: str) -> SimpleNamespace:
        mode, number = told[path]
        return SimpleNamespace(st_mode=mode, st_rdev=number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)
        found = [is_dev_mem(path) for path in told]
    assert found == [True, False]


def test_dev_mem_named_as_an_image_is_read_in_ram_alone(paths, built, monkeypatch, touched):
    monkeypatch.setattr(khodump.memories, "is_dev_mem", lambda _: True)
    monkeypatch.setattr(khodump.memories, "LivePaths", lambda mem: replace(paths, mem=mem))
    with khodump.open(paths.mem, page_size=4096) as handover:
        assert set(handover.preserved) == built.blocks
    assert touched


def test_the_outgoing_handover_whose_fdt_debugfs_cuts_short(paths, built, touched):
    with open_live_handover(page_size=4096, paths=paths) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert set(handover.preserved) == built.blocks
        assert "cut short: 150 of" in str(handover.notes[0])
    assert touched


def test_the_incoming_handover(paths, built, touched):
    with open_live_handover(incoming=True, page_size=4096, paths=paths) as handover:
        assert handover.fdt.source == f"file {paths.kho / 'in/fdt'}"
        assert set(handover.preserved) == built.blocks
        assert handover.notes == ()
    assert touched


def test_the_handover_through_kcore(paths, built):
    paths.kcore.write_bytes(kcore(built))
    for incoming in (False, True):
        with open_live_handover(incoming=incoming, paths=paths, page_size=4096) as handover:
            assert set(handover.preserved) == built.blocks


@pytest.mark.parametrize(
    ("size", "reason", "shown"),
    [(None, "the running kernel", "the running kernel"), (4096, "page_size", "--page-size")],
)
def test_the_page_size_is_from_the_caller_or_the_kernel(size, reason, shown, paths, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda _: 4096)
    with open_live_handover(page_size=size, paths=paths) as handover:
        assert handover.geometry_reason == reason
        assert not any("page_size=" in str(note) for note in handover.notes)
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: paths)
    option = [] if size is None else ["--page-size", size]
    told = json.loads(run("inspect", "--live", *option, "--format", "json").stdout)
    assert told["page_size_from"] == shown


@pytest.mark.parametrize("option", [[], ["--in"]])
def test_the_command_lists_this_machine(paths, built, monkeypatch, option):
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: paths)
    ran = run("inspect", "--live", *option, "--page-size", "4K", "--pages", "--format", "tsv")
    assert ran.status == 0
    rows = [line.split("\t") for line in ran.stdout.splitlines()[1:]]
    assert {(int(phys, 16), int(order)) for phys, order in rows} == built.blocks


def test_the_command_explains_a_refusal(paths, monkeypatch):
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: paths)
    refuse(monkeypatch, errno.EPERM)
    ran = run("inspect", "--live", "--page-size", "4K")
    assert (ran.status, ran.stdout) == (2, "")
    assert "the kernel does not let" in ran.stderr
    assert "it has CONFIG_STRICT_DEVMEM" in ran.stderr


def test_ram_without_a_whole_page_is_said(paths):
    paths.iomem.write_text("00100400-00100bff : System RAM\n")
    with pytest.raises(ImageError, match="no whole page of System RAM"):
        open_dev_mem(paths)
