"""From what was asked for to a root FDT, in a memory that is at its place."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX
from khodump.advice import FDT, SCAN, Advice, Sentence
from khodump.errors import FdtError, FdtTruncatedError, KhodumpError, NoHandoverError, UnknownVersionError
from khodump.fdt import read_fdt, total_size
from khodump.kernel import Reason, WhyNot
from khodump.layouts import RamMap
from khodump.memory import Hole, PhysicalMemory
from khodump.opening import locate
from khodump.opening.boot import Notice
from khodump.opening.broken import Broken
from khodump.opening.candidates import Candidate, Options, Survey, survey, weigh
from khodump.opening.cut_short import begins_with, in_own_map
from khodump.opening.locate import Progress, RootFdt
from khodump.opening.placing import notes_of, place
from khodump.opening.reading import Sighting, read_by
from khodump.opening.rootless import MapRoot, root_fdt_for
from khodump.opening.running import Running
from khodump.opening.searched import nothing_found
from khodump.placement import Basis, Placement
from khodump.trackers import map_root

StrPath = str | os.PathLike[str]
#: A root FDT as a file or its physical address; or the map alone, where that is lost; None for a search.
RootSource = StrPath | int | MapRoot | None


@dataclass(frozen=True)
class Found:
    """What is known of a handover before its map is opened.

    Attributes:
        memory: the image, at its place.
        fdt: the root FDT.
        notices: what the boot protocol told, as far as the image was searched.
        notes: what was chosen, and why.
        candidates: all root FDTs of the image; None where it was not searched.
        ram: what is written in the image of some machine's RAM, as far as it was searched.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    notices: tuple[Notice, ...] = ()
    notes: tuple[Sentence, ...] = ()
    candidates: tuple[Candidate, ...] | None = None
    ram: tuple[RamMap, ...] = ()

    @classmethod
    def searched(
        cls, memory: PhysicalMemory, fdt: RootFdt, survey: Survey, notes: tuple[Sentence, ...]
    ) -> Found:
        """With all that a search of the image found."""
        return cls(memory, fdt, tuple(survey.notices), notes, tuple(survey.candidates), survey.ram)


def resolve_root(running: Running, fdt: RootSource, options: Options, progress: Progress | None) -> Found:
    """The root FDT asked for, and how it was come by where that is not plain.

    The kernel that runs in the image is asked where nothing was named; the image is searched where it does not tell.
    """
    memory = running.memory
    if isinstance(fdt, MapRoot):
        root, note = root_fdt_for(memory, fdt, options)
        return Found(memory, root, notes=(note,))
    if isinstance(fdt, int):
        return _at(memory, fdt, options, progress)
    if fdt is None:
        told = _told(running, options)
        if isinstance(told, Found):
            return told
        moved, found, notes = search_placed(memory, options, progress)
        root, note = _best(found, tolerant=options.tolerant)
        return Found.searched(moved, root, found, (*told, *notes, note))
    try:
        return Found(memory, locate.from_file(fdt))
    except FdtTruncatedError as cut:
        return _completed(memory, os.fspath(fdt), cut, options, progress)


def _told(running: Running, options: Options) -> Found | tuple[Sentence, ...]:
    """The root FDT that the running kernel's own variable leads to; else notes that say why the image is searched.

    The FDT's own page in its own map decides here as everywhere.
    """
    told = running.outgoing
    if isinstance(told, WhyNot):
        is_silent = (
            told.reason is Reason.NO_VMCOREINFO
        )  # raw memory, and what `slim` writes without the kernel
        return () if is_silent else (f"searching the image: {told.message}",)
    if not told.phys:
        return (f"searching the image: {told.variable} is 0, so this kernel prepares no handover",)
    candidates = running.candidates(options)
    best = next((candidate for candidate in candidates if candidate.phys == told.phys), None)
    where = f"{told.variable} leads to {told.phys:#x}"
    if best is None or best.fdt is None:
        return (f"searching the image: {where}, and there is no root FDT of KHO",)
    if best.problem is not None or best.own_page_preserved is not True or best.unknown_version:
        return (f"searching the image: {where}, but {best.evidence}",)
    root = replace(best.fdt, source=f"the kernel's {told.variable}")
    note = f"took the root FDT at {told.phys:#x}, where the kernel's {told.variable} leads: {best.evidence}"
    return Found(running.memory, root, running.notices, (note,), candidates, running.ram)


def broken_root(
    memory: PhysicalMemory,
    fdt: RootSource,
    error: KhodumpError,
    options: Options,
    progress: Progress | None,
) -> Broken:
    """The root FDT that was asked for, or that the image leads to, when opening a handover ended in `error`.

    Raises:
        KhodumpError: the same error, where there is no such thing either.
    """
    if isinstance(fdt, MapRoot):
        raise error
    phys, blob = _suspect(memory, fdt, options, progress)
    if isinstance(blob, Hole) or (phys is None and total_size(blob) is None):
        raise error
    try:
        tree, oddities = read_fdt(blob)
    except FdtError as damage:
        return Broken(memory, phys, blob, None, damage)
    source = "named" if fdt is not None else "found by searching the image"
    root = RootFdt(tree, blob, phys, source, oddities=oddities)
    if phys is None and not (root.compatible or "").startswith(COMPATIBLE_PREFIX):
        raise error  # some other device tree's file
    return Broken(memory, phys, blob, root, error)


def _suspect(
    memory: PhysicalMemory, fdt: StrPath | int | None, options: Options, progress: Progress | None
) -> tuple[int | None, bytes | Hole]:
    """Address and bytes of what should be the root FDT: named, else damaged, else told by the boot protocol."""
    if isinstance(fdt, int):
        return fdt, locate.read_blob(memory, fdt)
    if fdt is not None:
        return None, locate.read_file(fdt)
    found = survey(memory, options, progress)
    places = [*(candidate.phys for candidate in found.candidates), *(notice.fdt for notice in found.notices)]
    return (places[0], locate.read_blob(memory, places[0])) if places else (None, b"")


def _at(memory: PhysicalMemory, phys: int, options: Options, progress: Progress | None) -> Found:
    """The root FDT at an address. In a raw file that is not placed yet, finding it there tells where that part belongs."""
    if memory.is_placed:
        return Found(memory, locate.at_address(memory, phys))
    for layout in memory.layouts:
        try:
            root = locate.at_address(memory.placed(Placement(layout, Basis.GUESSED)), phys)
        except NoHandoverError:
            continue
        sighting = Sighting(root, phys - (layout.delta_at(phys) or 0), phys)
        moved = place(memory, [sighting], options, progress).memory
        notes = () if moved.placement is None else tuple(notes_of(moved.placement))
        return Found(moved, root, notes=notes)
    moved, found, notes = search_placed(memory, options, progress)
    return Found.searched(moved, locate.at_address(moved, phys), found, notes)


def _completed(
    memory: PhysicalMemory, name: str, cut: FdtTruncatedError, options: Options, progress: Progress | None
) -> Found:
    """The whole of an FDT whose file is cut short: from its own map, else by a search of the image."""
    data = locate.read_file(name)
    kept = in_own_map(memory, data, options)
    if kept and kept[0].fdt is not None:
        whole = kept[0].fdt
        more = sum(each.fdt is not None and each.fdt.blob != whole.blob for each in kept)
        note = f"{name} is {cut}; using the whole page at {kept[0].phys:#x}, of the map that it leads to"
        if not begins_with(kept[0], data):
            note += "; the page has changed since the file was read"
        if more:
            note += f" ({more} other root FDTs of the same map lie in it: khodump scan lists them)"
        return Found(memory, replace(whole, cut=len(data)), notes=(note,))
    copies = locate.find_copies(memory, data, progress)
    weighed = [weigh(memory, locate.at_address(memory, phys), options) for phys in copies]
    for candidate in sorted(weighed, key=lambda candidate: candidate.rank, reverse=True)[:1]:
        if candidate.fdt is not None:
            note = f"{name} is {cut}; using the whole page at {candidate.phys:#x} of the image"
            return Found(memory, replace(candidate.fdt, cut=len(data)), notes=(note,))
    moved, found, notes = search_placed(memory, options, progress)
    for candidate in found.candidates:
        root = map_root(candidate.fdt.tree, options.version) if candidate.fdt else None
        if candidate.fdt is not None and root and root.to_bytes(8, "little") in data:
            note = f"{name} is {cut}, and older than the image; using the FDT at {candidate.phys:#x}, of the same map"
            return Found.searched(moved, replace(candidate.fdt, cut=len(data)), found, (*notes, note))
    raise NoHandoverError(
        f"{name} is {cut}, and no page of the image begins with its bytes or leads to its map; {found.searched}",
        hint=Advice.of(SCAN, " lists the root FDTs that are there; pass the address of one with ", FDT),
    ) from cut


def search_placed(
    memory: PhysicalMemory, options: Options, progress: Progress | None, *, deep: bool = False
) -> tuple[PhysicalMemory, Survey, tuple[Sentence, ...]]:
    """What the image holds, with a raw file at its place, and notes on that."""
    found = survey(memory, options, progress, deep=deep)
    if memory.is_placed:
        return memory, found, ()
    sightings = [
        Sighting(candidate.fdt, candidate.phys) for candidate in found.candidates if candidate.fdt is not None
    ]
    moved = place(memory, sightings, options, progress).memory
    placement = moved.placement
    if placement is None:
        return moved, found, ()
    if not placement.is_plain:
        everything = memory.placed(replace(placement, certain=None))
        found = survey(everything, options, progress, deep=deep)
    return moved, found, tuple(notes_of(placement))


def placed(found: Found, options: Options, progress: Progress | None) -> Found:
    """With the image at its place, where that is not yet known: the root FDT was given as a file, whole or in part."""
    memory, root = found.memory, found.fdt
    if memory.is_placed:
        return found
    sightings = [Sighting(root, root.phys)]
    reading = read_by(memory, memory.layouts[0], sightings[0], options)
    if root.phys is None and not root.is_lost and (reading is None or not reading.is_sound):
        copies = locate.find_copies(memory, root.blob, progress)
        sightings = [Sighting(root, offset) for offset in copies] or sightings
    moved, fdt_phys = place(memory, sightings, options, progress)
    notes = () if moved.placement is None else tuple(notes_of(moved.placement))
    root = replace(root, phys=fdt_phys)
    return replace(found, memory=moved, fdt=root, notes=(*found.notes, *notes), candidates=None)


def _best(survey: Survey, *, tolerant: bool) -> tuple[RootFdt, Sentence]:
    """The likeliest of the candidates."""
    found = survey.candidates
    if not found:
        raise nothing_found(survey.searched)
    best = found[0]
    if best.fdt is None or best.problem is not None:
        unsearched = f"; {survey.searched}" if survey.searched.lacks else ""
        raise NoHandoverError(
            f"the only root FDT in the image, at {best.phys:#x}, is damaged: {best.problem}{unsearched}"
            if len(found) == 1
            else f"all {len(found)} root FDTs in the image are damaged; "
            f"the one at {best.phys:#x}: {best.problem}{unsearched}",
            hint=Advice.of(SCAN, " lists them; pass a good copy with ", FDT.taking("FILE")),
        )
    if best.unknown_version and not tolerant:
        raise UnknownVersionError(best.fdt.compatible, best.phys)
    note = f"took the root FDT at {best.phys:#x}: {best.evidence}"
    if len(found) == 1:
        return best.fdt, note
    note += f" ({len(found) - 1} more: khodump scan lists them, and "
    return best.fdt, Advice.of(note, FDT, " takes another by its address)")
