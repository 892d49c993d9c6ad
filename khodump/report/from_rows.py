"""What commands return, as parts of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from khodump.output.text import human_text
from khodump.report.page import WORDS, Grid, Table
from khodump.rows import Block, Cell, Fact, Rows

#: Rows of a grid; a page of several such grids stays below 5 MB.
MAX_ROWS: Final = 20_000


def facts_of(facts: Iterable[Fact]) -> tuple[tuple[str, str], ...]:
    """Facts as texts, without those that are not known."""
    return tuple((fact.name, human_text(fact.value, fact.kind)) for fact in facts if fact.value is not None)


def table_of(title: str, rows: Rows) -> Table:
    """All rows, as texts."""
    kinds = [column.kind for column in rows.columns]
    texts = tuple(
        tuple(human_text(value, kind) for value, kind in zip(row, kinds, strict=True))
        for block in rows.blocks
        for row in zip(*(_cells(values) for values in block), strict=True)
    )
    names = tuple(column.name for column in rows.columns)
    return Table(title, names, tuple(kind not in WORDS for kind in kinds), texts)


def grid_of(name: str, title: str, rows: Rows, note: str | None = None) -> Grid:
    """The first MAX_ROWS rows; the note says so when there are more."""
    columns: list[list[Cell]] = [[] for _ in rows.columns]
    total = 0
    for block in rows.blocks:
        room = max(MAX_ROWS - total, 0)
        for column, values in zip(columns, block, strict=True):
            column.extend(_cells(values[:room]))
        total += _length(block)
    if total > MAX_ROWS:
        note = (
            f"The first {MAX_ROWS} of {total} rows."
            if note is None
            else f"{note} The first {MAX_ROWS} of {total}."
        )
    named = tuple((column.name, column.kind) for column in rows.columns)
    return Grid(name, title, named, tuple(tuple(column) for column in columns), note)


def _length(block: Block) -> int:
    return len(block[0]) if block else 0


def _cells(values: object) -> Sequence[Cell]:
    cells: Sequence[Cell] = values.tolist() if hasattr(values, "tolist") else values  # type: ignore[assignment]
    return cells
