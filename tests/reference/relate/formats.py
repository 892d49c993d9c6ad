"""JSON, JSON lines, CSV and TSV say the same."""

from __future__ import annotations

from typing import Any

from .case import Case
from .command import tell

FORMULAS = {"'=", "'+", "'-", "'@"}
# Where JSON has the rows, and the command.
LINES = [
    ("runs", ["inspect"]),
    ("pages", ["inspect", "--pages"]),
    ("owners", ["owners"]),
    ("files", ["sessions"]),
    ("values", ["subtrees"]),
    ("nodes", ["tree"]),
]


def hold(case: Case) -> None:
    for key, words in case.rng.sample(LINES, 2):
        whole = tell(*words, case.elf, "-q", "-f", "json")
        lines = tell(*words, case.elf, "-q", "-f", "jsonl")
        assert lines.status == whole.status, words
        if whole.status in {2, 3}:
            continue
        rows = lines.rows
        assert rows == whole.json.get(key, rows), words
        for name, delimiter in (("csv", ","), ("tsv", "\t")):
            table = tell(*words, case.elf, "-q", "-f", name)
            assert table.status == whole.status
            assert_same(rows, table.table(delimiter), words)


def assert_same(rows: list[dict[str, Any]], table: list[dict[str, str]], words: list[str]) -> None:
    """Cells of a table are the values of JSON: numbers in any base, nothing for null, text as it is."""
    assert len(rows) == len(table), words
    for row, cells in zip(rows, table, strict=True):
        for value, cell in zip(row.values(), cells.values(), strict=True):
            assert _same(value, cell), (words, value, cell)


def _same(value: object, cell: str) -> bool:
    if value is None:
        return cell == ""
    if isinstance(value, bool):
        return cell in {"yes", "no", "true", "false"}
    if isinstance(value, int):
        return int(cell, 0) == value
    return unescaped(cell) == value


def unescaped(cell: str) -> str:
    """Tables escape backslashes, so that what else is escaped can be told from text, and what looks like a formula."""
    if cell[:2] in FORMULAS:
        cell = cell[1:]
    return cell.replace("\\\\", "\\")
