"""Scratch regions: the memory that the next kernel boots in, where nothing may be preserved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.abi.layout import offset_of
from khodump.advice import SCRATCH, Advice
from khodump.errors import ImageError, UsageError
from khodump.findings import Entry, Finding
from khodump.memory import Hole, PhysicalMemory
from khodump.numbers import format_size, parse_number
from khodump.owner import KHO, Owner
from khodump.problems import ScratchWraps


class Scratch(tuple[KhoScratch, ...]):  # noqa: SLOT001 - subclasses of tuple cannot have any
    """The regions, in their table's order.

    Attributes:
        table: physical address of the kernel's table that tells of them; None where files do.
    """

    table: int | None

    def __new__(cls, regions: Iterable[KhoScratch], table: int | None = None) -> Self:
        """The regions of a table, or of files."""
        made = super().__new__(cls, regions)
        made.table = table
        return made

    def entry_of(self, number: int, member: str) -> Entry | None:
        """Where a member of a region stands."""
        if self.table is None:
            return None
        at = self.table + number * KHO_SCRATCH.size + offset_of(KHO_SCRATCH.schema, member)
        return Entry(f"{member} of entry {number} of the scratch table", at)


#: Whose the regions are, for findings.
OWNER: Final = Owner(KHO, part="scratch")

_MAX_BYTES: Final = 1 << 20  # a region a NUMA node and two more: far above any machine
_DEBUGFS_NAMES: Final = ("scratch_phys", "scratch_len")


def read_table(memory: PhysicalMemory, addr: int, size: int) -> Scratch | Hole:
    """The scratch table at physical address `addr`, `size` bytes long, as the boot protocol names it."""
    data = memory.read(addr, min(size, _MAX_BYTES))
    if isinstance(data, Hole):
        return data
    ends = range(KHO_SCRATCH.size, len(data) + 1, KHO_SCRATCH.size)
    return Scratch((KHO_SCRATCH.parse(data[end - KHO_SCRATCH.size : end]) for end in ends), addr)


def files_of(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that are meant: those of debugfs in a directory, or these themselves."""
    files = [Path(path) for path in paths]
    if len(files) == 1 and files[0].is_dir():
        return [files[0] / name for name in _DEBUGFS_NAMES]
    return files


def scratch_findings(scratch: Scratch) -> Iterator[Finding]:
    """What is wrong with the regions by themselves."""
    for number, region in enumerate(scratch):
        if region.wraps:
            message = (
                f"the scratch region at {region.addr:#x} has {region.size:#x} bytes, and so reaches past the end of the "
                "address space"
            )
            problem = ScratchWraps(region.addr, region.size)
            yield problem.finding(region.addr, message, OWNER, scratch.entry_of(number, "size"))


def read_files(paths: Sequence[str | os.PathLike[str]]) -> Scratch:
    """The regions in debugfs' `scratch_phys` and `scratch_len`: both files, or the directory that holds them.

    Raises:
        UsageError: not such a pair.
        ImageError: a file cannot be read.
    """
    files = files_of(paths)
    if len(files) != 2:
        raise UsageError(
            Advice.of(SCRATCH, " takes the pair scratch_phys and scratch_len"),
            hint="name both files, or the directory that holds them",
        )
    if files[0].name.endswith("len"):
        files.reverse()
    addresses, sizes = (_numbers(path) for path in files)
    if len(addresses) != len(sizes):
        raise UsageError(
            f"{files[0]} lists {len(addresses)} scratch regions, {files[1]} lists {len(sizes)}",
            hint="name the two files of one boot",
        )
    return Scratch(KhoScratch(addr, size) for addr, size in zip(addresses, sizes, strict=True))


def _numbers(path: Path) -> list[int]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror}",
            hint="name debugfs' kho/out/scratch_phys and scratch_len, or copies of them",
        ) from error
    if len(data) > _MAX_BYTES:
        raise UsageError(
            f"{path} is no list of addresses: it has more than {format_size(_MAX_BYTES)}",
            hint="name debugfs' own files",
        )
    try:
        numbers = [parse_number(word) for word in data.decode("ascii", "replace").split()]
    except UsageError as error:
        raise UsageError(
            f"{path} is no list of addresses: {error}", hint="name debugfs' own files"
        ) from error
    if any(number >= 1 << 64 for number in numbers):
        raise UsageError(
            f"{path} is no list of addresses: it has numbers of more than 64 bits",
            hint="name debugfs' own files",
        )
    return numbers
