"""Memory is a function from a physical page to bytes or to a typed hole.

Absent (outside the dump), excluded (filtered out), truncated (the file ends), damaged and zero are different
answers, and nothing here pads one into another. Everything above reads memory through this contract alone;
the image formats behind it live in `khodump.memories`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from khodump.arrays import U8, U64
from khodump.layouts import Layout
from khodump.placement import Placement


class Presence(IntEnum):
    """What an image has to say about a piece of physical memory."""

    PRESENT = 0
    ABSENT = 1
    EXCLUDED = 2
    TRUNCATED = 3
    DAMAGED = 4
    UNPLACED = 5

    @property
    def reason(self) -> str:
        """Why the bytes are not there, as the end of a sentence."""
        return _REASONS[self]


_REASONS = {
    Presence.PRESENT: "present",
    Presence.ABSENT: "not in the dump",
    Presence.EXCLUDED: "excluded from the dump",
    Presence.TRUNCATED: "cut off: the image file ends before it",
    Presence.DAMAGED: "damaged in the dump: what is stored of it cannot be decoded",
    Presence.UNPLACED: "in doubt: nothing proves where in the raw file it is",
}


class Range(NamedTuple):
    """Physical bytes `start` to `end` (exclusive), all alike."""

    start: int
    end: int
    presence: Presence


@dataclass(frozen=True, slots=True)
class Hole:
    """The answer to a read that met bytes the image does not hold.

    Attributes:
        phys: physical address of the first byte that is missing.
        presence: why; never PRESENT.
    """

    phys: int
    presence: Presence


@dataclass(frozen=True, slots=True)
class Pages:
    """Many pages gathered at once.

    Attributes:
        data: uint8, one row of page-size bytes a page; rows that could not be read are unspecified.
        presence: uint8 `Presence` a page; only PRESENT rows may be looked at.
    """

    data: U8
    presence: U8


@dataclass(frozen=True)
class Platform:
    """What the image says of the machine it was taken from.

    Attributes:
        machine: the kernel's name of the architecture (`x86_64`, `aarch64`), if known.
        vmcoreinfo: the VMCOREINFO lines (`PAGESIZE`, `OSRELEASE`, ...), empty if there are none.
    """

    machine: str | None = None
    vmcoreinfo: Mapping[str, str] = field(default_factory=dict)


class PhysicalMemory(ABC):
    """One machine's physical memory, read from one or more files.

    Attributes:
        description: the files and their format, for a person.
        platform: what the image says of its machine.
        warnings: what is wrong with the image as a whole, one sentence each.
        placement: where the bytes of a raw file were put, and why; None where headers say it.
        layouts: those that a raw file may have, the likeliest first; none where headers say it.
        is_told: whether these are all, for the machine's RAM was given with the file.
    """

    description: str
    platform: Platform
    warnings: tuple[str, ...] = ()
    placement: Placement | None = None
    layouts: tuple[Layout, ...] = ()
    is_told: bool = False

    @property
    @abstractmethod
    def ranges(self) -> tuple[Range, ...]:
        """What the image speaks of, sorted, without overlaps; all else is absent."""

    @property
    @abstractmethod
    def end(self) -> int:
        """The first physical address above everything the image speaks of."""

    @abstractmethod
    def read(self, phys: int, size: int) -> bytes | Hole:
        """`size` bytes from physical address `phys`, or the first hole among them.

        Raises:
            ImageError: the operating system failed to read the file.
        """

    def viewed(self, phys: int, size: int) -> AbstractContextManager[memoryview | None]:  # noqa: ARG002 - see below
        """The `size` bytes from `phys` in place, for as long as the block lasts: cheap where few are looked at.

        None where that cannot be had, or some are missing; `read` tells more then.
        """
        return nullcontext()

    @abstractmethod
    def pages(self, pfns: U64, page_size: int) -> Pages:
        """Gather the pages `pfns` (uint64 page frame numbers, in units of `page_size` bytes), in that order.

        Raises:
            ImageError: the operating system failed to read the file.
        """

    def locate(self, phys: int) -> tuple[str, int] | None:  # noqa: ARG002 - for those that can
        """The file that holds the byte at `phys`, by name, and the offset there in bytes.

        None where no byte of a file is that very byte: it is missing, compressed, or taken for zero.
        """
        return None

    @abstractmethod
    def populated(self) -> Iterator[Range]:
        """The present ranges, without those that are known to read as zeros (holes of sparse files)."""

    @property
    def is_placed(self) -> bool:
        """Whether it is known which physical memory the image holds; until then file offsets are taken for addresses."""
        return True

    def placed(self, placement: Placement) -> PhysicalMemory:  # noqa: ARG002 - for those that can
        """The same image, which is not placed yet, with its bytes where `placement` puts them.

        Both share the files: closing one closes the other.
        """
        return self

    @abstractmethod
    def close(self) -> None:
        """Release the files. The memory cannot be read afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hole_at(self, phys: int, presence: Presence) -> str:
        """Why `phys` could not be read, as the end of a sentence."""
        if presence is Presence.ABSENT and phys >= self.end:
            return f"outside memory: the image ends at {self.end:#x}"
        return presence.reason


def page_numbers(addresses: U64, page_size: int) -> U64:
    """The PFNs of page-aligned physical addresses."""
    return addresses >> np.uint64(page_size.bit_length() - 1)


def vmcoreinfo_lines(text: bytes) -> dict[str, str]:
    """The KEY=VALUE lines of a VMCOREINFO note."""
    lines = text.partition(b"\0")[0].decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
