"""Cores that khodump writes, as khodump and pyelftools read them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from khodump.columns.intervals import Intervals
from khodump.memories import open_memory
from khodump.memories.elf_writer import core_head
from khodump.memory import Presence, Range

NONE = Intervals.covering(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
INFO = {"OSRELEASE": "7.3.4", "PAGESIZE": "16384"}


def written(path: Path, segments: Sequence[tuple[int, bytes]], **told: Any) -> bytes:
    """A core of these (address, bytes) at `path`."""
    start = np.array([address for address, _ in segments], np.uint64)
    size = np.array([len(data) for _, data in segments], np.uint64)
    told = {"left_out": NONE, "machine": "x86_64", "vmcoreinfo": {}, **told}
    head = core_head(Intervals(start, start + size), **told)
    path.write_bytes(head + b"".join(data for _, data in segments))
    return path.read_bytes()


@pytest.mark.parametrize("vmcoreinfo", [{}, INFO])
def test_what_is_written_is_read(vmcoreinfo, tmp_path):
    segments = [(0x1000, b"a" * 4096), (0x10_0000_0000, b"b" * 8192)]
    written(tmp_path / "core", segments, vmcoreinfo=vmcoreinfo)
    with open_memory([tmp_path / "core"]) as memory:
        assert memory.ranges == tuple(Range(at, at + len(data), Presence.PRESENT) for at, data in segments)
        assert all(memory.read(at, len(data)) == data for at, data in segments)
        assert memory.platform.vmcoreinfo == vmcoreinfo


def test_memory_that_is_left_out_is_excluded_and_not_absent(tmp_path):
    left_out = Intervals(np.array([0, 0x2000], np.uint64), np.array([0x1000, 0x9000], np.uint64))
    written(tmp_path / "core", [(0x1000, b"a" * 4096)], left_out=left_out, vmcoreinfo=INFO)
    with open_memory([tmp_path / "core"]) as memory:
        assert memory.ranges == (
            Range(0, 0x1000, Presence.EXCLUDED),
            Range(0x1000, 0x2000, Presence.PRESENT),
            Range(0x2000, 0x9000, Presence.EXCLUDED),
        )
        assert memory.read(0x1000, 4096) == b"a" * 4096
        assert memory.end == 0x9000


@pytest.mark.parametrize("count", [0xFFFD, 0xFFFE, 0xFFFF, 70000])
def test_more_segments_than_e_phnum_counts(count, tmp_path):
    segments = [(number << 14, number.to_bytes(8, "little")) for number in range(count)]
    data = written(tmp_path / "core", segments, vmcoreinfo=INFO)
    with open_memory([tmp_path / "core"]) as memory:
        assert len(memory.ranges) == count
        assert memory.read((count - 1) << 14, 8) == (count - 1).to_bytes(8, "little")
    assert ELFFile(BytesIO(data)).num_segments() == count + 1


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        ("x86_64", "EM_X86_64"),
        ("aarch64", "EM_AARCH64"),
        ("EM_RISCV", "EM_RISCV"),
        (None, "EM_NONE"),
        ("armv7l", "EM_NONE"),
        ("EM_WHATEVER", "EM_NONE"),
        ("12345", 12345),
        ("123456789", "EM_NONE"),
    ],
)
def test_the_machine_is_named_as_elf_does(machine, named, tmp_path):
    data = written(tmp_path / "core", [(0, b"x")], machine=machine)
    assert ELFFile(BytesIO(data))["e_machine"] == named


def test_pyelftools_reads_the_note(tmp_path):
    elf = ELFFile(BytesIO(written(tmp_path / "core", [(0x1000, b"x" * 4096)], vmcoreinfo=INFO)))
    assert elf["e_type"] == "ET_CORE"
    note, load = elf.iter_segments()
    assert isinstance(note, NoteSegment)
    assert [(found["n_name"], found["n_desc"]) for found in note.iter_notes()] == [
        ("VMCOREINFO", b"OSRELEASE=7.3.4\nPAGESIZE=16384\n")
    ]
    assert (load["p_type"], load["p_paddr"], load["p_filesz"]) == ("PT_LOAD", 0x1000, 4096)
    assert load.data() == b"x" * 4096
