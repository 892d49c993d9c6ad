"""Reads of a live machine stay inside its System RAM, whatever the map points to, and are no more than needed."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
import pytest

from khodump.api import open_live_handover
from khodump.errors import KhodumpError
from khodump.memories.live import DevMem, LivePaths, open_dev_mem
from khodump.opening.locate import landmarks
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.fuzz.mutators import PAGE, execute, programs

_END = 0x40_0000
#: RAM up to the byte beside devices; some of it is no whole page.
MAPS = {
    "device in the middle": [(0x10_0000, 0x20_0000), (0x20_1000, _END)],
    "devices at both sides": [(0x10_0000, 0x2F_F000)],
    "ends within a page": [(0x10_0000, 0x10_3C00), (0x10_4400, 0x2F_FFFF)],
    "one page": [(0x10_0000, 0x10_1000)],
    "a page here and there": [(at, at + PAGE) for at in range(0x10_0000, 0x18_0000, 2 * PAGE)],
}


@pytest.fixture(scope="module")
def built() -> BuiltHandover:
    folios = tuple(Folio(page, b"guest memory") for page in range(64))
    luo = Luo((Session("vm", (LuoFile(1, Memfd(folios)),)),))
    return build_handover(Description(subtrees={"LUO": luo}, preservations=((0x20_0000, 8),)))


def machine(built: BuiltHandover, directory: Path, ram: list[tuple[int, int]], image: bytes) -> LivePaths:
    """A machine whose /dev/mem is `image` and whose RAM is only part of it; the rest are devices."""
    (directory / "mem").write_bytes(image)
    devices = [
        (low, high)
        for (_, low), (high, _) in zip([(0, 0), *ram], [*ram, (_END, 0)], strict=True)
        if low < high
    ]
    lines = [
        f"{start:08x}-{end - 1:08x} : System RAM\n  {start:08x}-{start + 15:08x} : System RAM\n"
        for start, end in ram
    ]
    lines += [f"{start:08x}-{end - 1:08x} : 0000:00:02.0\n" for start, end in devices]
    (directory / "iomem").write_text("".join(sorted(lines)))
    (directory / "kho" / "out").mkdir(parents=True, exist_ok=True)
    (directory / "kho" / "out" / "fdt").write_bytes(built.fdt)
    return LivePaths(directory / "kcore", directory / "mem", directory / "iomem", directory / "kho")


def whole(built: BuiltHandover) -> bytes:
    return b"".join(built.image.read(at, 1 << 20) for at in range(0, _END, 1 << 20))


def watch(monkeypatch, ram: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every (start, end) read of /dev/mem; one that leaves RAM fails the test."""
    spans: list[tuple[int, int]] = []
    read_into = DevMem.read_into

    def watched(self, buffer, offset):
        end = offset + len(buffer)
        assert any(low <= offset and end <= high for low, high in ram), f"touches {offset:#x} to {end:#x}"
        spans.append((offset, end))
        return read_into(self, buffer, offset)

    monkeypatch.setattr(DevMem, "read_into", watched)
    return spans


@pytest.mark.parametrize("name", MAPS)
def test_a_damaged_map_leads_nowhere_but_to_ram(name, built, tmp_path, monkeypatch):
    ram = MAPS[name]
    spans = watch(monkeypatch, ram)
    pages = [(at, at) for low, high in built.image.ranges for at in range(low, min(high, _END), PAGE)]
    devices = [
        at for at in range(0, _END, PAGE) if not any(low <= at and at + PAGE <= high for low, high in ram)
    ]
    rng = Random(name)  # noqa: S311 - repeatable
    paths = machine(built, tmp_path, ram, whole(built))
    for _ in range(25):
        image = bytearray(whole(built))
        execute(programs(rng), image, pages)
        for node in rng.sample(sorted(built.map_nodes), 4):
            at = node + 8 * rng.randrange(512)
            image[at : at + 8] = u64(rng.choice(devices) + rng.choice((0, 0, 8)))
        paths = machine(built, tmp_path, ram, bytes(image))
        try:
            with open_live_handover(page_size=PAGE, paths=paths) as handover:
                list(handover.walk())
                for subtree in handover.subtrees:
                    list(subtree.claims(PAGE))
        except KhodumpError:
            continue
    with open_dev_mem(paths) as memory:
        list(landmarks(memory, deep=True))
        memory.gather(np.arange(0, _END, 65536, dtype=np.uint64), 65536)
    assert spans


def test_no_more_is_read_than_the_map_and_the_blobs(built, tmp_path, monkeypatch):
    """With debugfs' whole FDT the memory is not searched, and what is preserved is not looked at."""
    spans = watch(monkeypatch, [(0x10_0000, _END)])
    paths = machine(built, tmp_path, [(0x10_0000, _END)], whole(built))
    with open_live_handover(page_size=PAGE, paths=paths) as handover:
        assert set(handover.preserved) == built.blocks
        assert sum(end - start for start, end in spans) <= (len(built.map_nodes) + 2) * PAGE
        for subtree in handover.subtrees:
            assert not subtree.decoded.findings
    touched = {at // PAGE * PAGE for start, end in spans for at in range(start, end, PAGE)}
    data = [phys for path, places in built.places.items() if path.endswith("/contents") for phys in places]
    assert data
    assert not touched & set(data)
    assert not any(0x20_0000 <= at < 0x30_0000 for at in touched)


def test_kcore_is_read_where_its_segments_lie(built, tmp_path, monkeypatch):
    """Of /proc/kcore, only what a physical segment holds is read: vmalloc and modules have none."""
    from tests.builders.elf import ElfSegment, build_elf  # noqa: PLC0415 - beside its test

    secret = ElfSegment((1 << 64) - 1, b"\xde\xad\xbe\xef" * 4096)
    segments = [
        ElfSegment(low, built.image.read(low, high - low)) for low, high in built.image.ranges if high <= _END
    ]
    paths = machine(built, tmp_path, [(0x10_0000, _END)], b"")
    core = build_elf([secret, *segments])
    paths.kcore.write_bytes(core)
    hidden = core.index(secret.data)
    read: list[tuple[int, int]] = []
    preadv = os.preadv

    def watched(descriptor, buffers, offset):
        read.append((offset, offset + len(buffers[0])))
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", watched)
    with open_live_handover(page_size=PAGE, paths=paths) as handover:
        assert set(handover.preserved) == built.blocks
    assert read
    assert not any(start < hidden + len(secret.data) and hidden < end for start, end in read)
