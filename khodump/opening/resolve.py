"""From what was asked for to a root FDT, in a memory that is at its place."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX
from khodump.advice import FDT, SCAN, Advice, Sentence
from khodump.errors import FdtError, FdtTruncatedError, KhodumpError, NoHandoverError, UnknownVersionError
from khodump.fdt import read_fdt, total_size
from khodump.kernel import Reason, WhyNot
from khodump.memory import Hole, PhysicalMemory
from khodump.opening import locate
from khodump.opening.boot import NOTHING_TOLD, BootInfo
from khodump.opening.candidates import Candidate, Options, Survey, survey, weigh
from khodump.opening.cut_short import begins_with, in_own_map
from khodump.opening.locate import Progress, RootFdt
from khodump.opening.mapless import MaplessRoot
from khodump.opening.placing import notes_of, place
from khodump.opening.reading import Sighting, read_by
from khodump.opening.rootless import MapRoot, root_fdt_for
from khodump.opening.running import Running
from khodump.opening.searched import nothing_found
from khodump.placement import Basis, Placement
from khodump.trackers import map_root
from khodump.trackers.evidence import Choice

StrPath = str | os.PathLike[str]
#: A root FDT as a file or its physical address; or the map alone, where that is lost; None for a search.
RootSource = StrPath | int | MapRoot | None


@dataclass(frozen=True)
class Resolved:
    """The root FDT that was asked for, before its map is opened.

    Attributes:
        memory: the image, at its place.
        fdt: the root FDT.
        choice: how its map is read, where that is settled already.
        boot: what the boot protocol told, as far as the image was searched.
        notes: what was chosen, and why.
        candidates: all root FDTs of the image; None where it was not searched.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    choice: Choice | None = None
    boot: BootInfo = NOTHING_TOLD
    notes: tuple[Sentence, ...] = ()
    candidates: tuple[Candidate, ...] | None = None

    @classmethod
    def searched(cls, survey: Survey, fdt: RootFdt, note: Sentence | None = None) -> Resolved:
        """One that was chosen with all that a search of the image found."""
        notes = survey.notes if note is None else (*survey.notes, note)
        return cls(survey.memory, fdt, boot=survey.boot, notes=notes, candidates=survey.candidates)


def resolve_root(running: Running, fdt: RootSource, options: Options, progress: Progress | None) -> Resolved:
    """The root FDT asked for, and how it was come by where that is not plain.

    The kernel that runs in the image is asked where nothing was named; the image is searched where it does not tell.

    Raises:
        KhodumpError: there is none.
    """
    memory = running.memory
    if isinstance(fdt, MapRoot):
        stand_in = root_fdt_for(memory, fdt, options)
        return Resolved(memory, stand_in.fdt, stand_in.choice, notes=(stand_in.note,))
    if isinstance(fdt, int):
        return _at_address(memory, fdt, options, progress)
    if fdt is None:
        return _searched(running, options, progress)
    try:
        return Resolved(memory, locate.from_file(fdt))
    except FdtTruncatedError as cut:
        return _completed(memory, os.fspath(fdt), cut, options, progress)


def _searched(running: Running, options: Options, progress: Progress | None) -> Resolved:
    """The root FDT that the running kernel's own variable leads to; else the likeliest that a search finds."""
    prepared = _by_kernel(running, options)
    if isinstance(prepared, Resolved):
        return prepared
    survey = search_placed(running.memory, options, progress)
    best, root = _best(survey, tolerant=options.tolerant)
    resolved = Resolved.searched(survey, root, _why(best, len(survey.candidates) - 1))
    # What was weighed in another memory says nothing of this one.
    choice = best.settled if survey.memory is running.memory else None
    return replace(resolved, choice=choice, notes=(*prepared, *resolved.notes))


def _by_kernel(running: Running, options: Options) -> Resolved | tuple[Sentence, ...]:
    """The root FDT that the running kernel's own variable leads to; else notes that say why the image is searched.

    The FDT's own page in its own map decides here as everywhere.
    """
    outgoing = running.outgoing
    if isinstance(outgoing, WhyNot):
        # Raw memory, and what `slim` writes without the kernel, need no such note.
        is_silent = outgoing.reason is Reason.NO_VMCOREINFO
        return () if is_silent else (f"searching the image: {outgoing.message}",)
    if not outgoing.phys:
        return (f"searching the image: {outgoing.variable} is 0, so this kernel prepares no handover",)
    candidates = running.candidates(options)
    best = next((candidate for candidate in candidates if candidate.phys == outgoing.phys), None)
    where = f"{outgoing.variable} leads to {outgoing.phys:#x}"
    if best is None or best.fdt is None:
        return (f"searching the image: {where}, and there is no root FDT of KHO",)
    if best.problem is not None or best.settled is None:
        return (f"searching the image: {where}, but {best.evidence}",)
    root = replace(best.fdt, source=f"the kernel's {outgoing.variable}")
    note = f"took the root FDT at {outgoing.phys:#x}, where the kernel's {outgoing.variable} leads: {best.evidence}"
    return Resolved(running.memory, root, best.settled, running.boot, (note,), candidates)


def mapless_root(
    memory: PhysicalMemory,
    source: RootSource,
    error: KhodumpError,
    options: Options,
    progress: Progress | None,
) -> MaplessRoot:
    """The root FDT that was asked for, or that the image leads to, when opening a handover ended in `error`.

    Raises:
        KhodumpError: the same error, where there is no such thing either.
    """
    if isinstance(source, MapRoot):
        raise error
    phys, blob = _named_or_found(memory, source, options, progress)
    if isinstance(blob, Hole) or (phys is None and total_size(blob) is None):
        raise error
    try:
        tree, oddities = read_fdt(blob)
    except FdtError as damage:
        return MaplessRoot(memory, phys, blob, None, damage)
    origin = "named" if source is not None else "found by searching the image"
    root = RootFdt(tree, blob, phys, origin, oddities=oddities)
    if phys is None and not (root.compatible or "").startswith(COMPATIBLE_PREFIX):
        raise error  # some other device tree's file
    return MaplessRoot(memory, phys, blob, root, error)


def _named_or_found(
    memory: PhysicalMemory, source: StrPath | int | None, options: Options, progress: Progress | None
) -> tuple[int | None, bytes | Hole]:
    """Address and bytes of what should be the root FDT: named, else damaged, else told by the boot protocol."""
    if isinstance(source, int):
        return source, locate.read_blob(memory, source)
    if source is not None:
        return None, locate.read_file(source)
    whole = survey(memory, options, progress)
    places = [candidate.phys for candidate in whole.candidates]
    places += [notice.fdt for notice in whole.boot.notices]
    return (places[0], locate.read_blob(memory, places[0])) if places else (None, b"")


def _at_address(memory: PhysicalMemory, phys: int, options: Options, progress: Progress | None) -> Resolved:
    """The root FDT at an address. In a raw file that is not placed yet, finding it there tells where that part belongs."""
    if memory.is_placed:
        return Resolved(memory, locate.at_address(memory, phys))
    for layout in memory.layouts:
        try:
            root = locate.at_address(memory.placed(Placement(layout, Basis.GUESSED)), phys)
        except NoHandoverError:
            continue
        sighting = Sighting(root, phys - (layout.delta_at(phys) or 0), phys)
        moved = place(memory, [sighting], options, progress).memory
        return Resolved(moved, root, notes=_notes_on(moved))
    survey = search_placed(memory, options, progress)
    return Resolved.searched(survey, locate.at_address(survey.memory, phys))


def _completed(
    memory: PhysicalMemory, name: str, cut: FdtTruncatedError, options: Options, progress: Progress | None
) -> Resolved:
    """The whole of an FDT whose file is cut short: from its own map, else by a search of the image."""
    data = locate.read_file(name)
    preserved = in_own_map(memory, data, options)
    if preserved and preserved[0].fdt is not None:
        best, whole = preserved[0], preserved[0].fdt
        more = sum(each.fdt is not None and each.fdt.blob != whole.blob for each in preserved)
        note = f"{name} is {cut}; using the whole page at {best.phys:#x}, of the map that it leads to"
        if not begins_with(best, data):
            note += "; the page has changed since the file was read"
        if more:
            note += f" ({more} other root FDTs of the same map lie in it: khodump scan lists them)"
        return Resolved(memory, replace(whole, cut=len(data)), notes=(note,))
    copies = locate.find_copies(memory, data, progress)
    weighed = [weigh(memory, locate.at_address(memory, phys), options) for phys in copies]
    copy = max(weighed, key=lambda candidate: candidate.rank, default=None)
    if copy is not None and copy.fdt is not None:
        note = f"{name} is {cut}; using the whole page at {copy.phys:#x} of the image"
        return Resolved(memory, replace(copy.fdt, cut=len(data)), copy.settled, notes=(note,))
    survey = search_placed(memory, options, progress)
    for candidate in survey.candidates:
        root = map_root(candidate.fdt.tree, options.version) if candidate.fdt else None
        if candidate.fdt is not None and root and root.to_bytes(8, "little") in data:
            note = f"{name} is {cut}, and older than the image; using the FDT at {candidate.phys:#x}, of the same map"
            return Resolved.searched(survey, replace(candidate.fdt, cut=len(data)), note)
    raise NoHandoverError(
        f"{name} is {cut}, and no page of the image begins with its bytes or leads to its map; {survey.searched}",
        hint=Advice.of(SCAN, " lists the root FDTs that are there; pass the address of one with ", FDT),
    ) from cut


def search_placed(
    memory: PhysicalMemory, options: Options, progress: Progress | None, *, deep: bool = False
) -> Survey:
    """What the image holds, with a raw file at its place."""
    unplaced = survey(memory, options, progress, deep=deep)
    if memory.is_placed:
        return unplaced
    sightings = [
        Sighting(candidate.fdt, candidate.phys)
        for candidate in unplaced.candidates
        if candidate.fdt is not None
    ]
    moved = place(memory, sightings, options, progress).memory
    if moved.placement is None or moved.placement.is_plain:
        return unplaced._replace(memory=moved, notes=_notes_on(moved))
    everything = memory.placed(replace(moved.placement, certain=None))
    at_its_place = survey(everything, options, progress, deep=deep)
    return at_its_place._replace(memory=moved, notes=_notes_on(moved))


def in_place(resolved: Resolved, options: Options, progress: Progress | None) -> Resolved:
    """With the image at its place, where that is not yet known: the root FDT was given as a file, whole or in part."""
    memory, root = resolved.memory, resolved.fdt
    if memory.is_placed:
        return resolved
    sightings = [Sighting(root, root.phys)]
    reading = read_by(memory, memory.layouts[0], sightings[0], options)
    if root.phys is None and not root.is_lost and (reading is None or not reading.is_sound):
        copies = locate.find_copies(memory, root.blob, progress)
        sightings = [Sighting(root, offset) for offset in copies] or sightings
    moved, fdt_phys = place(memory, sightings, options, progress)
    notes = (*resolved.notes, *_notes_on(moved))
    return replace(resolved, memory=moved, fdt=replace(root, phys=fdt_phys), choice=None, notes=notes)


def _notes_on(memory: PhysicalMemory) -> tuple[Sentence, ...]:
    """What a person should know of where a raw file was put."""
    return () if memory.placement is None else tuple(notes_of(memory.placement))


def _best(survey: Survey, *, tolerant: bool) -> tuple[Candidate, RootFdt]:
    """The likeliest of the candidates, and its tree.

    Raises:
        NoHandoverError: there is none, or none that is whole.
        UnknownVersionError: it is of no known version, and that is not tolerated.
    """
    candidates = survey.candidates
    if not candidates:
        raise nothing_found(survey.searched)
    best = candidates[0]
    if best.fdt is None or best.problem is not None:
        raise _all_damaged(survey)
    if best.unknown_version and not tolerant:
        raise UnknownVersionError(best.fdt.compatible, best.phys)
    return best, best.fdt


def _all_damaged(survey: Survey) -> NoHandoverError:
    """The error where no candidate can be the handover."""
    best, *others = survey.candidates
    which = f"the only root FDT in the image, at {best.phys:#x}, is damaged"
    if others:
        which = f"all {len(others) + 1} root FDTs in the image are damaged; the one at {best.phys:#x}"
    unsearched = f"; {survey.searched}" if survey.searched.lacks else ""
    return NoHandoverError(
        f"{which}: {best.problem}{unsearched}",
        hint=Advice.of(SCAN, " lists them; pass a good copy with ", FDT.taking("FILE")),
    )


def _why(best: Candidate, others: int) -> Sentence:
    """Why this candidate was taken, of so many others."""
    note = f"took the root FDT at {best.phys:#x}: {best.evidence}"
    if not others:
        return note
    return Advice.of(
        f"{note} ({others} more: khodump scan lists them, and ", FDT, " takes another by its address)"
    )
