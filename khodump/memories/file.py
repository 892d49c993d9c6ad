"""Where the bytes of an image come from: the contract that the formats read, and the plain file behind most."""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from pathlib import Path

import numpy as np

from khodump.columns.arrays import I64, U8
from khodump.errors import ImageError, near
from khodump.memories.mapping import mapped
from khodump.memory import Presence

_MAX_OFFSET = (1 << 63) - 1  # off_t


class ByteSource(ABC):
    """Bytes of known size that are read at offsets, in place, never whole.

    Attributes:
        name: as the user named it.
        size: bytes when it was opened.
        warnings: what is wrong with it, for one that unpacks another; one sentence each.
    """

    name: str
    size: int
    warnings: tuple[str, ...] = ()

    @abstractmethod
    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` (bytes) from `offset`; returns the bytes read, fewer only where bytes are missing.

        Raises:
            ImageError: the operating system or the other side failed to read.
        """

    @abstractmethod
    def close(self) -> None:
        """Release it; closing twice is fine."""

    def missing(self, offset: int) -> Presence:  # noqa: ARG002 - for those that know better
        """Why a read stopped at `offset`."""
        return Presence.TRUNCATED

    def locate(self, offset: int) -> tuple[str, int] | None:
        """The file that stores the byte at `offset`, by name, and where in it; None where none stores it as it is."""
        return (self.name, offset) if offset < self.size else None

    def mapped(self, offset: int, size: int) -> AbstractContextManager[memoryview | None]:  # noqa: ARG002 - as above
        """The `size` bytes from `offset` in place, for as long as the block lasts; None where that cannot be had."""
        return nullcontext()

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The stretches of offsets `start` to `end` that are not known to read as zeros."""
        if start < end:
            yield start, end

    def lost_extents(self, start: int, end: int) -> Iterator[tuple[int, int, Presence]]:
        """The stretches of offsets `start` to `end` that are known to be missing before any is read, and why."""
        low = max(start, self.size)
        if low < end:
            yield low, end, Presence.TRUNCATED

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only where bytes are missing."""
        buffer = bytearray(max(0, min(size, self.size - offset)))
        return bytes(memoryview(buffer)[: self.read_into(memoryview(buffer), offset)])

    def read_rows(self, rows: U8, offset: int) -> list[int]:
        """Fill `rows` (uint8, 2-D, contiguous), which stand in a row from `offset`; returns those not read whole."""
        lost: list[int] = []
        at, width = 0, rows.shape[1]
        while at < len(rows):
            if offset + (at + 1) * width > self.size:
                return [*lost, *range(at, len(rows))]
            at += self.read_into(rows[at:].reshape(-1).data, offset + at * width) // width
            if at < len(rows):
                lost.append(at)
                at += 1
        return lost

    def read_table(self, offset: int, width: int, index: I64) -> tuple[U8, set[int]]:
        """Some rows of a table.

        Args:
            offset: where its row 0 is.
            width: bytes a row.
            index: int64, ascending; neighbours are read at once.

        Returns:
            uint8, `width` bytes a row, and which of them could not be read whole.
        """
        rows = np.zeros((len(index), width), np.uint8)
        lost: set[int] = set()
        edges = [0, *(np.flatnonzero(np.diff(index) != 1) + 1).tolist(), len(index)]
        for top, bottom in pairwise(edges):
            if top < bottom:
                at = offset + int(index[top]) * width
                lost |= {top + row for row in self.read_rows(rows[top:bottom], at)}
        return rows, lost


class ImageFile(ByteSource):
    """An open file, block device or device node.

    Reads go through pread(2): a file that shrinks meanwhile gives short reads, where a mapping would give SIGBUS; see
    `khodump.memories.mapping` for when one is used all the same.

    Args:
        path: of the file.
        size: bytes, for a device that cannot be asked.
    """

    def __init__(self, path: str | os.PathLike[str], size: int | None = None) -> None:
        self.name = os.fspath(path)
        try:
            self._fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot("open", self.name, error) from error
        try:
            if stat.S_ISDIR(os.fstat(self._fd).st_mode):
                raise ImageError(
                    f"cannot read {self.name}: it is a directory", hint="name the image file inside it"
                )
            self.size = os.lseek(self._fd, 0, os.SEEK_END) if size is None else size
        except OSError as error:
            self.close()
            raise _cannot(
                "seek in", self.name, error, hint="an image must be a file or a block device"
            ) from error
        except ImageError:
            self.close()
            raise

    def close(self) -> None:
        """See `ByteSource.close`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        done = 0
        while done < len(buffer) and offset + len(buffer) <= _MAX_OFFSET:
            try:
                got = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise _cannot(f"read at offset {offset + done:#x} of", self.name, error) from error
            if not got:
                break
            done += got
        return done

    def mapped(self, offset: int, size: int) -> AbstractContextManager[memoryview | None]:
        """See `ByteSource.mapped`."""
        return mapped(self._fd, offset, size)

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """See `ByteSource.data_extents`: without the holes of a sparse file."""
        while start < end:
            try:
                data = os.lseek(self._fd, start, os.SEEK_DATA)
                hole = os.lseek(self._fd, data, os.SEEK_HOLE)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no support for holes: everything is data
                    yield start, end
                return
            if data >= end:
                return
            yield data, min(hole, end)
            start = hole


def _cannot(action: str, name: str, error: OSError, hint: str | None = None) -> ImageError:
    if isinstance(error, PermissionError):
        hint = "run as a user who may read it"
    if isinstance(error, FileNotFoundError):
        hint = f"{near(name, _neighbours(name))}khodump formats lists what can be read"
    return ImageError(
        f"cannot {action} {name}: {error.strerror}", hint=hint or "name a file that can be read"
    )


def _neighbours(name: str) -> list[str]:
    """The files in the directory where `name` would be, spelt as it is."""
    home = Path(name).parent
    try:
        return [str(home / each) for each in sorted(os.listdir(home))]  # noqa: PTH208 - names alone
    except OSError:
        return []
