"""Memory is a function from a physical page to bytes or to a typed hole.

Absent (outside the dump), excluded (filtered out), truncated (the file ends), damaged and zero are different
answers, and nothing here pads one into another. Everything above reads memory through this contract alone;
the image formats behind it live in `khodump.memories`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from khodump.abi.kexec_handover import MAX_PHYS_BITS
from khodump.columns.arrays import U8, U64
from khodump.layouts import Layout
from khodump.placement import Placement

#: An address from here on, and so many times as high as all else, is no machine's RAM, but a damaged pointer.
_FAR: Final = 1 << 45
_TIMES_AS_HIGH: Final = 1024


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
        data: uint8, one row a page, in the order in which they were asked for; rows that could not be read are unspecified.
        presence: uint8 `Presence` a page; only PRESENT rows may be looked at.
    """

    data: U8
    presence: U8


@dataclass(frozen=True, slots=True)
class RamEnd:
    """An address that RAM does not reach, on evidence.

    Attributes:
        address: the first physical address above all RAM, or above where it may be.
        source: what says so, as the end of a sentence.
        is_told: whether the machine, or the dump, says where RAM ends; else it may end far below.
    """

    address: int
    source: str
    is_told: bool = False

    @classmethod
    def of_architecture(cls) -> RamEnd:
        """What no machine's RAM reaches: x86_64 and arm64 have at most 52 bits of physical address."""
        return cls(1 << MAX_PHYS_BITS, f"for no machine addresses more than {MAX_PHYS_BITS} bits")

    @classmethod
    def far_above(cls, top: int) -> RamEnd:
        """What RAM does not reach of which all that is known ends at `top`: no machine's is so far apart.

        Machines whose RAM reaches up there (the second socket of an Ampere Altra begins at 64 TiB) have scratch, and so
        much else, there.
        """
        source = f"for all else that the image and the handover name ends at {top:#x}, far below"
        return cls(max(_FAR, _TIMES_AS_HIGH * top), source)


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
        ram_end: where RAM ends, as far as the format tells, or as was found in the image since; see `khodump.opening.ram_end`.
        placement: where the bytes of a raw file were put, and why; None where headers say it.
        layouts: those that a raw file may have, the likeliest first; none where headers say it.
        is_told: whether these are all, for the machine's RAM was given with the file.
    """

    description: str
    platform: Platform
    warnings: tuple[str, ...] = ()
    ram_end: RamEnd | None = None
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
    def gather(self, addresses: U64, size: int) -> Pages:
        """Many pages, or pieces of pages, at once.

        Args:
            addresses: uint64, physical bytes, in any order; each is a multiple of `size`.
            size: bytes of each; a power of two.

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

    def lacking(self) -> Iterator[Range]:
        """What of `ranges` is known not to be held before any of it is read, and why."""
        return (span for span in self.ranges if span.presence is not Presence.PRESENT)

    def elsewhere(self) -> Iterator[Range]:
        """What further files of the same dump hold that were not named, as far as the named ones tell."""
        return iter(())

    @property
    def beneath(self) -> PhysicalMemory:
        """The memory that is read where reading is not to be noted."""
        return self

    def note(self, phys: int, size: int) -> None:  # noqa: B027 - most keep no book
        """`size` bytes from `phys` are decoded, of more that was read; for those that keep book of it."""

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

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close it when the block ends in an error, which then carries what is wrong with the image as its notes."""
        try:
            yield
        except BaseException as error:
            for warning in self.warnings:
                error.add_note(warning)
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def end_below(self, phys: int) -> RamEnd | None:
        """The evidence that there is no RAM at `phys`, because all of it ends below; None without any."""
        ends = (self.ram_end or RamEnd.far_above(self.end), RamEnd.of_architecture())
        return next((end for end in ends if phys >= end.address), None)

    def hole_at(self, phys: int, presence: Presence) -> str:
        """Why `phys` could not be read, as the end of a sentence."""
        end = self.end_below(phys) if presence is Presence.ABSENT else None
        if end is None:
            return presence.reason
        reach = "ends at" if end.is_told else "does not reach"
        return f"outside memory: RAM {reach} {end.address:#x}, {end.source}"


def vmcoreinfo_lines(text: bytes) -> dict[str, str]:
    """The KEY=VALUE lines of a VMCOREINFO note."""
    lines = text.partition(b"\0")[0].decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class OfMemory:
    """What was found in a memory, which is closed with it, or at the end of a `with` block."""

    memory: PhysicalMemory

    def close(self) -> None:
        """Close the image files."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
