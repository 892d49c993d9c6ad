"""Copying what was planned, in its order, many pages at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np

from khodump.columns.arrays import U8, U64, Bool
from khodump.extraction.losses import Losses, read_edge
from khodump.extraction.plan import Plan, Runs
from khodump.memory import PhysicalMemory, Presence

#: Called with (bytes copied, bytes to copy).
Progress: TypeAlias = Callable[[int, int], None]

#: Small enough for the processor's cache, large enough that a system call costs nothing.
_BATCH_BYTES: Final = 1 << 20


class Sink(Protocol):
    """Where the output goes, from its first byte to its last."""

    def write(self, data: U8) -> None:
        """Append bytes (uint8, one-dimensional, contiguous)."""

    def skip(self, size: int) -> None:
        """Append `size` zeros, as a hole where the output can have holes."""


def copy(
    memory: PhysicalMemory,
    plan: Plan,
    sink: Sink,
    *,
    fill: int | None = None,
    progress: Progress | None = None,
) -> Losses:
    """Copy what `plan` says from `memory` to `sink`.

    Args:
        memory: the image.
        plan: what to copy.
        sink: takes exactly `plan.size` bytes, unless the copy stops early.
        fill: byte for what cannot be told. None stops at the first page that cannot be read: what the sink has got then
            is right, but not all.
        progress: see `Progress`.

    Returns:
        The pages that could not be read.

    Raises:
        ImageError: the operating system failed to read the image.
        OSError: the sink could not be written.
    """
    writer = _Writer(plan, sink, fill)
    lost: list[tuple[Runs, U8]] = []
    total = plan.data_size
    for batch in _read_ahead(memory, plan):
        gone = np.flatnonzero(~batch.held)
        if len(gone):
            ones = np.ones(len(gone), np.uint64)
            lost.append((Runs(batch.pfn[gone], batch.page[gone], ones), batch.presence[gone]))
            if fill is None:
                break
        writer.write(batch)
        if progress:
            progress(min(writer.copied, total), total)
    else:
        writer.finish()
    presence = np.concatenate([np.zeros(0, np.uint8), *(part for _, part in lost)])
    return Losses.of(plan, Runs.concatenate([part for part, _ in lost]), presence)


class _Batch(NamedTuple):
    """Some pages: where they lie, where they belong, what they hold, and which of them could be read."""

    pfn: U64
    page: U64
    data: U8
    presence: U8
    held: Bool


def _read_ahead(memory: PhysicalMemory, plan: Plan) -> Iterator[_Batch]:
    """All pages, in the plan's order: a batch is read while the one before is written. One thread alone reads."""
    with ThreadPoolExecutor(1) as reader:
        coming: Future[_Batch] | None = None
        for pfn, page in _batches(plan.runs, max(_BATCH_BYTES // plan.page_size, 1)):
            ready, coming = coming, reader.submit(_read, memory, plan, pfn, page)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _read(memory: PhysicalMemory, plan: Plan, pfn: U64, page: U64) -> _Batch:
    """Gather pages; of one that is wanted in part, that part may be there though the page is not."""
    found = memory.gather(pfn * np.uint64(plan.page_size), plan.page_size)
    held = found.presence == Presence.PRESENT
    edges = np.flatnonzero(~held & ((page == 0) | (page == plan.pages - 1)))
    for row in edges.tolist():
        number = int(page[row])
        part = read_edge(memory, plan, int(pfn[row]), number)
        if part is not None:
            start = plan.skip if number == 0 else 0
            found.data[row, start : start + len(part)] = np.frombuffer(part, np.uint8)
            held[row] = True
    return _Batch(pfn, page, found.data, found.presence, held)


def _batches(runs: Runs, limit: int) -> Iterator[tuple[U64, U64]]:
    """Every page as columns (pfn, page of the output), at most `limit` rows at a time."""
    last = np.cumsum(runs.count)
    at, total = 0, int(last[-1]) if len(last) else 0
    while at < total:
        stop = min(at + limit, total)
        rows = np.arange(at, stop, dtype=np.uint64)
        first, end = np.searchsorted(last, rows[[0, -1]], "right").tolist()
        run = first + np.searchsorted(last[first : end + 1], rows, "right")
        index = rows - (last[run] - runs.count[run])
        yield runs.pfn[run] + index, runs.page[run] + index
        at = stop


class _Writer:
    """Puts pages behind each other, with what lies between them.

    Attributes:
        copied: bytes of pages so far.
    """

    def __init__(self, plan: Plan, sink: Sink, fill: int | None) -> None:
        self._plan, self._sink, self._fill = plan, sink, fill
        self._at = 0  # bytes that the sink has
        self.copied = 0

    def write(self, batch: _Batch) -> None:
        """Append pages; those that would be filled with zeros stay holes."""
        rows = np.arange(len(batch.page))
        if self._fill:
            batch.data[~batch.held] = self._fill
        else:
            rows = rows[batch.held]
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(batch.page[rows]) != 1)) + 1
        for low, high in pairwise([0, *breaks.tolist(), len(rows)]):
            if low < high:
                self._span(batch.data[rows[low] : rows[high - 1] + 1], int(batch.page[rows[low]]))
        self.copied += len(batch.page) * self._plan.page_size

    def _span(self, data: U8, page: int) -> None:
        plan = self._plan
        position = plan.position(page)
        size = plan.bytes_of(page, len(data))
        start = plan.skip if page == 0 else 0
        self._gap(position - self._at)
        self._sink.write(data.reshape(-1)[start : start + size])
        self._at = position + size

    def finish(self) -> None:
        """Append what comes after the last page."""
        self._gap(self._plan.size - self._at)

    def _gap(self, size: int) -> None:
        """Append what lies in no page: a hole, or what nothing tells of."""
        self._at += size
        if not (self._fill and self._plan.doubt):
            self._sink.skip(size)
            return
        block = np.full(min(size, _BATCH_BYTES), self._fill, np.uint8)
        for at in range(0, size, _BATCH_BYTES):
            self._sink.write(block[: size - at])
