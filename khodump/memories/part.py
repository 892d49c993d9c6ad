"""What every image format returns: one file, and what it has of a memory; and how files make one memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from khodump.errors import UsageError
from khodump.memories.file import ByteSource
from khodump.memories.segments import ZERO_FILE, SegmentedMemory, Segments
from khodump.memory import PhysicalMemory, Platform, Presence


class Part(NamedTuple):
    """One image file, as its format reads it.

    Attributes:
        name: the format, for a person.
        source: its bytes, unpacked if the format packs all of them.
        segments: which bytes are which memory; None if only all files of a dump tell that together.
        platform: what it says of its machine.
        warnings: what is wrong with it, one sentence each.
        whole: makes a memory, with this description, of the only file, or of all files of a dump without `segments`;
            None if `segments` say all there is.
    """

    name: str
    source: ByteSource
    segments: Segments | None = None
    platform: Platform = Platform()
    warnings: tuple[str, ...] = ()
    whole: Callable[[Sequence[ByteSource], str], PhysicalMemory] | None = None


def memory_of(parts: Sequence[Part], images: Sequence[str | os.PathLike[str]]) -> PhysicalMemory:
    """The memory that is in all of `parts`.

    Args:
        parts: at least one.
        images: how the user named them.

    Raises:
        ImageError: a file is damaged in a way that only shows now.
        UsageError: they do not make one memory.
    """
    pairs = zip(images, parts, strict=True)
    description = ", ".join(f"{os.fspath(image)} ({part.name})" for image, part in pairs)
    alone = next((part for part in parts if part.segments is None), None)
    if len(parts) == 1:
        alone = parts[0]
    if alone is None or alone.whole is None:
        return _joined(parts, description)
    _refuse_strangers(alone, parts)
    memory = alone.whole([part.source for part in parts], description)
    memory.warnings = (*_warnings(parts), *memory.warnings)
    return memory


def _joined(parts: Sequence[Part], description: str) -> SegmentedMemory:
    """One memory of the segments of all."""
    tables = [part.segments for part in parts if part.segments is not None]
    numbered = [table.of_file(number) for number, table in enumerate(tables)]
    table = Segments.concatenate(numbered)
    files = [part.source for part in parts]
    _refuse_clashes(table, files)
    platform = Platform()
    for part in parts:
        told = part.platform
        platform = Platform(platform.machine or told.machine, {**told.vmcoreinfo, **platform.vmcoreinfo})
    return SegmentedMemory(
        files, table, description=description, platform=platform, warnings=_warnings(parts)
    )


def _warnings(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(warning for part in parts for warning in part.source.warnings + part.warnings)


def _refuse_strangers(alone: Part, parts: Sequence[Part]) -> None:
    """Raise when a part is of another format than `alone`, which joins its like only."""
    for part in parts:
        if part.name != alone.name:
            raise UsageError(
                f"{part.source.name} is no {alone.name} dump, and the others are",
                hint="name one whole dump, or all parts of a split one",
            )


def _refuse_clashes(table: Segments, files: Sequence[ByteSource]) -> None:
    """Raise when two files both hold the bytes at one address."""
    if len(files) < 2:
        return
    stored = (table.presence == Presence.PRESENT) & (table.file != ZERO_FILE) & (table.end > table.start)
    held = table.take(np.flatnonzero(stored))
    held = held.take(np.argsort(held.start, kind="stable"))
    reach = np.maximum.accumulate(held.end)
    clashes = np.flatnonzero((held.start[1:] < reach[:-1]) & (held.file[1:] != held.file[:-1]))
    if not len(clashes):
        return
    row = int(clashes[0])
    first, second = (files[int(held.file[row + step])].name for step in (0, 1))
    raise UsageError(
        f"{first} and {second} both claim physical address {int(held.start[row + 1]):#x}",
        hint="place each raw file with FILE@BASE",
    )
