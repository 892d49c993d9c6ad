"""The machine khodump runs on: /proc/kcore where it can be read, else the RAM behind /dev/mem.

Device ranges are never touched: /dev/mem is read only inside the "System RAM" of /proc/iomem.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from khodump.errors import ImageError
from khodump.memories import elf
from khodump.memories.file import ByteSource, ImageFile
from khodump.memories.ranges import ram_end, read_ranges
from khodump.memories.refusal import (
    CONFIDENTIALITY,
    INTEGRITY,
    REFUSALS,
    RefusalPaths,
    lockdown_level,
    refusal_of,
)
from khodump.memories.segments import SegmentedMemory, Segments
from khodump.memory import Hole, PhysicalMemory, Platform, Presence
from khodump.rounding import round_up

#: Bytes of the pages that the running kernel maps memory by.
PAGE: Final = os.sysconf("SC_PAGESIZE")
#: VMCOREINFO_NOTE_SIZE is a page, and the note's head.
_MOST_VMCOREINFO: Final = 1 << 17
_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "aarch64"}


@dataclass(frozen=True)
class LivePaths:
    """Where a running kernel shows its memory and its handover."""

    kcore: Path = Path("/proc/kcore")
    mem: Path = Path("/dev/mem")
    iomem: Path = Path("/proc/iomem")
    kho: Path = Path("/sys/kernel/debug/kho")
    cmdline: Path = Path("/proc/cmdline")
    vmcoreinfo: Path = Path("/sys/kernel/vmcoreinfo")
    setup_data: Path = Path("/sys/kernel/boot_params/setup_data")
    devicetree: Path = Path("/sys/firmware/fdt")
    kallsyms: Path = Path("/proc/kallsyms")
    refusals: RefusalPaths = REFUSALS


class DevMem(ImageFile):
    """/dev/mem, which explains itself when the kernel refuses.

    A page that faults (EFAULT: the kernel has poisoned it, or taken it off line) is missing, and no others are.
    """

    def __init__(self, path: Path, size: int, refusals: RefusalPaths = REFUSALS) -> None:
        self._refusals = refusals
        super().__init__(path, size)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        try:
            return super().read_into(buffer, offset)
        except ImageError as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, OSError) else None
            if number == errno.EFAULT:
                return self._until_fault(buffer, offset)
            if number == errno.EPERM:
                raise self._refused(offset) from error
            raise

    def missing(self, offset: int) -> Presence:
        """See `ByteSource.missing`."""
        return Presence.TRUNCATED if offset >= self.size else Presence.ABSENT

    def _until_fault(self, buffer: memoryview, offset: int) -> int:
        """Read page by page, up to the one that faults; the kernel does not tell which it was."""
        done = 0
        while done < len(buffer):
            step = min(PAGE - (offset + done) % PAGE, len(buffer) - done)
            try:
                super().read_into(buffer[done : done + step], offset + done)
            except ImageError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno == errno.EFAULT:
                    return done
                raise
            done += step
        return done

    def _refused(self, offset: int) -> ImageError:
        level = lockdown_level(self._refusals.lockdown)
        why = f"it is locked down ({level})" if level else "it has CONFIG_STRICT_DEVMEM"
        return ImageError(
            f"the kernel does not let {self.name} be read at {offset:#x}: {why}",
            hint="read /proc/kcore, or take a dump with kdump",
        )


def open_dev_mem(paths: LivePaths = LivePaths()) -> PhysicalMemory:
    """The RAM behind /dev/mem, of which only whole pages are touched: firmware's ranges may end within one.

    Raises:
        ImageError: it, or /proc/iomem, cannot be read.
    """
    rounded = [(round_up(start, PAGE), end // PAGE * PAGE) for start, end in read_ranges(paths.iomem).ram]
    ranges = [(start, end) for start, end in rounded if start < end]
    if not ranges:
        message = f"{paths.iomem} has no whole page of System RAM"
        raise ImageError(message, hint="read /proc/kcore, or take a dump with kdump")
    try:
        source = DevMem(paths.mem, max(end for _, end in ranges), paths.refusals)
    except ImageError as error:
        raise explained(error, paths) from error.__cause__
    rows = [(start, end, Presence.PRESENT, 0, start) for start, end in ranges]
    description = f"{paths.mem} (System RAM of this machine)"
    memory = _memory(source, Segments.of_rows(rows), description, Platform(_machine()))
    with memory.closed_on_error():
        memory.platform = Platform(_machine(), _told_vmcoreinfo(memory, paths.vmcoreinfo))
    memory.ram_end = ram_end(paths.iomem)
    return memory


def _told_vmcoreinfo(memory: PhysicalMemory, path: Path) -> Mapping[str, str]:
    """The lines of the note that /sys/kernel/vmcoreinfo leads to; none where it does not, or they cannot be read."""
    try:
        words = path.read_text().split()
        phys, size = (int(word, 16) for word in words)
    except (OSError, ValueError):
        return {}
    if size > _MOST_VMCOREINFO:
        return {}
    try:
        note = memory.read(phys, size)
    except ImageError:
        return {}
    return {} if isinstance(note, Hole) else elf.vmcoreinfo_of(note)


def explained(error: ImageError, paths: LivePaths, *, locked_from: str = INTEGRITY) -> ImageError:
    """The same error, with what the kernel tells of why it refuses."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    refusal = refusal_of(number, paths.refusals, locked_from=locked_from)
    if refusal is None:
        return error
    told = ImageError(f"{error}: {refusal.reason}", hint=refusal.hint)
    told.__cause__ = cause
    return told


def open_live(paths: LivePaths = LivePaths()) -> PhysicalMemory:
    """This machine's memory.

    Raises:
        ImageError: neither /proc/kcore nor /dev/mem can be read.
    """
    try:
        source = ImageFile(paths.kcore)
    except ImageError as error:
        kcore = explained(error, paths, locked_from=CONFIDENTIALITY)
        try:
            return open_dev_mem(paths)
        except ImageError as dev_mem:
            raise ImageError(f"{kcore}; {dev_mem}", hint=_hint_of(kcore, dev_mem)) from dev_mem
    try:
        table, told = elf.segments(source, assume_zero=False)
    except BaseException:
        source.close()
        raise
    memory = _memory(source, table, f"{paths.kcore} (this machine)", told)
    with suppress(ImageError):  # it is not needed to read /proc/kcore
        memory.ram_end = ram_end(paths.iomem)
    return memory


def _hint_of(kcore: ImageError, dev_mem: ImageError) -> str | None:
    """What to do where neither can be read: that of the one which is there; containers have neither."""
    there = [error for error in (dev_mem, kcore) if not isinstance(error.__cause__, FileNotFoundError)]
    return there[0].hint if there else "run as root"


def _memory(source: ByteSource, table: Segments, description: str, told: Platform) -> PhysicalMemory:
    return SegmentedMemory([source], table, description=description, platform=told)


def _machine() -> str | None:
    return _MACHINES.get(platform.machine())


def is_dev_mem(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the device node of physical memory, by its number: character device 1:1."""
    try:
        status = os.stat(path)  # noqa: PTH116 - paths come in either form
    except OSError:
        return False
    return status.st_rdev == os.makedev(1, 1) and status.st_mode & 0o170000 == 0o020000
