"""Tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from typing import Final, TextIO

from tabulate import tabulate
from typer import style

from khodump.output.fit import fitted, shortened, wrapped, wrapped_command
from khodump.output.text import human_lines, human_text
from khodump.rows import Block, Cell, Column, Kind, Result, Rows, Tail

_LEFT: Final = (Kind.TEXT, Kind.CHANGE)
#: Of rows with a change, by its sign.
_COLORS: Final = {"+": "green", "-": "red", "~": "yellow", "?": "magenta"}
_GAP: Final = "  "
#: What may lose its middle where the window is narrow.
_SHORTENED: Final = (Kind.TEXT,)


def write_table(result: Result, stream: TextIO, *, color: bool, width: int | None = None) -> Tail:
    """Facts, small tables, then the rows as they come, in columns as wide as the first block needs.

    Args:
        result: what to write.
        stream: where.
        color: make headings bold.
        width: of the window, to which text is fitted; None for as wide as it comes.
    """
    head = result.head()
    if head.facts:
        names = max(len(fact.name) for fact in head.facts)
        for fact in head.facts:
            lines = _lines(fact.value, fact.kind, width, names)
            _write_field(stream, fact.name.ljust(names), lines, color)
        stream.write("\n")
    texts = (_small(table, color=color, width=width) for table in head.tables)
    stream.writelines(f"{text}\n\n" for text in texts if text)
    write_rows = _stream_upright if result.rows.upright else _stream
    write_rows(result.rows, stream, color=color, width=width)
    return result.tail()


def _heading(text: str, color: bool) -> str:
    return style(text, bold=True) if color else text


def _lines(value: Cell, kind: Kind, width: int | None, names: int) -> list[str]:
    """The value as lines that fit the window beside names of this length."""
    lines = human_lines(value, kind)
    if width is None:
        return lines
    room = width - names - len(_GAP)
    fit = wrapped_command if kind is Kind.COMMAND else wrapped
    return [part for line in lines for part in fit(line, room)]


def _write_field(stream: TextIO, name: str, lines: Iterable[str], color: bool) -> None:
    """A name, and its value beside it, which may be of several lines."""
    names = chain([_heading(name, color)], repeat(" " * len(name)))
    stream.writelines(f"{label}{_GAP}{line}\n" for label, line in zip(names, lines, strict=False))


def _small(table: Rows, *, color: bool, width: int | None) -> str:
    """The whole table; nothing for one without rows."""
    blocks = [_texts(block, table.columns) for block in table.blocks]
    columns = [list(chain(*parts)) for parts in zip(*blocks, strict=True)]
    if not columns or not columns[0]:
        return ""
    columns = _cut(columns, table.columns, _widths(columns, table.columns, width))
    rows = list(zip(*columns, strict=True))
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


def _stream(rows: Rows, stream: TextIO, *, color: bool, width: int | None) -> None:
    blocks = iter(rows.blocks)
    first = _texts(next(blocks, [()] * len(rows.columns)), rows.columns)
    if rows.empty is not None and not first[0]:
        stream.write(f"{rows.empty}\n")
        return
    limits = _widths(first, rows.columns, width)
    first = _cut(first, rows.columns, limits)
    widths = [
        max(len(column.name), *map(len, texts)) if texts else len(column.name)
        for column, texts in zip(rows.columns, first, strict=True)
    ]
    aligns = ["<" if column.kind in _LEFT else ">" for column in rows.columns]
    line = _GAP.join(f"{{:{align}{width}}}" for align, width in zip(aligns, widths, strict=True)).format
    stream.write(_heading(line(*(column.name for column in rows.columns)).rstrip(), color) + "\n")
    paint = _painter(rows.columns) if color else lambda text, _: text
    later = (_cut(_texts(block, rows.columns), rows.columns, limits) for block in blocks)
    for texts in chain([first], later):
        stream.writelines(paint(line(*row).rstrip(), row) + "\n" for row in zip(*texts, strict=True))


def _painter(columns: tuple[Column, ...]) -> Callable[[str, Sequence[str]], str]:
    """What colours a line by the change that its row tells of; other lines stay as they are."""
    at = next((at for at, column in enumerate(columns) if column.kind is Kind.CHANGE), None)

    def paint(line: str, row: Sequence[str]) -> str:
        return line if at is None or row[at] not in _COLORS else style(line, fg=_COLORS[row[at]])

    return paint


def _widths(texts: Sequence[Sequence[str]], columns: Sequence[Column], width: int | None) -> list[int] | None:
    """How wide each column may be in a window of `width`; None where there is none."""
    if width is None:
        return None
    wanted = [
        max(len(column.name), *map(len, cells)) if cells else len(column.name)
        for column, cells in zip(columns, texts, strict=True)
    ]
    least = [len(column.name) if column.kind in _SHORTENED else None for column in columns]
    return fitted(wanted, least, width - len(_GAP) * (len(columns) - 1))


def _cut(texts: list[list[str]], columns: Sequence[Column], limits: list[int] | None) -> list[list[str]]:
    """The cells of text columns within their limits; numbers and addresses always stay whole."""
    if limits is None:
        return texts
    return [
        [shortened(cell, limit) for cell in cells] if column.kind in _SHORTENED else cells
        for cells, column, limit in zip(texts, columns, limits, strict=True)
    ]


def _stream_upright(rows: Rows, stream: TextIO, *, color: bool, width: int | None) -> None:
    """Each row as lines of name and value; what is not there is left out."""
    names = max(len(column.name) for column in rows.columns)
    gap = ""
    for block in rows.blocks:
        columns = [values.tolist() if hasattr(values, "tolist") else values for values in block]
        for row in zip(*columns, strict=True):
            stream.write(gap)
            for column, value in zip(rows.columns, row, strict=True):
                if value is not None:
                    lines = _lines(value, column.kind, width, names)
                    _write_field(stream, column.name.ljust(names), lines, color)
            gap = "\n"


def _texts(block: Block, columns: Iterable[Column]) -> list[list[str]]:
    return [
        [
            human_text(value, column.kind)
            for value in (values.tolist() if hasattr(values, "tolist") else values)
        ]
        for values, column in zip(block, columns, strict=True)
    ]
