"""One file per image format, and the function that recognises them by content, never by name."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from khodump.advice import RANGES, Advice
from khodump.errors import ImageError, UsageError
from khodump.layouts import Layout, Stretch, one_stretch, usual
from khodump.memories import elf, lime, ramdump
from khodump.memories import ranges as ranges_file
from khodump.memories.avml import AvmlFile
from khodump.memories.file import ByteSource, ImageFile
from khodump.memories.flattened import FlattenedFile
from khodump.memories.formats import recognise
from khodump.memories.live import LivePaths, is_dev_mem, open_dev_mem
from khodump.memories.raw import RawMemory, laid_out
from khodump.memories.raw import warnings as raw_warnings
from khodump.memories.remote import RemoteFile, is_url
from khodump.memories.segments import ZERO_FILE, SegmentedMemory, Segments
from khodump.memory import PhysicalMemory, Platform, Presence
from khodump.numbers import parse_number
from khodump.placement import Basis, Placement

_TEXT_BYTES: Final = 4096  # so much of a file tells whether it is text
_RAW: Final = "raw"
_NUMBER: Final = r"[0-9][0-9a-zA-Z]*"
_PLACED: Final = re.compile(
    rf"(?P<file>.+?)(?:\[(?P<offset>{_NUMBER})\+(?P<size>{_NUMBER})\])?@(?P<base>{_NUMBER})"
)


class ImageSpec(NamedTuple):
    """An image as it is named on a command line.

    Attributes:
        path: of the file, or its URL as text.
        base: the physical address at which it is placed; None is by its own content.
        offset, size: the part of the file that is meant, in bytes; a size of None is to its end.
    """

    path: Path | str
    base: int | None = None
    offset: int = 0
    size: int | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str]) -> ImageSpec:
        """`FILE`, `FILE@BASE` or `FILE[OFFSET+SIZE]@BASE`; a file whose very name ends like that is taken by name.

        Raises:
            UsageError: OFFSET, SIZE or BASE is no number, or these are several images in crash's form.
        """
        name = os.fspath(text)
        if os.path.exists(name):  # noqa: PTH110 - Path.exists raises for a name that is too long
            return cls._of(name)
        ramdump.refuse(name)
        match = _PLACED.fullmatch(name)
        if match is None:
            return cls._of(name)
        base = parse_number(match["base"], "@BASE")
        if match["offset"] is None:
            return cls._of(match["file"], base)
        offset = parse_number(match["offset"], "[OFFSET+SIZE]")
        return cls._of(match["file"], base, offset, parse_number(match["size"], "[OFFSET+SIZE]"))

    @classmethod
    def _of(cls, name: str, *where: int) -> ImageSpec:
        return cls(name if is_url(name) else Path(name), *where)


class _Image(NamedTuple):
    """One opened image: its bytes, and what they are.

    Attributes:
        source: its bytes; of a flattened stream, those of the dump within.
        key: the format, as `formats.Format.key`.
        layout: which bytes of it are which memory, if that was said.
        warnings: what is wrong with the file.
    """

    source: ByteSource
    key: str
    layout: Layout | None = None
    warnings: tuple[str, ...] = ()


class _Part(NamedTuple):
    """What one image adds to a memory of segments."""

    name: str
    source: ByteSource
    segments: Segments
    platform: Platform = Platform()
    warnings: tuple[str, ...] = ()


def open_memory(
    images: Sequence[str | os.PathLike[str]],
    *,
    assume_zero: bool = False,
    ranges: str | os.PathLike[str] | None = None,
) -> PhysicalMemory:
    """One memory made of one or more image files.

    Args:
        images: paths or URLs, each with an optional `@BASE` that makes it raw and places it at that physical address;
            `[OFFSET+SIZE]@BASE` places a part of it.
        assume_zero: take what a dump leaves out on purpose for zeros instead of excluded.
        ranges: a file in /proc/iomem's format: the one image is raw, and holds this memory without its holes.

    Raises:
        ImageError: a file cannot be opened, or its format is not one that khodump reads.
        UsageError: the files do not make one memory, or there are none.
    """
    if not images:
        raise UsageError("no memory image named", hint="name a file; khodump formats lists what can be read")
    opened: list[ByteSource] = []
    try:
        if len(images) == 1 and is_dev_mem(images[0]):
            return open_dev_mem(LivePaths(mem=Path(images[0])))
        found = [_open(ImageSpec.parse(image), opened, forced_raw=ranges is not None) for image in images]
        if ranges is not None and (len(found) > 1 or found[0].layout is not None):
            raise UsageError(
                Advice.of(RANGES, " goes with one raw image, and says where it belongs"),
                hint=Advice.of("leave ", RANGES, " out, or @BASE and all files but one"),
            )
        if any(image.key == "kdump" for image in found):
            return _kdump(found, images, assume_zero=assume_zero)
        if len(found) == 1 and found[0].key == _RAW:
            return _raw(found[0], _description(images, [_RAW]), ranges)
        parts = [_part(image, index, assume_zero=assume_zero) for index, image in enumerate(found)]
        table = Segments.concatenate([part.segments for part in parts])
        _refuse_clashes(table, [part.source for part in parts])
    except BaseException:
        for file in opened:
            with suppress(OSError):
                file.close()
        raise
    platform = Platform()
    for part in parts:
        told = part.platform
        platform = Platform(platform.machine or told.machine, {**told.vmcoreinfo, **platform.vmcoreinfo})
    return SegmentedMemory(
        [part.source for part in parts],
        table,
        description=_description(images, [part.name for part in parts]),
        platform=platform,
        warnings=tuple(
            warning
            for image, part in zip(found, parts, strict=True)
            for warning in image.warnings + part.warnings
        ),
    )


def _open(spec: ImageSpec, opened: list[ByteSource], *, forced_raw: bool) -> _Image:
    """Open an image and see what it is; notes the file in `opened`."""
    source: ByteSource = RemoteFile(spec.path) if isinstance(spec.path, str) else ImageFile(spec.path)
    opened.append(source)
    if not source.size:
        raise ImageError(f"{source.name} is empty", hint="check that the dump was written and copied whole")
    if spec.base is not None:
        return _Image(source, _RAW, _given(spec, source))
    if forced_raw:
        return _Image(source, _RAW)
    known = recognise(source)
    warnings: tuple[str, ...] = ()
    if known and known.key == "flattened":
        source = flat = FlattenedFile(source)
        known = recognise(source)
        if known is None or known.key not in ("elf", "kdump"):
            begin = source.read(0, 8)
            raise ImageError(
                f"{source.name} is a flattened makedumpfile stream, but of no dump (it begins with {begin!r})",
                hint="copy the file again; its first records are missing or damaged",
            )
        if not flat.is_whole:
            warnings = (f"{source.name} is cut short: it has no end mark",)
    if known and known.key is None:
        raise ImageError(
            f"{source.name} is of a format that khodump does not read: {known.name}",
            hint=known.hint.format(path=source.name),
        )
    if known is None and _is_text(source.read(0, _TEXT_BYTES)):
        raise ImageError(
            f"{source.name} is a text file, not a memory image",
            hint="name a memory image; FILE@0 forces raw",
        )
    return _Image(source, known.key if known and known.key else _RAW, None, warnings)


def _given(spec: ImageSpec, source: ByteSource) -> Layout:
    """The layout that the command line gives a raw file, or a part of it."""
    base = spec.base or 0
    size = source.size - spec.offset if spec.size is None else spec.size
    if size <= 0 or spec.offset + size > source.size:
        raise UsageError(
            f"{source.name} has {source.size} bytes, and no {size} at offset {spec.offset:#x}",
            hint="FILE[OFFSET+SIZE]@BASE takes a part of the file, in bytes",
        )
    if base + size >= 1 << 64:
        raise UsageError(
            f"{source.name} placed at {base:#x} would reach the end of the address space",
            hint="FILE@BASE takes the physical address of its first byte",
        )
    return Layout(f"memory in a row from {base:#x}", (Stretch(spec.offset, base, size),))


def _raw(image: _Image, description: str, ranges: str | os.PathLike[str] | None) -> RawMemory:
    """The memory of one raw file, placed as far as it was said where."""
    source = image.source
    oddities = tuple(raw_warnings(source, image.layout or one_stretch(source.size)))
    if image.layout is not None:
        given = Placement(image.layout, Basis.GIVEN)
        return RawMemory(source, (image.layout,), given, description=description, warnings=oddities)
    if ranges is None:
        return RawMemory(source, tuple(usual(source.size)), description=description, warnings=oddities)
    layouts, warnings = ranges_file.layouts(source, ranges)
    is_only = len(layouts) == 1 and layouts[0].is_literal
    told = Placement(layouts[0], Basis.RANGES) if is_only else None
    memory = RawMemory(source, layouts, told, is_told=True, description=description, warnings=warnings)
    memory.ram_end = ranges_file.ram_end(ranges)
    return memory


def _kdump(
    found: Sequence[_Image], images: Sequence[str | os.PathLike[str]], *, assume_zero: bool
) -> PhysicalMemory:
    """The memory of one kdump-compressed dump."""
    from khodump.memories.kdump import KdumpMemory  # noqa: PLC0415 - of no use to other images

    for image in found:
        if image.key != "kdump":
            raise UsageError(
                f"{image.source.name} is no kdump-compressed dump, and the others are",
                hint="name one whole dump, or all parts of a split one",
            )
    memory = KdumpMemory(
        [image.source for image in found],
        description=_description(images, ["kdump-compressed"] * len(found)),
        assume_zero=assume_zero,
    )
    memory.warnings = (*(warning for image in found for warning in image.warnings), *memory.warnings)
    return memory


def _part(image: _Image, index: int, *, assume_zero: bool) -> _Part:
    """What the image, number `index`, adds to a memory of segments."""
    source = image.source
    if image.key == "elf":
        table, platform = elf.segments(source, index, assume_zero=assume_zero)
        warnings = tuple(elf.warnings(source, table))
        return _Part(f"ELF64 core, {platform.machine}", source, table, platform, warnings)
    if image.key == "lime":
        if lime.first_header(source).version == lime.COMPRESSED:
            unpacked = AvmlFile(source, index, assume_zero=assume_zero)
            return _Part("AVML", unpacked, unpacked.segments, warnings=unpacked.warnings)
        table, warnings = lime.segments(source, index, assume_zero=assume_zero)
        return _Part("LiME", source, table, warnings=warnings)
    layout = image.layout or one_stretch(source.size)
    table = Segments.of_rows(laid_out(layout, file=index))
    return _Part(_RAW, source, table, warnings=tuple(raw_warnings(source, layout)))


def _description(images: Sequence[str | os.PathLike[str]], formats: Sequence[str]) -> str:
    pairs = zip(images, formats, strict=True)
    return ", ".join(f"{os.fspath(image)} ({name})" for image, name in pairs)


def _is_text(head: bytes) -> bool:
    """Whether the start of a file is plain UTF-8 text; no page of a machine's low memory is."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # otherwise a character is cut off at the end
            return False
        text = head[: error.start].decode("utf-8")
    return not any(unicodedata.category(char) == "Cc" and char not in "\t\n\r\f" for char in text)


def _refuse_clashes(table: Segments, files: Sequence[ByteSource]) -> None:
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
