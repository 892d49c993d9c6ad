"""`khodump formats`: what can be read, and what is missing for the rest."""

from __future__ import annotations

from khodump.memories.formats import supported
from khodump.rows import Column, Head, Kind, Result, Rows, Tail
from khodump.trackers import FORMATS

_IMAGE_COLUMNS = (
    Column("image", Kind.TEXT),
    Column("read", Kind.TRUTH),
    Column("extra", Kind.TEXT),
    Column("installed", Kind.TRUTH),
    Column("otherwise", Kind.TEXT),
)
_MAP_COLUMNS = (Column("version", Kind.TEXT), Column("property", Kind.TEXT), Column("kernels", Kind.TEXT))


def formats() -> Result:
    """Image formats, with the map formats beside them."""
    known = supported()
    images = (
        [support.name for support in known],
        [support.is_read for support in known],
        [support.extra for support in known],
        [support.is_installed for support in known],
        [support.hint or None for support in known],
    )
    maps = (
        [known_map.version for known_map in FORMATS],
        [known_map.prop for known_map in FORMATS],
        [known_map.kernels for known_map in FORMATS],
    )
    missing = sum(support.is_read and not support.is_installed for support in known)
    summary = (
        f"{sum(support.is_installed for support in known)} image formats and parts of them can be read here"
    )
    if missing:
        summary += f"; {missing} more with an extra"
    head = Head((), (Rows("maps", _MAP_COLUMNS, [maps]),))
    return Result(
        "khodump.formats/1", lambda: head, Rows("images", _IMAGE_COLUMNS, [images]), lambda: Tail(summary)
    )
