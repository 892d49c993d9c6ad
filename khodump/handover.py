"""One opened KHO handover: everything is lazily derived from a memory and a root FDT."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import NamedTuple, Self

from khodump import locate
from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.errors import FdtTruncatedError, NoHandoverError, UnknownVersionError, UsageError
from khodump.extents import Extents
from khodump.findings import Finding
from khodump.locate import Candidate, Options, Progress, RootFdt
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.tracker import Nodes, Tracker, Walk
from khodump.trackers import READABLE_VERSIONS, open_tracker

StrPath = str | os.PathLike[str]


class _Walked(NamedTuple):
    preserved: Extents
    nodes: Nodes
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Handover:
    """What a kernel wrote down for the next one. Use as a context manager, or `close()` it.

    Attributes:
        memory: the image.
        fdt: the root FDT.
        version: the compatible string it is read as.
        tracker: the preserved-memory map.
        geometry_reason: what speaks for the page size.
        notes: what was chosen on the way here, and why, one sentence each.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    version: str
    tracker: Tracker
    geometry_reason: str
    notes: tuple[str, ...] = ()

    @property
    def page_size(self) -> int:
        """Bytes a page."""
        return 1 << self.tracker.page_shift

    @property
    def preserved(self) -> Extents:
        """Everything that is preserved, sorted by physical address."""
        return self._walked.preserved

    @property
    def nodes(self) -> Nodes:
        """The tracker's own pages."""
        return self._walked.nodes

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the map."""
        return self._walked.findings

    @cached_property
    def metadata(self) -> KexecMetadata | None:
        """The kernel that made the handover, where it says so (7.1 and later)."""
        return read_kexec_metadata(self.memory, self.fdt.tree)

    def walk(self) -> Walk:
        """Walk the map afresh, in the kernel's order and in bounded memory."""
        return self.tracker.walk()

    @cached_property
    def _walked(self) -> _Walked:
        walk = self.walk()
        preserved = Extents.concatenate(self.tracker.page_shift, walk).sorted()
        return _Walked(preserved, walk.nodes, tuple(walk.findings))

    def close(self) -> None:
        """Close the image files."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_handover(
    images: StrPath | Sequence[StrPath],
    *,
    fdt: StrPath | int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    progress: Progress | None = None,
) -> Handover:
    """Open a KHO handover; also `khodump.open`.

    Args:
        images: the memory image, or the files that make one together; `FILE@BASE` places a raw file at that
            physical address.
        fdt: the root FDT as a file, or its physical address; by default the image is searched for it.
        version: read the handover as this version (`kho-v4`), whatever its compatible string says.
        page_size: bytes a page of the kernel (4096, 16384, 65536); by default worked out from evidence.
        assume_zero: take what an ELF core leaves out of its segments for zeros instead of excluded.
        progress: called with (bytes searched, bytes to search) while the image is searched.

    Raises:
        UsageError: an argument makes no sense.
        ImageError: a file cannot be opened or read, or is of no format that khodump reads.
        FdtError: the file given as `fdt` is not an FDT.
        NoHandoverError: there is no KHO handover of a version that khodump reads.
    """
    options = _checked(Options(version, page_size))
    memory = _memory(images, assume_zero=assume_zero)
    try:
        root, notes = _root(memory, fdt, options, progress)
        return _opened(memory, root, options, notes, progress)
    except BaseException:
        memory.close()
        raise


def search(
    images: StrPath | Sequence[StrPath],
    *,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    progress: Progress | None = None,
) -> tuple[PhysicalMemory, list[Candidate]]:
    """The memory of an image, for the caller to close, and the root FDTs in it, the likeliest first.

    Arguments and errors are those of `open_handover`, but finding nothing is no error.
    """
    options = _checked(Options(version, page_size))
    memory = _memory(images, assume_zero=assume_zero)
    try:
        return memory, locate.candidates(memory, options, progress)
    except BaseException:
        memory.close()
        raise


def _memory(images: StrPath | Sequence[StrPath], *, assume_zero: bool) -> PhysicalMemory:
    several = [images] if isinstance(images, str | os.PathLike) else images
    return open_memory(several, assume_zero=assume_zero)


def _checked(options: Options) -> Options:
    if options.page_size is not None and options.page_size not in PAGE_SIZES:
        raise UsageError(
            f"no kernel has pages of {options.page_size} bytes", hint="the page size is 4K, 16K or 64K"
        )
    if options.version is not None and options.version not in READABLE_VERSIONS:
        raise UsageError(
            f"khodump cannot read a handover as {options.version}",
            hint=f"it reads {', '.join(READABLE_VERSIONS)}",
        )
    return options


def _opened(
    memory: PhysicalMemory, root: RootFdt, options: Options, notes: list[str], progress: Progress | None
) -> Handover:
    """The handover of this root FDT; looks for its page when only that can settle the geometry."""
    version, page_size = options
    opened = open_tracker(memory, root.tree, fdt_phys=root.phys, version=version, page_size=page_size)
    if not opened.certain and root.phys is None:
        for phys in locate.find_copies(memory, root.blob, progress):
            again = open_tracker(memory, root.tree, fdt_phys=phys, version=version, page_size=page_size)
            if again.certain:
                opened = again
                break
    if not opened.certain:
        notes.append(f"the page size is {opened.reason}; --page-size forces it")
    if opened.tracker.doubt:
        notes.append(opened.tracker.doubt)
    as_version = version or root.compatible or ""
    return Handover(memory, root, as_version, opened.tracker, opened.reason, tuple(notes))


def _root(
    memory: PhysicalMemory, fdt: StrPath | int | None, options: Options, progress: Progress | None
) -> tuple[RootFdt, list[str]]:
    """The root FDT asked for, and how it was come by where that is not plain."""
    if isinstance(fdt, int):
        return locate.at_address(memory, fdt), []
    if fdt is None:
        return _searched(locate.candidates(memory, options, progress))
    try:
        return locate.from_file(fdt), []
    except FdtTruncatedError as cut:
        return _completed(memory, os.fspath(fdt), cut, options, progress)


def _completed(
    memory: PhysicalMemory, name: str, cut: FdtTruncatedError, options: Options, progress: Progress | None
) -> tuple[RootFdt, list[str]]:
    """The whole of an FDT whose file is cut short, from the image.

    debugfs freezes the length of kho/out/fdt when KHO initialises, so every subtree added later cuts it (seen in
    7.2 and 7.3).
    """
    copies = list(locate.find_copies(memory, locate.read_file(name), progress))
    ranked = sorted(
        (locate.weigh(memory, locate.at_address(memory, phys), options) for phys in copies), key=_rank
    )
    if not ranked or ranked[-1].fdt is None:
        raise NoHandoverError(
            f"{name} is {cut}, and no page of the image begins with its bytes",
            hint="khodump scan IMAGE lists the root FDTs that are there; pass one with --fdt 0xPHYS",
        ) from cut
    return ranked[-1].fdt, [f"{name} is {cut}; using the whole page at {ranked[-1].phys:#x} of the image"]


def _rank(candidate: Candidate) -> tuple[bool, bool, bool, bool, int, int]:
    return candidate.rank


def _searched(found: list[Candidate]) -> tuple[RootFdt, list[str]]:
    """The likeliest of the candidates."""
    if not found:
        raise NoHandoverError(
            "no root FDT in the image: no page begins with an FDT that says kho-v…",
            hint="the kernel may not have used KHO, or its FDT page is not in the dump: pass --fdt FILE if you have it",
        )
    best = found[0]
    if best.fdt is None or best.problem is not None:
        raise NoHandoverError(
            f"the only root FDT in the image, at {best.phys:#x}, is damaged: {best.problem}"
            if len(found) == 1
            else f"all {len(found)} root FDTs in the image are damaged; the one at {best.phys:#x}: {best.problem}",
            hint="khodump scan IMAGE lists them; pass a good copy with --fdt FILE",
        )
    if best.unknown_version:
        raise UnknownVersionError(best.fdt.compatible, best.phys)
    note = f"took the root FDT at {best.phys:#x}: {best.evidence}"
    if len(found) > 1:
        note += f" ({len(found) - 1} more: khodump scan IMAGE lists them, --fdt 0xPHYS takes another)"
    return best.fdt, [note]
