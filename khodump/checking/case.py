"""What the rules of `check` look at: a handover, or what is left of one, and the kernel that is to receive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from khodump.abi import luo as luo_abi
from khodump.abi.kernels import KERNELS, Kernel, kernels_of
from khodump.abi.khoser import SMALL_BITMAP_SIZE
from khodump.checking.shared import Shared, shared_claims
from khodump.columns.arrays import U64
from khodump.columns.extents import NO_ORDER
from khodump.columns.intervals import Intervals, without
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.luo_sessions import find_sessions
from khodump.memory import PhysicalMemory
from khodump.opening import locate
from khodump.opening.locate import FDT_OWNER, RootFdt
from khodump.opening.mapless import MaplessRoot
from khodump.owner import Owner
from khodump.ownership import Ownership, own
from khodump.problems import PROBLEMS, FlbListInvalid, SessionFileCountMismatch, SessionNameInvalid
from khodump.subtree import WHOLE_BLOCK, Claims
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.subtrees.luo_state import Luo, LuoFile, file_owner
from khodump.subtrees.maker import maker_release
from khodump.tracker import MAP_OWNER
from khodump.trackers import map_property, posted_property

_DECLARED: Final = frozenset(problem.name for problem in PROBLEMS)
#: Problems that leave no list of sessions and files unread.
_TELLING: Final = (SessionFileCountMismatch.name, SessionNameInvalid.name, FlbListInvalid.name)


class PreservedFile(NamedTuple):
    """A file of a LUO session: the owner, name of the session, and the file."""

    owner: Owner
    session: str
    file: LuoFile


@dataclass(frozen=True)
class Case:
    """A handover in question.

    Attributes:
        subject: the handover, or a root FDT that leads to none.
        kernel: the one that is to receive it.
    """

    subject: Handover | MaplessRoot
    kernel: Kernel

    @property
    def memory(self) -> PhysicalMemory:
        """The image."""
        return self.subject.memory

    @property
    def handover(self) -> Handover | None:
        """The handover, if there is one."""
        return self.subject if isinstance(self.subject, Handover) else None

    @property
    def mapless(self) -> MaplessRoot | None:
        """What is left, if there is no handover."""
        return self.subject if isinstance(self.subject, MaplessRoot) else None

    @property
    def opened(self) -> Handover:
        """The handover, for rules that are only run when there is one."""
        if not isinstance(self.subject, Handover):
            raise TypeError("a rule that needs a map is run without one")
        return self.subject

    @property
    def fdt(self) -> RootFdt | None:
        """The root FDT, where it is a valid one."""
        return self.subject.fdt

    @property
    def accepted(self) -> bool:
        """Whether the next kernel takes the root's compatible string; it looks no further if not."""
        return self.fdt is not None and self.fdt.compatible == self.kernel.root

    @property
    def reader(self) -> Kernel:
        """The kernel that what the handover leads to is held against: the next, or its own if that refuses it."""
        return self.kernel if self.accepted else producer(self.subject)

    @cached_property
    def fdt_phys(self) -> int | None:
        """Where the root FDT lies; of several copies, the one that is in its own map."""
        if self.handover is not None:
            return self.handover.fdt_phys
        root = self.fdt
        if root is None or root.phys is not None:
            return root.phys if root else None
        return next(locate.find_copies(self.memory, root.blob), None)

    @cached_property
    def all_findings(self) -> tuple[Finding, ...]:
        """What trackers and decoders found wrong, each with an owner; trackers are the only ones that name none."""
        found = self.handover.all_findings if self.handover else ()
        return tuple(replace(finding, owner=finding.owner or MAP_OWNER) for finding in found)

    @cached_property
    def decoded(self) -> Mapping[str, tuple[Finding, ...]]:
        """What trackers and decoders found wrong, by rule, of the problems that khodump declares."""
        by_rule: dict[str, list[Finding]] = {}
        for finding in self.all_findings:
            if finding.rule in _DECLARED:
                by_rule.setdefault(finding.rule, []).append(finding)
        return {rule: tuple(findings) for rule, findings in by_rule.items()}

    @cached_property
    def undeclared(self) -> tuple[Finding, ...]:
        """What decoders found that khodump does not know found wrong: no rule can say what follows from it."""
        return tuple(finding for finding in self.all_findings if finding.rule not in _DECLARED)

    @cached_property
    def ownership(self) -> Ownership:
        """Who owns what is preserved; the root FDT its page, also where it was read from a file."""
        handover = self.opened
        if handover.fdt.phys is not None or self.fdt_phys is None:
            return handover.ownership
        root = Claims.of(FDT_OWNER, (self.fdt_phys, handover.page_size))
        return own(handover.preserved, chain([root], handover.claims()))

    @cached_property
    def shared_claims(self) -> tuple[Shared, ...]:
        """Pairs of owners that claim the same memory."""
        return shared_claims(self.opened, self.ownership.claimed_twice)

    def shared_at(self, phys: int | None, second: Owner | None) -> Shared | None:
        """The pair whose memory begins there, and whose second owner that is."""
        return self._shared_by_place.get((phys, second))

    @cached_property
    def _shared_by_place(self) -> Mapping[tuple[int | None, Owner | None], Shared]:
        return {(shared.phys, shared.second): shared for shared in reversed(self.shared_claims)}

    @property
    def is_whole(self) -> bool:
        """Whether all of the map could be walked, so that what it does not list is not preserved."""
        return self.opened.is_whole

    @cached_property
    def is_adrift(self) -> bool:
        """Whether the page of the root FDT, which is known, is not found in the map: then the map may be none.

        Every kernel preserves that page. The map was given back since, or is misread, or damaged.
        """
        return self.handover is not None and self.fdt_phys is not None and not self.handover.is_anchored

    @cached_property
    def users_are_whole(self) -> bool:
        """Whether all that users wrote could be read, so that what they do not claim is not theirs."""
        lost = any(finding.severity is Severity.ERROR for finding in self.opened.fdt.findings)
        return not lost and not self.opened.user_findings

    @cached_property
    def lists_are_whole(self) -> bool:
        """Whether LUO's lists of sessions and files could be read; what single files keep is another matter."""
        luo = (subtree for subtree in self.opened.subtrees if subtree.name == luo_abi.NODE_NAME)
        if self.opened.live_luo is not None and not self.opened.live_luo.is_whole:
            return False
        return not any(
            self.file_of(finding.owner) is None and finding.rule not in _TELLING
            for subtree in luo
            for finding in subtree.decoded.findings
        )

    @cached_property
    def folio_lists_are_whole(self) -> bool:
        """Whether the lists of folios of all memfds could be read."""
        return not any(finding.unread and self.file_of(finding.owner) for finding in self.all_findings)

    def not_preserved(self, claims: Claims) -> U64:
        """Addresses, of these claims, where no block begins though one should, or that are in no block at all."""
        headless = self.opened.preserved.orders_at(claims.start) == NO_ORDER
        size = np.where(claims.size == WHOLE_BLOCK, 1, claims.size).astype(np.uint64)
        start, _, _ = without(claims.start, claims.start + np.minimum(size, ~claims.start), self.kept)
        return np.union1d(claims.start[headless], start)

    @cached_property
    def kept(self) -> Intervals:
        """The bytes that are preserved, at whatever order."""
        return Intervals.covering(self.opened.preserved.phys, self.opened.preserved.end)

    @cached_property
    def luo(self) -> Luo | None:
        """LUO's state, where there is one that can be read; sessions that are not serialized are from the kernel's lists."""
        luo = self.handover.luo if self.handover else None
        living = self.handover.unserialized if self.handover else None
        return luo if luo is None or living is None else replace(luo, sessions=living.sessions)

    @cached_property
    def files(self) -> tuple[PreservedFile, ...]:
        """The files of all sessions."""
        return tuple(
            PreservedFile(file_owner(session.name, file.token, file.handler), session.name, file)
            for session in (self.luo.sessions if self.luo else ())
            for file in session.files
        )

    @cached_property
    def _files_by_owner(self) -> Mapping[Owner, PreservedFile]:
        return {file.owner: file for file in self.files}

    def file_of(self, owner: Owner | None) -> PreservedFile | None:
        """The file that an owner is or belongs to, if it is one of those that LUO lists."""
        file = None if owner is None else owner.file
        return None if file is None else self._files_by_owner.get(file)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(session.name for session in (self.luo.sessions if self.luo else ()))

    def session_of(self, owner: Owner | None) -> str | None:
        """The name of the session that an owner is or belongs to, if it is one of those that LUO lists."""
        return owner.session if owner is not None and owner.session in self._names else None

    @cached_property
    def listed_sessions(self) -> frozenset[str]:
        """The names of all sessions, also of those that the running kernel received."""
        return frozenset(session.name for session in (find_sessions(self.handover) if self.handover else ()))


def metadata_of(subject: Handover | MaplessRoot) -> KexecMetadata | None:
    """The kernel that made the handover, where it says so."""
    if isinstance(subject, Handover):
        return subject.metadata
    return read_kexec_metadata(subject.memory, subject.fdt.tree) if subject.fdt else None


def producer(subject: Handover | MaplessRoot) -> Kernel:
    """The kernel that made a handover: by its release, and by its compatible string where that leaves it open.

    A string that is not its release's was damaged, or set by somebody: such a kernel would refuse its own handover.
    """
    release = maker_release(subject.memory, subject.fdt.tree if subject.fdt else None)
    said = subject.fdt.compatible if subject.fdt else None
    known = kernels_of(release) or tuple(kernel for kernel in KERNELS if kernel.root == said) or KERNELS[:1]
    fitting = [kernel for kernel in known if kernel.root == said]
    if not fitting:
        posted = posted_property(subject.fdt.tree) if subject.fdt else None
        return known[0] if posted is None else replace(known[0], root=said or "", prop=posted)
    if isinstance(subject, Handover):
        small = subject.tracker.leaf_size == SMALL_BITMAP_SIZE
        fitting = [kernel for kernel in fitting if kernel.small_bitmaps == small] or fitting
    prop = map_property(subject.fdt.tree, said) if subject.fdt else None
    return replace(fitting[0], prop=prop or fitting[0].prop)
