"""One opened KHO handover: everything is lazily derived from a memory and a root FDT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.luo import NODE_NAME as LUO_NODE
from khodump.advice import Sentence
from khodump.columns.arrays import U64
from khodump.columns.extents import Extents
from khodump.findings import Finding, Severity
from khodump.kernel import WhyNot
from khodump.kernel.living import Living, LivingSession, as_luo, disagreements
from khodump.memory import OfMemory, PhysicalMemory
from khodump.opening import locate
from khodump.opening.candidates import Candidate, survey
from khodump.opening.doubt import IN_DOUBT, bytes_outside, doubts, not_listed
from khodump.opening.locate import FDT_OWNER, Progress, RootFdt
from khodump.opening.ram_end import reaching
from khodump.opening.running import Role, Running
from khodump.opening.scratch import Scratch, scratch_findings
from khodump.opening.succession import RECEIVED, Successor, find_successor
from khodump.ownership import Ownership, own
from khodump.problems import LiveListsUnread
from khodump.subtree import Claims, Context, Subtree
from khodump.subtrees import open_subtrees
from khodump.subtrees.kexec_metadata import KexecMetadata, read_kexec_metadata
from khodump.subtrees.luo_memory import luo_claims
from khodump.subtrees.luo_state import SESSIONS_OWNER, Luo
from khodump.tracker import Nodes, Tracker, Walk, watched

_UNREADABLE_BLOB: Final = "blob-unreadable"


class _Walked(NamedTuple):
    preserved: Extents
    nodes: Nodes
    findings: tuple[Finding, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Handover(OfMemory):
    """What a kernel wrote down for the next one. Use as a context manager, or `close()` it.

    Attributes:
        memory: the image.
        fdt: the root FDT.
        version: the compatible string it is read as.
        tracker: the preserved-memory map.
        geometry_reason: what speaks for the page size.
        is_guess: whether the map fits other readings as well.
        scratch: the scratch regions; None when nothing tells of them.
        notes: what was chosen on the way here, and why, one sentence each; `str()` of it is for callers in Python.
        watch: called with (pages of the map walked, 0) while it is walked.
        candidates: all root FDTs of the image, where it was searched for them.
        is_received: whether the running kernel itself says that it received this handover.
        running: the kernel that runs in the image, to be asked; None where nobody is.
    """

    memory: PhysicalMemory
    fdt: RootFdt
    version: str
    tracker: Tracker
    geometry_reason: str
    is_guess: bool = False
    scratch: Scratch | None = None
    notes: tuple[Sentence, ...] = ()
    watch: Progress | None = None
    candidates: tuple[Candidate, ...] | None = None
    is_received: bool = False
    running: Running | None = None

    def __repr__(self) -> str:
        where = "" if self.fdt.phys is None else f" at {self.fdt.phys:#x}"
        return f"<Handover {self.version}{where} in {self.memory.description}>"

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

    @cached_property
    def map_pages(self) -> tuple[U64, U64]:
        """Start and end of the map's own pages, sorted by start; its bitmaps may be smaller than a page."""
        nodes = self.nodes
        size = np.where(nodes.level == 0, self.tracker.leaf_size, self.page_size).astype(np.uint64)
        rows = np.argsort(nodes.phys)
        return nodes.phys[rows], (nodes.phys + size)[rows]

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
        return open_subtrees(Context(self.memory, self.page_size), self.fdt.tree, self.fdt.phys)

    @cached_property
    def fdt_phys(self) -> int | None:
        """Where the root FDT lies; of several copies of one from a file, the one that is in its own map."""
        if self.fdt.phys is not None:
            return self.fdt.phys
        copies = list(locate.find_copies(self.memory, self.fdt.blob))
        preserved = [phys for phys in copies if self.tracker.holds(phys, 0)]
        return next(iter([*preserved, *copies]), None)

    @property
    def is_whole(self) -> bool:
        """Whether all of the map could be walked, so that what it does not list is not preserved."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    @cached_property
    def is_anchored(self) -> bool:
        """Whether the root FDT's own page is in the map, as every kernel puts it there.

        Where it is not, the map was given back since, or is misread, or damaged beyond saying which.
        """
        return self.fdt_phys is not None and self.tracker.holds(self.fdt_phys, 0) is True

    @cached_property
    def is_refuted(self) -> bool:
        """Whether the map is read by a guess that it does not bear out.

        Its bytes mean other memory in every reading, and what speaks for one, the root FDT's own page, is in none. So
        nothing is listed, until somebody says how to read it.
        """
        if not self.is_guess or self.fdt.phys is None or not self.tracker.root:
            return False
        return self.tracker.holds(self.fdt.phys, 0) is not True

    @cached_property
    def successor(self) -> Successor | None:
        """The kernel that took this handover over and gave its map back; None where nothing says that one did.

        Searches the image, where that was not done yet and the map is not as a kernel hands it over.
        """
        if self.is_received:
            return RECEIVED
        if self.role is Role.OUTGOING:
            return None
        if self.role is Role.INCOMING:
            return Successor(None, "kho_in.fdt_phys names it as the one that was received")
        if self.candidates is None and self._seems_untouched:
            return None
        candidates = survey(self.memory).candidates if self.candidates is None else self.candidates
        is_intact = self.is_whole and self.is_anchored
        return find_successor(self.fdt, self.metadata, candidates, is_intact=is_intact)

    @property
    def _seems_untouched(self) -> bool:
        """Whether the map looks as on the day that it was handed over, as far as that can be told without a search."""
        if not self.is_whole or self.nodes.empties:
            return False
        return self.fdt.phys is None or self.is_anchored

    @cached_property
    def role(self) -> Role:
        """What this handover is to the kernel that runs in the image, by that kernel's own variables."""
        return Role.UNTOLD if self.running is None else self.running.role_of(self.fdt)

    @cached_property
    def live_luo(self) -> Living | None:
        """LUO's sessions in the lists of the running kernel, where this handover is one of its own."""
        if self.running is None or self.role is Role.UNTOLD:
            return None
        return None if isinstance(self.running.living, WhyNot) else self.running.living

    @cached_property
    def luo(self) -> Luo | None:
        """LUO's state as it was handed over; None where there is none, or it could not be decoded."""
        contents = (subtree.decoded.content for subtree in self.subtrees if subtree.name == LUO_NODE)
        return next((content for content in contents if isinstance(content, Luo)), None)

    def claims(self) -> Iterator[Claims]:
        """What every user, and KHO itself, says is its own, in bounded batches; reads all lists of all users."""
        if self.fdt.phys is not None:
            yield Claims.of(FDT_OWNER, (self.fdt.phys, self.page_size))
        for subtree in self.subtrees:
            yield from subtree.claims(self.page_size)
        if self.unserialized is not None:
            yield from luo_claims(self.unserialized)

    @cached_property
    def ownership(self) -> Ownership:
        """Who preserved what."""
        return own(self.preserved, self.claims())

    @property
    def own_live_sessions(self) -> tuple[LivingSession, ...]:
        """The sessions of the kernel's lists that belong to this handover."""
        if self.live_luo is None:
            return ()
        return self.live_luo.received if self.role is Role.INCOMING else self.live_luo.prepared

    @cached_property
    def unserialized(self) -> Luo | None:
        """The sessions that the kernel's lists alone tell of, for nothing is written down yet, or not any more.

        In the form that serialized sessions have; None where what is written down tells of them.
        """
        if self.live_luo is None or not self.own_live_sessions:
            return None
        is_written = self.luo is not None and self.luo.is_serialized
        is_given_back = self.role is Role.INCOMING and self.live_luo.is_opened
        return None if is_written and not is_given_back else as_luo(self.own_live_sessions)

    @property
    def basis_of_sessions(self) -> str | None:
        """What is said of owners that the kernel's lists alone tell of; None where what was serialized does."""
        if self.unserialized is None:
            return None
        why = "what was serialized was given back" if self.role is Role.INCOMING else "not yet serialized"
        return f"{len(self.unserialized.sessions)} sessions of LUO are from the kernel's lists: {why}"

    @property
    def is_map_gone(self) -> bool:
        """Whether the map was given back and has been written over since: what it listed is no longer to be had."""
        return self.successor is not None and not (self.is_whole and self.is_anchored)

    @property
    def is_map_unknown(self) -> bool:
        """Whether what is preserved is no longer to be had, or not to be had yet: no number stands for it."""
        return self.is_map_gone or self.is_refuted

    @cached_property
    def user_findings(self) -> tuple[Finding, ...]:
        """What is wrong with what users wrote, or missing of it; reads all of that."""
        written = (finding for subtree in self.subtrees for finding in subtree.findings)
        living = self.live_luo.findings if self.live_luo else ()
        return (*written, *living, *self._lost_lists(), *self._disagreements())

    def _lost_lists(self) -> Iterator[Finding]:
        """That the kernel's lists cannot be read, where nothing else tells of LUO's sessions."""
        if self.running is None or self.fdt.tree.child(LUO_NODE) is None:
            return
        if self.luo is not None and self.luo.is_serialized:
            return
        lost = self.running.lost_lists(self.role)
        if lost is not None:
            message = f"what sessions LUO has cannot be told, for nothing is serialized here, and of the running kernel: {lost.message}"
            yield LiveListsUnread().finding(lost.phys, message, SESSIONS_OWNER)

    def _disagreements(self) -> Iterator[Finding]:
        """Where what LUO serialized and the kernel's lists of the same sessions differ, if both are there and sound."""
        living, written = self.live_luo, self.luo
        if living is None or living.list_findings or written is None or not written.is_serialized:
            return
        if any(subtree.decoded.findings for subtree in self.subtrees if subtree.name == LUO_NODE):
            return
        # Once /dev/liveupdate was opened, the kernel has given back what was serialized, and finished sessions are gone.
        if self.role is Role.INCOMING and (living.is_opened or not living.received):
            return
        yield from disagreements(written, self.own_live_sessions)

    @property
    def other_findings(self) -> tuple[Finding, ...]:
        """What is wrong with the root FDT, with scratch, and with what users wrote."""
        return (*self.fdt.findings, *scratch_findings(self.scratch or Scratch(())), *self.user_findings)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """What is wrong with the map, with scratch and with what users wrote: what every command tells at its end."""
        return (*self.findings, *self.other_findings)

    @property
    def nobody(self) -> str:
        """Whose memory is that nobody claims: as long as lists that may claim it are unread, that is not known."""
        if self.fdt.is_lost:
            return "unknown: the root FDT is lost"
        if any(finding.severity is Severity.ERROR for finding in self.fdt.findings):
            return "unknown: the root FDT is odd"
        lists = len(self.user_findings)
        if not lists:
            return "nobody"
        what = "unread" if all(finding.unread for finding in self.user_findings) else "unread or damaged"
        return f"unknown: {lists} list{'' if lists == 1 else 's'} {what}"

    def told(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """What a person is to be told of these findings, which the map or the users of this handover gave.

        Of a handover that was taken over, what has become of the pages given back is no damage; what the image does not
        hold is told as ever.
        """
        if self.successor is None:
            return tuple(findings)
        unread = (finding for finding in findings if finding.unread and finding.rule != IN_DOUBT)
        return (*unread, self.successor.finding(self.fdt.phys))

    def gone_of(self, subtrees: Iterable[Subtree]) -> tuple[str, ...]:
        """The names of those whose user gave something back, when this handover was taken over, that is not there now."""
        gone = [subtree.name for subtree in subtrees if subtree.decoded.findings]
        return tuple(gone) if gone and self.successor is not None else ()

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
        outside, withheld = 0, False
        for extents in batches:
            if placement is not None:
                outside += bytes_outside(placement.layout, extents)
            if self.is_refuted:
                withheld = True
            else:
                yield extents
        if withheld:
            is_outside = self.tracker.holds(self.fdt.phys or 0, 0) is False
            finding = not_listed(self.fdt.phys, self.geometry_reason, is_outside=is_outside)
            walk.findings.append(finding)
            return
        walk.findings.extend(doubts(self.tracker, self.fdt.phys, placement, outside, tuple(walk.findings)))

    @cached_property
    def _walked(self) -> _Walked:
        walked = self._walked_once()
        ends = walked.preserved.end
        end = reaching(self.memory.ram_end, int(ends.max()) if len(ends) else 0)
        if end == self.memory.ram_end:
            return walked
        self.memory.ram_end = (
            end  # what the walk met tells that RAM may reach higher than was taken for granted
        )
        return self._walked_once()

    def _walked_once(self) -> _Walked:
        walk = self.walk()
        preserved = Extents.concatenate(self.tracker.page_shift, walk).sorted()
        return _Walked(preserved, walk.nodes, tuple(walk.findings))
