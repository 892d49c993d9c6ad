"""The table of formats and their writers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TextIO

from khodump.output.delimited import write_csv, write_tsv
from khodump.output.formats import Format
from khodump.output.json import write_json, write_jsonl
from khodump.output.parquet import write_parquet
from khodump.output.table import write_table
from khodump.rows import Result, Tail

_WRITERS: Final[dict[Format, Callable[[Result, TextIO], Tail]]] = {
    Format.JSON: write_json,
    Format.JSONL: write_jsonl,
    Format.CSV: write_csv,
    Format.TSV: write_tsv,
    Format.PARQUET: write_parquet,
}


def write(
    result: Result, format_: Format, stream: TextIO, *, color: bool = False, width: int | None = None
) -> Tail:
    """Write a result to `stream` as its rows come, and return what is known after the last one.

    `color` and `width`, that of the window, matter to tables alone.
    """
    if format_ is Format.TABLE:
        return write_table(result, stream, color=color, width=width)
    return _WRITERS[format_](result, stream)
