"""Finding the root FDT: in a file, at an address, or by searching the image for pages that look like one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.bootparam import HEADER_MAGIC, HEADER_OFFSET
from khodump.abi.kexec_handover import COMPATIBLE_PREFIX, PAGE_SIZES, PROP_COMPATIBLE
from khodump.advice import FDT, SCAN, Advice
from khodump.errors import FdtError, FdtTruncatedError, ImageError, NoHandoverError
from khodump.fdt import FDT_HEADER, MAGIC, UNFINISHED_MAGIC, FdtNode, Oddity, read_fdt, total_size
from khodump.findings import Finding, Severity
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.opening.searched import Misses
from khodump.owner import KHO, Owner
from khodump.problems import FdtLost, FdtOdd
from khodump.rounding import ceil_div, round_up

#: Called with (bytes scanned, bytes to scan).
Progress = Callable[[int, int], None]

#: Whose the findings about it are, as in `khodump.subtree.Claims`.
FDT_OWNER: Final = Owner(KHO, part="root FDT")

_STEP: Final = PAGE_SIZES[0]  # the root FDT is page-aligned, whatever the page size
_MAX_FDT: Final = PAGE_SIZES[-1]  # and one page long at most
_WINDOW: Final = 32 << 20
_CHUNK: Final = 1 << 20
_OVERLAP: Final = HEADER_OFFSET + len(HEADER_MAGIC)  # what begins in one chunk may be marked in the next


@dataclass(frozen=True)
class RootFdt:
    """A root FDT.

    Attributes:
        tree: its root node.
        blob: its bytes, totalsize long.
        phys: physical address of its page, when known.
        source: where it came from, for a person.
        cut: bytes in the file that was named, where that is cut short and the image holds the whole.
        oddities: what no kernel writes into such a tree.
        is_lost: whether it stands for one that is lost: it leads to the map, and to no user.
    """

    tree: FdtNode
    blob: bytes
    phys: int | None
    source: str
    cut: int | None = None
    oddities: tuple[Oddity, ...] = ()
    is_lost: bool = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with it, though libfdt would take it."""
        if self.is_lost:
            message = "the root FDT is lost: whose memory it is, and what users wrote, cannot be told"
            return (FdtLost().finding(None, message, FDT_OWNER),)
        return tuple(self._finding(oddity) for oddity in self.oddities)

    def _finding(self, oddity: Oddity) -> Finding:
        follows = "there may have been more than is listed" if oddity.hides else "nothing is lost by it"
        finding = FdtOdd().finding(self.phys, f"the root FDT is odd: {oddity.text}; {follows}", FDT_OWNER)
        return finding if oddity.hides else replace(finding, severity=Severity.WARNING)

    @property
    def compatible(self) -> str | None:
        """The root's compatible string; of one that is lost, as which the map is read."""
        return self.tree.string(PROP_COMPATIBLE)

    @property
    def said(self) -> str | None:
        """The compatible string that was read."""
        return None if self.is_lost else self.compatible


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a .dtb file, or of a debugfs file whose size says 0.

    Raises:
        ImageError: it cannot be opened or read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path that looks like a number stays one
            return file.read(_MAX_FDT + 1)
    except OSError as error:
        raise ImageError(
            f"cannot read the FDT {os.fspath(path)}: {error.strerror}",
            hint=Advice.of(
                FDT, " takes a .dtb file, or an address that begins with 0x; without it the image is searched"
            ),
        ) from error


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
        root = _read_root(data, None, f"file {name}")
    except FdtTruncatedError:
        raise
    except FdtError as error:
        raise FdtError(
            f"{name} is not a usable FDT: {error}",
            hint=Advice.of("leave ", FDT, " out to search the image for the root FDT"),
        ) from error
    _demand_kho(root)
    return root


def at_address(memory: PhysicalMemory, phys: int) -> RootFdt:
    """The root FDT at a physical address.

    Raises:
        NoHandoverError: there is none, or it cannot be read.
    """
    data = read_blob(memory, phys)
    if isinstance(data, Hole):
        why = memory.hole_at(data.phys, data.presence)
        raise NoHandoverError(
            f"cannot read a root FDT at {phys:#x}: {why}", hint=Advice.of(SCAN, " lists what is there")
        )
    return from_blob(data, phys)


def from_blob(data: bytes, phys: int) -> RootFdt:
    """The root FDT that these bytes are, which `read_blob` found at `phys`.

    Raises:
        NoHandoverError: they are none.
    """
    try:
        root = _read_root(data, phys, f"address {phys:#x}")
    except FdtError as error:
        raise NoHandoverError(
            f"there is no root FDT at {phys:#x}: {error}", hint=Advice.of(SCAN, " lists what is there")
        ) from error
    _demand_kho(root)
    return root


def _read_root(data: bytes, phys: int | None, source: str) -> RootFdt:
    """The root FDT at the start of `data`.

    Raises:
        FdtError: libfdt would not take it, or would not find its compatible string behind the damage.
    """
    tree, oddities = read_fdt(data)
    root = RootFdt(tree, data[: total_size(data)], phys, source, oddities=oddities)
    hiding = [oddity.text for oddity in oddities if oddity.hides]
    if PROP_COMPATIBLE not in tree.properties and hiding:
        raise FdtError("; ".join(hiding), hint=Advice.of(SCAN, " lists the root FDTs that are there"))
    return root


def _demand_kho(root: RootFdt) -> None:
    if not (root.compatible or "").startswith(COMPATIBLE_PREFIX):
        raise NoHandoverError(
            f"the FDT ({root.source}) is not KHO's: its compatible is {root.compatible or 'missing'}",
            hint="pass the root FDT (debugfs kho/out/fdt), not a machine's device tree or a user's subtree",
        )


def read_blob(memory: PhysicalMemory, phys: int, max_size: int = _MAX_FDT) -> bytes | Hole:
    """The bytes of the FDT at a physical address.

    Args:
        memory: where it is.
        phys: the address.
        max_size: the largest totalsize that is believed.

    Returns:
        As many bytes as its totalsize says, or as can be had; the header's alone where that is none.
    """
    header = memory.read(phys, FDT_HEADER.size)
    if isinstance(header, Hole):
        return header
    size = total_size(header)
    if size is None:
        return header
    blob = memory.read(phys, max(FDT_HEADER.size, min(size, max_size)))
    if size <= max_size:
        return blob
    for page_size in reversed(PAGE_SIZES):  # the size is damaged: the tree is one page, of whatever size
        if isinstance(blob, Hole):
            blob = memory.read(phys, page_size)
    return blob


class LandmarkKind(Enum):
    """What a page looks like."""

    FDT = "an FDT"
    UNFINISHED_FDT = "an FDT that is still being written"
    BOOT_PARAMS = "x86's boot_params"


class Landmark(NamedTuple):
    """A place that is worth a closer look."""

    kind: LandmarkKind
    phys: int


def landmarks(
    memory: PhysicalMemory,
    progress: Progress | None = None,
    *,
    deep: bool = False,
    misses: Misses | None = None,
) -> Iterator[Landmark]:
    """What stands at the start of the image's pages; holes of sparse files cost nothing.

    Args:
        memory: where to look.
        progress: called as it goes.
        deep: look for boot_params at any address, as in a kernel's own variables, not only at the start of a page.
        misses: told of what could not be read.
    """
    misses = misses or Misses()
    stretches = [(span.start, span.end) for span in memory.populated()]
    total, done = sum(end - start for start, end in stretches), 0
    for start, end in stretches:
        for at in range(round_up(start, _STEP), end, _WINDOW):
            size = min(_WINDOW, end - at)
            yield from _in_window(memory, at, size, end, misses, deep=deep)
            done += size
            if progress:
                progress(done, total)


def _in_window(
    memory: PhysicalMemory, start: int, size: int, end: int, misses: Misses, *, deep: bool
) -> list[Landmark]:
    """The landmarks in `size` bytes from page-aligned `start`; the stretch they are a part of goes on to `end`."""
    if not deep:  # a few bytes a page are enough
        with memory.viewed(start, size) as view:
            if view is not None:
                return [Landmark(kind, start + offset) for kind, offset in _page_marks(view, size)]
    landmarks: list[Landmark] = []
    for at in range(start, start + size, _CHUNK):
        step = min(_CHUNK, start + size - at)
        chunk = _readable(memory, at, min(step + _OVERLAP, end - at), step, misses)
        marks = (
            chain(_page_marks(chunk, step), _deep_marks(chunk, step)) if deep else _page_marks(chunk, step)
        )
        landmarks += [Landmark(kind, at + offset) for kind, offset in marks]
    return landmarks


def _readable(memory: PhysicalMemory, at: int, size: int, step: int, misses: Misses) -> bytes:
    """The bytes from page-aligned `at`; pages that cannot be read look empty, for nothing can be found in them.

    Those that begin in the first `step` bytes are noted in `misses`.
    """
    data = memory.read(at, size)
    if not isinstance(data, Hole):
        return data
    starts = np.arange(at // _STEP, ceil_div(at + size, _STEP), dtype=np.uint64) * np.uint64(_STEP)
    pages = memory.gather(starts, _STEP)
    pages.data[pages.presence != Presence.PRESENT] = 0
    own = slice(ceil_div(step, _STEP))
    misses.add(starts[own], pages.presence[own], _STEP, at + step)
    return pages.data.tobytes()[:size]


def _page_marks(chunk: bytes | memoryview, size: int) -> Iterator[tuple[LandmarkKind, int]]:
    """Kind and offset of what stands at page starts in the first `size` bytes of a page-aligned chunk."""
    words = np.frombuffer(chunk, ">u4", size // 4)[:: _STEP // 4]
    for kind, magic in ((LandmarkKind.FDT, MAGIC), (LandmarkKind.UNFINISHED_FDT, UNFINISHED_MAGIC)):
        for page in np.flatnonzero(words == int.from_bytes(magic, "big")).tolist():
            yield kind, page * _STEP
    halves = np.frombuffer(chunk, "<u2", size // 2)
    first, second = (halves[HEADER_OFFSET // 2 + k :: _STEP // 2] for k in (0, 1))
    low, high = (int.from_bytes(HEADER_MAGIC[k : k + 2], "little") for k in (0, 2))
    for page in np.flatnonzero((first[: len(second)] == low) & (second == high)).tolist():
        yield LandmarkKind.BOOT_PARAMS, page * _STEP


def _deep_marks(chunk: bytes, size: int) -> Iterator[tuple[LandmarkKind, int]]:
    """As `_page_marks`, but boot_params at other addresses than page starts."""
    magic = chunk.find(HEADER_MAGIC)
    while 0 <= magic < size + HEADER_OFFSET:
        at = magic - HEADER_OFFSET
        if at >= 0 and at % _STEP:
            yield LandmarkKind.BOOT_PARAMS, at
        magic = chunk.find(HEADER_MAGIC, magic + 1)


def find_copies(memory: PhysicalMemory, blob: bytes, progress: Progress | None = None) -> Iterator[int]:
    """Physical addresses of the pages that begin with these very bytes."""
    if not blob:
        return iter(())
    places = (mark.phys for mark in landmarks(memory, progress) if mark.kind is LandmarkKind.FDT)
    return (phys for phys in places if memory.read(phys, len(blob)) == blob)
