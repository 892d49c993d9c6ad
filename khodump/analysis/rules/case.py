"""What the rules of `check` look at: a handover, or what is left of one, and the kernel that is to receive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from khodump import locate
from khodump.abi import luo as luo_abi
from khodump.abi.kernels import KERNELS, Kernel, kernels_of
from khodump.abi.khoser import SMALL_BITMAP_SIZE
from khodump.analysis.ownership import Ownership, own
from khodump.analysis.sessions import find_luo
from khodump.arrays import U64
from khodump.candidates import Candidate, survey
from khodump.extents import NO_ORDER
from khodump.findings import Finding, Severity
from khodump.handover import Broken, Handover
from khodump.intervals import Intervals, without
from khodump.locate import FDT_OWNER, RootFdt
from khodump.memory import PhysicalMemory
from khodump.subtree import WHOLE_BLOCK, Claims
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.subtrees.luo_state import Luo, LuoFile, file_owner, session_owner
from khodump.trackers import map_property

_Found = TypeVar("_Found")


class PreservedFile(NamedTuple):
    """A file of a LUO session: path of the owner, name of the session, and the file."""

    owner: str
    session: str
    file: LuoFile


@dataclass(frozen=True)
class Case:
    """A handover in question.

    Attributes:
        suspect: the handover, or a root FDT that leads to none.
        kernel: the one that is to receive it.
    """

    suspect: Handover | Broken
    kernel: Kernel

    @property
    def memory(self) -> PhysicalMemory:
        """The image."""
        return self.suspect.memory

    @property
    def handover(self) -> Handover | None:
        """The handover, if there is one."""
        return self.suspect if isinstance(self.suspect, Handover) else None

    @property
    def broken(self) -> Broken | None:
        """What is left, if there is no handover."""
        return self.suspect if isinstance(self.suspect, Broken) else None

    @property
    def opened(self) -> Handover:
        """The handover, for rules that are only run when there is one."""
        if not isinstance(self.suspect, Handover):
            raise TypeError("a rule that needs a map is run without one")
        return self.suspect

    @property
    def fdt(self) -> RootFdt | None:
        """The root FDT, where it is a valid one."""
        return self.suspect.fdt

    @property
    def accepted(self) -> bool:
        """Whether the next kernel takes the root's compatible string; it looks no further if not."""
        return self.fdt is not None and self.fdt.compatible == self.kernel.root

    @property
    def reader(self) -> Kernel:
        """The kernel that what the handover leads to is held against: the next, or its own if that refuses it."""
        return self.kernel if self.accepted else producer(self.suspect)

    @cached_property
    def fdt_phys(self) -> int | None:
        """Where the root FDT lies; of several copies, the one that is in its own map."""
        root = self.fdt
        if root is None or root.phys is not None:
            return root.phys if root else None
        copies = list(locate.find_copies(self.memory, root.blob))
        kept = [phys for phys in copies if self.handover and self.handover.tracker.holds(phys, 0)]
        return next(iter([*kept, *copies]), None)

    @cached_property
    def decoded(self) -> Mapping[str, tuple[Finding, ...]]:
        """What the decoders found wrong, by rule."""
        found: dict[str, list[Finding]] = {}
        if self.handover is not None:
            users = (subtree.decoded.findings for subtree in self.handover.subtrees)
            for finding in (*self.handover.findings, *(finding for part in users for finding in part)):
                found.setdefault(finding.rule, []).append(finding)
        return {rule: tuple(findings) for rule, findings in found.items()}

    @cached_property
    def ownership(self) -> Ownership:
        """Who owns what is preserved; the root FDT its page, also where it was read from a file."""
        handover = self.opened
        if handover.fdt.phys is None and self.fdt_phys is not None:
            handover = replace(handover, fdt=replace(handover.fdt, phys=self.fdt_phys))
        return own(handover)

    @property
    def is_whole(self) -> bool:
        """Whether all of the map could be walked, so that what it does not list is not preserved."""
        return not any(
            finding.severity is Severity.ERROR and finding.owner != FDT_OWNER
            for finding in self.opened.findings
        )

    @cached_property
    def users_are_whole(self) -> bool:
        """Whether all that users wrote could be read, so that what they do not claim is not theirs."""
        lost = any(finding.severity is Severity.ERROR for finding in self.opened.fdt.findings)
        return not lost and not any(subtree.decoded.findings for subtree in self.opened.subtrees)

    @cached_property
    def lists_are_whole(self) -> bool:
        """Whether LUO's lists of sessions and files could be read; what single files keep is another matter."""
        luo = (subtree for subtree in self.opened.subtrees if subtree.name == luo_abi.NODE_NAME)
        return not any(
            self.file_of(finding.owner) is None and finding.rule != "session-file-count-mismatch"
            for subtree in luo
            for finding in subtree.decoded.findings
        )

    def not_preserved(self, claims: Claims) -> U64:
        """Addresses, of these claims, where no block begins though one should, or that are in no block at all."""
        headless = self.opened.preserved.orders_at(claims.start) == NO_ORDER
        size = np.where(claims.size == WHOLE_BLOCK, 1, claims.size).astype(np.uint64)
        start, _, _ = without(claims.start, claims.start + np.minimum(size, ~claims.start), self.kept)
        return np.union1d(claims.start[headless], start)

    @cached_property
    def map_pages(self) -> tuple[U64, U64]:
        """Start and end of the map's own pages, sorted; its lowest may be smaller than a page."""
        nodes, lowest = self.opened.nodes, self.opened.tracker.leaf_size
        size = np.where(nodes.level == 0, lowest, self.opened.page_size).astype(np.uint64)
        order = np.argsort(nodes.phys)
        return nodes.phys[order], (nodes.phys + size)[order]

    @cached_property
    def kept(self) -> Intervals:
        """The bytes that are preserved, at whatever order."""
        return Intervals.covering(self.opened.preserved.phys, self.opened.preserved.end)

    @cached_property
    def luo(self) -> Luo | None:
        """LUO's state, where there is one that can be read."""
        return find_luo(self.handover) if self.handover else None

    @cached_property
    def files(self) -> tuple[PreservedFile, ...]:
        """The files of all sessions."""
        return tuple(
            PreservedFile(file_owner(session.name, file.token, file.handler), session.name, file)
            for session in (self.luo.sessions if self.luo else ())
            for file in session.files
        )

    @cached_property
    def _files_by_owner(self) -> Mapping[str, PreservedFile]:
        return {file.owner: file for file in self.files}

    def file_of(self, owner: str | None) -> PreservedFile | None:
        """The file that an owner's path belongs to, if it is a file's."""
        return _nearest(self._files_by_owner, owner)

    @cached_property
    def _names_by_owner(self) -> Mapping[str, str]:
        return {
            session_owner(session.name): session.name for session in (self.luo.sessions if self.luo else ())
        }

    def session_of(self, owner: str | None) -> str | None:
        """The name of the session that an owner's path belongs to, if it is a session's."""
        return _nearest(self._names_by_owner, owner)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """All root FDTs of the image; searches it."""
        return tuple(survey(self.memory).candidates)


def _nearest(by_owner: Mapping[str, _Found], owner: str | None) -> _Found | None:
    """What belongs to the longest beginning of an owner's path; names may hold slashes."""
    while owner:
        if owner in by_owner:
            return by_owner[owner]
        owner = owner.rpartition("/")[0]
    return None


def metadata_of(suspect: Handover | Broken) -> KexecMetadata | None:
    """The kernel that made the handover, where it says so."""
    if isinstance(suspect, Handover):
        return suspect.metadata
    return read_kexec_metadata(suspect.memory, suspect.fdt.tree) if suspect.fdt else None


def producer(suspect: Handover | Broken) -> Kernel:
    """The kernel that made a handover: by its release, and by its compatible string where that leaves it open.

    A string that is not its release's was damaged, or set by somebody: such a kernel would refuse its own handover.
    """
    metadata = metadata_of(suspect)
    release = metadata.release if metadata else suspect.memory.platform.vmcoreinfo.get("OSRELEASE", "")
    said = suspect.fdt.compatible if suspect.fdt else None
    known = kernels_of(release) or tuple(kernel for kernel in KERNELS if kernel.root == said) or KERNELS[:1]
    fitting = [kernel for kernel in known if kernel.root == said]
    if not fitting:
        return known[0]
    if isinstance(suspect, Handover):
        small = suspect.tracker.leaf_size == SMALL_BITMAP_SIZE
        fitting = [kernel for kernel in fitting if kernel.small_bitmaps == small] or fitting
    prop = map_property(suspect.fdt.tree, said) if suspect.fdt else None
    return replace(fitting[0], prop=prop or fitting[0].prop)
