"""What a command returns: facts and typed columns, before anybody decides how they look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from khodump.findings import Finding

if TYPE_CHECKING:
    import numpy.typing as npt  # formats and commands are named without numpy being there

Cell: TypeAlias = int | str | bool | None

#: Some rows as columns of equal length; None cells only in lists.
Block: TypeAlias = "Sequence[npt.NDArray[Any] | Sequence[Cell]]"


class Kind(Enum):
    """What a value is, which decides how each format writes it."""

    ADDRESS = "address"  # integer in JSON, 0x... elsewhere
    COUNT = "count"
    SIZE = "size"  # bytes; with a unit in tables
    TEXT = "text"  # may come from the image: escaped everywhere
    TRUTH = "truth"
    LINES = "lines"  # text of several lines
    COMMAND = "command"  # text for a shell, which must survive being pasted
    CHANGE = "change"  # a word such as added or removed; a sign, and the colour of the row, in tables


class Column(NamedTuple):
    """A column's name and kind."""

    name: str
    kind: Kind


class Fact(NamedTuple):
    """One named value about the whole."""

    name: str
    value: Cell
    kind: Kind


class Rows(NamedTuple):
    """Rows that may be many: they come in blocks, and are not held.

    Attributes:
        name: what they are.
        columns: of every block.
        blocks: the rows.
        empty: what it means that there are none, where that is an answer; people read it in place of a bare header.
        upright: they hold sentences, which people read one below the other, not side by side.
    """

    name: str
    columns: tuple[Column, ...]
    blocks: Iterable[Block]
    empty: str | None = None
    upright: bool = False


class Head(NamedTuple):
    """What stands before the rows: facts about the whole, and small tables."""

    facts: tuple[Fact, ...]
    tables: tuple[Rows, ...] = ()


class Tail(NamedTuple):
    """What can be said once all rows have been taken.

    Attributes:
        summary: one line that says what was read, and what was not.
        findings: what is wrong with the data.
        is_partial: part of what was asked for cannot be told, though nothing may be wrong; the summary says what.
    """

    summary: str
    findings: Sequence[Finding] = ()
    is_partial: bool = False


@dataclass(frozen=True)
class Result:
    """What a command found out; nothing is worked out before it is asked for.

    Attributes:
        schema: name and version of its JSON form, such as `khodump.inspect/1`.
        head: for the formats that show more than rows.
        rows: what was asked for; the only part of csv, tsv and jsonl.
        tail: to be called after the last row.
    """

    schema: str
    head: Callable[[], Head]
    rows: Rows
    tail: Callable[[], Tail]
