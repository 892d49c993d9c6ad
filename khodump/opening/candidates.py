"""Which root FDT of an image is the handover's.

An image may hold several: the outgoing one, the incoming one, and stale copies of both. They are told apart by
evidence, above all whether the FDT's own page is a key of its own map: every kernel preserves that page at order 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from khodump.abi.kexec_handover import COMPATIBLE_PREFIX, PAGE_SIZES
from khodump.advice import Sentence
from khodump.errors import KhodumpError, NoHandoverError
from khodump.fdt import total_size
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.boot import MAX_DEVICETREE, NOTHING_TOLD, BootInfo, from_boot_params, from_devicetree
from khodump.opening.locate import Landmark, LandmarkKind, Progress, RootFdt, from_blob, landmarks, read_blob
from khodump.opening.searched import Misses, Searched
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.trackers import READABLE_VERSIONS, open_tracker
from khodump.trackers.evidence import Choice

_MAX_CANDIDATES: Final = 1024
_OWN_PAGE: Final = {
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
        choice: how its map is read best, when it names one.
        root_readable: whether the first page of its map is in the image.
        own_page_preserved: whether its page is in its own map; None when that cannot be read.
        metadata: the producing kernel, when it says so.
    """

    phys: int
    fdt: RootFdt | None = None
    problem: str | None = None
    unknown_version: bool = False
    choice: Choice | None = None
    root_readable: bool = False
    own_page_preserved: bool | None = None
    metadata: KexecMetadata | None = None

    @property
    def page_size(self) -> int | None:
        """Bytes, as far as the map tells."""
        return None if self.choice is None else 1 << self.choice.tracker.page_shift

    @property
    def settled(self) -> Choice | None:
        """How its map is read, where nothing that is learned later can change that; else it must be chosen again.

        Where RAM ends is learned after the candidates are weighed, and counts only where no reading of the map holds the
        FDT's own page.
        """
        return self.choice if self.own_page_preserved is True and not self.unknown_version else None

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
        remarks = []
        if self.unknown_version:
            remarks.append(f"no known version; tried as {READABLE_VERSIONS[0]}")
        if not self.root_readable:
            remarks.append("the root of its map cannot be read")
        elif self.own_page_preserved is None:
            remarks.append("its map cannot be followed that far")
        if self.fdt is not None:
            remarks += [f"it is odd: {oddity.text}" for oddity in self.fdt.oddities]
        return "; ".join(remarks)

    @property
    def evidence(self) -> str:
        """What speaks for it, for a person."""
        clauses = [_OWN_PAGE[self.own_page_preserved]]
        if self.remarks:
            clauses.append(self.remarks)
        if self.metadata:
            clauses.append(f"made by {self.metadata.release}, kexec count {self.metadata.kexec_count}")
        return "; ".join(clauses)


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
        memory: the image that was searched.
        candidates: the root FDTs, the likeliest first.
        boot: what the boot protocol told; not all of it need be of this machine's RAM.
        searched: what was and was not searched.
        notes: where a raw file was put, and why, one sentence each.
    """

    memory: PhysicalMemory
    candidates: tuple[Candidate, ...]
    boot: BootInfo
    searched: Searched
    notes: tuple[Sentence, ...] = ()


def survey(
    memory: PhysicalMemory,
    options: Options = DEFAULT_OPTIONS,
    progress: Progress | None = None,
    *,
    deep: bool = False,
) -> Survey:
    """Search the whole image for root FDTs and for what the boot protocol says.

    Args:
        memory: the image; of a raw file that is not placed yet, offsets are taken for addresses.
        options: how to read the maps of root FDTs.
        progress: called with (bytes searched, bytes to search).
        deep: look for boot_params at every address, not only at the start of a page.
    """
    candidates: list[Candidate] = []
    boot: list[BootInfo] = []
    misses = Misses()
    for mark in landmarks(memory, progress, deep=deep, misses=misses):
        if mark.kind is LandmarkKind.BOOT_PARAMS:
            boot.append(from_boot_params(memory, mark.phys))
        elif len(candidates) < _MAX_CANDIDATES:
            result = _examine(memory, mark, options)
            if isinstance(result, Candidate):
                candidates.append(result)
            else:
                boot.append(result)
    candidates.sort(key=lambda candidate: candidate.rank, reverse=True)
    return Survey(memory, tuple(candidates), BootInfo.joined(boot), Searched(memory, misses.lacks))


def _examine(memory: PhysicalMemory, mark: Landmark, options: Options) -> Candidate | BootInfo:
    """What speaks for the FDT at this landmark; where it is not one of KHO's, what it says as a machine's device tree."""
    phys = mark.phys
    if mark.kind is LandmarkKind.UNFINISHED_FDT:
        page = memory.read(phys, PAGE_SIZES[0])
        if isinstance(page, Hole) or COMPATIBLE_PREFIX.encode() not in page:
            return NOTHING_TOLD
        return Candidate(phys, problem="it is still being written: libfdt's sequential-write state")
    blob = read_blob(memory, phys)
    candidate = None if isinstance(blob, Hole) else _candidate(memory, phys, blob, options)
    if candidate is not None:
        return candidate
    if isinstance(blob, Hole) or (total_size(blob) or 0) > len(blob):  # larger than a root FDT may be
        blob = read_blob(memory, phys, MAX_DEVICETREE)
    return NOTHING_TOLD if isinstance(blob, Hole) else from_devicetree(blob, phys)


def _candidate(memory: PhysicalMemory, phys: int, blob: bytes, options: Options) -> Candidate | None:
    """What speaks for the FDT in these bytes; None when it is not one of KHO's."""
    if COMPATIBLE_PREFIX.encode() not in blob:
        return None
    try:
        fdt = replace(from_blob(blob, phys), source="found by searching the image")
    except NoHandoverError as error:
        return Candidate(phys, problem=str(error.__cause__)) if error.__cause__ else None
    return weigh(memory, fdt, options)


def weigh(memory: PhysicalMemory, fdt: RootFdt, options: Options) -> Candidate:
    """The evidence for a root FDT whose address is known."""
    phys = fdt.phys or 0
    version = options.version
    unknown = version is None and fdt.compatible not in READABLE_VERSIONS
    if unknown:
        version = READABLE_VERSIONS[0]
    try:
        choice = open_tracker(memory, fdt.tree, fdt_phys=phys, version=version, page_size=options.page_size)
    except KhodumpError as error:
        return Candidate(phys, fdt, problem=str(error), unknown_version=unknown)
    tracker = choice.tracker
    return Candidate(
        phys,
        fdt,
        unknown_version=unknown,
        choice=choice,
        root_readable=not isinstance(memory.read(tracker.root, 1 << tracker.page_shift), Hole),
        own_page_preserved=tracker.holds(phys, 0),
        metadata=read_kexec_metadata(memory, fdt.tree),
    )
