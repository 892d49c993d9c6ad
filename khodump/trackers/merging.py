"""Several ascending streams of runs as one that ascends, without holding any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from khodump.columns.extents import Extents


def merged(streams: Sequence[Iterable[Extents]]) -> Iterator[Extents]:
    """What `Extents.sorted()` makes of all the streams, a part at a time.

    Args:
        streams: each of one order, its runs by ascending address, in batches of any size.
    """
    sources = [_whole_runs(stream) for stream in streams]
    heads: list[Extents | None] = [next(source, None) for source in sources]
    while held := [head for head in heads if head]:
        horizon = min(head.phys[-1] for head in held)  # no stream has more to say below
        ready = []
        for index, head in enumerate(heads):
            if head is None:
                continue
            passed = int(np.searchsorted(head.phys, horizon, "right"))
            ready.append(head.take(slice(passed)))
            rest = head.take(slice(passed, None))
            heads[index] = rest or next(sources[index], None)
        parts = [part for part in ready if part]
        yield parts[0] if len(parts) == 1 else _sorted(parts)


def _sorted(parts: list[Extents]) -> Extents:
    """All runs of all parts by address, the lower order first; none goes on in another."""
    phys, order, count = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("phys", "order", "count")
    )
    return Extents(parts[0].page_shift, phys, order, count).take(np.lexsort((order, phys)))


def _whole_runs(batches: Iterable[Extents]) -> Iterator[Extents]:
    """The same runs, none of them cut between batches; no batch is empty."""
    open_run: Extents | None = None
    for batch in batches:
        parts = [open_run, batch] if open_run is not None else [batch]
        joined = Extents.concatenate(batch.page_shift, parts)
        if joined.runs > 1:
            yield joined.take(slice(-1))
        open_run = joined.take(slice(-1, None)) if joined else None
    if open_run is not None:
        yield open_run
