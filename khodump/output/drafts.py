"""Files that are being written; by itself, for who removes them in a signal handler has it imported long before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

#: Where they lie.
drafts: Final[set[Path]] = set()


def remove_drafts() -> None:
    """Leave nothing half written behind."""
    for draft in tuple(drafts):
        with suppress(OSError):
            draft.unlink()
