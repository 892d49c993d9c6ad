"""Page size and depth of a radix tree: nothing in the handover records them, so they are worked out from evidence.

What is known outright (a forced page size, VMCOREINFO, an x86_64 machine) leaves one page size. Otherwise the
readings compete: every kernel preserves the root FDT's own page at order 0, so the right geometry finds it there; and
a wrong one soon meets pointers that no kernel writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from khodump.abi.kexec_handover import PAGE_SIZES, KhoVersion, RadixGeometry, radix_depth
from khodump.memory import PhysicalMemory, Platform
from khodump.numbers import format_size
from khodump.tracker import Walk
from khodump.trackers.radix import RadixTracker

#: A dump's ranges are not the machine's RAM. Taking RAM to reach at least here keeps order-0 keys of shallow trees
#: apart from real blocks, unless those exceed 256 GiB.
_MIN_RAM_END: Final = 1 << 40


class Choice(NamedTuple):
    """A geometry and what speaks for it.

    Attributes:
        reason: the evidence, for a person.
        certain: False when other geometries fit as well.
    """

    geometry: RadixGeometry
    reason: str
    certain: bool


def choose(
    memory: PhysicalMemory, root: int, version: KhoVersion, *, page_size: int | None, fdt_phys: int | None
) -> Choice:
    """The geometry of the tree at `root`.

    Args:
        memory: where the tree is.
        root: physical address of the root node.
        version: what the compatible string promises.
        page_size: bytes, when forced.
        fdt_phys: physical address of the root FDT, when known.
    """
    sizes, why = _page_sizes(memory.platform, page_size)
    readings = [
        geometry for size in sizes for geometry in _geometries(size.bit_length() - 1, version, memory.end)
    ]
    if len(readings) == 1:
        return Choice(readings[0], why, certain=True)
    if fdt_phys is not None:
        owning = [g for g in readings if _holds_own_page(memory, root, g, fdt_phys)]
        if len(owning) == 1:
            return Choice(owning[0], "its own page in the map, found only with this size", certain=True)
        readings = owning or readings
    sound = [g for g in readings if _is_sound(memory, root, g)]
    if len(sound) == 1:
        return Choice(sound[0], "the map's pointers, sound only with this size", certain=True)
    best = (sound or readings)[0]
    return Choice(best, f"a guess: {_names((sound or readings)[1:])} fit as well", certain=False)


def _page_sizes(platform: Platform, forced: int | None) -> tuple[Sequence[int], str]:
    if forced is not None:
        return (forced,), "--page-size"
    told = platform.vmcoreinfo.get("PAGESIZE", "")
    if told.isdecimal() and int(told) in PAGE_SIZES:
        return (int(told),), "VMCOREINFO"
    if platform.machine == "x86_64":
        return (4096,), "x86_64, which has no other"
    return PAGE_SIZES, ""


def _geometries(page_shift: int, version: KhoVersion, memory_end: int) -> list[RadixGeometry]:
    full = radix_depth(page_shift, counts_marker=True)
    geometries = []
    for counts_marker in version.depths_count_marker:
        depth = radix_depth(page_shift, counts_marker=counts_marker)
        order0_end = max(memory_end, _MIN_RAM_END) >> page_shift if depth < full else 0
        geometry = RadixGeometry(page_shift, depth, order0_end)
        if geometry not in geometries:
            geometries.append(geometry)
    return geometries


def _holds_own_page(memory: PhysicalMemory, root: int, geometry: RadixGeometry, fdt_phys: int) -> bool:
    return (
        not fdt_phys % geometry.page_size and RadixTracker(memory, root, geometry).holds(fdt_phys, 0) is True
    )


def _is_sound(memory: PhysicalMemory, root: int, geometry: RadixGeometry) -> bool:
    """Whether the tables hold no pointer that no kernel writes, and every node can be read."""
    walk = Walk()
    leaves = RadixTracker(memory, root, geometry).descend(walk)
    return not walk.findings and len(leaves.phys) > 0


def _names(geometries: Sequence[RadixGeometry]) -> str:
    return (
        ", ".join(f"{format_size(g.page_size)} pages with depth {g.depth}" for g in geometries) or "no other"
    )
