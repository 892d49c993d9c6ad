"""makedumpfile's flattened form of any dump."""

from __future__ import annotations

from collections.abc import Sequence

from khodump.memories.flattened import FLAT_HEADER, FLAT_RECORD, MAGIC, FlatHeader, FlatRecord


def flatten(dump: bytes, *, record: int = 4096, skip_zeros: bool = False) -> bytes:
    """`dump` in records of `record` bytes, the later half of the file first; `skip_zeros` leaves out those all zero."""
    starts = range(0, len(dump), record)
    half = len(starts) // 2
    pieces = [(at, dump[at : at + record]) for at in (*starts[half:], *starts[:half])]
    last = pieces[half - 1] if half else pieces[-1]  # the end of the file has to be there
    return flat_stream([piece for piece in pieces if piece is last or not skip_zeros or any(piece[1])])


def flat_stream(records: Sequence[tuple[int, bytes]], *, end: bool = True) -> bytes:
    """A stream of these (offset, bytes), in this order, with the end mark if asked."""
    header = FLAT_HEADER.build(FlatHeader(MAGIC, 1, 1)).ljust(4096, b"\0")
    body = b"".join(FLAT_RECORD.build(FlatRecord(at, len(data))) + data for at, data in records)
    return header + body + (FLAT_RECORD.build(FlatRecord(-1, -1)) if end else b"")
