"""A raw file read by one layout: how well it fits the map in it, and which pages prove to be where the layout puts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from khodump.abi.kexec_handover import PROP_FDT, PROP_PRESERVED_DATA
from khodump.errors import FdtError, KhodumpError
from khodump.fdt import FdtNode, parse_fdt
from khodump.layouts import Layout
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.numbers import format_size
from khodump.opening.candidates import Options
from khodump.opening.doubt import bytes_outside
from khodump.opening.locate import RootFdt, read_blob
from khodump.placement import Basis, Placement
from khodump.tracker import Nodes, Tracker
from khodump.trackers import open_tracker


class Sighting(NamedTuple):
    """A root FDT, and where it is known to be.

    Attributes:
        fdt: the FDT.
        offset: of its page in the raw file; None if only a copy beside the image is known.
        phys: of its page, where the user named it.
    """

    fdt: RootFdt
    offset: int | None
    phys: int | None = None


@dataclass(frozen=True)
class Reading:
    """A raw file read by one layout, as seen from one root FDT.

    Attributes:
        layout: the layout.
        memory: the file, read so.
        tree: the root FDT.
        tracker: the map that it names.
        fdt_phys: where the FDT's page is, if known.
        holds_fdt: whether the map holds that page; None where that cannot be told.
        is_named: whether the user said that the FDT is there.
        is_sound: whether the map's tables hold only what a kernel writes.
    """

    layout: Layout
    memory: PhysicalMemory
    tree: FdtNode
    tracker: Tracker
    fdt_phys: int | None
    holds_fdt: bool | None
    is_sound: bool
    is_named: bool

    @property
    def fits(self) -> bool:
        """Whether it is borne out: by the FDT's own page, or by the tables where the FDT's place is not known."""
        return self.is_sound if self.fdt_phys is None else self.holds_fdt is True


class Support(NamedTuple):
    """What a whole walk says for a reading, and against it.

    Attributes:
        anchors: physical addresses of pages that prove to be where the layout puts them.
        contradictions: one clause each.
    """

    anchors: list[int]
    contradictions: list[str]


def read_by(memory: PhysicalMemory, layout: Layout, sighting: Sighting, options: Options) -> Reading | None:
    """The file read by `layout`; None where it puts the FDT nowhere, or the FDT names no map."""
    fdt_phys = None if sighting.offset is None else layout.phys(sighting.offset)
    if fdt_phys is None and sighting.offset is not None:
        return None
    if sighting.phys not in (None, fdt_phys):
        return None
    moved = memory.placed(Placement(layout, Basis.GUESSED))
    try:
        tracker = open_tracker(
            moved,
            sighting.fdt.tree,
            fdt_phys=fdt_phys,
            version=options.version_of(sighting.fdt),
            page_size=options.page_size,
        ).tracker
    except KhodumpError:
        return None
    holds_fdt = None if fdt_phys is None else tracker.holds(fdt_phys, 0)
    is_named = sighting.phys is not None
    return Reading(layout, moved, sighting.fdt.tree, tracker, fdt_phys, holds_fdt, tracker.sound(), is_named)


def support(reading: Reading) -> Support:
    """Walk the map, and see what lies where it should."""
    contradictions = []
    if reading.holds_fdt is False:
        contradictions.append("the root FDT's own page is not in its map")
    if reading.holds_fdt is None and reading.fdt_phys is not None:
        contradictions.append(
            "the part of the map that tells of the root FDT's own page is not where it should be"
        )
    walk = reading.tracker.walk()
    outside = sum(bytes_outside(reading.layout, extents) for extents in walk)
    if outside:
        contradictions.append(f"{format_size(outside)} of what is preserved lie outside the file")
    anchors = _tables(walk.nodes) if reading.is_sound else []
    anchors += _blobs(reading)
    if reading.fdt_phys is not None and (reading.holds_fdt or reading.is_named):
        anchors.append(reading.fdt_phys)
    return Support(anchors, contradictions)


def _tables(nodes: Nodes) -> list[int]:
    """The tables that were walked and point somewhere: an empty page may be any page."""
    good = (nodes.level > 0) & (nodes.presence == Presence.PRESENT) & ~nodes.empty
    return [int(phys) for phys in nodes.phys[good]]


def _blobs(reading: Reading) -> list[int]:
    """The users' blobs that are device trees, as they should be where their nodes point."""
    places = [
        phys
        for node in reading.tree.children
        for prop in (PROP_PRESERVED_DATA, PROP_FDT)
        if (phys := node.u64(prop)) is not None
    ]
    return [phys for phys in places if _is_fdt(reading.memory, phys)]


def _is_fdt(memory: PhysicalMemory, phys: int) -> bool:
    blob = read_blob(memory, phys)
    if isinstance(blob, Hole):
        return False
    try:
        parse_fdt(blob)
    except FdtError:
        return False
    return True
