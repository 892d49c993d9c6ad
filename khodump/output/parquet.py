"""parquet: typed columns for DuckDB, pandas and the like, in row groups as the rows come.

The file's key-value metadata holds `khodump.schema`, the facts about the whole (`khodump.release`, ...) and
`khodump.summary`. Text is as in json: names are exact, and of bytes that are no UTF-8 their spelling stands for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from khodump.extras import require, require_arrow
from khodump.names import well_formed
from khodump.output.text import identifier, machine_text
from khodump.rows import Block, Cell, Fact, Kind, Result, Rows, Tail

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows a row group: what is held at a time.
ROWS_PER_GROUP: Final = 1 << 17

_PREFIX: Final = "khodump."
_PURPOSE: Final = "parquet"
_TYPES: Final = {
    Kind.ADDRESS: "uint64",
    Kind.SIZE: "uint64",
    Kind.COUNT: "int64",
    Kind.TEXT: "string",
    Kind.LINES: "string",
    Kind.COMMAND: "string",
    Kind.CHANGE: "string",
    Kind.TRUTH: "bool",
}


def write_parquet(result: Result, stream: TextIO) -> Tail:
    """Rows alone, to the bytes behind `stream`; the facts are metadata.

    Raises:
        MissingExtraError: PyArrow is not installed.
    """
    parquet = require("pyarrow.parquet", extra="arrow", purpose=_PURPOSE)
    schema = _schema(result)
    stream.flush()
    with parquet.ParquetWriter(_Append(stream.buffer.write), schema, compression="zstd") as writer:
        for table in _groups(result.rows, schema):
            writer.write_table(table, ROWS_PER_GROUP)
        tail = result.tail()
        writer.add_key_value_metadata({f"{_PREFIX}summary": well_formed(tail.summary)})
    return tail


def _told(fact: Fact) -> str:
    """A fact for the file's metadata, which is text alone."""
    if isinstance(fact.value, str):
        return well_formed(fact.value)
    return machine_text(fact.value, fact.kind)


def _schema(result: Result) -> pa.Schema:
    arrow = require_arrow(_PURPOSE)
    types = [(identifier(column.name), _TYPES[column.kind]) for column in result.rows.columns]
    facts = {f"{_PREFIX}{identifier(fact.name)}": _told(fact) for fact in result.head().facts}
    return arrow.schema(types, metadata={f"{_PREFIX}schema": result.schema, **facts})


def _groups(rows: Rows, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows, as tables of `ROWS_PER_GROUP` or little more: small blocks are put together."""
    arrow = require_arrow(_PURPOSE)
    held: list[pa.RecordBatch] = []
    count = 0
    for block in rows.blocks:
        batch = arrow.record_batch(_arrays(block, rows, schema), schema=schema)
        held.append(batch)
        count += batch.num_rows
        if count >= ROWS_PER_GROUP:
            yield arrow.Table.from_batches(held, schema)
            held, count = [], 0
    if held:
        yield arrow.Table.from_batches(held, schema)


def _arrays(block: Block, rows: Rows, schema: pa.Schema) -> list[pa.Array]:
    arrow = require_arrow(_PURPOSE)
    return [
        arrow.array(_clean(values, column.kind), field.type)
        for values, column, field in zip(block, rows.columns, schema, strict=True)
    ]


def _clean(values: Any, kind: Kind) -> Any:  # noqa: ANN401 - a column of a block, as it is or escaped
    """The values as Arrow takes them: text as Unicode, all else as it is."""
    if _TYPES[kind] != "string":
        return values
    cells: Sequence[Cell] = values.tolist() if hasattr(values, "tolist") else values
    return [None if cell is None else well_formed(str(cell)) for cell in cells]


class _Append:
    """A file to PyArrow, over a stream that cannot seek: a pipe, say."""

    closed = False

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write, self._at = write, 0

    def write(self, data: bytes) -> int:
        """Write all of `data`."""
        self._write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written so far; nobody else writes to the stream."""
        return self._at

    def flush(self) -> None:
        """The stream's owner flushes it."""

    def close(self) -> None:
        """The stream is its owner's to close."""
        self.closed = True
