"""khodump's command line, run in this process. What a command may never do is held here, for all of them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.transcript import run

STATUSES = {0, 1, 2, 3, 4}

Row = dict[str, Any]


class Told(NamedTuple):
    """What a command said."""

    line: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Row:
        """All of it, in JSON."""
        told: Row = json.loads(self.stdout)
        return told

    @property
    def rows(self) -> list[Row]:
        """Its rows, in JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def table(self, delimiter: str) -> list[dict[str, str]]:
        """Its rows, from CSV or TSV."""
        return list(csv.DictReader(io.StringIO(self.stdout), delimiter=delimiter))


def tell(*words: str | Path | int) -> Told:
    """Run a command. An exception that leaves it is the caller's: a traceback is what nobody may see."""
    line = tuple(str(word) for word in words)
    ran = run(*line)
    told = Told(line, ran.status, ran.stdout, ran.stderr)
    assert told.status in STATUSES, f"{line}: status {told.status}"
    assert "Traceback" not in ran.screen, line
    return told


def tell_well(*words: str | Path | int) -> Told:
    """As tell(), of what nothing is wrong with."""
    told = tell(*words)
    assert told.status == 0, f"{told.line}: status {told.status}: {told.stderr}"
    return told
