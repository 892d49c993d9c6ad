"""Deciding where a raw file belongs, on evidence.

A root FDT found at some offset of the file is preserved in its own map: every kernel keeps that page, at order 0. So with
the right layout its address is a key of the map whose root the FDT names; and with a wrong one the root is no root.
What the machine was told of its RAM is tried first, then the usual layouts, then those that only the map suggests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from khodump.advice import FORCE_PLACEMENT, Advice, Sentence
from khodump.errors import FdtError
from khodump.fdt import parse_fdt
from khodump.layouts import SMALLEST_HOLE, Layout, RamMap, fitting
from khodump.memory import Hole, PhysicalMemory
from khodump.numbers import format_size
from khodump.opening import ram
from khodump.opening.bases import suggested
from khodump.opening.boot import MAX_DEVICETREE
from khodump.opening.candidates import Options
from khodump.opening.locate import LandmarkKind, Progress, landmarks, read_blob
from khodump.opening.reading import Reading, Sighting, read_by, support
from khodump.placement import Basis, Placement, certain_ranges
from khodump.trackers import map_root

#: A kernel that runs for long leaves copies of root FDTs behind; the likeliest come first.
_MAX_SIGHTINGS: Final = 64


class Placed(NamedTuple):
    """A raw file at its place, and the physical address of the root FDT that led there, if one did."""

    memory: PhysicalMemory
    fdt_phys: int | None


def place(
    memory: PhysicalMemory, sightings: Sequence[Sighting], options: Options, progress: Progress | None = None
) -> Placed:
    """The raw file at the place that the evidence is best for; its `placement` says how good that is.

    Args:
        memory: one raw file that is not placed yet.
        sightings: the root FDTs in it, the likeliest first.
        options: how to read them.
        progress: called while the file is searched for what the machine was told of its RAM.
    """
    sightings = sightings[:_MAX_SIGHTINGS]
    if memory.is_told:
        return _among(memory, memory.layouts, Basis.RANGES, sightings, options) or _unsupported(
            memory, Basis.RANGES, options
        )
    usual = _best(_readings(memory, memory.layouts, sightings, options))
    if usual is not None and usual.fits and usual.is_sound and _is_small(usual.layout):
        return _placed(memory, usual, Basis.GUESSED, options)
    ram_maps = _ram_maps(memory, progress)
    layouts = dict.fromkeys(layout for ram_map in ram_maps for layout in fitting(ram_map, memory.end))
    by_machine = _among(memory, tuple(layouts), Basis.TOLD, sightings, options)
    if by_machine is not None:
        return by_machine
    if usual is None or not usual.fits:
        usual = _best(_suggested(memory, sightings, options), usual)
    if usual is None:
        return _unsupported(memory, Basis.GUESSED, options)
    return _placed(memory, usual, Basis.GUESSED, options)


def _among(
    memory: PhysicalMemory,
    layouts: Sequence[Layout],
    basis: Basis,
    sightings: Sequence[Sighting],
    options: Options,
) -> Placed | None:
    """The file by the one of these layouts of a known machine that fits; a guess where several do."""
    fitting_ones = [reading for reading in _readings(memory, layouts, sightings, options) if reading.fits]
    best = _best(fitting_ones)
    if best is None:
        return None
    is_only = len({reading.layout for reading in fitting_ones}) == 1
    return _placed(memory, best, basis if is_only or best.layout.is_literal else Basis.GUESSED, options)


def _is_small(layout: Layout) -> bool:
    """Whether it is memory from 0 that ends where no usual machine has a hole yet."""
    return layout.stretches[0].delta == 0 and layout.stretches[-1].end <= SMALLEST_HOLE


def _readings(
    memory: PhysicalMemory, layouts: Iterable[Layout], sightings: Sequence[Sighting], options: Options
) -> Iterator[Reading]:
    for layout in layouts:
        for sighting in sightings:
            reading = read_by(memory, layout, sighting, options)
            if reading is not None:
                yield reading


def _suggested(memory: PhysicalMemory, sightings: Sequence[Sighting], options: Options) -> Iterator[Reading]:
    for sighting in sightings:
        root = map_root(sighting.fdt.tree, options.version_of(sighting.fdt))
        if root is not None and sighting.offset is not None:
            yield from _readings(memory, suggested(memory, root, sighting.offset), [sighting], options)


def _best(readings: Iterable[Reading], first: Reading | None = None) -> Reading | None:
    """The first reading that fits and is sound; else one that fits, for maps may be damaged; else `first`, or any."""
    best = first
    for reading in readings:
        if reading.fits and reading.is_sound:
            return reading
        if best is None or (reading.fits and not best.fits):
            best = reading
    return best


def _placed(memory: PhysicalMemory, reading: Reading, basis: Basis, options: Options) -> Placed:
    """The file as it was read. Where that is a guess, only what is proved may be read, unless the user forces it."""
    supported = support(reading)
    contradictions = tuple(supported.contradictions)
    certain = None
    if basis is Basis.GUESSED or contradictions:
        certain = certain_ranges(reading.layout, supported.anchors, is_contradicted=bool(contradictions))
    evidence = () if basis is Basis.GUESSED else ("it adds up to the file's size",)
    if reading.holds_fdt:
        evidence = (*evidence, "the root FDT's own page is in its map")
    placement = Placement(
        reading.layout,
        basis,
        evidence,
        contradictions,
        None if options.force_placement else certain,
        is_forced=options.force_placement,
    )
    return Placed(memory.placed(placement), reading.fdt_phys)


def _unsupported(memory: PhysicalMemory, basis: Basis, options: Options) -> Placed:
    """The file by the first layout that comes to mind, where no root FDT tells anything."""
    layout = memory.layouts[0]
    is_served = _is_small(layout) or layout.is_literal or options.force_placement
    placement = Placement(
        layout,
        basis if layout.is_literal else Basis.GUESSED,
        certain=None if is_served else (),
        is_forced=options.force_placement,
    )
    return Placed(memory.placed(placement), None)


def _ram_maps(memory: PhysicalMemory, progress: Progress | None) -> list[RamMap]:
    """What the image holds of what its machine was told of its RAM; nothing there counts on addresses."""
    maps = []
    for mark in landmarks(memory, progress, deep=True):
        if mark.kind is LandmarkKind.BOOT_PARAMS:
            maps.append(ram.in_boot_params(memory, mark.phys))
        elif mark.kind is LandmarkKind.FDT:
            maps.append(_in_devicetree(memory, mark.phys))
    return [each for each in maps if each is not None]


def _in_devicetree(memory: PhysicalMemory, phys: int) -> RamMap | None:
    blob = read_blob(memory, phys, MAX_DEVICETREE)
    if isinstance(blob, Hole):
        return None
    try:
        return ram.in_devicetree(parse_fdt(blob, max_size=MAX_DEVICETREE), f"at offset {phys:#x}")
    except FdtError:
        return None


def notes_of(placement: Placement) -> Iterator[Sentence]:
    """What a person should know of it, one sentence each."""
    if placement.is_forced:
        yield Advice.of(
            FORCE_PLACEMENT, f": the file is read as {placement.layout.name}, whatever the evidence"
        )
    why = " and ".join(placement.evidence) or "nothing proves it"
    stretches = placement.layout.stretches
    if placement.basis is not Basis.GIVEN and not placement.is_plain:
        if len(stretches) == 1 and stretches[0].offset == 0 and placement.basis is Basis.GUESSED:
            base = stretches[0].phys
            yield f"the image does not begin at physical 0: with base {base:#x} {why}; FILE@{base:#x} forces it"
        else:
            yield f"the file is read as {placement.layout.name}: {why}"
    left = unread_bytes(placement)
    if left:
        unread = f"nothing proves where {format_size(left)} of the file belong; they are left unread. "
        yield Advice.of(unread, placement.remedy, "; ", FORCE_PLACEMENT, " reads all")


def unread_bytes(placement: Placement) -> int:
    """Bytes of the file that may not be read, for nothing proves where they belong."""
    if placement.certain is None:
        return 0
    size = sum(stretch.size for stretch in placement.layout.stretches)
    return size - sum(end - start for start, end in placement.certain)
