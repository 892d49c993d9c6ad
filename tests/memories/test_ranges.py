from __future__ import annotations

from pathlib import Path

import pytest

from khodump.errors import ImageError, UsageError
from khodump.memories import open_memory
from khodump.memory import Hole, PhysicalMemory, Presence, Range
from khodump.placement import Basis, Placement

IOMEM = """\
00000000-00000fff : Reserved
00001000-00002fff : System RAM
  00001000-00001fff : Kernel code
  00002000-00002fff : System RAM (kmem)
000a0000-000bffff : PCI Bus 0000:00
100000000-100000fff : System RAM
"""


@pytest.fixture
def opened(tmp_path: Path):
    def write_and_open(data: bytes, iomem: str = IOMEM) -> PhysicalMemory:
        (tmp_path / "raw").write_bytes(data)
        (tmp_path / "iomem").write_text(iomem)
        memory = open_memory([tmp_path / "raw"], ranges=tmp_path / "iomem")
        if memory.is_placed:
            return memory
        return memory.placed(Placement(memory.layouts[0], Basis.RANGES))

    return write_and_open


def test_the_top_level_ranges_in_a_row(opened):
    with opened(b"A" * 8192 + b"B" * 4096) as memory:
        assert memory.warnings == ()
        assert memory.ranges == (
            Range(0x1000, 0x3000, Presence.PRESENT),
            Range(1 << 32, (1 << 32) + 0x1000, Presence.PRESENT),
        )
        assert memory.read(1 << 32, 4096) == b"B" * 4096
        assert memory.read(0, 1) == Hole(0, Presence.ABSENT)


def test_a_dump_that_begins_like_another_format_is_still_raw(opened):
    with opened(b"\x7fELF" + b"A" * 12284) as memory:
        assert memory.read(0x1000, 4) == b"\x7fELF"


def test_too_short(opened):
    with opened(b"A" * 8000) as memory:
        assert "raw has 8000 bytes" in memory.warnings[0]
        assert memory.warnings[0].endswith(
            "add up to 12288: the last 4.2 KiB are cut off, or these are not its ranges"
        )
        assert memory.read(0x1000, 0x2000) == Hole(0x1000 + 8000, Presence.TRUNCATED)
        assert memory.read(1 << 32, 1) == Hole(1 << 32, Presence.TRUNCATED)


def test_too_long(opened):
    with pytest.raises(
        ImageError, match=r"12289 bytes, .* add up to 12288: these are not the ranges"
    ) as caught:
        opened(b"A" * 12289)
    assert "/proc/iomem" in (caught.value.hint or "")
    with pytest.raises(ImageError, match="not the ranges of this dump") as caught:
        opened(b"A" * 0x11000, "00001000-00002fff : System RAM\n0000f000-0000ffff : System RAM\n")
    assert "leave ranges= out" in (caught.value.hint or "")


def test_a_file_that_holds_the_holes_too(opened):
    ranges = "00001000-00002fff : System RAM\n0000f000-0000ffff : System RAM\n"
    with opened(b"A" * 0xF000 + b"B" * 0x1000, ranges) as memory:
        assert memory.read(0xF000, 0x1000) == b"B" * 0x1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no .System RAM. line"),
        ("00000000-00000000 : System RAM\n" * 2, "only zeros"),
        ("00002000-00001000 : System RAM\n", "makes no sense"),
        ("0-ffffffffffffffffff : System RAM\n", "makes no sense"),
    ],
)
def test_files_that_tell_no_ranges(opened, text, says):
    with pytest.raises(ImageError, match=says):
        opened(b"A", text)


def test_what_ranges_do_not_go_with(tmp_path):
    (tmp_path / "raw").write_bytes(b"A" * 4096)
    with pytest.raises(UsageError, match="one raw image"):
        open_memory([tmp_path / "raw", tmp_path / "raw"], ranges=tmp_path / "iomem")
    with pytest.raises(UsageError, match="one raw image"):
        open_memory([f"{tmp_path / 'raw'}@4096"], ranges=tmp_path / "iomem")
    with pytest.raises(ImageError, match="cannot read"):
        open_memory([tmp_path / "raw"], ranges=tmp_path / "iomem")
