"""The physical memory of a `drgn.Program`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from drgn import FaultError, Program
from drgn.helpers.linux.ioport import for_each_resource

from khodump.columns.arrays import U64
from khodump.columns.table import groups
from khodump.errors import ImageError, KhodumpError
from khodump.memories import open_memory
from khodump.memory import Hole, Pages, PhysicalMemory, Platform, Presence, Range, vmcoreinfo_lines

_MAX_PHYSICAL: Final = 1 << 52  # of x86_64 and arm64
_GATHERED: Final = 1 << 20  # bytes a read


class ProgramMemory(PhysicalMemory):
    """A program's physical memory; drgn reads it, and closing it leaves the program alone.

    What is there, and what was left out on purpose, comes from the core dump's own headers: drgn reads zeros where a core
    speaks of more memory than it holds, and tells faults apart by their text alone. A program without a core dump is a
    kernel, whose "System RAM" says it.

    Args:
        program: of any kind.
        ranges: where its RAM is, as (start, end), for a program that does not say.
    """

    def __init__(self, program: Program, ranges: Iterable[tuple[int, int]] | None = None) -> None:
        self._program = program
        self._core = _core(program) if ranges is None else None
        self.description = f"{program.core_dump_path or 'a program'} (through drgn)"
        self.platform = _platform(program, self._core)
        if self._core is not None:
            self._ranges, self.warnings = self._core.ranges, self._core.warnings
        else:
            told = _system_ram(program) if ranges is None else ranges
            self._ranges = tuple(Range(start, end, Presence.PRESENT) for start, end in sorted(told))
            if not self._ranges:
                self.warnings = ("the program does not say where its RAM is, so it cannot be searched",)
        self._starts = [span.start for span in self._ranges]

    @property
    def ranges(self) -> tuple[Range, ...]:
        """See `PhysicalMemory.ranges`."""
        return self._ranges

    @property
    def end(self) -> int:
        """See `PhysicalMemory.end`; where nobody says, the end of what the machine can address."""
        return self._ranges[-1].end if self._ranges else _MAX_PHYSICAL

    def read(self, phys: int, size: int) -> bytes | Hole:
        """See `PhysicalMemory.read`."""
        hole = self._known_hole(phys, size)
        if hole is not None:
            return hole
        try:
            found: bytes = self._program.read(phys, size, physical=True)
        except FaultError as fault:
            return Hole(max(phys, fault.address), Presence.ABSENT)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"drgn cannot read {self.description} at {phys:#x}: {error}",
                hint="try khodump on the dump itself, without drgn",
            ) from error
        return found

    def _known_hole(self, phys: int, size: int) -> Hole | None:
        """The first byte that is known to be missing."""
        if phys + size > 1 << 64:
            return Hole(phys, Presence.ABSENT)
        if not self._ranges:
            return None
        row, at = bisect_right(self._starts, phys) - 1, phys
        while at < phys + size:
            if not 0 <= row < len(self._ranges) or not self._ranges[row].start <= at < self._ranges[row].end:
                return Hole(at, Presence.ABSENT)
            if self._ranges[row].presence is not Presence.PRESENT:
                return Hole(at, self._ranges[row].presence)
            at = self._ranges[row].end
            row += 1
        return None

    def gather(self, addresses: U64, size: int) -> Pages:
        """See `PhysicalMemory.gather`: neighbours are read at once, and one by one where that meets a hole."""
        data = np.zeros((len(addresses), size), np.uint8)
        presence = np.full(len(addresses), Presence.PRESENT, np.uint8)
        places, at = addresses.tolist(), 0
        for count in _neighbours(addresses, size, _GATHERED // size):
            found = self.read(places[at], count * size)
            if isinstance(found, Hole):
                for row in range(at, at + count):
                    page = found if count == 1 else self.read(places[row], size)
                    if isinstance(page, Hole):
                        presence[row] = page.presence
                    else:
                        data[row] = np.frombuffer(page, np.uint8)
            else:
                data[at : at + count] = np.frombuffer(found, np.uint8).reshape(count, size)
            at += count
        return Pages(data, presence)

    def locate(self, phys: int) -> tuple[str, int] | None:
        """See `PhysicalMemory.locate`."""
        return self._core.locate(phys) if self._core else None

    def populated(self) -> Iterator[Range]:
        """See `PhysicalMemory.populated`."""
        if self._core:
            return self._core.populated()
        return (span for span in self._ranges if span.presence is Presence.PRESENT)

    def lacking(self) -> Iterator[Range]:
        """See `PhysicalMemory.lacking`."""
        return self._core.lacking() if self._core else super().lacking()

    def elsewhere(self) -> Iterator[Range]:
        """See `PhysicalMemory.elsewhere`."""
        return self._core.elsewhere() if self._core else super().elsewhere()

    def close(self) -> None:
        """Leave the program as it is."""
        if self._core:
            self._core.close()


def _neighbours(addresses: U64, size: int, most: int) -> Iterator[int]:
    """How many pages of `size` bytes follow one another, again and again, but at most `most` at a time."""
    first, last = groups(len(addresses), addresses[1:] != addresses[:-1] + np.uint64(size))
    for run in (last + 1 - first).tolist():
        yield from [most] * (run // most) + ([run % most] if run % most else [])


def _core(program: Program) -> PhysicalMemory | None:
    """The program's core dump as khodump reads it; None where there is none, or it does not say where its bytes belong."""
    if program.core_dump_path is None:
        return None
    try:
        memory = open_memory([program.core_dump_path])
    except KhodumpError:
        return None
    if not memory.is_placed:
        memory.close()
        return None
    return memory


def _system_ram(program: Program) -> list[tuple[int, int]]:
    """The kernel's "System RAM" resources, as /proc/iomem lists them; none without debug information."""
    try:
        root = program["iomem_resource"].address_of_()
        return [
            (int(resource.start), int(resource.end) + 1)
            for resource in for_each_resource(root)
            if resource.name and resource.name.string_().startswith(b"System RAM")
        ]
    except (AttributeError, FaultError, LookupError, TypeError, ValueError):
        return []


def _platform(program: Program, core: PhysicalMemory | None) -> Platform:
    machine = program.platform.arch.name.lower() if program.platform else None
    try:
        return Platform(machine, vmcoreinfo_lines(program["VMCOREINFO"].string_()))
    except (FaultError, LookupError):
        return Platform(machine, core.platform.vmcoreinfo if core else {})
