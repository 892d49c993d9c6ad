"""Where an extraction goes: a new file that appears when it is whole, or a stream."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO, Final, TypeAlias

from khodump.arrays import U8
from khodump.errors import UsageError
from khodump.numbers import format_size

StrPath: TypeAlias = str | os.PathLike[str]

_ZEROS: Final = bytes(1 << 20)


class StreamSink:
    """A stream, which has no holes.

    Attributes:
        written: bytes so far.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.written = 0

    def write(self, data: U8) -> None:
        """See `Sink`."""
        self._append(data.data)

    def skip(self, size: int) -> None:
        """See `Sink`."""
        for at in range(0, size, len(_ZEROS)):
            self._append(memoryview(_ZEROS)[: size - at])

    def _append(self, data: memoryview) -> None:
        self._stream.write(data)
        self.written += len(data)


class FileSink:
    """A file of which nothing was written yet, and that keeps holes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0

    def write(self, data: U8) -> None:
        """See `Sink`."""
        left = data.data
        while left:
            done = os.pwrite(self._fd, left, self._at)
            left, self._at = left[done:], self._at + done

    def skip(self, size: int) -> None:
        """See `Sink`."""
        self._at += size

    def finish(self) -> None:
        """Give the file its size, which a hole at its end may have left short."""
        os.ftruncate(self._fd, self._at)


@contextmanager
def new_file(
    path: StrPath, *, room: int = 0, force: bool = False, sources: Iterable[str] = ()
) -> Iterator[FileSink]:
    """A file that appears under its name when the block ends well, and leaves nothing behind when it does not.

    It is written beside its place under another name, readable by nobody else, as a machine's memory should be.

    Args:
        path: of the file.
        room: bytes that will be written, holes not counted.
        force: replace a file of that name.
        sources: images that are being read, as `FILE` or `FILE@BASE`: never replaced.

    Raises:
        UsageError: there is something of that name, or no room or permission for it.
        OSError: it could not be written.
    """
    target = Path(os.path.realpath(path))
    _refuse_taken(target, path, force=force)
    if any(
        os.path.realpath(name) == str(target) for each in sources for name in (each, each.rpartition("@")[0])
    ):
        raise UsageError(f"{os.fspath(path)} is the image itself", hint="write elsewhere")
    try:
        free = os.statvfs(target.parent)
        if room > free.f_bavail * free.f_frsize:
            left = format_size(free.f_bavail * free.f_frsize)
            raise UsageError(
                f"{os.fspath(path)} takes {format_size(room)}, and there is room for {left}",
                hint="free some space, or write elsewhere",
            )
        fd, name = mkstemp(prefix=".khodump-", dir=target.parent)
    except OSError as error:
        raise UsageError(
            f"cannot write {os.fspath(path)}: {error.strerror}",
            hint="name a file in a directory that you may write to",
        ) from error
    try:
        with os.fdopen(fd, "wb", buffering=0):
            sink = FileSink(fd)
            yield sink
            sink.finish()
        _appear(name, target, path, force=force)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - a name as mkstemp gives it


def _refuse_taken(target: Path, path: StrPath, *, force: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"cannot write {os.fspath(path)}: it is no regular file", hint="pipe the output there"
        )
    if not force:
        raise UsageError(f"{os.fspath(path)} exists already", hint="--force replaces it")


def _appear(name: str, target: Path, path: StrPath, *, force: bool) -> None:
    """Give a finished file its name; without `force` only if that is still free, where the file system can tell."""
    if not force:
        try:
            os.link(name, target)
            return
        except FileExistsError:
            _refuse_taken(target, path, force=force)
            raise
        except OSError:
            _refuse_taken(target, path, force=force)  # a file system without hard links
    os.replace(name, target)  # noqa: PTH105 - as above
