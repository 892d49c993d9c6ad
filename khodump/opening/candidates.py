"""Which root FDT of an image is the handover's.

An image may hold several: the outgoing one, the incoming one, and stale copies of both. They are told apart by
evidence, above all whether the FDT's own page is a key of its own map: every kernel preserves that page at order 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX, PAGE_SIZES
from khodump.errors import FdtError, KhodumpError, NoHandoverError
from khodump.fdt import read_fdt
from khodump.layouts import RamMap
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.boot import MAX_DEVICETREE, Notice, in_devicetree, in_setup_data
from khodump.opening.locate import Landmark, LandmarkKind, Progress, RootFdt, at_address, landmarks, read_blob
from khodump.opening.ram import in_boot_params
from khodump.opening.ram import in_devicetree as ram_in_devicetree
from khodump.opening.searched import Misses, Searched
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.trackers import READABLE_VERSIONS, open_tracker

_MAX_CANDIDATES: Final = 1024
_KEPT: Final = {
    True: "its own page is in its map",
    False: "its own page is not in its map",
    None: "whether its own page is in its map cannot be told",
}


@dataclass(frozen=True)
class Candidate:
    """A page of the image that looks like a root FDT, and the evidence for and against it.

    Attributes:
        phys: physical address of the page.
        fdt: the tree, when its structure is valid.
        problem: why it cannot be the handover, if so.
        unknown_version: its compatible string is of no known version; it was tried as the newest.
        page_size: bytes, as far as the map tells.
        root_readable: whether the first page of its map is in the image.
        own_page_preserved: whether its page is in its own map; None when that cannot be read.
        metadata: the producing kernel, when it says so.
    """

    phys: int
    fdt: RootFdt | None = None
    problem: str | None = None
    unknown_version: bool = False
    page_size: int | None = None
    root_readable: bool = False
    own_page_preserved: bool | None = None
    metadata: KexecMetadata | None = None

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int, int]:
        """Sorts the likeliest handover last."""
        return (
            self.problem is None,
            self.own_page_preserved is True,
            self.root_readable,
            not self.unknown_version,
            self.metadata.kexec_count if self.metadata else 0,
            -self.phys,
        )

    @property
    def remarks(self) -> str:
        """What is unusual about it, for a person; empty for a healthy handover."""
        if self.problem is not None:
            return self.problem
        told = [f"no known version; tried as {READABLE_VERSIONS[0]}"] if self.unknown_version else []
        if not self.root_readable:
            told.append("the root of its map cannot be read")
        elif self.own_page_preserved is None:
            told.append("its map cannot be followed that far")
        if self.fdt is not None:
            told += [f"it is odd: {oddity.text}" for oddity in self.fdt.oddities]
        return "; ".join(told)

    @property
    def evidence(self) -> str:
        """What speaks for it, for a person."""
        told = [_KEPT[self.own_page_preserved]]
        told += [self.remarks] if self.remarks else []
        if self.metadata:
            told.append(f"made by {self.metadata.release}, kexec count {self.metadata.kexec_count}")
        return "; ".join(told)


class Options(NamedTuple):
    """How to read what is found.

    Attributes:
        version: read as this version, whatever the compatible string says.
        page_size: bytes, when forced.
        tolerant: read unknown versions as the newest that is known.
        force_placement: read all of a raw file, even where only a guess says where it belongs.
    """

    version: str | None = None
    page_size: int | None = None
    tolerant: bool = False
    force_placement: bool = False

    def version_of(self, fdt: RootFdt) -> str | None:
        """As which version to read this root FDT; None to go by its compatible string."""
        unknown = self.tolerant and fdt.compatible not in READABLE_VERSIONS
        return READABLE_VERSIONS[0] if self.version is None and unknown else self.version


DEFAULT_OPTIONS: Final = Options()


class Survey(NamedTuple):
    """What a search of an image found.

    Attributes:
        candidates: the root FDTs, the likeliest first.
        notices: what the boot protocol told of a handover.
        searched: what was and was not searched.
        ram: what is written of some machine's RAM; not all of it need be this machine's.
    """

    candidates: list[Candidate]
    notices: list[Notice]
    searched: Searched
    ram: tuple[RamMap, ...] = ()


def survey(
    memory: PhysicalMemory,
    options: Options = DEFAULT_OPTIONS,
    progress: Progress | None = None,
    *,
    deep: bool = False,
) -> Survey:
    """Search the whole image for root FDTs and for what the boot protocol says of them."""
    found: list[Candidate] = []
    notices: dict[Notice, None] = {}
    ram: list[RamMap | None] = []
    misses = Misses()
    for mark in landmarks(memory, progress, deep=deep, misses=misses):
        if mark.kind is LandmarkKind.BOOT_PARAMS:
            notices |= dict.fromkeys(in_setup_data(memory, mark.phys))
            ram.append(in_boot_params(memory, mark.phys))
        elif len(found) < _MAX_CANDIDATES:
            candidate = _examine(memory, mark, options)
            if candidate is not None:
                found.append(candidate)
                continue
            notice, told = devicetree_at(memory, mark.phys)
            ram.append(told)
            notices |= {notice: None} if notice else {}
    found.sort(key=lambda candidate: candidate.rank, reverse=True)
    maps = tuple(each for each in ram if each is not None)
    return Survey(found, list(notices), Searched(memory, misses.lacks), maps)


def devicetree_at(memory: PhysicalMemory, phys: int) -> tuple[Notice | None, RamMap | None]:
    """What the machine's device tree at `phys` says of a handover and of RAM, if it is one."""
    blob = read_blob(memory, phys, MAX_DEVICETREE)
    if isinstance(blob, Hole):
        return None, None
    try:
        fdt = read_fdt(blob, max_size=MAX_DEVICETREE)
    except FdtError:
        return None, None
    where = f"at {phys:#x}"
    return in_devicetree(fdt, where), ram_in_devicetree(fdt.root, where)


def _examine(memory: PhysicalMemory, mark: Landmark, options: Options) -> Candidate | None:
    """What speaks for the FDT at this landmark; None when it is not one of KHO's."""
    phys = mark.phys
    if mark.kind is LandmarkKind.UNFINISHED_FDT:
        page = memory.read(phys, PAGE_SIZES[0])
        said = not isinstance(page, Hole) and COMPATIBLE_PREFIX.encode() in page
        return (
            Candidate(phys, problem="it is still being written: libfdt's sequential-write state")
            if said
            else None
        )
    blob = read_blob(memory, phys)
    if isinstance(blob, Hole) or COMPATIBLE_PREFIX.encode() not in blob:
        return None
    try:
        fdt = replace(at_address(memory, phys), source="found by searching the image")
    except NoHandoverError as error:
        return Candidate(phys, problem=str(error.__cause__)) if error.__cause__ else None
    return weigh(memory, fdt, options)


def weigh(memory: PhysicalMemory, fdt: RootFdt, options: Options) -> Candidate:
    """The evidence for a root FDT whose address is known."""
    phys = fdt.phys or 0
    version, unknown = options.version, False
    if version is None and fdt.compatible not in READABLE_VERSIONS:
        version, unknown = READABLE_VERSIONS[0], True
    try:
        opened = open_tracker(memory, fdt.tree, fdt_phys=phys, version=version, page_size=options.page_size)
    except KhodumpError as error:
        return Candidate(phys, fdt, problem=str(error), unknown_version=unknown)
    tracker = opened.tracker
    return Candidate(
        phys,
        fdt,
        unknown_version=unknown,
        page_size=1 << tracker.page_shift,
        root_readable=not isinstance(memory.read(tracker.root, 1 << tracker.page_shift), Hole),
        own_page_preserved=tracker.holds(phys, 0),
        metadata=read_kexec_metadata(memory, fdt.tree),
    )
