"""A difference in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from khodump.analysis.diffing.map import CHANGES, Change
from khodump.analysis.diffing.meaning import Meaning
from khodump.analysis.diffing.tally import Tally
from khodump.numbers import format_size


def map_words(tally: Tally, same: int, unit: int) -> str:
    """How the maps differ; `same` is in bytes, and `unit` the log2 of the bytes that the tally counts."""
    if not tally.runs:
        return f"maps are equal ({format_size(same)})"
    sizes = ((change, tally.size(change, unit)) for change in CHANGES)
    told = [f"{format_size(size)} {change}" for change, size in sizes if size]
    return f"maps differ: {', '.join(told)}, {format_size(same)} the same"


def meaning_words(meaning: Meaning) -> Iterator[str]:
    """How the meanings differ, a phrase each."""
    if meaning.serialization is not None:
        became, count = meaning.serialization
        sessions = f"{count} session{'s' * (count != 1)}"
        yield (
            f"{sessions} became serialized"
            if became
            else f"{sessions} no longer serialized: LUO has not serialized anew"
        )
    things = dict.fromkeys(
        (each.change, each.what, each.name) for each in meaning.differences if not each.serialization
    )
    counts = Counter((change, what) for change, what, _ in things)
    for (change, what), count in counts.items():
        if change is not Change.MOVED:
            yield f"{count} {what}{'s' * (count != 1)} {change}"
    moved = sum(count for (change, _), count in counts.items() if change is Change.MOVED)
    if moved:
        yield f"{moved} moved"
    if meaning.unsure:
        yield f"{len(meaning.unsure)} could not be compared"
