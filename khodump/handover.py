"""One opened KHO handover: everything is lazily derived from a memory and a root FDT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import NamedTuple, Self

from khodump.doubt import bytes_outside, doubts
from khodump.errors import KhodumpError
from khodump.extents import Extents
from khodump.findings import Finding
from khodump.locate import Progress, RootFdt
from khodump.memory import PhysicalMemory
from khodump.scratch import Scratch
from khodump.subtree import Context, Subtree
from khodump.subtrees import open_subtrees
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.tracker import Nodes, Tracker, Walk, watched


class _Walked(NamedTuple):
    preserved: Extents
    nodes: Nodes
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Broken:
    """A root FDT that leads to no map, but is what the next kernel is handed.

    Attributes:
        memory: the image.
        phys: physical address of the root FDT, when known.
        blob: its bytes, as far as its header tells.
        fdt: what they say, where they are a valid FDT.
        problem: why there is no handover.
    """

    memory: PhysicalMemory
    phys: int | None
    blob: bytes
    fdt: RootFdt | None
    problem: KhodumpError

    def close(self) -> None:
        """Close the image files."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Handover:
    """What a kernel wrote down for the next one. Use as a context manager, or `close()` it.

    Attributes:
        memory: the image.
        fdt: the root FDT.
        version: the compatible string it is read as.
        tracker: the preserved-memory map.
        geometry_reason: what speaks for the page size.
        scratch: the scratch regions; None when nothing tells of them.
        notes: what was chosen on the way here, and why, one sentence each.
        watch: called with (pages of the map walked, 0) while it is walked.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    version: str
    tracker: Tracker
    geometry_reason: str
    scratch: Scratch | None = None
    notes: tuple[str, ...] = ()
    watch: Progress | None = None

    @property
    def page_size(self) -> int:
        """Bytes a page."""
        return 1 << self.tracker.page_shift

    @property
    def preserved(self) -> Extents:
        """Everything that is preserved, sorted by physical address."""
        return self._walked.preserved

    @property
    def nodes(self) -> Nodes:
        """The tracker's own pages."""
        return self._walked.nodes

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the map."""
        return self._walked.findings

    @cached_property
    def metadata(self) -> KexecMetadata | None:
        """The kernel that made the handover, where it says so (7.1 and later)."""
        return read_kexec_metadata(self.memory, self.fdt.tree)

    @cached_property
    def subtrees(self) -> tuple[Subtree, ...]:
        """The users of KHO, and what they made of it."""
        return open_subtrees(Context(self.memory, self.page_size), self.fdt.tree)

    def walk(self) -> Walk:
        """Walk the map afresh, in the kernel's order and in bounded memory."""
        return self._doubted(watched(self.tracker.walk(), self.watch))

    def walk_by_address(self) -> Walk:
        """Walk the map afresh, by ascending address; see `Tracker.walk_by_address`."""
        return self._doubted(watched(self.tracker.walk_by_address(), self.watch))

    def _doubted(self, walk: Walk) -> Walk:
        """The same walk; what speaks against reading the image like this is among its findings once it has ended."""
        walk.batches = self._held_against(walk, walk.batches)
        return walk

    def _held_against(self, walk: Walk, batches: Iterator[Extents]) -> Iterator[Extents]:
        placement = self.memory.placement
        outside = 0
        for extents in batches:
            if placement is not None:
                outside += bytes_outside(placement.layout, extents)
            yield extents
        walk.findings.extend(self.fdt.findings)
        walk.findings.extend(doubts(self.tracker, self.fdt.phys, placement, outside))

    @cached_property
    def _walked(self) -> _Walked:
        walk = self.walk()
        preserved = Extents.concatenate(self.tracker.page_shift, walk).sorted()
        return _Walked(preserved, walk.nodes, tuple(walk.findings))

    def close(self) -> None:
        """Close the image files."""
        self.memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
