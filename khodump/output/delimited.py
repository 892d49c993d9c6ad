"""csv and tsv: a header line, then only rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TextIO

from khodump.output.columns import integer_lines
from khodump.output.text import machine_text
from khodump.rows import Block, Kind, Result, Rows, Tail

#: A spreadsheet takes text that begins like this for a formula.
_FORMULA = ("=", "+", "-", "@")


def write_csv(result: Result, stream: TextIO) -> Tail:
    """Comma-separated, quoted as RFC 4180 has it; text that a spreadsheet would run gets a leading quote mark."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(column.name for column in result.rows.columns)
    for block in result.rows.blocks:
        lines = integer_lines(block, result.rows, ",")
        if lines is None:
            writer.writerows(zip(*(_defused(texts) for texts in _texts(block, result.rows)), strict=True))
        else:
            stream.write(lines)
    return result.tail()


def write_tsv(result: Result, stream: TextIO) -> Tail:
    """Tab-separated; tabs and line ends in text are escaped, never quoted."""
    stream.write("\t".join(column.name for column in result.rows.columns) + "\n")
    for block in result.rows.blocks:
        lines = integer_lines(block, result.rows, "\t")
        if lines is None:
            stream.writelines("\t".join(row) + "\n" for row in zip(*_texts(block, result.rows), strict=True))
        else:
            stream.write(lines)
    return result.tail()


def _texts(block: Block, rows: Rows) -> Iterator[list[str]]:
    for values, column in zip(block, rows.columns, strict=True):
        cells = values.tolist() if hasattr(values, "tolist") else values
        if column.kind is Kind.ADDRESS and None not in cells:
            yield [f"{value:#x}" for value in cells]
        else:
            yield [machine_text(value, column.kind) for value in cells]


def _defused(texts: list[str]) -> list[str]:
    return [f"'{text}" if text.startswith(_FORMULA) else text for text in texts]
