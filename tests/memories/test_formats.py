"""Which files are opened as what, and what is said of those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from khodump.errors import ImageError, UsageError
from khodump.memories import ImageSpec, open_memory
from khodump.memory import Hole, Presence, Range
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.memory import MemoryImage

PAGE = 4096


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("head", "says", "hint"),
    [(b"LibvirtQemudSave" + bytes(PAGE), "libvirt", "virsh dump"), (b"phys\torder\n", "text file", "FILE@0")],
)
def test_other_files_are_named_with_a_way_out_and_closed(tmp_path, head, says, hint):
    """All formats: see test_named."""
    path = write(tmp_path / "image", head)
    before = open_fds()
    with pytest.raises(ImageError, match=says) as caught:
        open_memory([path])
    assert hint in (caught.value.hint or "")
    assert str(path) in str(caught.value)
    assert open_fds() == before
    forced = open_memory([f"{path}@0"])
    assert forced.read(0, len(head)) == head, "a base makes any file raw"
    forced.close()


@pytest.mark.parametrize("text", ["a@0x0,b@0x100000", "a@0,b@100000", "dir/a.img@0X0,b@fff000,c@2000000"])
def test_crashes_way_to_name_several_images_is_answered_with_khodumps(text):
    with pytest.raises(UsageError, match="in one argument, as crash takes them") as caught:
        ImageSpec.parse(text)
    arguments = (caught.value.hint or "").partition(": ")[2].split()
    asked = [part.rpartition("@") for part in text.split(",")]
    assert [ImageSpec.parse(one) for one in arguments] == [
        ImageSpec(Path(name), int(address, 16)) for name, _, address in asked
    ]


def test_a_file_of_that_very_name_is_no_list(tmp_path):
    path = write(tmp_path / "a@0x0,b@0x1000", bytes(PAGE))
    assert ImageSpec.parse(str(path)) == ImageSpec(path)


def test_files_that_hold_nothing(tmp_path):
    with pytest.raises(UsageError, match="no memory image"):
        open_memory([])
    with pytest.raises(ImageError, match="is empty"):
        open_memory([write(tmp_path / "empty", b"")])
    with pytest.raises(ImageError, match=r"cannot open .*missing: No such file"):
        open_memory([tmp_path / "missing"])
    with pytest.raises(ImageError, match="is a directory"):
        open_memory([tmp_path])


def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(ImageError, match="cannot seek") as caught:
            open_memory([tmp_path / "pipe"])
    finally:
        os.close(writer)
    assert "block device" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "name", "base"),
    [
        ("a.img", "a.img", None),
        ("a.img@0x100000", "a.img", 1 << 20),
        ("a.img@4G", "a.img", 4 << 30),
        ("a.img@0", "a.img", 0),
        ("user@host.img", "user@host.img", None),
        ("a@1@2", "a@1", 2),
    ],
)
def test_image_spec(text, name, base):
    assert ImageSpec.parse(text) == ImageSpec(Path(name), base)


def test_image_spec_prefers_a_file_of_that_very_name(tmp_path):
    path = write(tmp_path / "odd@4096", bytes(PAGE))
    assert ImageSpec.parse(str(path)) == ImageSpec(path)


def test_a_base_must_be_a_number():
    with pytest.raises(UsageError, match=r"12xyz.* is no number"):
        ImageSpec.parse("image@12xyz")


def test_raw(tmp_path):
    data = np.random.default_rng(0).bytes(3 * PAGE + 10)
    path = write(tmp_path / "raw", b"\0" + data[1:])
    memory = open_memory([path])
    assert memory.ranges == (Range(0, len(data), Presence.PRESENT),)
    assert memory.end == len(data)
    assert memory.read(5, 2 * PAGE) == data[5 : 5 + 2 * PAGE]
    assert memory.read(3 * PAGE, PAGE) == Hole(len(data), Presence.ABSENT)
    assert (memory.platform.machine, memory.platform.vmcoreinfo) == (None, {})
    assert memory.description == f"{path} (raw)"
    memory.close()


def test_parts_at_their_bases(tmp_path):
    image = MemoryImage()
    for phys in (0, 0x5000, 0x8000):
        image.write(phys, f"page {phys:#x}".encode())
    memory = open_memory(image.to_raw_parts(tmp_path, [(0x5000, 0x7000), (0, 0x3000), (0x7000, 0x9000)]))
    assert memory.ranges == (Range(0, 0x3000, Presence.PRESENT), Range(0x5000, 0x9000, Presence.PRESENT))
    assert memory.read(0x8000, 11) == b"page 0x8000"
    assert memory.read(0x6FFE, 4) == bytes(4), "a read may cross from one file into the next"
    assert memory.read(0x2FFF, 2) == Hole(0x3000, Presence.ABSENT)
    memory.close()


def test_a_part_at_the_top_of_the_address_space(tmp_path):
    path = write(tmp_path / "raw", b"\1" * PAGE)
    with pytest.raises(UsageError, match="the end of the address space"):
        open_memory([f"{path}@0xfffffffffffff001"])
    below = open_memory([f"{path}@0xffffffffffffe000"])
    assert below.read((1 << 64) - 2 * PAGE, PAGE) == b"\1" * PAGE
    below.close()


def test_a_part_that_ends_with_the_address_space_is_refused(tmp_path):
    """Its end, 2**64, fits in no column."""
    path = write(tmp_path / "raw", b"\1" * PAGE)
    with pytest.raises(UsageError, match="the end of the address space"):
        open_memory([f"{path}@0xfffffffffffff000"])


def test_two_files_may_not_claim_one_address(tmp_path):
    first, second = (write(tmp_path / name, bytes(2 * PAGE)) for name in ("first", "second"))
    before = open_fds()
    with pytest.raises(UsageError, match=r"first and .*second both claim physical address 0x1000") as caught:
        open_memory([first, f"{second}@0x1000"])
    assert "FILE@BASE" in (caught.value.hint or "")
    assert open_fds() == before
    memory = open_memory([first, f"{second}@0x2000"])
    assert memory.end == 4 * PAGE
    memory.close()


def test_a_hole_of_one_file_may_be_filled_by_another(tmp_path):
    image = MemoryImage()
    image.write(0, b"core")
    core = image.to_elf(tmp_path / "core", excluded=[(0x1000, 0x3000)])
    patch = write(tmp_path / "patch", b"\1" * PAGE)
    memory = open_memory([core, f"{patch}@0x1000"])
    assert memory.read(0x1000, PAGE) == b"\1" * PAGE
    assert memory.read(0x2000, 1) == Hole(0x2000, Presence.EXCLUDED)
    memory.close()


def test_assumed_zeros_do_not_clash_with_bytes(tmp_path):
    """A guess is no claim: a file with the bytes fills it, as it fills an excluded range."""
    core = write(tmp_path / "core", build_elf([ElfSegment(0x1000, b"\1" * PAGE, 3 * PAGE)]))
    other = write(tmp_path / "other", b"\2" * PAGE)
    memory = open_memory([core, f"{other}@0x2000"], assume_zero=True)
    assert memory.read(0x1000, 3 * PAGE) == b"\1" * PAGE + b"\2" * PAGE + bytes(PAGE)
    memory.close()


def test_closing_twice_is_fine_and_leaks_nothing(tmp_path):
    path = write(tmp_path / "raw", bytes(PAGE))
    before = open_fds()
    memory = open_memory([path])
    assert open_fds() == before + 1
    memory.close()
    memory.close()
    assert open_fds() == before


def test_sparse_files(tmp_path):
    image = MemoryImage()
    image.write(0x40_0000, b"one")
    image.write(0x80_0000, b"two")
    memory = open_memory([f"{image.to_raw(tmp_path / 'sparse', end=1 << 30)}@0x100000000"])
    base = 1 << 32
    assert memory.ranges == (Range(base, base + (1 << 30), Presence.PRESENT),)
    assert memory.read(base + 0x10_0000, 8) == bytes(8), "a hole of the file is zeros, and present"
    spans = list(memory.populated())
    for phys in (base + 0x40_0000, base + 0x80_0000):
        assert any(span.start <= phys and phys + 3 <= span.end for span in spans)
    assert all(base <= span.start < span.end <= base + (1 << 30) for span in spans)
    assert sum(span.end - span.start for span in spans) < 1 << 24, "file systems with holes keep scans short"
    memory.close()


def test_a_file_that_shrinks_meanwhile_is_truncated(tmp_path):
    path = write(tmp_path / "raw", b"\0" + b"\1" * (4 * PAGE - 1))
    memory = open_memory([path])
    os.truncate(path, 2 * PAGE + 5)
    assert memory.read(2 * PAGE, PAGE) == Hole(2 * PAGE + 5, Presence.TRUNCATED)
    pages = memory.gather(np.arange(5, dtype=np.uint64) * PAGE, PAGE)
    told = [Presence(value).name for value in pages.presence.tolist()]
    assert told == ["PRESENT", "PRESENT", "TRUNCATED", "TRUNCATED", "ABSENT"]
    assert bool((pages.data[1] == 1).all())
    memory.close()
