"""The rules run over a handover, and the verdict: what is wrong, and what the next kernel will do with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from khodump.abi.kernels import Kernel, kernel_named
from khodump.advice import UNDECLARED, Confirmation, Invocation, Look, Words
from khodump.checking.blanks import words_of
from khodump.checking.case import Case, producer
from khodump.checking.rule import Effect, Need, Outcome, Rule
from khodump.checking.rules import RULES
from khodump.checking.standing import Standing, standing
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.memory import Hole, PhysicalMemory
from khodump.opening.doubt import IN_DOUBT
from khodump.opening.mapless import MaplessRoot
from khodump.opening.succession import STALE_INCOMING
from khodump.problems import FdtLost, MapRootMissing

_SEEN_BYTES: Final = 16
_ADRIFT: Final = "cannot be foretold: the image does not hold the map as far as the root FDT's own page"
#: The gravest first.
GRAVITY: Final = (Severity.ERROR, Severity.WARNING, Severity.INFO)
#: A reading in doubt gives no accusation, whatever else was found in it.
_UNTOLD: Final = Outcome(Effect.UNKNOWN, "cannot be foretold: the image may be misread")


@dataclass(frozen=True)
class Diagnosis:
    """A finding, and what follows from it.

    Attributes:
        finding: what a rule found.
        outcome: what the next kernel does then.
        seen: the bytes at its address; None where there are none.
        stands: where the bad entry stands, or else the address, in the image; None where it does not say.
        confirmation: how to see it for oneself.
        words: what is known of the finding, for the commands of that.
        is_of_broken: whether the root FDT leads to no map, so that few commands work.
    """

    finding: Finding
    outcome: Outcome
    seen: bytes | None
    stands: Standing | None
    confirmation: Confirmation
    words: Words
    is_of_broken: bool

    def look(self, invocation: Invocation) -> Look | None:
        """The command that confirms it, without blanks, and what it shows; None where there is none."""
        return self.confirmation.chosen(self.words, invocation, is_broken=self.is_of_broken)


def _has(diagnoses: Sequence[Diagnosis], rule: str) -> bool:
    return any(diagnosis.finding.rule == rule for diagnosis in diagnoses)


@dataclass(frozen=True)
class Checkup:
    """What the rules made of a handover.

    Attributes:
        verdict: one sentence.
        diagnoses: the gravest first.
        not_run: rules that lacked what they look at, and what that was.
        ran: how many rules were run.
    """

    verdict: str
    diagnoses: tuple[Diagnosis, ...]
    not_run: tuple[tuple[str, str], ...]
    ran: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rules found, the gravest first."""
        return tuple(diagnosis.finding for diagnosis in self.diagnoses)

    def reaches(self, severity: Severity) -> bool:
        """Whether a finding is at least as grave."""
        return any(self._at_least(severity))

    def is_wrong(self, severity: Severity) -> bool:
        """Whether something is known to be wrong that is at least as grave; what could not be read, or was misread, is not."""
        if _has(self.diagnoses, IN_DOUBT):
            return False
        return any(not finding.unread for finding in self._at_least(severity))

    @property
    def is_bygone(self) -> bool:
        """Whether the handover was taken over long ago, so that nothing speaks against it."""
        return _has(self.diagnoses, STALE_INCOMING)

    def _at_least(self, severity: Severity) -> Iterator[Finding]:
        limit = GRAVITY.index(severity)
        for diagnosis in self.diagnoses:
            if GRAVITY.index(diagnosis.finding.severity) <= limit:
                yield diagnosis.finding


def check(handover: Handover, *, next: str | None = None) -> Checkup:  # noqa: A002 - as the command line's --next
    """Say what is wrong with a handover, and what the next kernel will do with it; also `khodump.check`.

    Args:
        handover: an open handover.
        next: the kernel that is to receive it, an ABI (`kho-v4`) or a release (`7.3`); by default one like its maker.

    Raises:
        UsageError: khodump knows no such kernel.
    """
    return examine(handover, None if next is None else kernel_named(next))


def examine(subject: Handover | MaplessRoot, kernel: Kernel | None = None) -> Checkup:
    """Run all rules.

    Args:
        subject: a handover, or what is left of one.
        kernel: the one that is to receive it; by default one like that which made it.
    """
    case = Case(subject, kernel or producer(subject))
    diagnoses: list[Diagnosis] = []
    not_run: list[tuple[str, str]] = []
    for rule in RULES:
        lack = rule.lack(case) or rule.lack_in_part(case)
        if lack is not None:
            not_run.append((rule.name, _why_not_run(case, lack)))
        diagnoses += _diagnosed(case, rule)
    diagnoses += _undeclared(case)
    if _has(diagnoses, STALE_INCOMING):
        diagnoses = [_bygone(diagnosis) for diagnosis in diagnoses if diagnosis.finding.rule != IN_DOUBT]
    elif _has(diagnoses, IN_DOUBT):
        diagnoses = [replace(diagnosis, outcome=_UNTOLD) for diagnosis in diagnoses]
    elif case.is_adrift:
        diagnoses = [_doubted(diagnosis) for diagnosis in diagnoses]
    diagnoses.sort(key=_gravity)
    return Checkup(_verdict(case, diagnoses), tuple(diagnoses), tuple(not_run), len(RULES) - len(not_run))


def _gravity(diagnosis: Diagnosis) -> int:
    """The gravest first; before all, that the handover was taken over, which explains the rest."""
    return -1 if diagnosis.finding.rule == STALE_INCOMING else GRAVITY.index(diagnosis.finding.severity)


def _why_not_run(case: Case, lack: Need) -> str:
    """What a rule lacks; of a handover that was taken over, no damage is the reason."""
    taken_over = case.handover is not None and case.handover.successor is not None
    if taken_over and lack in (Need.WHOLE_MAP, Need.WHOLE_USERS, Need.WHOLE_LISTS):
        return "the handover was taken over: what these rules look at was given back"
    searched = case.handover is None or case.handover.candidates is not None
    if lack is Need.SCRATCH and not searched:
        return f"{lack.value}, or leave --fdt out to search for them"
    return lack.value


def _diagnosed(case: Case, rule: Rule) -> Iterator[Diagnosis]:
    for finding in rule.findings(case):
        yield _diagnosis(case, finding, rule.outcome(case, finding), rule.confirm)


def _diagnosis(case: Case, finding: Finding, outcome: Outcome, confirmation: Confirmation) -> Diagnosis:
    stands = standing(case, finding)
    words = words_of(case, finding, stands)
    seen = _bytes_at(case.memory, finding.phys)
    return Diagnosis(finding, outcome, seen, stands, confirmation, words, case.mapless is not None)


def _undeclared(case: Case) -> Iterator[Diagnosis]:
    """What decoders found that no rule knows, as they told it."""
    for finding in case.undeclared:
        effect = Effect.UNKNOWN if finding.unread else Effect.UNJUDGED
        user = "" if finding.owner is None else finding.owner.user
        outcome = Outcome(effect, f"leaves that to {user}: what follows, no rule of khodump knows")
        yield _diagnosis(case, finding, outcome, UNDECLARED)


def _bytes_at(memory: PhysicalMemory, phys: int | None) -> bytes | None:
    if phys is None or not 0 <= phys < 1 << 64:
        return None
    seen = memory.read(phys, _SEEN_BYTES)
    return None if isinstance(seen, Hole) else seen


def _bygone(diagnosis: Diagnosis) -> Diagnosis:
    """What is wrong with a handover that was taken over long ago says nothing against it."""
    if diagnosis.finding.rule == STALE_INCOMING:
        return diagnosis
    finding = replace(diagnosis.finding, severity=Severity.INFO)
    return replace(
        diagnosis, finding=finding, outcome=Outcome(Effect.NONE, "has read it before this was overwritten")
    )


def _doubted(diagnosis: Diagnosis) -> Diagnosis:
    """Where the map cannot be read as far as its root FDT's own page, only what the FDT itself says is held against it."""
    # A missing root is itself why there is no map to find that page in.
    is_of_fdt = diagnosis.finding.rule == MapRootMissing.name
    if is_of_fdt or diagnosis.outcome.effect in (Effect.NONE, Effect.UNKNOWN, Effect.COLD_BOOT):
        return diagnosis
    return replace(diagnosis, outcome=Outcome(Effect.UNKNOWN, _ADRIFT))


def _verdict(case: Case, diagnoses: Sequence[Diagnosis]) -> str:
    grave = [diagnosis for diagnosis in diagnoses if diagnosis.finding.severity is not Severity.INFO]
    by_effect: dict[Effect, list[Diagnosis]] = {}
    for diagnosis in grave:
        by_effect.setdefault(diagnosis.outcome.effect, []).append(diagnosis)
    who = f"{case.kernel.root} kernels"
    if _has(diagnoses, STALE_INCOMING):
        return "This handover has been taken over by the kernel that runs in this image: nothing here speaks against it."
    doubtful = (IN_DOUBT, FdtLost.name)
    doubt = next((diagnosis.finding for diagnosis in grave if diagnosis.finding.rule in doubtful), None)
    if doubt is not None:
        return f"Whether this handover would be accepted by {who} cannot be told: {doubt.message}."
    if Effect.COLD_BOOT in by_effect:
        first = by_effect[Effect.COLD_BOOT][0].finding
        return (
            f"This handover would be refused by {who}, which boot cold and reuse all memory: {first.message}."
        )
    if Effect.PANIC in by_effect:
        first = by_effect[Effect.PANIC][0].finding
        return f"This handover would be accepted by {who}, and would panic them: {first.message}."
    if case.mapless is not None and Effect.OVERWRITTEN not in by_effect:
        why = next((diagnosis.finding.message for diagnosis in grave), str(case.mapless.problem))
        return f"Whether this handover would be accepted by {who} cannot be told: {why}."
    parts = [*_losses(case, by_effect)]
    if not parts:
        parts = ["what was found costs nothing" if grave else "nothing was found against it"]
    return f"This handover would be accepted by {who}; {', '.join(parts)}."


def _losses(case: Case, by_effect: dict[Effect, list[Diagnosis]]) -> Iterator[str]:
    """What the next kernel loses, the worst first."""
    if Effect.SESSIONS in by_effect:
        yield "no session can be retrieved"
    if Effect.OVERWRITTEN in by_effect:
        yield "memory that is counted on will be reused"
    lost = [diagnosis.finding for diagnosis in by_effect.get(Effect.FILE, ())]
    owners = [finding.owner for finding in lost]
    files = len({file.owner if (file := case.file_of(owner)) else owner for owner in owners})
    files += sum(finding.evidence.get("files", 1) - 1 for finding in lost)  # of whom the first alone is named
    if files:
        yield f"{files} file{'s' if files > 1 else ''} will fail to restore"
    hurt = (diagnosis.finding.owner for diagnosis in by_effect.get(Effect.USER, ()))
    users = {"" if owner is None else owner.user for owner in hurt}
    if users:
        yield f"{', '.join(sorted(users))} will not get its memory back"
    if Effect.UNKNOWN in by_effect:
        yield "part of it could not be read"
    if Effect.UNJUDGED in by_effect:
        rules = dict.fromkeys(diagnosis.finding.rule for diagnosis in by_effect[Effect.UNJUDGED])
        yield f"what follows from {', '.join(rules)}, no rule knows"
