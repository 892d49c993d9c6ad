"""The map's own pages as tree(1) shows directories: readable however many siblings there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from khodump.columns.arrays import I64, Bool
from khodump.columns.extents import NO_ORDER
from khodump.memory import Presence
from khodump.numbers import format_size
from khodump.tables.nodetree import NO_PARENT
from khodump.tables.tree import Listing
from khodump.tracker import NO_SLOT

#: Where there would be more lines, siblings are left out, down to so many a parent.
_LINES: Final = 150
_SIBLINGS: Final = (12, 6, 3, 1)
_GAP: Final = "  "
_HEADINGS: Final = ("node", "key prefix", "order", "from", "to", "covers", "children", "preserved")
_LEFT: Final = (0,)


@dataclass(frozen=True)
class Joints:
    """What branches are drawn with."""

    fork: str
    last: str
    pass_by: str
    more: str


UNICODE: Final = Joints("├─ ", "└─ ", "│  ", "…")
ASCII: Final = Joints("|- ", "`- ", "|  ", "...")


def joints_of(encoding: str | None) -> Joints:
    """The best that a stream's encoding has."""
    try:
        f"{UNICODE.fork}{UNICODE.last}{UNICODE.pass_by}{UNICODE.more}".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


class _Line(NamedTuple):
    """A line: a node's cells, or for siblings that are left out, a sentence."""

    cells: tuple[str, ...]
    remark: str = ""


def draw_tree(chosen: Listing, joints: Joints = UNICODE, *, keyed: bool = True) -> Iterator[str]:
    """The lines of a tree, siblings beyond a few told in one line.

    Args:
        chosen: the nodes.
        joints: what to draw with.
        keyed: whether its nodes have keys.
    """
    lines = list(_Drawing(chosen, joints).lines())
    table = [_HEADINGS, *(line.cells for line in lines if len(line.cells) > 1)]
    kept = [column for column in range(len(_HEADINGS)) if keyed or _HEADINGS[column] != "key prefix"]
    widths = {column: max(len(cells[column]) for cells in table) for column in kept}
    for line in (_Line(_HEADINGS), *lines):
        if len(line.cells) == 1:
            yield line.cells[0]
            continue
        texts = (
            f"{line.cells[column]:{'<' if column in _LEFT else '>'}{width}}"
            for column, width in widths.items()
        )
        yield (_GAP.join(texts) + (_GAP + line.remark if line.remark else "")).rstrip()


class _Drawing:
    """One tree, and which of its nodes get a line."""

    def __init__(self, chosen: Listing, joints: Joints) -> None:
        self._chosen, self._joints = chosen, joints
        found = chosen.tree
        self._kept = np.zeros(len(found), np.bool_)
        self._kept[chosen.rows] = True
        self._number = _numbers(found.parent, self._kept)
        self._shown = self._fitting()
        hidden = self._kept & ~self._shown & self._is_shown(found.parent)
        self._hidden = {NO_PARENT: 0} | _counted(found.parent[hidden])
        self._below = _summed(found.parent[hidden], found.preservations[hidden].tolist())
        self._levels = dict(
            zip(found.parent[hidden].tolist(), found.nodes.level[hidden].tolist(), strict=True)
        )

    def _is_shown(self, rows: I64) -> Bool:
        return np.where(rows == NO_PARENT, True, self._shown[rows])

    def _fitting(self) -> Bool:
        """The nodes that get a line: as many siblings each as keeps all within bounds."""
        found = self._chosen.tree
        siblings = _counted(found.parent[self._kept])
        family = np.array([siblings.get(parent, 0) for parent in found.parent.tolist()], np.int64)
        shown = self._kept
        for limit in (max(siblings.values(), default=1), *_SIBLINGS):
            # Who is the only one left out gets the line that would say so.
            shown = self._kept & ((self._number < limit) | (family <= limit + 1))
            for depth in range(1, int(found.depth.max(initial=0)) + 1):
                here = np.flatnonzero(found.depth == depth)
                shown[here] &= shown[found.parent[here]]
            if shown.sum() <= _LINES:
                break
        return shown

    def lines(self) -> Iterator[_Line]:
        """Every line, from the top."""
        found = self._chosen.tree
        rows = np.flatnonzero(self._shown).tolist()
        remaining = _counted(found.parent[self._shown])
        stems: dict[int, str] = {NO_PARENT: ""}
        open_: list[int] = []  # parents whose left-out children are still to be told
        for row in rows:
            parent = int(found.parent[row])
            while open_ and open_[-1] != parent:
                yield from self._more(open_.pop(), stems)
            remaining[parent] -= 1
            is_last = not remaining[parent] and not self._hidden.get(parent)
            top = parent == NO_PARENT
            stem = stems[parent]
            yield self._line(row, stem + ("" if top else self._joints.last if is_last else self._joints.fork))
            stems[row] = stem + ("" if top else "   " if is_last else self._joints.pass_by)
            if remaining.get(row):
                open_.append(row)
            elif self._hidden.get(row):
                yield from self._more(row, stems)
        while open_:
            yield from self._more(open_.pop(), stems)
        yield from self._more(NO_PARENT, stems)

    def _more(self, parent: int, stems: dict[int, str]) -> Iterator[_Line]:
        """What was left out of the children of a node."""
        count = self._hidden.get(parent, 0)
        if count:
            level = self._levels[parent]
            what = "leaves" if level == 0 else "nodes"
            said = (
                f"{count} more {what} with {self._below[parent]} preservations (--level {level} lists them)"
            )
            yield _Line((f"{stems[parent]}{self._joints.last}{self._joints.more} {said}",))

    def _line(self, row: int, stem: str) -> _Line:
        found, nodes = self._chosen.tree, self._chosen.tree.nodes
        slot, low, high = int(nodes.slot[row]), int(found.low[row]), int(found.high[row])
        start, end = int(found.start[row]), int(found.end[row])
        known, is_leaf = low != NO_ORDER, nodes.level[row] == 0
        name = f"{stem}{'' if slot == NO_SLOT else f'[{slot}] '}{int(nodes.phys[row]):#x}"
        cells = (
            name,
            f"{int(nodes.prefix[row]):#x}",
            "-" if not known else f"{low}" if low == high else f"{low}..{high}",
            f"{start:#x}" if known else "-",
            f"{end:#x}" if known else "-",
            format_size(end - start) if known else "-",
            "" if is_leaf else str(int(found.children[row])),
            str(int(found.preservations[row])),
        )
        remarks = [self._chosen.bits[row]] if row in self._chosen.bits else []
        state = self._chosen.state(row)
        if state == "unreadable":
            remarks.append(f"unreadable: {Presence(int(nodes.presence[row])).reason}")
        elif state == "empty":
            remarks.append("empty")
        return _Line(cells, ", ".join(remarks))


def _numbers(parent: I64, kept: Bool) -> I64:
    """The place of each kept row among its kept siblings."""
    rows = np.flatnonzero(kept)
    order = rows[np.argsort(parent[rows], kind="stable")]
    family = parent[order]
    number = np.zeros(len(parent), np.int64)
    number[order] = np.arange(len(order)) - np.searchsorted(family, family)
    return number


def _counted(parent: I64) -> dict[int, int]:
    parents, counts = np.unique(parent, return_counts=True)
    return dict(zip(parents.tolist(), counts.tolist(), strict=True))


def _summed(parent: I64, values: list[int]) -> dict[int, int]:
    total: dict[int, int] = {}
    for row, value in zip(parent.tolist(), values, strict=True):
        total[row] = total.get(row, 0) + value
    return total
