"""What a command returns: facts and typed columns, before anybody decides how they look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NamedTuple,
    TypeAlias,
    TypeVar,
    get_args,
    get_type_hints,
)

from khodump.findings import Finding

if TYPE_CHECKING:
    import numpy.typing as npt  # formats and commands are named without numpy being there
    from _typeshed import DataclassInstance

_Row = TypeVar("_Row", bound="DataclassInstance")

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


#: What a field of a row is, which makes it a column of that kind.
Address: TypeAlias = Annotated[int, Kind.ADDRESS]
Count: TypeAlias = Annotated[int, Kind.COUNT]
Size: TypeAlias = Annotated[int, Kind.SIZE]
Text: TypeAlias = Annotated[str, Kind.TEXT]
Truth: TypeAlias = Annotated[bool, Kind.TRUTH]
Lines: TypeAlias = Annotated[str, Kind.LINES]
CommandLine: TypeAlias = Annotated[str, Kind.COMMAND]
ChangeWord: TypeAlias = Annotated[str, Kind.CHANGE]


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
        records: the same rows as dataclasses, where they are few enough to be such.
    """

    name: str
    columns: tuple[Column, ...]
    blocks: Iterable[Block]
    empty: str | None = None
    upright: bool = False
    records: Sequence[DataclassInstance] = ()


@cache
def columns_of(row: type[DataclassInstance]) -> tuple[Column, ...]:
    """The fields of a dataclass as columns: each is of one of the types above, or None.

    Underscores stand for spaces, and one at the end keeps a name apart from a word of Python. A text after the kind is
    the name of a column that no field can have.
    """
    hints = get_type_hints(row, include_extras=True)
    return tuple(_column(field.name, hints[field.name]) for field in fields(row))


def _column(name: str, hint: object) -> Column:
    """The column of a field with this type, which names its kind by itself, or besides None."""
    kind, *named = next(
        each.__metadata__ for each in (hint, *get_args(hint)) if hasattr(each, "__metadata__")
    )
    return Column(named[0] if named else name.rstrip("_").replace("_", " "), kind)


def table(
    name: str,
    row: type[_Row],
    rows: Sequence[_Row],
    *,
    empty: str | None = None,
    upright: bool = False,
) -> Rows:
    """Rows that are held, as dataclasses whose fields are the columns; for the rest see `Rows`."""
    return Rows(name, columns_of(row), [block_of(row, rows)], empty, upright, rows)


def block_of(row: type[_Row], rows: Sequence[_Row]) -> Block:
    """Rows as columns."""
    return [[getattr(each, field.name) for each in rows] for field in fields(row)]


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
