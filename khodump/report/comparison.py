"""The report on two handovers: what changed in meaning, then in what is preserved, then each by itself."""

from __future__ import annotations

from khodump import __version__
from khodump.advice import PLACEHOLDERS, Invocation, told
from khodump.checking.checkup import examine
from khodump.handover import Handover
from khodump.picture.view import By
from khodump.report.from_rows import facts_of, grid_of, table_of
from khodump.report.handover import findings_section, picture_of
from khodump.report.page import Page, Section
from khodump.tables.diff import Diff


def comparison_page(
    old: Handover, new: Handover, invocations: tuple[Invocation, Invocation] = (PLACEHOLDERS, PLACEHOLDERS)
) -> Page:
    """The page; `invocations` say how each was named, for the commands that confirm its findings."""
    diff = Diff(old, new, owners=True)
    result = diff.result()
    verdict = f"Old against new: {result.tail().summary}"
    tone = "unsure" if diff.differ or not diff.complete else "good"
    sections = (
        Section("changes", "What changed in meaning", grids=(grid_of("changes", "Changes", diff.changes()),)),
        Section(
            "runs",
            "What changed in the map",
            facts=facts_of(diff.size_facts()),
            tables=tuple(
                table_of(table.name.capitalize(), table) for table in (*diff.doubts(), diff.totals())
            ),
            grids=(grid_of("runs", "Runs that differ", result.rows),),
        ),
        Section(
            "picture",
            "Where it lies",
            pictures=(
                picture_of(old, By.ORDER, "old-map", "Old, by order"),
                picture_of(new, By.ORDER, "new-map", "New, by order"),
            ),
        ),
        _side("old", old, invocations[0]),
        _side("new", new, invocations[1]),
        Section("made", "How this was made", facts=(("khodump", __version__), *_notes(old, new))),
    )
    facts = facts_of(diff.side_facts())
    title = f"KHO: {old.memory.description} against {new.memory.description}"
    return Page(title, verdict, tone, facts, sections)


def _side(side: str, handover: Handover, invocation: Invocation) -> Section:
    checkup = examine(handover)
    title = f"The {side} handover by itself"
    return findings_section(checkup, f"{side}-findings", title, checkup.verdict, invocation)


def _notes(old: Handover, new: Handover) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"note on {side}", told(note)) for side, each in (("old", old), ("new", new)) for note in each.notes
    )
