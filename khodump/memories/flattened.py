"""makedumpfile's flattened form: a dump as a stream of (offset, size, bytes) records. QEMU's -z dumps are written so.

It is read in place through an index of its records, without restoring the file first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import construct
import numpy as np

from khodump.abi.layout import Layout, be_s64, dtype_of
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memories.segments import Segments
from khodump.memory import Presence

MAGIC: Final = b"makedumpfile\0\0\0\0"

_HEADER_BYTES: Final = 4096
_TYPE, _VERSION = 1, 1
_END: Final = -1
_MAX_SIZE: Final = 1 << 63
_AROUND: Final = 1 << 16  # a page, of which a record may hold a part


@dataclass(frozen=True, slots=True)
class FlatHeader:
    """struct makedumpfile_header, big-endian; the records begin after 4096 bytes."""

    signature: Annotated[bytes, construct.Bytes(16)]
    type: be_s64
    version: be_s64


@dataclass(frozen=True, slots=True)
class FlatRecord:
    """struct makedumpfile_data_header, big-endian: the next `buf_size` bytes belong at `offset`; -1 ends the stream."""

    offset: be_s64
    buf_size: be_s64


FLAT_HEADER: Final = Layout(FlatHeader)
FLAT_RECORD: Final = Layout(FlatRecord)
_RECORD_DTYPE: Final = dtype_of(FLAT_RECORD.schema)  # a parse by construct takes ten times as long


class FlattenedFile(ByteSource):
    """The file that `makedumpfile -R` would restore from a flattened one.

    What no record wrote reads as zeros, as it does in a restored file; in a stream that was cut short it is missing.

    Attributes:
        is_whole: whether the stream has its end mark.

    Raises:
        ImageError: not version 1 of the format, or a record makes no sense.
    """

    def __init__(self, file: ByteSource) -> None:
        self.name = file.name
        self._file = file
        data = file.read(0, FLAT_HEADER.size)
        header = FLAT_HEADER.parse(data.ljust(FLAT_HEADER.size, b"\0"))
        if (header.type, header.version) != (_TYPE, _VERSION):
            raise ImageError(
                f"{file.name} is a flattened dump of type {header.type}, version {header.version}; khodump reads 1, 1",
                hint=f"restore it: makedumpfile -R OUT < {file.name}",
            )
        self.is_whole, records = _read_records(file)
        self._records = records
        self.size = int(records.end[-1]) if len(records.end) else 0

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        records, at, end = self._records, offset, min(offset + len(buffer), self.size)
        while at < end:
            row = int(np.searchsorted(records.start, np.uint64(at), "right")) - 1
            if row >= 0 and at < int(records.end[row]):
                stop = min(end, int(records.end[row]))
                source = int(records.offset[row]) + at - int(records.start[row])
                got = self._file.read_into(buffer[at - offset : stop - offset], source)
                if got < stop - at:
                    return at + got - offset
            elif self.is_whole:
                stop = min(end, int(records.start[row + 1]))
                buffer[at - offset : stop - offset] = bytes(stop - at)
            else:
                break
            at = stop
        return max(at - offset, 0)

    def locate(self, offset: int) -> tuple[str, int] | None:
        """See `ByteSource.locate`: in the stream itself."""
        records = self._records
        row = int(np.searchsorted(records.start, np.uint64(offset), "right")) - 1
        if row < 0 or offset >= int(records.end[row]):
            return None
        return self._file.locate(int(records.offset[row]) + offset - int(records.start[row]))

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """See `ByteSource.data_extents`: where there are records, and a page around them, joined where these meet."""
        records = self._records
        row = int(np.searchsorted(records.end, np.uint64(max(start - _AROUND, 0)), "right"))
        low = high = start
        for at in range(row, len(records.start)):
            first, last = int(records.start[at]) - _AROUND, int(records.end[at]) + _AROUND
            if first >= end:
                break
            if first > high:
                if low < high:
                    yield low, high
                low = first
            high = min(max(high, last), end)
        if low < high:
            yield low, high

    def lost_extents(self, start: int, end: int) -> Iterator[tuple[int, int, Presence]]:
        """See `ByteSource.lost_extents`: in a stream that was cut short, also what lies between its records."""
        at = start
        if not self.is_whole:
            records = self._records
            row = int(np.searchsorted(records.end, np.uint64(start), "right"))
            while row < len(records.start) and (first := int(records.start[row])) < end:
                if at < first:
                    yield at, first, Presence.TRUNCATED
                at = int(records.end[row])
                row += 1
        yield from super().lost_extents(at, end)

    def close(self) -> None:
        """See `ByteSource.close`."""
        self._file.close()


def _read_records(file: ByteSource) -> tuple[bool, Segments]:
    """Whether the stream ends as it should, and its records as segments of offsets, later ones over earlier ones."""
    columns = array("Q"), array("Q"), array("Q")
    at, is_whole = _HEADER_BYTES, False
    while len(data := file.read(at, FLAT_RECORD.size)) == FLAT_RECORD.size:
        offset, size = np.frombuffer(data, _RECORD_DTYPE)[0].item()
        if offset == _END:
            is_whole = True
            break
        if offset < 0 or size <= 0 or offset + size > _MAX_SIZE:
            raise ImageError(
                f"{file.name} has a record of {size} bytes for offset {offset} at {at:#x}, which makes no sense",
                hint="copy the file again; the records behind it cannot be found",
            )
        at += FLAT_RECORD.size
        held = max(0, min(size, file.size - at))
        for column, value in zip(columns, (offset, offset + held, at), strict=True):
            column.append(value)
        at += size
    start, end, source = (np.array(column, np.uint64)[::-1] for column in columns)
    present = np.full(len(start), Presence.PRESENT, np.uint8)
    return is_whole, Segments(start, end, present, np.zeros(len(start), np.int64), source).resolved()
