"""Where an extraction goes: a file that keeps holes, or a stream that has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from khodump.columns.arrays import U8

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
