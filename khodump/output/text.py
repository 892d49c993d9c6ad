"""Single values as text. Strings may come from an image: what could act on a terminal or a spreadsheet is escaped."""

from __future__ import annotations

from khodump.names import spelled
from khodump.numbers import format_size
from khodump.rows import Cell, Kind

#: How tables write changes; whatever else there may be is `~`.
CHANGE_SIGNS = {"same": "=", "added": "+", "removed": "-", "moved": ">", "unknown": "?"}


#: Text of an image as it is shown everywhere.
printable = spelled


def identifier(name: str) -> str:
    """The name of a fact or column, for formats whose names are identifiers."""
    return name.replace(" ", "_")


def machine_text(value: Cell, kind: Kind) -> str:
    """A value for csv and tsv: addresses in hex, sizes in bytes, an empty string for none."""
    if value is None:
        return ""
    if kind is Kind.ADDRESS:
        return f"{value:#x}"
    if kind is Kind.TRUTH:
        return "yes" if value else "no"
    return printable(value) if isinstance(value, str) else str(value)


def human_lines(value: Cell, kind: Kind) -> list[str]:
    """A value for people, as lines: of text that has several, each is escaped by itself."""
    if kind is Kind.LINES and isinstance(value, str):
        return [printable(line) for line in value.split("\n")]
    return [human_text(value, kind)]


def human_text(value: Cell, kind: Kind) -> str:
    """A value for a table: as `machine_text`, but sizes with a unit, changes as signs, and a dash for none."""
    if value is None:
        return "-"
    if kind is Kind.SIZE and isinstance(value, int):
        return format_size(value)
    if kind is Kind.CHANGE:
        return CHANGE_SIGNS.get(str(value), "~")
    return machine_text(value, kind)
