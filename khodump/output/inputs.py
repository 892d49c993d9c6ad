"""Whether a file is one that the same run reads, by whatever road it is reached."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

#: Protocols by which fsspec reads files of this machine.
_LOCAL: Final = ("file", "local")
_BASE: Final = re.compile(r"(.+)@[0-9][0-9a-zA-Z]*")


def input_at(status: os.stat_result, inputs: Iterable[str]) -> str | None:
    """The first of `inputs` that is the file with this `status`: a link, another mount or a URL of it counts.

    Args:
        status: of the file that is to be written.
        inputs: what is read, as it was named: paths, `FILE@BASE`, URLs.
    """
    for name in inputs:
        for path in _paths_of(name):
            if _is_at(path, status):
                return name
    return None


def _is_at(path: str, status: os.stat_result) -> bool:
    try:
        other = os.stat(path)  # noqa: PTH116 - text as the user wrote it
    except (OSError, ValueError):
        return False
    if stat.S_ISCHR(status.st_mode):
        return False  # nothing stays in a terminal or in /dev/null
    if stat.S_ISBLK(status.st_mode) and stat.S_ISBLK(other.st_mode):
        return status.st_rdev == other.st_rdev  # there may be many nodes of one device
    return os.path.samestat(status, other)


def _paths_of(name: str) -> Iterator[str]:
    """The local files that an input may mean by its name."""
    yield name
    placed = _BASE.fullmatch(name)
    if placed:
        yield from _paths_of(placed[1])
    if "://" in name:
        for part in name.split("::"):  # fsspec's chains: simplecache::file:///tmp/vmcore
            yield from _local_paths(part)


def _local_paths(url: str) -> Iterator[str]:
    protocol, separator, path = url.rpartition("://")
    if separator and protocol not in _LOCAL:
        return
    yield path
    yield unquote(path)
    yield os.path.expanduser(path)  # noqa: PTH111 - as above
