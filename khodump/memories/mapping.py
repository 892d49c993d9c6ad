"""Looking at a file in place: of a page that is not looked at, nothing is read.

A mapped page that the file no longer has, or that cannot be read from its disk, is death by SIGBUS, where a read would
fail. So a stretch is mapped only while a lease keeps everybody from shrinking the file or opening it for writing (they
wait, for a moment), and the kernel first brings in all of it, which fails as a read does. Where a lease cannot be had
(the file is open for writing, or somebody else's, or on a file system without leases), nothing is mapped.
"""

from __future__ import annotations

import fcntl
import mmap
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MADV_POPULATE_READ: Final = 22  # Linux 5.14


@contextmanager
def mapped(fd: int, offset: int, size: int) -> Iterator[memoryview | None]:
    """The bytes of a file in place, for as long as the block lasts; None where they cannot be had so.

    Args:
        fd: the file.
        offset: in bytes.
        size: in bytes, at least 1.
    """
    if not _leased(fd):
        yield None
        return
    try:
        view = _view(fd, offset, size)
        yield view
        if view is not None:
            view.release()
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _leased(fd: int) -> bool:
    """Whether a lease was taken. Whoever breaks it makes the kernel send a signal, here one that does nothing."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


def _view(fd: int, offset: int, size: int) -> memoryview | None:
    inner = offset % mmap.ALLOCATIONGRANULARITY
    try:
        mapping = mmap.mmap(
            fd, inner + size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=offset - inner
        )
        mapping.madvise(_MADV_POPULATE_READ)
    except (OSError, ValueError, OverflowError):  # ValueError: the file is shorter
        return None
    return memoryview(mapping)[inner:]
