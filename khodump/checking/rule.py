"""What a rule of `check` is: what can be wrong with a handover, how to see it, and what the next kernel does then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from khodump.advice import Confirmation
from khodump.checking.case import Case
from khodump.checking.log import LogLine, Printed
from khodump.findings import Entry, Finding, Severity
from khodump.owner import Owner


class Effect(IntEnum):
    """What the next kernel does, from nothing to the worst."""

    NONE = 0
    UNJUDGED = 1  # no rule knows what follows from it
    UNKNOWN = 2  # it could not be read
    USER = 3  # one user of KHO does not get its memory back
    FILE = 4  # one file cannot be retrieved, or comes back with other contents
    OVERWRITTEN = 5  # memory that somebody counts on is given to others
    SESSIONS = 6  # no session can be retrieved at all
    PANIC = 7
    COLD_BOOT = 8  # as if nothing had been handed over


class Outcome(NamedTuple):
    """What follows from a finding.

    Attributes:
        effect: its kind.
        text: one sentence, whose subject is the next kernel: "boots cold, ...".
        log: the lines it prints, values filled in.
    """

    effect: Effect
    text: str
    log: tuple[Printed, ...] = ()


class Hit(NamedTuple):
    """One place where a rule is broken; `severity` where it is milder than the rule's, `entry` as in `Finding`."""

    phys: int | None
    message: str
    owner: Owner | None = None
    evidence: Mapping[str, int] = {}
    severity: Severity | None = None
    entry: Entry | None = None


class Need(Enum):
    """What must be known for a rule to be run."""

    MAP = "the root FDT leads to no map"
    FDT_PAGE = "where the root FDT lies is not known: pass its address with --fdt"
    WHOLE_MAP = "part of the map could not be walked: what is not found in it may be there"
    WHOLE_USERS = "part of what users wrote could not be read: what nobody seems to claim may be theirs"
    WHOLE_LISTS = "a list of LUO's is damaged: some of what it names may be missing, or was never there"
    FOLIO_LISTS = (
        "part of the list of a memfd's folios could not be read: the rule was run on what is listed alone"
    )
    SERIALIZED = "LUO has not serialized yet: what nobody claims may be kept for its sessions and files"
    SCRATCH = "nothing in the image tells of the scratch regions: pass --scratch"

    def met(self, case: Case) -> bool:
        """Whether the case has it."""
        return case.handover is not None and _MET[self](case)


_MET: Final[Mapping[Need, Callable[[Case], bool]]] = {
    Need.MAP: lambda case: case.handover is not None,
    Need.FDT_PAGE: lambda case: case.fdt_phys is not None,
    Need.WHOLE_MAP: lambda case: case.is_whole,
    Need.WHOLE_USERS: lambda case: case.users_are_whole,
    Need.WHOLE_LISTS: lambda case: case.lists_are_whole,
    Need.FOLIO_LISTS: lambda case: case.folio_lists_are_whole,
    Need.SERIALIZED: lambda case: case.luo is None or case.luo.is_serialized,
    Need.SCRATCH: lambda case: case.opened.scratch is not None,
}


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: stable; findings carry it.
        severity: of its findings, at worst.
        title: what is wrong, for a list of rules.
        means: what it means for the next kernel.
        confirm: how to see it in the image.
        source: where the kernel says so: sources of Linux 7.3.4, commits, mails.
        then: what follows from one finding.
        log: the kernel's own lines that outcomes may have.
        needs: what must be known to run it.
        wants: what must be known for it to see all there is; without, it sees what can be read.
        look: finds it; None for what only decoders see. What they found by this name counts always.
    """

    name: str
    severity: Severity
    title: str
    means: str
    confirm: Confirmation
    source: str
    then: Outcome | Callable[[Case, Finding], Outcome]
    log: tuple[LogLine, ...] = ()
    needs: tuple[Need, ...] = field(default=(Need.MAP,))
    wants: tuple[Need, ...] = ()
    look: Callable[[Case], Iterable[Hit]] | None = None

    def lack(self, case: Case) -> Need | None:
        """What is not known of the case, though the rule cannot be run without."""
        return next((need for need in self.needs if not need.met(case)), None)

    def lack_in_part(self, case: Case) -> Need | None:
        """What is not known of the case, so that the rule does not see all there is."""
        return next((need for need in self.wants if not need.met(case)), None)

    def findings(self, case: Case) -> tuple[Finding, ...]:
        """Where the case breaks this rule; what decoders found counts also where the rule itself cannot be run."""
        hits = self.look(case) if self.look and self.lack(case) is None else ()
        own = (
            Finding(
                self.name,
                hit.severity or self.severity,
                hit.phys,
                hit.message,
                hit.evidence,
                hit.owner,
                entry=hit.entry,
            )
            for hit in hits
        )
        return (*case.decoded.get(self.name, ()), *own)

    def outcome(self, case: Case, finding: Finding) -> Outcome:
        """What follows from a finding of this rule."""
        return self.then if isinstance(self.then, Outcome) else self.then(case, finding)
