"""Files that are named and not read: each is told by its content, and memory never is taken for one."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from khodump.errors import ImageError
from khodump.memories import open_memory
from khodump.memories.file import ImageFile
from khodump.memories.formats import RAW, recognise
from khodump.memories.named import NAMED
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.named import NAMED as SAMPLES

PAGE = 4096
HINTS = {known.name: known.hint for known in NAMED}


def test_every_format_has_a_file_here_a_name_of_its_own_and_a_way_out():
    assert set(SAMPLES) == set(HINTS)
    assert len(HINTS) == len(NAMED)
    assert all(HINTS.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_is_named_with_what_to_do(tmp_path, name):
    path = tmp_path / "image"
    for sample in SAMPLES[name]:
        path.write_bytes(sample)
        with pytest.raises(ImageError, match="is of a format that khodump does not read") as caught:
            open_memory([path])
        assert str(caught.value).endswith(name)
        assert caught.value.hint == HINTS[name].format(path=path)
        with open_memory([f"{path}@0"]) as forced:
            assert forced.read(0, 8) == sample[:8]


@pytest.mark.parametrize("seed", range(20))
def test_random_pages_are_raw(tmp_path, seed):
    path = tmp_path / "image"
    rng = np.random.default_rng(seed)
    for _ in range(100):
        path.write_bytes(rng.bytes(2 * PAGE))
        assert recognise(ImageFile(path)) is RAW


def test_the_short_mark_of_zlib_alone_is_none(tmp_path):
    path = tmp_path / "image"
    rng = np.random.default_rng(0)
    for mark in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        for _ in range(200):
            path.write_bytes(mark + rng.bytes(2 * PAGE))
            assert recognise(ImageFile(path)) is RAW


@pytest.mark.parametrize(
    ("size", "is_tree"),
    [(40, True), (4000, True), (PAGE, True), (PAGE + 100, True), (2 * PAGE, False), (1 << 20, False)],
)
def test_a_device_tree_ends_where_it_says(tmp_path, size, is_tree):
    """RAM that begins with one goes on: QEMU's virt machine, firmware."""
    path = tmp_path / "image"
    path.write_bytes(struct.pack(">II", 0xD00DFEED, min(size, 4000)).ljust(size, b"\0"))
    known = recognise(ImageFile(path))
    assert (known is not RAW) == is_tree
    if not is_tree:
        with open_memory([path]) as memory:
            assert memory.description == f"{path} (raw)"


def test_a_device_tree_that_is_cut_short_is_none_of_memory(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(struct.pack(">II", 0xD00DFEED, 1 << 20).ljust(2 * PAGE, b"\0"))
    with pytest.raises(ImageError, match="flattened device tree"):
        open_memory([path])


@pytest.mark.parametrize(
    "head", [b"\x7fELF", b"\x7fELF\2\1\1".ljust(64, b"\0"), b"\x7fELF\2\1\1".ljust(64, b"\xff")]
)
def test_an_elf_file_that_is_no_core_is_not_called_xens(tmp_path, head):
    path = tmp_path / "image"
    path.write_bytes(head)
    known = recognise(ImageFile(path))
    assert known.name == "ELF64 core"


def test_a_core_is_not_called_xens(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(build_elf([ElfSegment(0, b".xen_pages".ljust(PAGE, b"\0"))], qemu=True))
    with open_memory([path]) as memory:
        assert memory.read(0, 10) == b".xen_pages"


def test_a_file_of_one_byte_is_raw(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(b"\xee")
    assert recognise(ImageFile(path)) is RAW
