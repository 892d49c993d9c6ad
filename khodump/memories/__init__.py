"""One file per image format, and the function that recognises them by content, never by name."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from khodump.advice import RANGES, Advice
from khodump.errors import ImageError, UsageError
from khodump.memories import ramdump, raw
from khodump.memories.file import ByteSource, ImageFile
from khodump.memories.formats import read_part
from khodump.memories.live import LivePaths, is_dev_mem, open_dev_mem
from khodump.memories.part import Part, memory_of
from khodump.memories.remote import RemoteFile, is_url
from khodump.memory import PhysicalMemory
from khodump.numbers import parse_number

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
    if len(images) == 1 and is_dev_mem(images[0]):
        return open_dev_mem(LivePaths(mem=Path(images[0])))
    specs = [ImageSpec.parse(image) for image in images]
    if ranges is not None and (len(specs) > 1 or specs[0].base is not None):
        raise UsageError(
            Advice.of(RANGES, " goes with one raw image, and says where it belongs"),
            hint=Advice.of("leave ", RANGES, " out, or @BASE and all files but one"),
        )
    with ExitStack() as opened:
        parts = []
        for spec in specs:
            source = _opened(spec)
            opened.callback(_closed, source)
            parts.append(_read(source, spec, ranges, assume_zero=assume_zero))
        memory = memory_of(parts, images)
        opened.pop_all()
    return memory


def _opened(spec: ImageSpec) -> ByteSource:
    return RemoteFile(spec.path) if isinstance(spec.path, str) else ImageFile(spec.path)


def _closed(source: ByteSource) -> None:
    with suppress(OSError):
        source.close()


def _read(
    source: ByteSource, spec: ImageSpec, ranges: str | os.PathLike[str] | None, *, assume_zero: bool
) -> Part:
    """What the opened image has of the memory: as the user says, or by what its bytes say."""
    if not source.size:
        raise ImageError(f"{source.name} is empty", hint="check that the dump was written and copied whole")
    if spec.base is not None:
        return raw.part_at(source, spec.base, spec.offset, spec.size)
    if ranges is not None:
        return raw.part_by_ranges(source, ranges)
    return read_part(source, assume_zero=assume_zero)
