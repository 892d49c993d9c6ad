"""One file per preserved-memory tracker, and the table by which the root FDT picks one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

from khodump.abi.kernels import counts_marker
from khodump.abi.kexec_handover import (
    PROP_COMPATIBLE,
    PROP_PRESERVED_MEMORY_MAP,
    PROP_PRESERVED_PAGE_RADIX_TREE,
)
from khodump.abi.kho_order_table import PROP_PRESERVED_ORDER_TABLE
from khodump.abi.khoser import SMALL_BITMAP_SIZE
from khodump.advice import VERSION, Advice
from khodump.errors import NoHandoverError, UnknownVersionError
from khodump.fdt import FdtNode
from khodump.memory import PhysicalMemory
from khodump.numbers import format_size
from khodump.subtrees.maker import maker_release
from khodump.tracker import Tracker
from khodump.trackers import bitmap_chain, evidence, order_table, radix
from khodump.trackers.evidence import Choice, PageSizes, Readings, no_readings


class MapFormat(NamedTuple):
    """A way to write down what is preserved.

    Attributes:
        version: the compatible string, or a name for `--as` where one string stands for two formats.
        prop: the root property that leads to the map.
        readings: the trackers that may be meant, for (memory, root, release of its maker, page size in bytes).
        kernels: who writes it, for a person.
    """

    version: str
    prop: str
    readings: Callable[[PhysicalMemory, int, str, int], Readings]
    kernels: str


_DEEP: Final = partial(radix.readings, counts_marker=lambda _: True)
_SHALLOW: Final = partial(radix.readings, counts_marker=lambda _: False)
_EITHER: Final = partial(radix.readings, counts_marker=counts_marker)

#: Newest first. The compatible string and the property that is there decide together. kho-v3 kept its name across the
#: 16 KiB depth fix, d64b0372760e.
FORMATS: Final = (
    MapFormat("kho-v4", PROP_PRESERVED_MEMORY_MAP, _DEEP, "7.2, 7.3"),
    MapFormat("kho-v3", PROP_PRESERVED_MEMORY_MAP, _EITHER, "7.1"),
    MapFormat("kho-v2", PROP_PRESERVED_MEMORY_MAP, _SHALLOW, "7.1 merge window"),
    MapFormat("kho-v2", PROP_PRESERVED_PAGE_RADIX_TREE, _SHALLOW, "posted v2"),
    MapFormat("kho-v1", PROP_PRESERVED_PAGE_RADIX_TREE, _DEEP, "posted v1"),
    MapFormat("kho-v1", PROP_PRESERVED_ORDER_TABLE, order_table.readings, "posted RFC"),
    MapFormat("kho-v1", PROP_PRESERVED_MEMORY_MAP, bitmap_chain.readings, "6.16 to 7.0"),
    MapFormat(
        "kho-v1a",
        PROP_PRESERVED_MEMORY_MAP,
        partial(bitmap_chain.readings, bitmap_size=lambda _: SMALL_BITMAP_SIZE),
        "6.16, 6.17",
    ),
    MapFormat(
        "kho-v1b", PROP_PRESERVED_MEMORY_MAP, partial(bitmap_chain.readings, bitmap_size=lambda size: size), "6.18 to 7.0"
    ),
)  # fmt: skip

#: What `--as` takes, newest first.
READABLE_VERSIONS: Final = tuple(dict.fromkeys(known.version for known in FORMATS))


def map_property(tree: FdtNode, version: str | None = None) -> str | None:
    """The property of the root FDT that leads to the map, if it has one."""
    said = version or tree.string(PROP_COMPATIBLE)
    props = (known.prop for known in FORMATS if known.version == said)
    return next((prop for prop in props if tree.u64(prop) is not None), None)


def posted_property(tree: FdtNode) -> str | None:
    """The property that leads to the map, where no release wrote it so: patches that were posted, on any kernel."""
    prop = map_property(tree)
    return None if prop == PROP_PRESERVED_MEMORY_MAP else prop


def map_root(tree: FdtNode, version: str | None = None) -> int | None:
    """The physical address of the map's first page that the root FDT names, if it names one."""
    prop = map_property(tree, version)
    return None if prop is None else tree.u64(prop)


def open_tracker(
    memory: PhysicalMemory,
    tree: FdtNode,
    *,
    fdt_phys: int | None = None,
    version: str | None = None,
    page_size: int | None = None,
) -> Choice:
    """The tracker that the root FDT `tree` names, and what speaks for reading it so.

    Args:
        memory: where the tracker's pages are.
        tree: the root FDT.
        fdt_phys: physical address of the root FDT, when known; it helps to tell the page size.
        version: read it as this version (`kho-v4`), whatever its compatible string says.
        page_size: bytes, when forced.

    Raises:
        UnknownVersionError: the compatible string is not one that khodump reads.
        NoHandoverError: the tree names no map of that version.
    """
    said = tree.string(PROP_COMPATIBLE)
    known = [candidate for candidate in FORMATS if candidate.version == (version or said)]
    if not known:
        raise UnknownVersionError(said, fdt_phys)
    roots = [(candidate, tree.u64(candidate.prop)) for candidate in known]
    for candidate, root in roots:
        if root is not None:
            sizes = evidence.page_sizes(memory.platform, page_size)
            release = maker_release(memory, tree)
            return _weighed(partial(candidate.readings, memory, root, release), sizes, fdt_phys)
    wanted = " or ".join(candidate.prop for candidate in known)
    raise NoHandoverError(
        f"the root FDT says {said} but has no 8-byte {wanted} (it has {', '.join(tree.properties) or 'nothing'})",
        hint=Advice.of("the handover was not finished, or is of another version: try ", VERSION),
    )


def _weighed(readings: Callable[[int], Readings], sizes: PageSizes, fdt_phys: int | None) -> Choice:
    """The best reading with these page sizes; others, if the map does not bear that out, and does bear out them."""
    told = [readings(size) for size in sizes.sizes]
    likely = _likely(told)
    choice = evidence.choose(likely, sizes.source, fdt_phys)
    rivals = [each.unlikely for each in told if each.unlikely is not no_readings]
    if fdt_phys is None:
        choice = _doubted(choice) if rivals else choice
    elif not evidence.bears_out(choice.tracker, fdt_phys):
        unlikely = [tracker for others in rivals for tracker in others()]
        against = evidence.choose([*likely, *unlikely], sizes.source, fdt_phys)
        if evidence.bears_out(against.tracker, fdt_phys):
            return against
    return _against_hearsay(choice, readings, sizes, fdt_phys)


def _doubted(choice: Choice) -> Choice:
    """The same choice, a guess where the map is unsound so, as another reading may have been ruled out wrongly."""
    if not choice.certain or choice.tracker.sound():
        return choice
    return choice._replace(certain=False, reason=f"a guess: {choice.tracker.reading} fit best, and not well")


def _against_hearsay(
    choice: Choice, readings: Callable[[int], Readings], sizes: PageSizes, fdt_phys: int | None
) -> Choice:
    """The best reading with page sizes that the image speaks against, where the map bears it out; else `choice`."""
    if not sizes.others or evidence.bears_out(choice.tracker, fdt_phys):
        return choice
    other = evidence.choose(_likely(map(readings, sizes.others)), "", fdt_phys)
    if not evidence.bears_out(other.tracker, fdt_phys):
        return choice
    said = " or ".join(format_size(size) for size in sizes.sizes)
    return other._replace(
        contradicts=f"{sizes.source} says that pages have {said}, and the map is one of "
        f"{format_size(1 << other.tracker.page_shift)} pages: {sizes.source} is of another kernel"
    )


def _likely(readings: Iterable[Readings]) -> list[Tracker]:
    return [tracker for each in readings for tracker in each.likely]
