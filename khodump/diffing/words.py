"""A difference in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from khodump.diffing.batch import CHANGES, Change
from khodump.diffing.meaning import HANDOVER, SCRATCH, Meaning
from khodump.diffing.tally import Tally
from khodump.numbers import format_size


def map_words(tally: Tally, same: int, unit: int, *, complete: bool) -> str:
    """How the maps differ.

    Args:
        tally: what differs.
        same: bytes that do not.
        unit: log2 of the bytes that the tally counts.
        complete: whether both maps could be read whole.
    """
    sizes = ((change, tally.size(change, unit)) for change in CHANGES)
    told = ", ".join(f"{format_size(size)} {change}" for change, size in sizes if size)
    if tally.differ:
        return f"maps differ: {told}, {format_size(same)} the same"
    if complete:
        return f"maps are equal ({format_size(same)})"
    return f"maps are equal where both could be read ({format_size(same)})" + (f", {told}" if told else "")


def meaning_words(meaning: Meaning) -> Iterator[str]:
    """How the meanings differ, a phrase each."""
    if meaning.serialization is not None:
        became, count = meaning.serialization
        sessions = f"{count} {_plural('session', count)}"
        yield f"{sessions} became serialized" if became else f"{sessions} serialized before, and none since"
    told = [each for each in meaning.differences if not each.is_serialization]
    things = dict.fromkeys((each.change, each.what, each.name) for each in told if each.what != HANDOVER)
    counts = Counter((change, what) for change, what, _ in things if change is not Change.MOVED)
    yield from (
        f"{each.field} changed" for each in told if each.what == HANDOVER and each.change is Change.CHANGED
    )
    yield from (f"{count} {_plural(what, count)} {change}" for (change, what), count in counts.items())
    if meaning.unsure:
        yield f"{len(meaning.unsure)} could not be compared"
    if not meaning.differ and not meaning.unsure:
        yield "nothing else differs"


def _plural(what: str, count: int) -> str:
    if what == SCRATCH:
        what = "scratch region"
    return what if count == 1 else f"{what}s"
