"""The machine khodump runs on: /proc/kcore where it can be read, else the RAM behind /dev/mem.

Device ranges are never touched: /dev/mem is read only inside the "System RAM" of /proc/iomem.
"""

from __future__ import annotations

import errno
import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from khodump.errors import ImageError, NoOutgoingFdtError
from khodump.memories import elf
from khodump.memories.file import ByteSource, ImageFile
from khodump.memories.ranges import ram_end, read_ranges
from khodump.memories.segments import SegmentedMemory, Segments
from khodump.memory import PhysicalMemory, Platform, Presence

_MACHINES: Final = {"x86_64": "x86_64", "aarch64": "aarch64"}


@dataclass(frozen=True)
class LivePaths:
    """Where a running kernel shows its memory and its handover."""

    kcore: Path = Path("/proc/kcore")
    mem: Path = Path("/dev/mem")
    iomem: Path = Path("/proc/iomem")
    kho: Path = Path("/sys/kernel/debug/kho")

    def fdt(self, *, incoming: bool) -> Path:
        """Debugfs' root FDT, the outgoing or the incoming one.

        Raises:
            ImageError: it is not there; the hint says why that may be. Of the outgoing one, `NoOutgoingFdtError`.
        """
        path = self.kho / ("in" if incoming else "out") / "fdt"
        try:
            found = path.exists()
        except PermissionError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}", hint="run as root") from error
        if found:
            return path
        if incoming:
            hint = "this kernel was not booted through KHO, or debugfs is not mounted"
            raise ImageError(f"there is no {path}", hint=hint)
        raise NoOutgoingFdtError(
            f"there is no {path}",
            hint=f"a kernel that was itself booted through KHO has no out/fdt: open {self.kcore} to search for it, or look at "
            "what it received with incoming=True; else mount debugfs, and check for kho=on and "
            "CONFIG_KEXEC_HANDOVER_DEBUGFS",
        )


class DevMem(ImageFile):
    """/dev/mem, which explains itself when the kernel refuses."""

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        try:
            return super().read_into(buffer, offset)
        except ImageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.EPERM, errno.EFAULT):
                raise ImageError(
                    f"the kernel does not let {self.name} be read at {offset:#x}: {cause.strerror}",
                    hint="it has CONFIG_STRICT_DEVMEM, or is locked down: read /proc/kcore, or take a dump with kdump",
                ) from error
            raise


def open_dev_mem(paths: LivePaths = LivePaths()) -> PhysicalMemory:
    """The RAM behind /dev/mem.

    Raises:
        ImageError: it, or /proc/iomem, cannot be read.
    """
    ranges = read_ranges(paths.iomem).ram
    source = DevMem(paths.mem, max(end for _, end in ranges))
    table = Segments.of((start, end, Presence.PRESENT, 0, start) for start, end in ranges)
    memory = _memory(source, table, f"{paths.mem} (System RAM of this machine)", Platform(_machine()))
    memory.ram_end = ram_end(paths.iomem)
    return memory


def open_live(paths: LivePaths = LivePaths()) -> PhysicalMemory:
    """This machine's memory.

    Raises:
        ImageError: neither /proc/kcore nor /dev/mem can be read.
    """
    try:
        source = ImageFile(paths.kcore)
    except ImageError as kcore:
        try:
            return open_dev_mem(paths)
        except ImageError as dev_mem:
            missing = isinstance(dev_mem.__cause__, FileNotFoundError)  # containers have neither
            raise ImageError(
                f"{kcore}; {dev_mem}", hint="run as root" if missing else dev_mem.hint
            ) from dev_mem
    try:
        table, told = elf.segments(source, 0, assume_zero=False)
    except BaseException:
        source.close()
        raise
    memory = _memory(source, table, f"{paths.kcore} (this machine)", told)
    with suppress(ImageError):  # it is not needed to read /proc/kcore
        memory.ram_end = ram_end(paths.iomem)
    return memory


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
