"""Whether a kdump-compressed file ends early, told from the last of its page descriptors without reading them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from khodump.memories.file import ByteSource
from khodump.memories.kdump_header import DESCRIPTOR_DTYPE, STATUS_INCOMPLETE, KdumpHeader

_AT_ONCE: Final = 1 << 15  # descriptors
_MOST: Final = 1 << 21  # that are looked at: 48 MiB of them
_SANE_OFFSET: Final = 1 << 62


def early_end(file: ByteSource, header: KdumpHeader, pages: int) -> str | None:
    """How the file ends early, as a sentence; None where nothing says that it does.

    Writers store pages in the order of their descriptors, but for pages of zeros, which share one descriptor's bytes
    at the front. So the last descriptor that is of another page tells where the file should end.

    Args:
        file: the dump, or a part of it.
        header: its header.
        pages: how many descriptors it should have.
    """
    width = DESCRIPTOR_DTYPE.itemsize
    held = max(file.size - header.descriptors, 0) // width
    if held < pages:
        return f"{file.name} is cut short: it should describe {pages} pages, and ends after the first {held} of them"
    for table in _from_the_last(file, header.descriptors, pages):
        lost = _behind_the_end(table, file.size, pages * header.page_size)
        if lost:
            return f"{file.name} is cut short: its last page would take {lost} more bytes"
        if not table["offset"].all() and not header.status & STATUS_INCOMPLETE:
            return f"{file.name} was never finished: it describes pages that were not written"
        if (table["offset"] != table["offset"][0]).any():
            return None
    return None


def _from_the_last(file: ByteSource, at: int, pages: int) -> Iterator[Any]:
    """The last descriptors as a structured array, then those before them, as far back as is worth it."""
    for last in range(pages, max(pages - _MOST, 0), -_AT_ONCE):
        first = max(last - _AT_ONCE, 0)
        rows, lost = file.read_table(at, DESCRIPTOR_DTYPE.itemsize, np.arange(first, last, dtype=np.int64))
        if lost:
            return
        yield rows.view(DESCRIPTOR_DTYPE)[:, 0]


def _behind_the_end(table: Any, size: int, most: int) -> int:  # noqa: ANN401 - a structured array
    """How many bytes behind the end of a file of `size` bytes these descriptors reach, by those that may be sound."""
    sane = table[(table["offset"] < _SANE_OFFSET) & (table["offset"] > 0)]
    behind = (sane["offset"] + sane["size"]).astype(np.int64) - size
    return int(behind[behind <= most].max(initial=0))
