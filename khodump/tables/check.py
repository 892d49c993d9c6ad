"""`khodump check`: a row a finding; and the rules themselves."""

from __future__ import annotations

from typing import Final

from khodump.abi.kernels import Kernel
from khodump.advice import PLACEHOLDERS, Invocation
from khodump.checking.case import metadata_of, producer
from khodump.checking.checkup import GRAVITY, Checkup, Diagnosis
from khodump.checking.rules import RULES
from khodump.errors import UsageError, near
from khodump.handover import Handover
from khodump.names import well_formed
from khodump.opening.broken import Broken
from khodump.rows import Block, Cell, Column, Fact, Head, Kind, Result, Rows, Tail

_COLUMNS: Final = (
    Column("severity", Kind.TEXT),
    Column("rule", Kind.TEXT),
    Column("phys", Kind.ADDRESS),
    Column("owner", Kind.TEXT),
    Column("message", Kind.TEXT),
    Column("next kernel", Kind.TEXT),
    Column("log", Kind.LINES),
    Column("seen", Kind.TEXT),
    Column("stands", Kind.TEXT),
    Column("confirm", Kind.COMMAND),
    Column("shows", Kind.TEXT),
)
_NOT_RUN_COLUMNS: Final = (Column("not run", Kind.TEXT), Column("because", Kind.TEXT))
_RULE_COLUMNS: Final = (Column("rule", Kind.TEXT), Column("severity", Kind.TEXT), Column("finds", Kind.TEXT))
_EXPLAINED: Final = (
    *_RULE_COLUMNS,
    Column("for the next kernel", Kind.TEXT),
    Column("how to confirm", Kind.TEXT),
    Column("log", Kind.LINES),
    Column("grep -E", Kind.LINES),
    Column("source", Kind.TEXT),
)


def check(
    suspect: Handover | Broken,
    checkup: Checkup,
    kernel: Kernel | None = None,
    invocation: Invocation = PLACEHOLDERS,
) -> Result:
    """A row a finding, the verdict before them.

    Args:
        suspect: what was opened.
        checkup: what the rules made of it.
        kernel: the one it was held against, if one was named.
        invocation: how the handover was named, for the commands that confirm a finding.
    """
    rows = [_row(diagnosis, invocation) for diagnosis in checkup.diagnoses]
    block: Block = list(zip(*rows, strict=True)) if rows else [[] for _ in _COLUMNS]
    return Result(
        "khodump.check/1",
        lambda: _head(suspect, checkup, kernel or producer(suspect)),
        Rows("findings", _COLUMNS, [block], upright=True),
        lambda: Tail(_summary(checkup)),
    )


def _row(diagnosis: Diagnosis, invocation: Invocation) -> tuple[Cell, ...]:
    finding, outcome = diagnosis.finding, diagnosis.outcome
    look = diagnosis.look(invocation)
    return (
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


def _head(suspect: Handover | Broken, checkup: Checkup, kernel: Kernel) -> Head:
    metadata = metadata_of(suspect)
    fdt = suspect.fdt
    phys = fdt.phys if fdt else suspect.phys if isinstance(suspect, Broken) else None
    counts = [
        sum(diagnosis.finding.severity is severity for diagnosis in checkup.diagnoses) for severity in GRAVITY
    ]
    facts = (
        Fact("verdict", well_formed(checkup.verdict), Kind.TEXT),
        Fact("image", suspect.memory.description, Kind.TEXT),
        Fact("fdt", phys, Kind.ADDRESS),
        Fact("compatible", fdt.said if fdt else None, Kind.TEXT),
        Fact("made by", metadata.release if metadata else None, Kind.TEXT),
        Fact("next kernel", f"{kernel.release} ({kernel.root})", Kind.TEXT),
        Fact("rules run", checkup.ran, Kind.COUNT),
        Fact("errors", counts[0], Kind.COUNT),
        Fact("warnings", counts[1], Kind.COUNT),
        Fact("infos", counts[2], Kind.COUNT),
    )
    reasons = dict.fromkeys(why for _, why in checkup.not_run)
    rules = [", ".join(rule for rule, why in checkup.not_run if why == reason) for reason in reasons]
    return Head(facts, (Rows("not run", _NOT_RUN_COLUMNS, [[rules, list(reasons)]] if rules else []),))


def _summary(checkup: Checkup) -> str:
    skipped = f"; {len(checkup.not_run)} rules not run" if checkup.not_run else ""
    found = len(checkup.diagnoses)
    return f"{found} finding{'' if found == 1 else 's'} by {checkup.ran} rules{skipped}. {checkup.verdict}"


def list_rules() -> Result:
    """A row a rule."""
    block = (
        [rule.name for rule in RULES],
        [rule.severity.value for rule in RULES],
        [rule.title for rule in RULES],
    )
    return Result(
        "khodump.rules/1",
        lambda: Head(()),
        Rows("rules", _RULE_COLUMNS, [block]),
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
    row = (
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
        Rows("rules", _EXPLAINED, [[[cell] for cell in row]], upright=True),
        lambda: Tail("docs/checks.md has all of them"),
    )
