"""A root FDT of which only the beginning is known, completed by the map that it leads to.

debugfs freezes the length of kho/out/fdt when KHO initialises, so that every subtree added later cuts the file short (seen
in 7.2 and 7.3). What is left of it begins with the map's first page, and the map lists the FDT's own page, at order 0: so
these pages are all that has to be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.errors import NoHandoverError
from khodump.fdt import MAGIC, root_values
from khodump.memory import PhysicalMemory
from khodump.opening.candidates import Candidate, Options, weigh
from khodump.opening.locate import at_address
from khodump.opening.rootless import MapRoot, root_fdt_for
from khodump.tracker import Tracker
from khodump.trackers import READABLE_VERSIONS, map_root, open_tracker

_POINTER = 8


class Named(NamedTuple):
    """What the beginning of a root FDT tells.

    Attributes:
        version: its compatible string, where that is one that khodump reads.
        roots: the first page of its map, by physical address; each of the root node's numbers may be it.
    """

    version: str | None
    roots: tuple[int, ...]


def named_in(data: bytes) -> Named:
    """What the first bytes of a root FDT tell; names are not among them, for a tree's strings come last."""
    values = list(root_values(data))
    texts = [value.rstrip(b"\0").decode("ascii", "replace") for value in values]
    version = next((text for text in texts if text in READABLE_VERSIONS), None)
    numbers = [int.from_bytes(value, "little") for value in values if len(value) == _POINTER]
    return Named(version, tuple(number for number in numbers if number))


def in_own_map(memory: PhysicalMemory, data: bytes, options: Options) -> list[Candidate]:
    """The root FDTs on pages of the map that these first bytes of one lead to, if they lead to it; the likeliest first.

    Those that begin with the same bytes come before those that lead to the same map, which was written to since.
    """
    if not memory.is_placed:
        return []
    named = named_in(data)
    version = options.version or named.version
    found = [
        candidate
        for root in named.roots
        for candidate in _leading_to(memory, root, options._replace(version=version))
    ]
    found.sort(key=lambda candidate: (begins_with(candidate, data), candidate.rank), reverse=True)
    return found


def begins_with(candidate: Candidate, data: bytes) -> bool:
    """Whether a candidate is what these first bytes were read of."""
    return candidate.fdt is not None and candidate.fdt.blob.startswith(data)


def _leading_to(memory: PhysicalMemory, root: int, options: Options) -> Iterator[Candidate]:
    """The root FDTs on pages of the map at `root` that lead to it themselves."""
    for phys in _fdts_of(memory, root, options):
        try:
            candidate = weigh(memory, at_address(memory, phys), options)
        except NoHandoverError:
            continue
        if candidate.fdt is not None and map_root(candidate.fdt.tree, options.version) == root:
            yield candidate


def _fdts_of(memory: PhysicalMemory, root: int, options: Options) -> list[int]:
    """The pages of the map at `root` that begin as an FDT does, each once.

    Which page size it is of cannot always be told without the FDT's own page, which is to be found yet.
    """
    try:
        stand_in = root_fdt_for(memory, MapRoot(root), options).fdt
    except NoHandoverError:
        return []
    opened = open_tracker(memory, stand_in.tree, version=options.version, page_size=options.page_size)
    trackers = [opened.tracker]
    if not opened.certain:
        trackers += [
            open_tracker(memory, stand_in.tree, version=options.version, page_size=size).tracker
            for size in PAGE_SIZES
        ]
    return list(dict.fromkeys(at for tracker in trackers for at in _fdts_on(memory, tracker)))


def _fdts_on(memory: PhysicalMemory, tracker: Tracker) -> Iterator[int]:
    """The same by one reading; one that lists more pages than the image can hold is none, and the rest is left."""
    left = sum(span.end - span.start for span in memory.ranges) // PAGE_SIZES[0]
    for batch in tracker.walk():
        singles = batch.take(batch.order == 0)
        left -= len(singles)
        if left < 0:
            return
        for phys, _, _ in singles.pages():
            yield from (at for at in phys.tolist() if memory.read(at, len(MAGIC)) == MAGIC)
