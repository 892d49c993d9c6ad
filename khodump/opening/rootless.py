"""A map whose root FDT is lost: its first page is named, and all else is worked out from the map itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX, PROP_COMPATIBLE
from khodump.advice import PAGE_SIZE, ROOT, VERSION, Advice, Sentence
from khodump.errors import NoHandoverError
from khodump.fdt import FdtNode
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.candidates import Options
from khodump.opening.locate import RootFdt
from khodump.opening.reading import Reading, Sighting, read_by
from khodump.trackers import FORMATS, MapFormat, open_tracker
from khodump.trackers.evidence import Choice

_SMALLEST_PAGE: Final = 4096


@dataclass(frozen=True)
class MapRoot:
    """The physical address of a map's first page, given instead of a root FDT."""

    phys: int


class StandIn(NamedTuple):
    """What is taken instead of a root FDT that is lost.

    Attributes:
        fdt: it leads to the map, and to no user.
        choice: how the map is read; None where that is told once a raw file is at its place.
        note: what speaks for it, as a sentence.
    """

    fdt: RootFdt
    choice: Choice | None
    note: Sentence


class _Attempt(NamedTuple):
    """The map as one kind of map."""

    fdt: RootFdt
    choice: Choice
    is_sound: bool


def stand_in(root: MapRoot, kind: MapFormat) -> RootFdt:
    """What stands for the root FDT: it leads to the map, and to no user."""
    properties = {
        PROP_COMPATIBLE: kind.version.encode() + b"\0",
        kind.prop: root.phys.to_bytes(8, "little"),
    }
    return RootFdt(FdtNode("", properties), b"", None, f"none: --root {root.phys:#x}", is_lost=True)


def root_fdt_for(memory: PhysicalMemory, root: MapRoot, options: Options) -> StandIn:
    """What stands for the root FDT of the kind of map that is found there.

    Args:
        memory: the image; a raw file need not be at its place yet.
        root: the map's first page.
        options: the version and the page size, where these are known.

    Raises:
        NoHandoverError: nothing there reads as a map, or nothing is there.
    """
    kinds = [kind for kind in FORMATS if _may_be(kind, options.version)]
    attempts = [each for each in (_attempt(memory, root, kind, options) for kind in kinds) if each]
    sound = [each for each in attempts if each.is_sound]
    if options.version is not None and attempts:
        best = (sound or attempts)[0]
        note: Sentence = Advice.of(
            f"the map at {root.phys:#x} is read as {options.version}: ", VERSION, " says so"
        )
        return StandIn(best.fdt, best.choice if memory.is_placed else None, note)
    if not sound:
        raise _nothing(memory, root)
    best = sound[0]
    shapes = dict.fromkeys(f"{each.choice.tracker.shape} of {each.choice.tracker.reading}" for each in sound)
    if len(shapes) > 1:
        guess = f"the map at {root.phys:#x} is a guess: {' and '.join(shapes)} fit; "
        note = Advice.of(guess, VERSION, " and ", PAGE_SIZE, " force a reading")
    else:
        note = f"the map at {root.phys:#x} is read as {best.fdt.compatible}, as its pages are those of such a map"
    return StandIn(best.fdt, best.choice if memory.is_placed else None, note)


def _may_be(kind: MapFormat, version: str | None) -> bool:
    """Whether to try this kind of map; those that only have a name for this parameter are told apart by the kind they stand for."""
    if version is None:
        return kind.version.removeprefix(COMPATIBLE_PREFIX).isdecimal()
    return kind.version == version


def _attempt(memory: PhysicalMemory, root: MapRoot, kind: MapFormat, options: Options) -> _Attempt | None:
    fdt = stand_in(root, kind)
    placed = memory if memory.is_placed else _somewhere(memory, fdt, options)
    if placed is None:
        return None
    choice = open_tracker(placed, fdt.tree, version=kind.version, page_size=options.page_size)
    return _Attempt(fdt, choice, choice.tracker.sound())


def _somewhere(memory: PhysicalMemory, fdt: RootFdt, options: Options) -> PhysicalMemory | None:
    """A raw file by the first layout in which the map is one."""
    wanted = options._replace(version=fdt.compatible)
    readings = [read_by(memory, layout, Sighting(fdt, None), wanted) for layout in memory.layouts]
    best: Reading | None = min(
        (reading for reading in readings if reading), key=lambda each: not each.is_sound, default=None
    )
    return None if best is None else best.memory


def _nothing(memory: PhysicalMemory, root: MapRoot) -> NoHandoverError:
    page = memory.read(root.phys, _SMALLEST_PAGE)
    if isinstance(page, Hole):
        why = f"that page is {memory.hole_at(page.phys, page.presence)}"
    else:
        why = "what is there reads as none, of any version and page size"
    return NoHandoverError(
        f"there is no map at {root.phys:#x}: {why}",
        hint=Advice.of(
            ROOT,
            " takes the physical address of the map's first page; ",
            VERSION.taking("VERSION"),
            " and ",
            PAGE_SIZE.taking("SIZE"),
            " read it in spite of damage",
        ),
    )
