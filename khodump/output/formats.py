"""The names of the output formats, apart from what writes them: the command line needs them at once."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """The formats every command writes."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
