"""Finding the root FDT: in a file, at an address, or by scanning the image.

An image may hold several root FDTs: the outgoing one, the incoming one, and stale copies of both. They are told apart
by evidence, above all whether the FDT's own page is a key of its own map: every kernel preserves that page at order 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.kexec_handover import (
    COMPATIBLE_PREFIX,
    PAGE_SIZES,
    PROP_COMPATIBLE,
)
from khodump.errors import (
    FdtError,
    FdtTruncatedError,
    ImageError,
    KhodumpError,
    NoHandoverError,
)
from khodump.fdt import FDT_HEADER, MAGIC, FdtNode, parse_fdt, total_size
from khodump.memory import Hole, PhysicalMemory
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.trackers import READABLE_VERSIONS, open_tracker

#: Called with (bytes scanned, bytes to scan).
Progress = Callable[[int, int], None]

_STEP: Final = PAGE_SIZES[0]  # the root FDT is page-aligned, whatever the page size
_MAX_FDT: Final = PAGE_SIZES[-1]  # and one page long at most
_CHUNK: Final = 4 << 20
_MAX_CANDIDATES: Final = 1024


@dataclass(frozen=True)
class RootFdt:
    """A root FDT.

    Attributes:
        tree: its root node.
        blob: its bytes, totalsize long.
        phys: physical address of its page, when known.
        source: where it came from, for a person.
    """

    tree: FdtNode
    blob: bytes
    phys: int | None
    source: str

    @property
    def compatible(self) -> str | None:
        """The root's compatible string."""
        return self.tree.string(PROP_COMPATIBLE)


@dataclass(frozen=True)
class Candidate:
    """A page of the image that looks like a root FDT, and the evidence for and against it.

    Attributes:
        phys: physical address of the page.
        fdt: the tree, when its structure is valid.
        problem: why it cannot be the handover, if so.
        unknown_version: its compatible string is of no known version; it was tried as the newest.
        page_size: bytes, as far as the map tells.
        root_readable: whether the first page of its map is in the image.
        own_page_preserved: whether its page is in its own map; None when that cannot be read.
        metadata: the producing kernel, when it says so.
    """

    phys: int
    fdt: RootFdt | None = None
    problem: str | None = None
    unknown_version: bool = False
    page_size: int | None = None
    root_readable: bool = False
    own_page_preserved: bool | None = None
    metadata: KexecMetadata | None = None

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int, int]:
        """Sorts the likeliest handover last."""
        return (
            self.problem is None,
            self.own_page_preserved is True,
            self.root_readable,
            not self.unknown_version,
            self.metadata.kexec_count if self.metadata else 0,
            -self.phys,
        )

    @property
    def remarks(self) -> str:
        """What is unusual about it, for a person; empty for a healthy handover."""
        if self.problem is not None:
            return self.problem
        told = [f"no known version; tried as {READABLE_VERSIONS[0]}"] if self.unknown_version else []
        if not self.root_readable:
            told.append("the root of its map cannot be read")
        elif self.own_page_preserved is None:
            told.append("its map is damaged")
        return "; ".join(told)

    @property
    def evidence(self) -> str:
        """What speaks for it, for a person."""
        told = (
            ["its own page is in its map"] if self.own_page_preserved else ["its own page is not in its map"]
        )
        told += [self.remarks] if self.remarks else []
        if self.metadata:
            told.append(f"made by {self.metadata.release}, kexec count {self.metadata.kexec_count}")
        return "; ".join(told)


class Options(NamedTuple):
    """How to read what is found.

    Attributes:
        version: read as this version, whatever the compatible string says.
        page_size: bytes, when forced.
    """

    version: str | None = None
    page_size: int | None = None


DEFAULT_OPTIONS: Final = Options()


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a .dtb file, or of a debugfs file whose size says 0.

    Raises:
        ImageError: it cannot be opened or read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path that looks like a number stays one
            return file.read(_MAX_FDT + 1)
    except OSError as error:
        raise ImageError(f"cannot read the FDT {os.fspath(path)}: {error.strerror}") from error


def from_file(path: str | os.PathLike[str]) -> RootFdt:
    """The root FDT in a file.

    Raises:
        ImageError: the file cannot be read.
        FdtTruncatedError: it ends before its own totalsize, as debugfs files of real kernels do.
        FdtError: it is no well-formed FDT.
        NoHandoverError: it is an FDT, but not KHO's.
    """
    name, data = os.fspath(path), read_file(path)
    try:
        tree = parse_fdt(data)
    except FdtTruncatedError:
        raise
    except FdtError as error:
        raise FdtError(
            f"{name} is not a usable FDT: {error}",
            hint="leave --fdt out to search the image for the root FDT",
        ) from error
    root = RootFdt(tree, data[: total_size(data)], None, f"file {name}")
    _demand_kho(root)
    return root


def at_address(memory: PhysicalMemory, phys: int) -> RootFdt:
    """The root FDT at a physical address.

    Raises:
        NoHandoverError: there is none, or it cannot be read.
    """
    data = _read_blob(memory, phys)
    if isinstance(data, Hole):
        why = memory.hole_at(data.phys, data.presence)
        raise NoHandoverError(
            f"cannot read a root FDT at {phys:#x}: {why}", hint="khodump scan IMAGE lists what is there"
        )
    try:
        root = RootFdt(parse_fdt(data), data, phys, f"address {phys:#x}")
    except FdtError as error:
        raise NoHandoverError(
            f"there is no root FDT at {phys:#x}: {error}", hint="khodump scan IMAGE lists what is there"
        ) from error
    _demand_kho(root)
    return root


def _demand_kho(root: RootFdt) -> None:
    if not (root.compatible or "").startswith(COMPATIBLE_PREFIX):
        raise NoHandoverError(
            f"the FDT ({root.source}) is not KHO's: its compatible is {root.compatible or 'missing'}",
            hint="pass the root FDT (debugfs kho/out/fdt), not a machine's device tree or a user's subtree",
        )


def _read_blob(memory: PhysicalMemory, phys: int) -> bytes | Hole:
    """The bytes of the FDT at `phys`: its totalsize where the header has a sane one, else the header alone."""
    header = memory.read(phys, FDT_HEADER.size)
    if isinstance(header, Hole):
        return header
    size = total_size(header)
    return header if size is None else memory.read(phys, max(FDT_HEADER.size, min(size, _MAX_FDT)))


def scan_pages(memory: PhysicalMemory, progress: Progress | None = None) -> Iterator[int]:
    """Physical addresses of the pages that begin with an FDT header; holes of sparse files cost nothing."""
    magic = np.frombuffer(MAGIC, np.uint32)[0]
    stretches = [(span.start, span.end) for span in memory.populated()]
    total, done = sum(end - start for start, end in stretches), 0
    for start, end in stretches:
        for at in range(-(-start // _STEP) * _STEP, end, _CHUNK):
            size = min(_CHUNK, end - at)
            chunk = memory.read(at, size & ~3)
            if not isinstance(chunk, Hole):
                words = np.frombuffer(chunk, np.uint32)[:: _STEP // 4]
                yield from (at + int(hit) * _STEP for hit in np.flatnonzero(words == magic))
            done += size
            if progress:
                progress(done, total)


def find_copies(memory: PhysicalMemory, blob: bytes, progress: Progress | None = None) -> Iterator[int]:
    """Physical addresses of the pages that begin with these very bytes."""
    return (phys for phys in scan_pages(memory, progress) if memory.read(phys, len(blob)) == blob)


def candidates(
    memory: PhysicalMemory, options: Options = DEFAULT_OPTIONS, progress: Progress | None = None
) -> list[Candidate]:
    """All root FDTs in the image, the likeliest first."""
    found = []
    for phys in scan_pages(memory, progress):
        candidate = _examine(memory, phys, options)
        if candidate:
            found.append(candidate)
        if len(found) == _MAX_CANDIDATES:
            break
    return sorted(found, key=lambda candidate: candidate.rank, reverse=True)


def _examine(memory: PhysicalMemory, phys: int, options: Options) -> Candidate | None:
    """What speaks for the FDT at `phys`; None when it is not one of KHO's."""
    blob = _read_blob(memory, phys)
    if isinstance(blob, Hole) or COMPATIBLE_PREFIX.encode() not in blob:
        return None
    try:
        fdt = replace(at_address(memory, phys), source="found by searching the image")
    except NoHandoverError as error:
        return Candidate(phys, problem=str(error.__cause__)) if error.__cause__ else None
    return weigh(memory, fdt, options)


def weigh(memory: PhysicalMemory, fdt: RootFdt, options: Options) -> Candidate:
    """The evidence for a root FDT whose address is known."""
    phys = fdt.phys or 0
    version, unknown = options.version, False
    if version is None and fdt.compatible not in READABLE_VERSIONS:
        version, unknown = READABLE_VERSIONS[0], True
    try:
        opened = open_tracker(memory, fdt.tree, fdt_phys=phys, version=version, page_size=options.page_size)
    except KhodumpError as error:
        return Candidate(phys, fdt, problem=str(error), unknown_version=unknown)
    tracker = opened.tracker
    return Candidate(
        phys,
        fdt,
        unknown_version=unknown,
        page_size=1 << tracker.page_shift,
        root_readable=not isinstance(memory.read(tracker.root, 1 << tracker.page_shift), Hole),
        own_page_preserved=tracker.holds(phys, 0),
        metadata=read_kexec_metadata(memory, fdt.tree),
    )
