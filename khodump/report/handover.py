"""The report on one handover: what `check` says of it first, then everything else that is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump import __version__
from khodump.abi.kernels import Kernel
from khodump.advice import PLACEHOLDERS, Invocation, told
from khodump.checking.checkup import Checkup, Diagnosis
from khodump.checking.rules import RULES
from khodump.columns.arrays import Bool
from khodump.columns.extents import Extents
from khodump.extraction.contents import missing_contents
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.luo_sessions import find_sessions
from khodump.memory import Presence
from khodump.numbers import format_size
from khodump.opening.mapless import MaplessRoot
from khodump.picture.picture import paint
from khodump.picture.scene import CANVAS
from khodump.picture.svg import draw_svg
from khodump.picture.view import By, View
from khodump.report.from_rows import MAX_ROWS, facts_of, grid_of, table_of
from khodump.report.page import Card, Drawing, Page, Section
from khodump.rows import Address, Block, Column, Count, Kind, Rows, Text, table
from khodump.tables.check import what_was_checked
from khodump.tables.dts import dts
from khodump.tables.inspect import Selection, inspect
from khodump.tables.owners import not_held, owners
from khodump.tables.sessions import sessions
from khodump.tables.subtrees import subtrees
from khodump.tracker import Nodes

_MAX_CARDS: Final = 200
_STRETCHES: Final = (
    Column("phys", Kind.ADDRESS),
    Column("end", Kind.ADDRESS),
    Column("order", Kind.COUNT),
    Column("runs", Kind.COUNT),
    Column("count", Kind.COUNT),
    Column("size", Kind.SIZE),
)
_RULES: Final = {rule.name: rule for rule in RULES}
_NO_RULE: Final = "A decoder found it, and khodump has no rule for it: what follows is for its user to say."


@dataclass(frozen=True)
class _LevelRow:
    """The map's own pages of one level."""

    level: Count
    nodes: Count
    empty: Count
    unreadable: Count


@dataclass(frozen=True)
class _UnreadRow:
    """Something that the image does not hold."""

    phys: Address | None
    what: Text


@dataclass(frozen=True)
class _SkippedRow:
    """A rule that was not run, and why."""

    rule_not_run: Text
    because: Text


def handover_page(
    subject: Handover | MaplessRoot,
    checkup: Checkup,
    kernel: Kernel | None = None,
    invocation: Invocation = PLACEHOLDERS,
) -> Page:
    """The page.

    Args:
        subject: what was opened.
        checkup: what the rules made of it.
        kernel: the one it was held against, if one was named.
        invocation: how the handover was named, for the commands that confirm a finding.
    """
    facts = facts_of(what_was_checked(subject, checkup, kernel))
    sections = [findings_section(checkup, invocation=invocation)]
    if isinstance(subject, Handover):
        sections += [*_about(subject)]
    sections.append(_made(subject, checkup, invocation))
    return Page(f"KHO: {subject.memory.description}", checkup.verdict, _tone(checkup), facts, tuple(sections))


def _tone(checkup: Checkup) -> str:
    if checkup.reaches(Severity.ERROR):
        return "bad"
    return "unsure" if checkup.reaches(Severity.WARNING) else "good"


def findings_section(
    checkup: Checkup,
    anchor: str = "findings",
    title: str = "Findings",
    intro: str = "",
    invocation: Invocation = PLACEHOLDERS,
) -> Section:
    """What the rules found, one card a finding; of very many, the gravest."""
    found = len(checkup.diagnoses)
    if not found:
        intro = f"{intro} {checkup.ran} rules were run, and found nothing.".strip()
    elif found > _MAX_CARDS:
        intro = f"{intro} The gravest {_MAX_CARDS} of {found}: khodump check lists all.".strip()
    cards = (_card(diagnosis, invocation) for diagnosis in checkup.diagnoses[:_MAX_CARDS])
    return Section(anchor, title, intro, cards=tuple(cards))


def _card(diagnosis: Diagnosis, invocation: Invocation) -> Card:
    finding, outcome, rule = diagnosis.finding, diagnosis.outcome, _RULES.get(diagnosis.finding.rule)
    where = [f"{finding.phys:#x}"] if finding.phys is not None else []
    look = diagnosis.look(invocation)
    details = (
        ("Next kernel", (outcome.text,), False),
        ("It prints", tuple(map(str, outcome.log)), True),
        ("Address", tuple(where), True),
        ("Owner", (str(finding.owner),) if finding.owner else (), True),
        ("Bytes there", _hexdump(finding.phys, diagnosis.seen), True),
        ("Stands", (str(diagnosis.stands),) if diagnosis.stands else (), False),
        ("What it means", (rule.means if rule else _NO_RULE,), False),
        ("How to confirm", (invocation.line(look.command),) if look else (), True),
        ("Which shows", (look.shows,) if look else (), False),
        ("Source", (rule.source if rule else "",), False),
    )
    shown = tuple(part for part in details if any(part[1]))
    return Card(finding.severity.value, finding.rule, finding.message, shown)


def _hexdump(phys: int | None, seen: bytes | None) -> tuple[str, ...]:
    if phys is None or seen is None:
        return ()
    letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in seen)
    return (f"{phys:#x}  {seen.hex(' ')}  {letters}",)


def _about(handover: Handover) -> Iterator[Section]:
    yield _picture(handover)
    yield _totals(handover)
    yield _sessions(handover)
    yield _subtrees(handover)
    yield _nodes(handover)
    yield _runs(handover)
    yield _unread(handover)


def picture_of(handover: Handover, by: By, name: str, caption: str) -> Drawing:
    """Physical memory, with what is preserved told apart; `name` is unique in the page."""
    return Drawing(caption, draw_svg(paint(handover, View(by), CANVAS), name=name))


def _picture(handover: Handover) -> Section:
    return Section(
        "picture",
        "Where it lies",
        pictures=(
            picture_of(handover, By.OWNER, "by-owner", "By owner"),
            picture_of(handover, By.ORDER, "by-order", "By order"),
        ),
    )


def _totals(handover: Handover) -> Section:
    totals = inspect(handover, Selection()).head()
    owned = owners(handover)
    tables = tuple(table_of(table.name.capitalize(), table) for table in totals.tables)
    return Section(
        "preserved",
        "What is preserved",
        _sentence(owned.tail().summary),
        facts=facts_of((*totals.facts, not_held(handover))),
        tables=tables,
        grids=(grid_of("owners", "By owner", owned.rows),),
    )


def _sessions(handover: Handover) -> Section:
    result = sessions(handover)
    head = result.head()
    return Section(
        "sessions",
        "Sessions and files",
        _sentence(result.tail().summary),
        facts=facts_of(head.facts),
        tables=tuple(table_of(table.name, table) for table in head.tables if any(map(len, table.blocks))),
        grids=(grid_of("files", "Files", result.rows),),
    )


def _sentence(summary: str) -> str:
    """The last line of a command as a sentence of its own."""
    return f"{summary[:1].upper()}{summary[1:]}."


def _subtrees(handover: Handover) -> Section:
    result = subtrees(handover)
    return Section(
        "subtrees",
        "Subtrees",
        "What the nodes of the root FDT lead to, and the root FDT as device-tree source.",
        grids=(grid_of("subtrees", "Decoded", result.rows),),
        text="\n".join(dts(handover.fdt.tree)),
    )


def _level(level: int, nodes: Nodes, missing: Bool) -> _LevelRow:
    there = nodes.level == level
    return _LevelRow(level, int(there.sum()), int((there & nodes.empty).sum()), int((there & missing).sum()))


def _nodes(handover: Handover) -> Section:
    nodes = handover.nodes
    levels = np.unique(nodes.level)[::-1].tolist()
    missing = nodes.presence != Presence.PRESENT
    counted = [_level(level, nodes, missing) for level in levels]
    listed = (
        Column("phys", Kind.ADDRESS),
        Column("level", Kind.COUNT),
        Column("key prefix", Kind.ADDRESS),
        Column("empty", Kind.TRUTH),
        Column("unreadable", Kind.TRUTH),
    )
    block = (nodes.phys, nodes.level, nodes.prefix, nodes.empty, missing)
    return Section(
        "map-pages",
        "The map's own pages",
        f"{handover.tracker.shape}; level 0 holds the bits.",
        tables=(table_of("By level", table("levels", _LevelRow, counted)),),
        grids=(grid_of("nodes", "Pages", Rows("nodes", listed, [block])),),
    )


def _runs(handover: Handover) -> Section:
    extents = handover.preserved
    if extents.runs <= MAX_ROWS:
        rows = inspect(handover, Selection(), owners=True).rows
        return Section("runs", "Every run", grids=(grid_of("runs", "Runs", rows),))
    window, block = _stretches(extents)
    note = (
        f"{extents.runs} runs are too many for a page: those of one order that begin in the same {format_size(window)} "
        "stand together, with gaps in between. khodump inspect lists each."
    )
    grid = grid_of("runs", "Stretches", Rows("runs", _STRETCHES, [block]), note)
    return Section("runs", "Every run", grids=(grid,))


def _stretches(extents: Extents) -> tuple[int, Block]:
    """Runs put together by the window of memory they begin in, and their order; the window's size in bytes."""
    shift = extents.page_shift + 1
    while True:
        group = (extents.phys >> np.uint64(shift) << np.uint64(6)) | extents.order
        keys, member = np.unique(group, return_inverse=True)
        if len(keys) <= MAX_ROWS:
            break
        shift += 1
    start = np.full(len(keys), ~np.uint64(0))
    end, count, runs = (np.zeros(len(keys), np.uint64) for _ in range(3))
    np.minimum.at(start, member, extents.phys)
    np.maximum.at(end, member, extents.end)
    np.add.at(count, member, extents.count)
    np.add.at(runs, member, np.uint64(1))
    order = keys & np.uint64(63)
    size = count << (order + np.uint64(extents.page_shift))
    return 1 << shift, (start, end, order, runs, count, size)


def _unread(handover: Handover) -> Section:
    found = [finding for finding in handover.all_findings if finding.unread]
    rows = [_UnreadRow(finding.phys, finding.message) for finding in found]
    intro = (
        "Pages of the map, and what KHO's users wrote, that the image does not hold."
        if found
        else "All metadata that was looked for was in the image."
    )
    if handover.is_map_gone and handover.successor is not None:
        intro = f"What the map listed is not to be had. {handover.successor.message}."
    lost = "; ".join(missing_contents(handover, find_sessions(handover)))
    if lost:
        intro += f" {_sentence(lost)}"
    grids = (grid_of("unread", "Missing", table("unread", _UnreadRow, rows)),) if found else ()
    return Section("unread", "What could not be read", intro, grids=grids)


def _made(subject: Handover | MaplessRoot, checkup: Checkup, invocation: Invocation) -> Section:
    skipped = table("not run", _SkippedRow, [_SkippedRow(rule, why) for rule, why in checkup.not_run])
    tables = (table_of("Rules that were not run", skipped),) if checkup.not_run else ()
    facts = (
        ("khodump", __version__),
        ("image", subject.memory.description),
        *(("note", told(note, invocation)) for note in subject.notes),
    )
    return Section("made", "How this was made", facts=facts, tables=tables)
