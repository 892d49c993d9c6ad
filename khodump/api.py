"""Opening a handover: the image, the root FDT in it, and where all that is left open is settled by evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

from khodump.abi.kexec_handover import PAGE_SIZES, PROP_FDT, PROP_PRESERVED_DATA
from khodump.advice import FDT, PAGE_SIZE, ROOT, VERSION, Advice
from khodump.errors import FdtError, NoHandoverError, UsageError, near
from khodump.handover import Handover
from khodump.memories import open_memory
from khodump.memories.live import LivePaths, open_live
from khodump.memory import Hole, PhysicalMemory
from khodump.opening import locate
from khodump.opening.boot import BootInfo, Notice, in_devicetree_file
from khodump.opening.candidates import Options, Survey
from khodump.opening.locate import Progress, RootFdt
from khodump.opening.machine import lead, notices, scratch_of
from khodump.opening.mapless import MaplessRoot
from khodump.opening.ram_end import find_ram_end
from khodump.opening.resolve import (
    Resolved,
    RootSource,
    StrPath,
    in_place,
    mapless_root,
    resolve_root,
    search_placed,
)
from khodump.opening.rootless import MapRoot
from khodump.opening.running import Running
from khodump.opening.scratch import Scratch, read_files, read_table
from khodump.trackers import READABLE_VERSIONS, open_tracker
from khodump.trackers.evidence import Choice


class _Request(NamedTuple):
    """A handover that is asked for.

    Attributes:
        running: the kernel in the image, or why there is none to ask; it has the memory.
        source: the root FDT, or what stands for it.
        options: how to read what is found.
        scratch: the scratch regions, where they are given.
        progress: called with (bytes searched, bytes to search).
    """

    running: Running
    source: RootSource
    options: Options
    scratch: Scratch | None
    progress: Progress | None


def open_handover(
    images: StrPath | Sequence[StrPath],
    *,
    fdt: StrPath | int | None = None,
    root: int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    ranges: StrPath | None = None,
    force_placement: bool = False,
    scratch: Sequence[StrPath] = (),
    progress: Progress | None = None,
) -> Handover:
    """Open a KHO handover; also `khodump.open`.

    Args:
        images: the memory image, or the files that make one together; `FILE@BASE` places a raw file at that
            physical address.
        fdt: the root FDT as a file, or its physical address; by default the image is searched for it.
        root: the physical address of the map's first page, where the root FDT is lost: there are no users then.
        version: read the handover as this version (`kho-v4`), whatever its compatible string says.
        page_size: bytes a page of the kernel (4096, 16384, 65536); by default worked out from evidence.
        assume_zero: take what a dump leaves out on purpose for zeros instead of excluded.
        ranges: a file in /proc/iomem's format, for a raw image that holds this memory without its holes.
        force_placement: read all of a raw file, even where only a guess says where it belongs.
        scratch: debugfs' scratch_phys and scratch_len, or the directory that holds them.
        progress: called with (bytes searched, bytes to search) while the image is searched.

    Raises:
        UsageError: an argument makes no sense.
        ImageError: a file cannot be opened or read, or is of no format that khodump reads.
        FdtError: the file given as `fdt` is not an FDT.
        NoHandoverError: there is no KHO handover of a version that khodump reads.
    """
    options = _checked(Options(version, page_size, force_placement=force_placement))
    regions = read_files(scratch) if scratch else None
    memory = _memory(images, assume_zero=assume_zero, ranges=ranges)
    return _strictly(_Request(Running(memory), _source(fdt, root), options, regions, progress))


def open_leniently(
    images: StrPath | Sequence[StrPath],
    *,
    fdt: StrPath | int | None = None,
    root: int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    ranges: StrPath | None = None,
    force_placement: bool = False,
    scratch: Sequence[StrPath] = (),
    progress: Progress | None = None,
) -> Handover | MaplessRoot:
    """As `open_handover`, for whoever looks for damage: versions that nobody knows are read as the newest.

    Returns:
        A `MaplessRoot` where a root FDT is named or found, but leads to no map.

    Raises:
        KhodumpError: as `open_handover`, but for what a `MaplessRoot` stands for.
    """
    options = _checked(Options(version, page_size, tolerant=True, force_placement=force_placement))
    regions = read_files(scratch) if scratch else None
    memory = _memory(images, assume_zero=assume_zero, ranges=ranges)
    return _leniently(_Request(Running(memory), _source(fdt, root), options, regions, progress))


def open_in(
    memory: PhysicalMemory,
    *,
    fdt: StrPath | int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Handover:
    """As `open_handover`, in a memory that somebody else opened; it is closed with the handover, or on an error."""
    return _strictly(_Request(Running(memory), fdt, Options(version, page_size), scratch, progress))


def open_leniently_in(
    memory: PhysicalMemory,
    *,
    fdt: StrPath | int | None = None,
    version: str | None = None,
    page_size: int | None = None,
    scratch: Scratch | None = None,
    progress: Progress | None = None,
) -> Handover | MaplessRoot:
    """As `open_leniently`, in a memory that somebody else opened; it is closed with the handover, or on an error."""
    options = Options(version, page_size, tolerant=True)
    return _leniently(_Request(Running(memory), fdt, options, scratch, progress))


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
    options = Options(version, page_size or os.sysconf("SC_PAGESIZE"))
    opened = _live(options, paths or LivePaths(), progress, incoming=incoming, opener=_strictly)
    return _by_machine(opened, page_size, incoming=incoming)


def open_live_leniently(
    *,
    incoming: bool = False,
    version: str | None = None,
    page_size: int | None = None,
    paths: LivePaths | None = None,
    progress: Progress | None = None,
) -> Handover | MaplessRoot:
    """As `open_live_handover`, as leniently as `open_leniently`."""
    options = Options(version, page_size or os.sysconf("SC_PAGESIZE"), tolerant=True)
    opened = _live(options, paths or LivePaths(), progress, incoming=incoming, opener=_leniently)
    return _by_machine(opened, page_size, incoming=incoming) if isinstance(opened, Handover) else opened


def _by_machine(handover: Handover, page_size: int | None, *, incoming: bool) -> Handover:
    """The handover of this machine, whose page size its kernel told, unless it was forced."""
    reason = "the running kernel" if page_size is None else handover.geometry_reason
    return replace(handover, is_received=incoming, geometry_reason=reason)


_Opened = TypeVar("_Opened", bound=Handover | MaplessRoot)
_Opener = Callable[[_Request], _Opened]


def _live(
    options: Options,
    paths: LivePaths,
    progress: Progress | None,
    *,
    incoming: bool,
    opener: _Opener[_Opened],
) -> _Opened:
    """The handover of this machine, by what leads to it."""
    _checked(options)
    memory = open_live(paths)
    with memory.closed_on_error():
        running = Running(memory, paths.kallsyms)
        this_machine = lead(running, paths, incoming=incoming)
        scratch = scratch_of(running, paths)
    opened = opener(_Request(running, this_machine.fdt, options, scratch, progress))
    if not isinstance(opened, Handover):
        return opened
    return replace(opened, notes=(*opened.notes, *this_machine.notes))


def search(
    images: StrPath | Sequence[StrPath],
    *,
    version: str | None = None,
    page_size: int | None = None,
    assume_zero: bool = False,
    ranges: StrPath | None = None,
    force_placement: bool = False,
    devicetree: StrPath | None = None,
    deep: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """What a search of an image finds; its memory is for the caller to close.

    The arguments are those of `open_handover`, but for `devicetree`, a machine's device tree whose /chosen is read as
    well, and `deep`, which looks for boot_params at every address. Finding nothing is no error.
    """
    options = _checked(Options(version, page_size, force_placement=force_placement))
    announced = _in_devicetree(devicetree)
    memory = _memory(images, assume_zero=assume_zero, ranges=ranges)
    return _searched(Running(memory), options, announced, progress, deep=deep)


def search_live(
    *,
    version: str | None = None,
    page_size: int | None = None,
    devicetree: StrPath | None = None,
    deep: bool = False,
    paths: LivePaths | None = None,
    progress: Progress | None = None,
) -> Survey:
    """As `search`, in the memory of the machine this runs on, with what the boot protocol left in /sys."""
    options = _checked(Options(version, page_size or os.sysconf("SC_PAGESIZE")))
    paths = paths or LivePaths()
    announced = [*_in_devicetree(devicetree), *notices(paths)]
    return _searched(Running(open_live(paths), paths.kallsyms), options, announced, progress, deep=deep)


def _in_devicetree(file: StrPath | None) -> list[Notice]:
    """What a machine's device tree tells, if one was named."""
    notice = None if file is None else in_devicetree_file(file)
    return [] if notice is None else [notice]


def _searched(
    running: Running, options: Options, announced: Sequence[Notice], progress: Progress | None, *, deep: bool
) -> Survey:
    """What a search finds, with what is announced elsewhere, and what the kernel in the memory was told."""
    with running.memory.closed_on_error():
        survey = search_placed(running.memory, options, progress, deep=deep)
        elsewhere = BootInfo((*announced, *running.boot.notices))
    return survey._replace(boot=BootInfo.joined([elsewhere, survey.boot]))


def _source(fdt: StrPath | int | None, root: int | None) -> RootSource:
    if root is None:
        return fdt
    if fdt is not None:
        raise UsageError(
            "both a root FDT and the root of a map are named",
            hint=Advice.of(
                FDT, " names the root FDT, which leads to the map; ", ROOT, " is for where that is lost"
            ),
        )
    return MapRoot(root)


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
            hint=f"{near(options.version, READABLE_VERSIONS)}it reads {', '.join(READABLE_VERSIONS)}",
        )
    return options


def _strictly(request: _Request) -> Handover:
    """The handover that is asked for; its memory is closed on an error."""
    with request.running.memory.closed_on_error():
        return _open(request)


def _leniently(request: _Request) -> Handover | MaplessRoot:
    """As `_strictly`; where there is no handover, the root FDT that should have led to one."""
    memory = request.running.memory
    with memory.closed_on_error():
        try:
            return _open(request)
        except (NoHandoverError, FdtError) as error:
            return mapless_root(memory, request.source, error, request.options, request.progress)


def _open(request: _Request) -> Handover:
    """From the request to the root FDT, in a memory that is at its place, and to the reading of its map."""
    options = _checked(request.options)
    found = resolve_root(request.running, request.source, options, request.progress)
    resolved = in_place(found, options, request.progress)
    memory, root = resolved.memory, resolved.fdt
    notes = list(resolved.notes)
    running = request.running if memory is request.running.memory else Running(memory)
    scratch = request.scratch
    if scratch is None:
        scratch = running.scratch or _announced_scratch(resolved)
    lack = running.lacks_scratch
    if scratch is None and lack is not None:
        is_told = any(lack in str(note) for note in notes)
        why = "the kernel in the image cannot be asked for them" if is_told else lack
        notes.append(f"the scratch regions are not known: {why}")
    memory.ram_end = find_ram_end(memory, resolved.boot.ram, _named(root, scratch))
    choice = resolved.choice or _choose(memory, root, options, request.progress)
    if not choice.certain:
        reading = f"how to read the map is {choice.reason}; "
        notes.append(Advice.of(reading, PAGE_SIZE, " and ", VERSION, " force a reading"))
    notes += [doubt for doubt in (choice.contradicts, choice.tracker.doubt) if doubt]
    return Handover(
        memory,
        root,
        options.version_of(root) or root.compatible or "",
        choice.tracker,
        choice.reason,
        is_guess=not choice.certain,
        scratch=scratch,
        notes=(*memory.warnings, *notes),
        candidates=resolved.candidates,
        running=running,
    )


def _choose(memory: PhysicalMemory, root: RootFdt, options: Options, progress: Progress | None) -> Choice:
    """How to read the map; looks for the root FDT's page when only that can settle it."""
    read_as = partial(
        open_tracker, memory, root.tree, version=options.version_of(root), page_size=options.page_size
    )
    choice = read_as(fdt_phys=root.phys)
    if choice.certain or root.phys is not None or root.is_lost:
        return choice
    for phys in locate.find_copies(memory, root.blob, progress):
        with_page = read_as(fdt_phys=phys)
        if with_page.certain or with_page.tracker.holds(phys, 0):
            return with_page
    return choice


def _named(root: RootFdt, scratch: Scratch | None) -> Iterator[int]:
    """The physical addresses that the root FDT and the boot protocol name, as far as they are known."""
    yield from (region.addr + region.size for region in scratch or ())
    nodes = (node.u64(prop) for node in root.tree.children for prop in (PROP_PRESERVED_DATA, PROP_FDT))
    named = (root.phys, *nodes)
    yield from (address for address in named if address is not None)


def _announced_scratch(resolved: Resolved) -> Scratch | None:
    """The scratch table that the boot protocol names, that told with this very FDT first; None without one."""
    notices = sorted(resolved.boot.notices, key=lambda notice: notice.fdt != resolved.fdt.phys)
    tables = (read_table(resolved.memory, notice.scratch_addr, notice.scratch_size) for notice in notices)
    return next((table for table in tables if table and not isinstance(table, Hole)), None)
