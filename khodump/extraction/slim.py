"""`khodump slim`: a core of the pages that describe a handover, without anything that it preserves.

All that no decoder looks at is written as zeros, and what is doubtful is left out: see `khodump.extraction.keeping`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Self, TypeAlias

import numpy as np

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.columns.arrays import U8, U64
from khodump.columns.extents import Extents
from khodump.columns.intervals import Intervals, meet
from khodump.errors import ImageError, KhodumpError
from khodump.extraction.copying import Progress, Sink
from khodump.extraction.keeping import BOOT, keeps, strangers
from khodump.extraction.keeping_kernel import KERNEL, kernel_lines, tells_the_same
from khodump.findings import Finding, Severity
from khodump.handover import Handover
from khodump.memories.elf_writer import core_head
from khodump.memories.excerpt import Excerpt
from khodump.memory import Hole, PhysicalMemory, Platform, Presence
from khodump.numbers import format_size
from khodump.owner import Owner
from khodump.rounding import ceil_div
from khodump.rows import Count, Fact, Head, Kind, Result, Size, Tail, Text, table
from khodump.subtree import Keep
from khodump.tracker import MAP_OWNER
from khodump.trackers import open_tracker

_BATCH_BYTES: Final = 8 << 20
_GRANULE: Final = PAGE_SIZES[0]  # that dumps hold or leave out memory by
_MAX_RELEASE: Final = 64  # __NEW_UTS_LEN

#: Owner, and what it is.
_Key: TypeAlias = tuple[Owner, str]


@dataclass(frozen=True)
class KeptRow:
    """What is made of one owner's bytes.

    Attributes:
        owner, what: as in `Keep`.
        pages: that the image holds.
        kept, zeroed: bytes of these pages.
        missing: pages that the image does not hold.
        left_out: bytes that are doubtful.
    """

    owner: Text
    what: Text
    pages: Count
    kept: Size
    zeroed: Size
    missing: Count
    left_out: Size


@dataclass
class _Spans:
    """The bytes of one owner, as they are collected."""

    start: list[U64] = field(default_factory=list)
    length: list[U64] = field(default_factory=list)
    left_out: int = 0
    first_left_out: int | None = None

    @cached_property
    def columns(self) -> tuple[U64, U64]:
        """Start and end of all, without those at the very end of the address space, where no memory is."""
        none = np.zeros(0, np.uint64)
        start, length = np.concatenate([none, *self.start]), np.concatenate([none, *self.length])
        sound = start + length < np.uint64((1 << 64) - PAGE_SIZES[-1])
        sound &= start + length >= start
        return start[sound], (start + length)[sound]

    def pages(self, page_size: int) -> Intervals:
        """The pages they lie in, those of which no byte means anything included."""
        start, end = self.columns
        size = np.uint64(page_size)
        last = np.maximum(end, start + np.uint64(1)) - np.uint64(1)
        return Intervals.covering(start // size * size, last // size * size + size)


@dataclass(frozen=True, eq=False)
class Slim:
    """A core that can be written.

    Attributes:
        excerpt: the memory that the core holds.
        page_size: bytes.
        head: the file's bytes before the memory.
        pages: what the core holds of the memory.
        kept: the bytes of it that are not zeroed.
        rows: the same by owner.
        findings: what is missing, or could not be followed.
        gone: what cannot be kept because a later kernel took the handover over and gave it back, by name.
    """

    excerpt: Excerpt
    page_size: int
    head: bytes
    pages: Intervals
    kept: Intervals
    rows: tuple[KeptRow, ...]
    findings: tuple[Finding, ...]
    gone: tuple[str, ...] = ()

    @classmethod
    def of(cls, handover: Handover, *, keep_unknown: bool = False, keep_kernel: bool = True) -> Self:
        """What to keep of this handover.

        Args:
            handover: an open handover.
            keep_unknown: keep what is doubtful as well: it may be anybody's data.
            keep_kernel: keep what the running kernel is asked by, where there is one that tells of the handover.

        Raises:
            ImageError: the image cannot be read.
        """
        notes: list[Finding] = []
        spans = _collected(keeps(handover, notes, keep_kernel=keep_kernel), keep_unknown=keep_unknown)
        memory, size = handover.memory, handover.page_size
        edges = [part.columns for part in spans.values()]
        pages = _present(memory, _union([part.pages(size) for part in spans.values()]))
        excerpt = _excerpt(handover, spans, pages, _union([Intervals.covering(*part) for part in edges]))
        platform = excerpt.platform
        head = core_head(pages, excerpt.left_out, machine=platform.machine, vmcoreinfo=platform.vmcoreinfo)
        left_out = list(_doubtful(spans, strangers(handover)))
        findings = [
            *handover.told(handover.all_findings),
            *notes,
            *_missing(memory, spans, pages, size),
            *(left_out or _differences(handover, excerpt, has_kernel=_has_kernel(spans))),
        ]
        rows = tuple(_row(key, part, pages, size) for key, part in spans.items())
        gone = (*([str(MAP_OWNER)] if handover.is_map_gone else []), *handover.gone_of(handover.subtrees))
        return cls(excerpt, size, head, pages, excerpt.kept, rows, tuple(findings), gone)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.head) + self.pages.size

    def write(self, sink: Sink, progress: Progress | None = None) -> None:
        """Write the core.

        Args:
            sink: where.
            progress: called with (bytes written, bytes to write) as it goes.

        Raises:
            ImageError: the image cannot be read any more.
            OSError: writing failed.
        """
        done = 0
        for part in self._parts():
            sink.write(part)
            done += len(part)
            if progress:
                progress(done, self.size)

    def _parts(self) -> Iterator[U8]:
        """The file's bytes in order, in bounded parts."""
        yield np.frombuffer(self.head, np.uint8)
        for addresses in _batches(self.pages):
            batch = self.excerpt.gather(addresses, _GRANULE)
            if (batch.presence != Presence.PRESENT).any():
                raise ImageError("the image changed while it was read", hint="take a copy of it first")
            yield batch.data.reshape(-1)

    def result(self, path: str) -> Result:
        """What was kept in the file at `path`, and what was not."""
        facts = (
            Fact("image", self.excerpt.whole.description, Kind.TEXT),
            Fact("written to", path, Kind.TEXT),
            Fact("file size", self.size, Kind.SIZE),
            Fact("pages", ceil_div(self.pages.size, self.page_size), Kind.COUNT),
            Fact("kept", self.kept.size, Kind.SIZE),
            Fact("zeroed", self.pages.size - self.kept.size, Kind.SIZE),
        )
        rows = table("kept", KeptRow, self.rows)
        return Result("khodump.slim/1", lambda: Head(facts), rows, lambda: self._tail(path))

    def _tail(self, path: str) -> Tail:
        summary = (
            f"wrote {path}, {format_size(self.size)}: {format_size(self.kept.size)} of metadata in "
            f"{ceil_div(self.pages.size, self.page_size)} pages; the other {format_size(self.pages.size - self.kept.size)} "
            "of these are zeroed. Nothing that was preserved is in it: extract needs the dump"
        )
        missing = sum(row.missing for row in self.rows)
        doubtful = [row for row in self.rows if row.left_out]
        if missing:
            summary += f"; pages that are not in the image: {missing}"
        if doubtful:
            summary += (
                f"; left out {format_size(sum(row.left_out for row in doubtful))} that may be anybody's data "
                f"({', '.join(dict.fromkeys(row.owner for row in doubtful))}): --keep-unknown keeps it"
            )
        if self.gone:
            summary += f"; given back when the handover was taken over: {', '.join(self.gone)}"
        return Tail(summary, self.findings, is_partial=bool(self.gone))


def _collected(kept: Iterable[Keep], *, keep_unknown: bool) -> dict[_Key, _Spans]:
    """The bytes to keep, by owner and what they are."""
    spans: dict[_Key, _Spans] = {}
    for keep in kept:
        if len(keep.start):
            part = spans.setdefault((keep.owner, keep.what), _Spans())
            if keep.doubtful and not keep_unknown:
                part.left_out += int(keep.length.sum())
                part.first_left_out = part.first_left_out or int(keep.start[0])
            else:
                part.start.append(keep.start)
                part.length.append(keep.length)
    return spans


def _union(parts: Iterable[Intervals]) -> Intervals:
    none = np.zeros(0, np.uint64)
    sets = list(parts)
    start = np.concatenate([none, *(part.start for part in sets)])
    return Intervals.covering(start, np.concatenate([none, *(part.end for part in sets)]))


def _batches(pages: Intervals) -> Iterator[U64]:
    """The addresses of whole pages of the smallest size, some at a time."""
    size = np.uint64(_GRANULE)
    count = (pages.end - pages.start) // size
    last, total = np.cumsum(count), int(count.sum())
    step = _BATCH_BYTES // _GRANULE
    for at in range(0, total, step):
        index = np.arange(at, min(at + step, total), dtype=np.uint64)
        run = np.searchsorted(last, index, "right")
        yield pages.start[run] + (index - (last[run] - count[run])) * size


def _spoken_of(memory: PhysicalMemory) -> Intervals:
    """The memory that the machine had, as far as the image tells: rules count on where it ends."""
    unknown = (Presence.ABSENT, Presence.UNPLACED)
    spans = [(span.start, span.end) for span in memory.ranges if span.presence not in unknown]
    edges = np.array(spans, np.uint64).reshape(-1, 2)
    return Intervals.covering(edges[:, 0], edges[:, 1])


def _present(memory: PhysicalMemory, wanted: Intervals) -> Intervals:
    """Those of the pages that can be read; of large ones, the parts that can."""
    size = np.uint64(_GRANULE)
    spans = [(span.start, span.end) for span in memory.ranges if span.presence is Presence.PRESENT]
    edges = np.array(spans, np.uint64).reshape(-1, 2)
    held = Intervals.covering(edges[:, 0] // size * size, -(-edges[:, 1] // size) * size)
    start, end, _, _ = meet(wanted.start, wanted.end, held.start, held.end)
    parts = []
    for addresses in _batches(Intervals(start, end)):
        present = addresses[memory.gather(addresses, _GRANULE).presence == Presence.PRESENT]
        parts.append(Intervals.covering(present, present + size))
    return _union(parts)


def _row(key: _Key, spans: _Spans, pages: Intervals, page_size: int) -> KeptRow:
    wanted, bytes_ = spans.pages(page_size), Intervals.covering(*spans.columns)
    held, kept = _common(wanted, pages), _common(bytes_, pages)
    missing = ceil_div(wanted.size - held, page_size)
    present = ceil_div(held, page_size)
    return KeptRow(str(key[0]), key[1], present, kept, held - kept, missing, spans.left_out)


def _common(one: Intervals, other: Intervals) -> int:
    """Bytes that are in both."""
    start, end, _, _ = meet(one.start, one.end, other.start, other.end)
    return int((end - start).sum())


def _missing(
    memory: PhysicalMemory, spans: Mapping[_Key, _Spans], pages: Intervals, page_size: int
) -> Iterator[Finding]:
    """A finding for each owner whose pages the image does not hold."""
    for (owner, what), part in spans.items():
        lost = part.pages(page_size).minus(pages)
        if lost.size:
            first, count = int(lost.start[0]), ceil_div(lost.size, page_size)
            read = memory.read(first, page_size)
            why = memory.hole_at(read.phys, read.presence) if isinstance(read, Hole) else "not there"
            message = f"{count} pages of {owner} ({what}) cannot be kept; the first, at {first:#x}, is {why}"
            yield Finding("slim-page-missing", Severity.ERROR, first, message, {"pages": count})


def _doubtful(spans: Mapping[_Key, _Spans], expected: Collection[Owner]) -> Iterator[Finding]:
    """A finding for each owner of which something is left out that the dump is read with; none for strangers' blobs."""
    for (owner, what), part in spans.items():
        if part.left_out and owner not in expected:
            first = part.first_left_out
            message = (
                f"{format_size(part.left_out)} of {owner} ({what}) are left out, from {first:#x} on: they are damaged, or "
                "were used again, and may be anybody's data; the slim image does not answer for them"
            )
            yield Finding("slim-left-out", Severity.ERROR, first, message, {"bytes": part.left_out})


def _excerpt(
    handover: Handover, spans: Mapping[_Key, _Spans], pages: Intervals, wanted: Intervals
) -> Excerpt:
    """The memory that the core holds, which tells the page size where it is not found without being told."""
    memory = handover.memory
    start, end, _, _ = meet(wanted.start, wanted.end, pages.start, pages.end)
    platform = Platform(_machine(handover, spans), _vmcoreinfo(memory, has_kernel=_has_kernel(spans)))
    excerpt = Excerpt(memory, pages, Intervals(start, end), _spoken_of(memory).minus(pages), platform)
    if _reread(handover, excerpt) is not None:
        return excerpt
    told = {**platform.vmcoreinfo, "PAGESIZE": str(handover.page_size)}
    return excerpt.telling(replace(platform, vmcoreinfo=told))


def _has_kernel(spans: Mapping[_Key, _Spans]) -> bool:
    """Whether the core holds what the running kernel is asked by."""
    return any(owner == KERNEL for owner, _ in spans)


def _vmcoreinfo(memory: PhysicalMemory, *, has_kernel: bool) -> dict[str, str]:
    """The lines that tell how to read the map, those that lead to the kernel where it is kept, and no others."""
    told = memory.platform.vmcoreinfo
    release, page_size = told.get("OSRELEASE", ""), told.get("PAGESIZE", "")
    lines = {"OSRELEASE": release} if 0 < len(release) <= _MAX_RELEASE else {}
    if page_size in map(str, PAGE_SIZES):
        lines["PAGESIZE"] = page_size
    return lines | kernel_lines(told) if has_kernel else lines


def _reread(handover: Handover, excerpt: Excerpt) -> Handover | None:
    """The handover as the core alone shows it; None where it would be read as another map."""
    fdt = handover.fdt
    try:
        found = open_tracker(excerpt, fdt.tree, fdt_phys=fdt.phys, version=handover.version)
    except KhodumpError:
        return None
    if found.tracker.reading != handover.tracker.reading:
        return None
    return replace(handover, memory=excerpt, tracker=found.tracker, is_guess=not found.certain, watch=None)


def _differences(handover: Handover, excerpt: Excerpt, *, has_kernel: bool) -> Iterator[Finding]:
    """A finding where the core would not answer as the image does, though nothing was left out for its sake."""
    again = _reread(handover, excerpt)
    if again is None:
        message = (
            f"the slim image alone does not tell how to read its map: {handover.version} with "
            f"{handover.tracker.reading}. Hand on that --page-size {format_size(handover.page_size)} and "
            f"--as {handover.version} are needed"
        )
        yield Finding("slim-differs", Severity.ERROR, handover.fdt.phys, message)
    elif not _alike(again.preserved, handover.preserved):
        message = "the slim image lists other preservations than the image: hand on the image itself"
        yield Finding("slim-differs", Severity.ERROR, handover.fdt.phys, message)
    if has_kernel and not tells_the_same(handover, excerpt):
        message = (
            "the kernel in the slim image does not tell what that in the image does: hand on the image itself"
        )
        yield Finding("slim-differs", Severity.ERROR, None, message)


def _alike(one: Extents, other: Extents) -> bool:
    """Whether both list the same preservations."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("phys", "order", "count")
    )


def _machine(handover: Handover, spans: Mapping[_Key, _Spans]) -> str | None:
    """The architecture: as the image says, or else by evidence, if there is any."""
    said = handover.memory.platform.machine
    if said == "x86_64" and handover.page_size != PAGE_SIZES[0]:
        return None  # the page size was forced against it, and must be found again
    if said is None and handover.page_size != PAGE_SIZES[0]:
        return "aarch64"
    if said is None and any(owner == BOOT for owner, _ in spans):
        return "x86_64"
    return said
