"""`khodump owners`: whose the preserved memory is, what is wrong with that, and what keeping track of it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from khodump.columns.arrays import I64, U64
from khodump.columns.extents import NO_ORDER
from khodump.extraction.contents import preserved_contents
from khodump.handover import Handover
from khodump.numbers import format_size
from khodump.ownership import NOBODY, Ownership
from khodump.rows import Count, Fact, Head, Kind, Result, Size, Tail, Text, table


@dataclass(frozen=True)
class OwnerRow:
    """What an owner has of the preserved memory, and what it counts on that is not preserved; None where that is open."""

    owner: Text
    pages: Count | None
    preserved: Size | None
    not_preserved: Size | None


@dataclass(frozen=True)
class BitmapRow:
    """The bitmaps of an order: how many, how many of them empty, the bytes they take, and the memory they speak of."""

    order: Count | None
    bitmaps: Count
    empty: Count
    bytes: Size
    covers: Size | None


def owners(handover: Handover) -> Result:
    """Bytes and pages by owner, the largest first; `not preserved` is what the next kernel will overwrite.

    What a map does not list that could not be walked whole, may be preserved: then `not preserved` is left open.
    """
    ownership = handover.ownership
    sizes = _sizes(ownership.owner, ownership.end - ownership.start, len(ownership.owners))
    missing = _sizes(
        ownership.missing_owner, ownership.missing_end - ownership.missing_start, len(ownership.owners)
    )
    names = [*map(str, ownership.owners), f"({handover.nobody})"]
    rows = sorted(range(len(names)), key=lambda row: (-int(sizes[row]) - int(missing[row]), names[row]))
    rows = [row for row in rows if sizes[row] or missing[row]]
    gone = handover.is_map_unknown
    open_ = gone or not handover.is_whole
    owned = [
        OwnerRow(
            names[row],
            None if gone else int(sizes[row]) // handover.page_size,
            None if gone else int(sizes[row]),
            None if open_ else int(missing[row]),
        )
        for row in rows
    ]
    return Result(
        "khodump.owners/1",
        lambda: _head(handover, ownership, sizes, missing),
        table("owners", OwnerRow, owned),
        lambda: _tail(handover, ownership, sizes, missing),
    )


def _sizes(owner: I64, size: U64, count: int) -> U64:
    """Bytes by owner; NOBODY comes last."""
    total = np.zeros(count + 1, np.uint64)
    np.add.at(total, np.where(owner == NOBODY, count, owner), size)
    return total


def _head(handover: Handover, ownership: Ownership, sizes: U64, missing: U64) -> Head:
    start, end = handover.map_pages
    spent = int((end - start).sum())
    total = int(sizes.sum())
    gone = handover.is_map_unknown
    open_ = gone or not handover.is_whole
    facts = (
        Fact("preserved", None if gone else total, Kind.SIZE),
        Fact("claimed", None if gone else total - int(sizes[-1]), Kind.SIZE),
        Fact("claimed by nobody", None if gone or handover.user_findings else int(sizes[-1]), Kind.SIZE),
        Fact("owner not known", _not_known(handover, int(sizes[-1])), Kind.SIZE),
        Fact("claimed but not preserved", None if open_ else int(missing.sum()), Kind.SIZE),
        not_held(handover),
        Fact("claimed twice", ownership.claimed_twice.size, Kind.SIZE),
        Fact("map's own pages", _pages(handover), Kind.COUNT),
        Fact("map's size", spent, Kind.SIZE),
        Fact("bytes preserved a byte of map", None if gone or not spent else total // spent, Kind.COUNT),
    )
    return Head(facts, (table("bitmaps", BitmapRow, list(_bitmaps(handover))),))


def not_held(handover: Handover) -> Fact:
    """How many bytes of what is preserved the image does not hold."""
    lost = None if handover.is_map_unknown else preserved_contents(handover).lost
    return Fact("not in the image", lost, Kind.SIZE)


def _not_known(handover: Handover, unclaimed: int) -> int | None:
    """Bytes that lists which could not be read may claim; None where it is not known what is preserved."""
    if handover.is_refuted:
        return None
    return unclaimed if handover.user_findings else 0


def _pages(handover: Handover) -> int:
    """The pages of memory that the map takes; several of 6.16's bitmaps share one."""
    start, _ = handover.map_pages
    return len(np.unique(start // np.uint64(handover.page_size)))


def _bitmaps(handover: Handover) -> Iterator[BitmapRow]:
    """The bitmaps by order: how little they take, and how much they could tell of."""
    nodes, size = handover.nodes, handover.tracker.leaf_size
    leaf = nodes.level == 0
    for order in np.unique(nodes.order[leaf]).tolist():
        chosen = leaf & (nodes.order == order)
        count, empty = int(chosen.sum()), int((chosen & nodes.empty).sum())
        if order == NO_ORDER:
            yield BitmapRow(None, count, empty, count * size, None)
        else:
            covered = count * size * 8 * (handover.page_size << order)
            yield BitmapRow(order, count, empty, count * size, covered)


def _tail(handover: Handover, ownership: Ownership, sizes: U64, missing: U64) -> Tail:
    said = f"of unknown owner ({handover.nobody})" if handover.user_findings else "claimed by nobody"
    summary = f"{format_size(int(sizes.sum()))} preserved, {format_size(int(sizes[-1]))} of it {said}"
    if handover.is_map_gone:
        summary = "what was preserved cannot be read"
    elif handover.is_refuted:
        summary = "what is preserved is not listed"
    luo = handover.luo
    if handover.basis_of_sessions:
        summary += f" ({handover.basis_of_sessions})"
    elif sizes[-1] and luo is not None and not luo.is_serialized:
        summary += " (LUO has not serialized: what its files preserve is on no record yet)"
    lost = format_size(int(missing.sum()))
    if handover.is_map_gone:
        summary += (
            f": the map was given back; its users claim {format_size(int(sizes.sum()) + int(missing.sum()))}"
        )
    elif missing.any() and not handover.is_whole and not handover.is_refuted:
        summary += f"; {lost} claimed and not found in what could be read of the map"
    elif missing.any() and handover.is_whole:
        summary += f"; {lost} claimed but not preserved: the next kernel overwrites it"
    if ownership.claimed_twice.size:
        summary += f"; {format_size(ownership.claimed_twice.size)} claimed twice"
    gone = handover.is_map_gone or bool(handover.gone_of(handover.subtrees))
    return Tail(summary, handover.told(handover.all_findings), is_partial=gone)
