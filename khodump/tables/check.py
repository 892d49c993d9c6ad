"""`khodump check`: a row a finding; and the rules themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from khodump.abi.kernels import Kernel
from khodump.advice import PLACEHOLDERS, Invocation
from khodump.checking.case import metadata_of, producer
from khodump.checking.checkup import GRAVITY, Checkup, Diagnosis
from khodump.checking.rules import RULES
from khodump.errors import UsageError, near
from khodump.handover import Handover
from khodump.names import well_formed
from khodump.opening.mapless import MaplessRoot
from khodump.rows import Address, CommandLine, Fact, Head, Kind, Lines, Result, Tail, Text, table


@dataclass(frozen=True)
class FindingRow:
    """A finding, with what follows from it.

    Attributes:
        severity, rule, phys, owner, message: of the finding.
        next_kernel: what the next kernel does.
        log: what that prints.
        seen: the bytes at `phys`.
        stands: where the bad entry stands.
        confirm: a command that confirms it.
        shows: what that command shows.
    """

    severity: Text
    rule: Text
    phys: Address | None
    owner: Text | None
    message: Text
    next_kernel: Text
    log: Lines | None
    seen: Text | None
    stands: Text | None
    confirm: CommandLine | None
    shows: Text | None


@dataclass(frozen=True)
class NotRunRow:
    """Rules that could not be held against the handover, and why."""

    not_run: Text
    because: Text


@dataclass(frozen=True)
class RuleRow:
    """A rule."""

    rule: Text
    severity: Text
    finds: Text


@dataclass(frozen=True)
class ExplainedRow(RuleRow):
    """All that is known of a rule."""

    for_the_next_kernel: Text
    how_to_confirm: Text
    log: Lines | None
    patterns: Annotated[str | None, Kind.LINES, "grep -E"]
    source: Text


def check(
    subject: Handover | MaplessRoot,
    checkup: Checkup,
    kernel: Kernel | None = None,
    invocation: Invocation = PLACEHOLDERS,
) -> Result:
    """A row a finding, the verdict before them.

    Args:
        subject: what was opened.
        checkup: what the rules made of it.
        kernel: the one it was held against, if one was named.
        invocation: how the handover was named, for the commands that confirm a finding.
    """
    rows = [_row(diagnosis, invocation) for diagnosis in checkup.diagnoses]
    return Result(
        "khodump.check/1",
        lambda: _head(subject, checkup, kernel),
        table("findings", FindingRow, rows, upright=True),
        lambda: Tail(_summary(checkup)),
    )


def _row(diagnosis: Diagnosis, invocation: Invocation) -> FindingRow:
    finding, outcome = diagnosis.finding, diagnosis.outcome
    look = diagnosis.look(invocation)
    return FindingRow(
        finding.severity.value,
        finding.rule,
        finding.phys,
        None if finding.owner is None else str(finding.owner),
        well_formed(finding.message),
        well_formed(outcome.text),
        "\n".join(well_formed(str(line).replace("\n", " ")) for line in outcome.log)
        or None,  # names may hold line ends
        None if diagnosis.seen is None else diagnosis.seen.hex(" "),
        None if diagnosis.stands is None else well_formed(str(diagnosis.stands)),
        None if look is None else well_formed(invocation.line(look.command)),
        None if look is None else look.shows,
    )


def what_was_checked(
    subject: Handover | MaplessRoot, checkup: Checkup, kernel: Kernel | None = None
) -> tuple[Fact, ...]:
    """The handover, and what it was held against; see `check()`."""
    kernel = kernel or producer(subject)
    metadata = metadata_of(subject)
    fdt = subject.fdt
    phys = fdt.phys if fdt else subject.phys if isinstance(subject, MaplessRoot) else None
    return (
        Fact("image", subject.memory.description, Kind.TEXT),
        Fact("fdt", phys, Kind.ADDRESS),
        Fact("compatible", fdt.said if fdt else None, Kind.TEXT),
        Fact("made by", metadata.release if metadata else None, Kind.TEXT),
        Fact("next kernel", f"{kernel.release} ({kernel.root})", Kind.TEXT),
        Fact("rules run", checkup.ran, Kind.COUNT),
    )


def _head(subject: Handover | MaplessRoot, checkup: Checkup, kernel: Kernel | None) -> Head:
    verdict = Fact("verdict", well_formed(checkup.verdict), Kind.TEXT)
    counts = Counter(diagnosis.finding.severity for diagnosis in checkup.diagnoses)
    found = [Fact(f"{severity.value}s", counts[severity], Kind.COUNT) for severity in GRAVITY]
    facts = (verdict, *what_was_checked(subject, checkup, kernel), *found)
    reasons = dict.fromkeys(why for _, why in checkup.not_run)
    skipped = [
        NotRunRow(", ".join(rule for rule, why in checkup.not_run if why == reason), reason)
        for reason in reasons
    ]
    return Head(facts, (table("not run", NotRunRow, skipped),))


def _summary(checkup: Checkup) -> str:
    skipped = f"; {len(checkup.not_run)} rules not run" if checkup.not_run else ""
    found = len(checkup.diagnoses)
    return f"{found} finding{'' if found == 1 else 's'} by {checkup.ran} rules{skipped}. {checkup.verdict}"


def list_rules() -> Result:
    """A row a rule."""
    rows = [RuleRow(rule.name, rule.severity.value, rule.title) for rule in RULES]
    return Result(
        "khodump.rules/1",
        lambda: Head(()),
        table("rules", RuleRow, rows),
        lambda: Tail(f"{len(RULES)} rules; --explain RULE tells more of one"),
    )


def explain(name: str) -> Result:
    """All that is known of one rule.

    Raises:
        UsageError: there is none of that name.
    """
    rule = next((rule for rule in RULES if rule.name == name), None)
    if rule is None:
        hint = f"{near(name, [rule.name for rule in RULES])}khodump check --list names them all"
        raise UsageError(f"there is no rule {name}", hint=hint)
    row = ExplainedRow(
        rule.name,
        rule.severity.value,
        rule.title,
        rule.means,
        str(rule.confirm),
        "\n".join(map(str, rule.log)) or None,
        "\n".join(line.pattern for line in rule.log) or None,
        rule.source,
    )
    return Result(
        "khodump.rule/1",
        lambda: Head(()),
        table("rules", ExplainedRow, [row], upright=True),
        lambda: Tail("docs/checks.md has all of them"),
    )
