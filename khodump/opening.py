"""Opening a handover: the image, the root FDT in it, and where all that is left open is settled by evidence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from khodump import locate
from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.boot import Notice, in_devicetree_file
from khodump.candidates import Candidate, Options, Survey, survey, weigh
from khodump.errors import FdtTruncatedError, NoHandoverError, UnknownVersionError, UsageError
from khodump.handover import Handover
from khodump.locate import Progress, RootFdt
from khodump.memories import open_memory
from khodump.memories.live import LivePaths, open_live
from khodump.memory import Hole, PhysicalMemory
from khodump.relocate import find_base
from khodump.scratch import Scratch, read_files, read_table
from khodump.trackers import READABLE_VERSIONS, open_tracker

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Found:
    """What is known of a handover before its map is opened.

    Attributes:
        memory: the image, at its place.
        fdt: the root FDT.
        notices: what the boot protocol told, as far as the image was searched.
        notes: what was chosen, and why.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    notices: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()


def open_handover(
    images: StrPath | Sequence[StrPath],
    *,
    fdt: StrPath | int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    ranges: StrPath | None = None,
    scratch: Sequence[StrPath] = (),
    progress: Progress | None = None,
) -> Handover:
    """Open a KHO handover; also `khodump.open`.

    Args:
        images: the memory image, or the files that make one together; `FILE@BASE` places a raw file at that
            physical address.
        fdt: the root FDT as a file, or its physical address; by default the image is searched for it.
        version: read the handover as this version (`kho-v4`), whatever its compatible string says.
        page_size: bytes a page of the kernel (4096, 16384, 65536); by default worked out from evidence.
        assume_zero: take what a dump leaves out on purpose for zeros instead of excluded.
        ranges: a file in /proc/iomem's format, for a raw image that holds these ranges without their holes.
        scratch: debugfs' scratch_phys and scratch_len, or the directory that holds them.
        progress: called with (bytes searched, bytes to search) while the image is searched.

    Raises:
        UsageError: an argument makes no sense.
        ImageError: a file cannot be opened or read, or is of no format that khodump reads.
        FdtError: the file given as `fdt` is not an FDT.
        NoHandoverError: there is no KHO handover of a version that khodump reads.
    """
    options = _checked(Options(version, page_size))
    told = read_files(scratch) if scratch else None
    memory = _memory(images, assume_zero=assume_zero, ranges=ranges)
    return _handover(memory, fdt, options, told, progress)


def open_live_handover(
    *,
    incoming: bool = False,
    version: str | None = None,
    page_size: int | None = None,
    paths: LivePaths | None = None,
    progress: Progress | None = None,
) -> Handover:
    """Open the handover of the machine this runs on, from its memory and debugfs.

    Args:
        incoming: the one this kernel received, instead of the one it prepares.
        version: as for `open_handover`.
        page_size: as for `open_handover`; by default the running kernel's.
        paths: where the kernel shows these things.
        progress: as for `open_handover`.

    Raises:
        ImageError: the memory or debugfs cannot be read; the hint says what may be missing.
        NoHandoverError: there is no KHO handover of a version that khodump reads.
    """
    paths = paths or LivePaths()
    options = _checked(Options(version, page_size or os.sysconf("SC_PAGESIZE")))
    fdt = paths.fdt(incoming=incoming)
    return _handover(open_live(paths), fdt, options, None, progress)


def search(
    images: StrPath | Sequence[StrPath],
    *,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    ranges: StrPath | None = None,
    devicetree: StrPath | None = None,
    deep: bool = False,
    progress: Progress | None = None,
) -> tuple[PhysicalMemory, Survey, tuple[str, ...]]:
    """The memory of an image, for the caller to close, what a search of it found, and notes on that.

    The arguments are those of `open_handover`, but for `devicetree`, a machine's device tree whose /chosen is read as
    well, and `deep`, which looks for boot_params at every address. Finding nothing is no error.
    """
    options = _checked(Options(version, page_size))
    told = in_devicetree_file(devicetree) if devicetree else None
    memory = _memory(images, assume_zero=assume_zero, ranges=ranges)
    try:
        memory, found, notes = _search(memory, options, progress, deep=deep)
    except BaseException:
        memory.close()
        raise
    return memory, found._replace(notices=[*([told] if told else []), *found.notices]), notes


def _memory(
    images: StrPath | Sequence[StrPath], *, assume_zero: bool, ranges: StrPath | None
) -> PhysicalMemory:
    several = [images] if isinstance(images, str | os.PathLike) else images
    return open_memory(several, assume_zero=assume_zero, ranges=ranges)


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


def _handover(
    memory: PhysicalMemory,
    fdt: StrPath | int | None,
    options: Options,
    scratch: Scratch | None,
    progress: Progress | None,
) -> Handover:
    try:
        found = _placed(_root(memory, fdt, options, progress), options, progress)
        return _opened(found, options, scratch, progress)
    except BaseException:
        memory.close()
        raise


def _opened(found: Found, options: Options, scratch: Scratch | None, progress: Progress | None) -> Handover:
    """The handover of this root FDT; looks for its page when only that can settle the geometry."""
    memory, root, notes = found.memory, found.fdt, list(found.notes)
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
    return Handover(
        memory,
        root,
        version or root.compatible or "",
        opened.tracker,
        opened.reason,
        scratch if scratch is not None else _told_scratch(found),
        (*memory.warnings, *notes),
    )


def _told_scratch(found: Found) -> Scratch | None:
    """The scratch table that the boot protocol names, that told with this very FDT first; None without one."""
    notices = sorted(found.notices, key=lambda notice: notice.fdt != found.fdt.phys)
    tables = (read_table(found.memory, notice.scratch_addr, notice.scratch_size) for notice in notices)
    return next((table for table in tables if table and not isinstance(table, Hole)), None)


def _root(
    memory: PhysicalMemory, fdt: StrPath | int | None, options: Options, progress: Progress | None
) -> Found:
    """The root FDT asked for, and how it was come by where that is not plain."""
    if isinstance(fdt, int):
        return _at(memory, fdt, options, progress)
    if fdt is None:
        moved, found, notes = _search(memory, options, progress)
        root, note = _best(found.candidates)
        return Found(moved, root, tuple(found.notices), (*notes, note))
    try:
        return Found(memory, locate.from_file(fdt))
    except FdtTruncatedError as cut:
        return _completed(memory, os.fspath(fdt), cut, options, progress)


def _at(memory: PhysicalMemory, phys: int, options: Options, progress: Progress | None) -> Found:
    """The root FDT at an address, which may count on the image being put in its place first."""
    try:
        return Found(memory, locate.at_address(memory, phys))
    except NoHandoverError:
        if memory.rebased(0) is None:
            raise
        moved, found, notes = _search(memory, options, progress)
        return Found(moved, locate.at_address(moved, phys), tuple(found.notices), notes)


def _completed(
    memory: PhysicalMemory, name: str, cut: FdtTruncatedError, options: Options, progress: Progress | None
) -> Found:
    """The whole of an FDT whose file is cut short, from the image.

    debugfs freezes the length of kho/out/fdt when KHO initialises, so every subtree added later cuts it (seen in
    7.2 and 7.3).
    """
    copies = list(locate.find_copies(memory, locate.read_file(name), progress))
    ranked = sorted(
        (weigh(memory, locate.at_address(memory, phys), options) for phys in copies),
        key=lambda candidate: candidate.rank,
    )
    if not ranked or ranked[-1].fdt is None:
        raise NoHandoverError(
            f"{name} is {cut}, and no page of the image begins with its bytes",
            hint="khodump scan IMAGE lists the root FDTs that are there; pass one with --fdt 0xPHYS",
        ) from cut
    note = f"{name} is {cut}; using the whole page at {ranked[-1].phys:#x} of the image"
    return Found(memory, ranked[-1].fdt, notes=(note,))


def _search(
    memory: PhysicalMemory, options: Options, progress: Progress | None, *, deep: bool = False
) -> tuple[PhysicalMemory, Survey, tuple[str, ...]]:
    """What the image holds, with the image at its place where that can be told."""
    found = survey(memory, options, progress, deep=deep)
    if memory.rebased(0) is None or any(candidate.own_page_preserved for candidate in found.candidates):
        return memory, found, ()
    for candidate in found.candidates:
        base = find_base(memory, candidate.fdt.tree, candidate.phys, options) if candidate.fdt else None
        moved = memory.rebased(base) if base else None
        if base and moved:
            return moved, survey(moved, options, progress, deep=deep), (_placement(base),)
    return memory, found, ()


def _placed(found: Found, options: Options, progress: Progress | None) -> Found:
    """With the image at its place, where that is not yet known and can be told."""
    memory, root = found.memory, found.fdt
    if memory.rebased(0) is None:
        return found
    opened = open_tracker(
        memory, root.tree, fdt_phys=root.phys, version=options.version, page_size=options.page_size
    )
    if opened.tracker.sound():
        return found
    offsets = locate.find_copies(memory, root.blob, progress) if root.phys is None else iter([root.phys])
    for offset in offsets:
        base = find_base(memory, root.tree, offset, options)
        moved = memory.rebased(base) if base else None
        if base and moved:
            fdt = replace(root, phys=offset + base)
            return replace(found, memory=moved, fdt=fdt, notes=(*found.notes, _placement(base)))
    return found


def _placement(base: int) -> str:
    return f"the image does not begin at physical 0: with base {base:#x} its FDT is in its own map; FILE@BASE forces it"


def _best(found: list[Candidate]) -> tuple[RootFdt, str]:
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
    return best.fdt, note
