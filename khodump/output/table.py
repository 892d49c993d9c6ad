"""Tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, TextIO

from tabulate import tabulate
from typer import style

from khodump.output.text import human_lines, human_text
from khodump.rows import Block, Column, Kind, Result, Rows, Tail

_LEFT: Final = (Kind.TEXT, Kind.CHANGE)
#: Of rows with a change, by its sign.
_COLORS: Final = {"+": "green", "-": "red", "~": "yellow", "?": "magenta"}
_GAP: Final = "  "


def write_table(result: Result, stream: TextIO, *, color: bool) -> Tail:
    """Facts, small tables, then the rows as they come, in columns as wide as the first block needs."""
    head = result.head()
    if head.facts:
        width = max(len(fact.name) for fact in head.facts)
        stream.writelines(
            f"{_heading(fact.name.ljust(width), color)}{_GAP}{human_text(fact.value, fact.kind)}\n"
            for fact in head.facts
        )
        stream.write("\n")
    texts = (_small(table, color=color) for table in head.tables)
    stream.writelines(f"{text}\n\n" for text in texts if text)
    write_rows = _stream_upright if result.rows.upright else _stream
    write_rows(result.rows, stream, color=color)
    return result.tail()


def _heading(text: str, color: bool) -> str:
    return style(text, bold=True) if color else text


def _small(table: Rows, *, color: bool) -> str:
    """The whole table; nothing for one without rows."""
    rows = [row for block in table.blocks for row in zip(*_texts(block, table.columns), strict=True)]
    if not rows:
        return ""
    text = tabulate(
        rows,
        headers=[column.name for column in table.columns],
        tablefmt="plain",
        disable_numparse=True,  # tabulate rewrites strings that look like numbers
        colalign=["left" if column.kind in _LEFT else "right" for column in table.columns],
    )
    if not color:
        return text
    header, *lines = text.splitlines()
    paint = _painter(table.columns)
    return "\n".join([_heading(header, color), *map(paint, lines, rows)])


def _stream(rows: Rows, stream: TextIO, *, color: bool) -> None:
    blocks = iter(rows.blocks)
    first = _texts(next(blocks, [()] * len(rows.columns)), rows.columns)
    if rows.empty is not None and not first[0]:
        stream.write(f"{rows.empty}\n")
        return
    widths = [
        max(len(column.name), *map(len, texts)) if texts else len(column.name)
        for column, texts in zip(rows.columns, first, strict=True)
    ]
    aligns = ["<" if column.kind in _LEFT else ">" for column in rows.columns]
    line = _GAP.join(f"{{:{align}{width}}}" for align, width in zip(aligns, widths, strict=True)).format
    stream.write(_heading(line(*(column.name for column in rows.columns)).rstrip(), color) + "\n")
    paint = _painter(rows.columns) if color else lambda text, _: text
    for texts in chain([first], (_texts(block, rows.columns) for block in blocks)):
        stream.writelines(paint(line(*row).rstrip(), row) + "\n" for row in zip(*texts, strict=True))


def _painter(columns: tuple[Column, ...]) -> Callable[[str, Sequence[str]], str]:
    """What colours a line by the change that its row tells of; other lines stay as they are."""
    at = next((at for at, column in enumerate(columns) if column.kind is Kind.CHANGE), None)

    def paint(line: str, row: Sequence[str]) -> str:
        return line if at is None or row[at] not in _COLORS else style(line, fg=_COLORS[row[at]])

    return paint


def _stream_upright(rows: Rows, stream: TextIO, *, color: bool) -> None:
    """Each row as lines of name and value; what is not there is left out."""
    width = max(len(column.name) for column in rows.columns)
    gap = ""
    for block in rows.blocks:
        columns = [values.tolist() if hasattr(values, "tolist") else values for values in block]
        for row in zip(*columns, strict=True):
            stream.write(gap)
            for column, value in zip(rows.columns, row, strict=True):
                lines = [] if value is None else human_lines(value, column.kind)
                names = [column.name, *[""] * len(lines)]
                stream.writelines(
                    f"{_heading(name.ljust(width), color)}{_GAP}{line}\n"
                    for name, line in zip(names, lines, strict=False)
                )
            gap = "\n"


def _texts(block: Block, columns: Iterable[Column]) -> list[list[str]]:
    return [
        [
            human_text(value, column.kind)
            for value in (values.tolist() if hasattr(values, "tolist") else values)
        ]
        for values, column in zip(block, columns, strict=True)
    ]
