"""`khodump formats`: what can be read, and what is missing for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from khodump.memories.formats import supported
from khodump.rows import Head, Result, Tail, Text, Truth, table
from khodump.trackers import FORMATS


@dataclass(frozen=True)
class ImageRow:
    """An image format: whether it is read, by what extra, whether that is there, and what to do otherwise."""

    image: Text
    read: Truth
    extra: Text | None
    installed: Truth
    otherwise: Text | None


@dataclass(frozen=True)
class MapRow:
    """A format of the map: the property that leads to it, and the kernels that write it."""

    version: Text
    property: Text
    kernels: Text


def formats() -> Result:
    """Image formats, with the map formats beside them."""
    known = supported()
    images = [
        ImageRow(support.name, support.is_read, support.extra, support.is_installed, support.hint or None)
        for support in known
    ]
    maps = [MapRow(known_map.version, known_map.prop, known_map.kernels) for known_map in FORMATS]
    missing = sum(support.is_read and not support.is_installed for support in known)
    summary = (
        f"{sum(support.is_installed for support in known)} image formats and parts of them can be read here"
    )
    if missing:
        summary += f"; {missing} more with an extra"
    head = Head((), (table("maps", MapRow, maps),))
    return Result("khodump.formats/1", lambda: head, table("images", ImageRow, images), lambda: Tail(summary))
