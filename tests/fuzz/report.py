"""The table in docs/reliability.md, made from the log of all runs (a line of JSON each, see `tests.fuzz.worker.Tally`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from khodump.numbers import format_size

BEGIN: Final = "<!-- made by make fuzz: begin -->\n"
END: Final = "<!-- made by make fuzz: end -->\n"
LEVELS: Final = ("hypothesis", "mutation", "coverage", "reference")
_SUMS: Final = ("inputs", "crashes", "hangs", "wrong")


class Line(NamedTuple):
    """All runs of a target at a level; seconds and bytes of the worst."""

    level: str
    target: str
    inputs: int
    crashes: int
    hangs: int
    wrong: int
    slowest: float
    memory: int


def read_log(path: Path) -> list[dict[str, Any]]:
    """The runs so far."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def lines(runs: Iterable[dict[str, Any]]) -> list[Line]:
    """A line a level and target, in the order of the levels."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["level"], run["target"]), []).append(run)
    ordered = sorted(groups.items(), key=lambda item: (LEVELS.index(item[0][0]), item[0][1]))
    return [_line(level, target, group) for (level, target), group in ordered]


def _line(level: str, target: str, group: list[dict[str, Any]]) -> Line:
    inputs, crashes, hangs, wrong = (sum(run[name] for run in group) for name in _SUMS)
    slowest, memory = (max(run[name] for run in group) for name in ("slowest", "memory"))
    return Line(level, target, inputs, crashes, hangs, wrong, slowest, memory)


def table(runs: Iterable[dict[str, Any]]) -> str:
    """The table, and the sum of it, as Markdown."""
    found = lines(runs)
    rows = [
        f"| {line.level} | {line.target} | {line.inputs:,} | {line.crashes} | {line.hangs} | {line.wrong} "
        f"| {f'{line.slowest * 1000:,.0f} ms' if line.memory else '-'} | {format_size(line.memory) if line.memory else '-'} |"
        for line in found
    ]
    sums = " | ".join(f"**{sum(getattr(line, name) for line in found):,}**" for name in _SUMS)
    slowest = max((line.slowest for line in found), default=0.0)
    memory = max((line.memory for line in found), default=0)
    return "\n".join(
        [
            "| level | target | inputs | crashes | hangs | wrong answers | slowest | largest process |",
            "| --- | --- | --: | --: | --: | --: | --: | --: |",
            *rows,
            f"| **all** | | {sums} | {slowest * 1000:,.0f} ms | {format_size(memory)} |",
            "",
        ]
    )


def write(log: Path, page: Path) -> None:
    """Put the table into the page, between its marks."""
    text = page.read_text(encoding="utf-8") if page.exists() else BEGIN + END
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(read_log(log))}\n{END}{after}", encoding="utf-8")
