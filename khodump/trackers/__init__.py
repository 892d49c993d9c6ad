"""One file per preserved-memory tracker, and the table by which the root FDT picks one."""

from __future__ import annotations

from typing import NamedTuple

from khodump.abi.kexec_handover import PROP_COMPATIBLE, PROP_PRESERVED_MEMORY_MAP, RADIX_VERSIONS
from khodump.errors import NoHandoverError, UnknownVersionError
from khodump.fdt import FdtNode
from khodump.memory import PhysicalMemory
from khodump.tracker import Tracker
from khodump.trackers import radix_geometry
from khodump.trackers.radix import RadixTracker

#: The compatible strings that can be read, newest first.
READABLE_VERSIONS = tuple(RADIX_VERSIONS)


class Opened(NamedTuple):
    """A tracker and how it was chosen.

    Attributes:
        version: the compatible string it is read as.
        geometry_reason: what speaks for its page size and depth.
        certain: False when another page size or depth fits as well.
    """

    tracker: Tracker
    version: str
    geometry_reason: str
    certain: bool


def open_tracker(
    memory: PhysicalMemory,
    tree: FdtNode,
    *,
    fdt_phys: int | None = None,
    version: str | None = None,
    page_size: int | None = None,
) -> Opened:
    """The tracker that the root FDT `tree` names.

    Args:
        memory: where the tracker's pages are.
        tree: the root FDT.
        fdt_phys: physical address of the root FDT, when known; it helps to tell the page size.
        version: read it as this version (`kho-v4`), whatever its compatible string says.
        page_size: bytes, when forced.

    Raises:
        UnknownVersionError: the compatible string is not one that khodump reads.
        NoHandoverError: the tree names no map.
    """
    said = tree.string(PROP_COMPATIBLE)
    as_version = version or said
    if as_version not in RADIX_VERSIONS:
        raise UnknownVersionError(said, fdt_phys)
    root = tree.u64(PROP_PRESERVED_MEMORY_MAP)
    if root is None:
        raise NoHandoverError(
            f"the root FDT says {said} but has no 8-byte {PROP_PRESERVED_MEMORY_MAP} property "
            f"(it has {', '.join(tree.properties) or 'none'})",
            hint="the handover was not finished, or it is another version's: try --as",
        )
    choice = radix_geometry.choose(
        memory, root, RADIX_VERSIONS[as_version], page_size=page_size, fdt_phys=fdt_phys
    )
    return Opened(RadixTracker(memory, root, choice.geometry), as_version, choice.reason, choice.certain)
