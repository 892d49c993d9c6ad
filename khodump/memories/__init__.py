"""One file per image format, and the table that recognises them by content, never by name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from khodump.errors import ImageError, UsageError
from khodump.memories import elf, raw
from khodump.memories.file import ImageFile
from khodump.memories.segments import ZERO_FILE, SegmentedMemory, Segments
from khodump.memory import PhysicalMemory, Platform, Presence
from khodump.numbers import parse_number

_SNIFF_BYTES: Final = 4096


class Unreadable(NamedTuple):
    """A format that is recognised but not read.

    Attributes:
        magic: bytes at the start of the file.
        name: what it is.
        hint: what makes it readable; `{path}` stands for the file.
    """

    magic: bytes
    name: str
    hint: str


_UNREADABLE: Final = (
    Unreadable(
        b"KDUMP   ",
        "a kdump-compressed dump",
        "rewrite it as an ELF core: makedumpfile -E -d 0 {path} OUT.elf",
    ),
    Unreadable(
        b"DISKDUMP", "a diskdump dump", "rewrite it as an ELF core: makedumpfile -E -d 0 {path} OUT.elf"
    ),
    Unreadable(
        b"makedumpfile\0\0\0\0", "a flattened makedumpfile dump", "restore it: makedumpfile -R OUT < {path}"
    ),
    Unreadable(
        b"EMiL",
        "a LiME or AVML dump",
        "convert it to raw or ELF, or take the dump again with makedumpfile -E",
    ),
    Unreadable(
        b"AVML",
        "an AVML dump",
        "convert it to raw: avml-convert --source-format lime_compressed --format raw",
    ),
    Unreadable(b"\x1f\x8b", "gzip-compressed", "unpack it: gzip -dc {path} > IMAGE"),
    Unreadable(b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it: zstd -dc {path} > IMAGE"),
    Unreadable(b"\xfd7zXZ\0", "xz-compressed", "unpack it: xz -dc {path} > IMAGE"),
    Unreadable(b"BZh", "bzip2-compressed", "unpack it: bzip2 -dc {path} > IMAGE"),
    Unreadable(b"\x04\x22\x4d\x18", "lz4-compressed", "unpack it: lz4 -dc {path} > IMAGE"),
    Unreadable(b"QFI\xfb", "a qcow2 disk image", "name the memory dump, not the disk"),
    Unreadable(b"QEVM", "a QEMU migration stream", "take a dump with dump-guest-memory instead"),
    Unreadable(
        b"LibvirtQemudSave", "a libvirt save file", "take a dump with virsh dump --memory-only instead"
    ),
    Unreadable(
        b"\xd0\x0d\xfe\xed",
        "a flattened device tree",
        "pass it with --fdt and name the memory image as IMAGE",
    ),
)


class ImageSpec(NamedTuple):
    """A file and the physical address at which it is placed; None is by its own content."""

    path: Path
    base: int | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> ImageSpec:
        """`FILE` or `FILE@BASE`; a file whose very name ends in @BASE is taken by name."""
        name = os.fspath(text)
        match = re.fullmatch(r"(.+)@([0-9][0-9a-zA-Z]*)", name)
        if match is None or Path(name).exists():
            return cls(Path(name))
        return cls(Path(match[1]), parse_number(match[2]))


def open_memory(images: Sequence[str | os.PathLike[str]], *, assume_zero: bool = False) -> PhysicalMemory:
    """One memory made of one or more image files.

    Args:
        images: paths, each with an optional `@BASE` that makes it raw and places it at that physical address.
        assume_zero: take what an ELF core leaves out of its segments for zeros instead of excluded.

    Raises:
        ImageError: a file cannot be opened, or its format is not one that khodump reads.
        UsageError: two files claim the same physical addresses, or there are no files.
    """
    if not images:
        raise UsageError("no memory image named")
    files: list[ImageFile] = []
    try:
        parts: list[Segments] = []
        names: list[str] = []
        platform = Platform()
        for index, image in enumerate(images):
            spec = ImageSpec.parse(image)
            file = ImageFile(spec.path)
            files.append(file)
            name, part, told = _segments(file, index, spec.base, assume_zero=assume_zero)
            names.append(f"{os.fspath(image)} ({name})")
            parts.append(part)
            platform = Platform(platform.machine or told.machine, {**told.vmcoreinfo, **platform.vmcoreinfo})
        table = Segments.concatenate(parts)
        _refuse_clashes(table, files)
    except BaseException:
        for file in files:
            file.close()
        raise
    return SegmentedMemory(files, table, description=", ".join(names), platform=platform)


def _segments(
    file: ImageFile, index: int, base: int | None, *, assume_zero: bool
) -> tuple[str, Segments, Platform]:
    """The format's name, the segments and what is told of the machine."""
    if not file.size:
        raise ImageError(f"{file.name} is empty", hint="check that the dump was written and copied whole")
    if base is not None:
        if base + file.size >= 1 << 64:
            raise UsageError(f"{file.name} placed at {base:#x} would reach the end of the address space")
        return "raw", raw.segments(file, index, base), Platform()
    head = file.read(0, _SNIFF_BYTES)
    if head.startswith(elf.MAGIC):
        part, platform = elf.segments(file, index, assume_zero=assume_zero)
        return f"ELF64 core, {platform.machine}", part, platform
    for known in _UNREADABLE:
        if head.startswith(known.magic):
            raise ImageError(
                f"{file.name} is {known.name}, which this version cannot read",
                hint=known.hint.format(path=file.name),
            )
    if _is_text(head):
        raise ImageError(
            f"{file.name} is a text file, not a memory image",
            hint="name a raw image or an ELF core; FILE@0 forces raw",
        )
    return "raw", raw.segments(file, index, 0), Platform()


def _is_text(head: bytes) -> bool:
    """Whether the start of a file is plain UTF-8 text; no page of a machine's low memory is."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # otherwise a character is cut off at the end
            return False
        text = head[: error.start].decode("utf-8")
    return not any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in text)


def _refuse_clashes(table: Segments, files: Sequence[ImageFile]) -> None:
    """Raise when two files both hold the bytes at one address."""
    if len(files) < 2:
        return
    stored = (table.presence == Presence.PRESENT) & (table.file != ZERO_FILE) & (table.end > table.start)
    held = table.take(np.flatnonzero(stored))
    held = held.take(np.argsort(held.start, kind="stable"))
    reach = np.maximum.accumulate(held.end)
    clash = (held.start[1:] < reach[:-1]) & (held.file[1:] != held.file[:-1])
    for row in np.flatnonzero(clash)[:1].tolist():
        first, second = (files[int(held.file[row + k])].name for k in (0, 1))
        raise UsageError(
            f"{first} and {second} both claim physical address {int(held.start[row + 1]):#x}",
            hint="place each raw file with FILE@BASE",
        )
