"""Which reading of a map is right: nothing in a handover records the page size, and some versions hide more.

What is known outright (a forced page size, VMCOREINFO, an x86_64 machine) leaves one page size. Otherwise the
readings compete: every kernel preserves the root FDT's own page at order 0, so the right one finds it there; and a
wrong one soon meets pointers that no kernel writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.memory import Platform
from khodump.tracker import UNREADABLE_NODE, Tracker


def no_readings() -> Sequence[Tracker]:
    """None."""
    return ()


class Readings(NamedTuple):
    """The ways in which a map of one kind may be meant, with one page size.

    Attributes:
        likely: those that the map's pointers and the kernel's release allow, the likeliest first; at least one.
        unlikely: those that they speak against. One stray pointer, or the release of another kernel, must not
            outweigh the root FDT's own page, so these are tried where that is in none of the likely ones.
    """

    likely: Sequence[Tracker]
    unlikely: Callable[[], Sequence[Tracker]] = no_readings


class Choice(NamedTuple):
    """A reading and the evidence for it.

    Attributes:
        reason: the evidence, for a person.
        certain: False when other readings fit as well.
        contradicts: what the image says that the evidence is against, as a sentence.
    """

    tracker: Tracker
    reason: str
    certain: bool
    contradicts: str | None = None


class PageSizes(NamedTuple):
    """The page sizes that a machine may have.

    Attributes:
        sizes: bytes, the likeliest first.
        source: what leaves only one, if so.
        others: what else they may be, where the source may be of another kernel than the one that made the handover.
    """

    sizes: Sequence[int]
    source: str = ""
    others: Sequence[int] = ()


def page_sizes(platform: Platform, forced: int | None) -> PageSizes:
    """The page sizes that the machine may have, and what leaves only one, if so."""
    if forced is not None:
        return PageSizes((forced,), "page_size")
    possible = (4096,) if platform.machine == "x86_64" else PAGE_SIZES
    told = platform.vmcoreinfo.get("PAGESIZE", "")
    if told.isdecimal() and int(told) in PAGE_SIZES:
        others = tuple(size for size in possible if size != int(told))
        return PageSizes((int(told),), "VMCOREINFO", others)
    return PageSizes(possible, "x86_64, which has no other" if len(possible) == 1 else "")


def bears_out(tracker: Tracker, fdt_phys: int | None) -> bool:
    """Whether the map supports being read so: it holds the root FDT's own page; where that is not known, it is sound."""
    return tracker.sound() if fdt_phys is None else tracker.holds(fdt_phys, 0) is True


def choose(readings: Sequence[Tracker], why_only: str, fdt_phys: int | None) -> Choice:
    """The reading with the best evidence.

    Args:
        readings: at least one, likeliest first.
        why_only: the reason, if there is but one.
        fdt_phys: physical address of the root FDT, when known.
    """
    if len(readings) == 1:
        return Choice(readings[0], why_only, certain=True)
    if fdt_phys is not None:
        owning = [tracker for tracker in readings if tracker.holds(fdt_phys, 0)]
        if len(owning) == 1:
            return Choice(owning[0], "its own page in the map, found only with this size", certain=True)
        possible = owning or _uncontradicted(readings, fdt_phys)
        if len(possible) == 1:
            reason = "what is left of the map: with any other size its own page is not in the map, with this one that part is lost"
            return Choice(possible[0], reason, certain=True)
        readings = possible or readings
    sound = [tracker for tracker in readings if tracker.sound()]
    if len(sound) == 1:
        return Choice(sound[0], "the map's pointers, sound only with this size", certain=True)
    best, *others = sound or readings
    also = ", ".join(tracker.reading for tracker in others)
    return Choice(best, f"a guess: {also} fit as well", certain=False)


def _uncontradicted(readings: Sequence[Tracker], fdt_phys: int) -> list[Tracker]:
    """Those in which the root FDT's own page may be, in a part of the map that is lost, and nothing else is wrong."""
    return [
        tracker
        for tracker in readings
        if tracker.holds(fdt_phys, 0) is None and tracker.flaws() <= {UNREADABLE_NODE}
    ]
