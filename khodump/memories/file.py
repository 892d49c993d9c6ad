"""A file, block device or device node that is read in place, never whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from khodump.errors import ImageError


class ImageFile:
    """An open file of known size, read at offsets.

    Reads go through pread(2): a file that shrinks meanwhile gives short reads, where a mapping would give SIGBUS.

    Attributes:
        path: as the user named it.
        size: bytes when it was opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot("open", self.path, error) from error
        try:
            if stat.S_ISDIR(os.fstat(self._fd).st_mode):
                raise ImageError(
                    f"cannot read {self.path}: it is a directory", hint="name the image file inside it"
                )
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            raise _cannot(
                "seek in", self.path, error, hint="an image must be a file or a block device"
            ) from error
        except ImageError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only where the file ends."""
        buffer = bytearray(max(0, min(size, self.size - offset)))
        return bytes(memoryview(buffer)[: self.read_into(memoryview(buffer), offset)])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` (bytes) from `offset`; returns the bytes read, fewer only where the file ends."""
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise _cannot(f"read at offset {offset + done:#x} of", self.path, error) from error
            if not got:
                break
            done += got
        return done

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The stretches of file offsets `start` to `end` that are not holes of a sparse file."""
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


def _cannot(action: str, path: Path, error: OSError, hint: str | None = None) -> ImageError:
    if isinstance(error, PermissionError):
        hint = "run as a user who may read it"
    return ImageError(f"cannot {action} {path}: {error.strerror}", hint=hint)
