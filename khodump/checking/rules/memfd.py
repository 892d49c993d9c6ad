"""Rules of memfds: whether a file comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from khodump.abi.memfd import FolioFlags, Seals
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case, PreservedFile
from khodump.checking.harm import file_lost, harm
from khodump.checking.log import MEMFD_PAGE_CACHE, MEMFD_SEALS, Errno
from khodump.checking.rule import Effect, Hit, Need, Outcome, Rule
from khodump.columns.arrays import I64, U64
from khodump.columns.extents import NO_ORDER
from khodump.columns.intervals import Intervals
from khodump.findings import Finding, Severity
from khodump.numbers import format_size
from khodump.owner import quoted
from khodump.problems import MemfdFolioCount, MemfdFolioMissing, MemfdListUnread
from khodump.rounding import ceil_div
from khodump.subtrees.memfd import Memfd

_MAX_FOLIOS: Final = (1 << 32) - 1  # UINT_MAX: memfd_luo_preserve_folios() refuses more with EFBIG
_SEALS: Final = int(sum(Seals))
_FLAGS: Final = np.uint64(sum(FolioFlags))
_SOURCE: Final = "memfd_luo_retrieve(), mm/memfd_luo.c"


@dataclass(frozen=True, eq=False)
class _Placed:
    """The folios of a file, as columns in the order of the list.

    Attributes:
        first: uint64, their first pages in the file.
        stop: uint64, the pages behind their last.
        number: uint64, of their entries in the list.
    """

    first: U64
    stop: U64
    number: U64

    @property
    def overlapping(self) -> I64:
        """The rows of the folios that lie on pages of others, by their first pages."""
        by_index = np.argsort(self.first, kind="stable")
        first, stop = self.first[by_index], self.stop[by_index]
        return by_index[1:][first[1:] < np.maximum.accumulate(stop)[:-1]]


def _memfds(case: Case) -> Iterator[tuple[PreservedFile, Memfd]]:
    """The memfds whose lists can be read."""
    for file in case.files:
        if file.file.state is not None and not file.file.state.findings:
            yield file, file.file.state


def _what(file: PreservedFile) -> str:
    return f"token {file.file.token} of session {quoted(file.session)}"


def _placed(case: Case, memfd: Memfd) -> _Placed | None:
    """Where the folios lie in the file; None when part of the list, or of what tells their orders, was not read."""
    preserved = case.opened.preserved
    none = np.zeros(0, np.uint64)
    first = [none]
    stop = [none]
    number = [none]
    for batch in memfd.folios():
        if batch.missing:
            return None
        orders = preserved.orders_at(batch.phys)
        if not case.is_whole and (orders == NO_ORDER).any():
            return None
        pages = preserved.block_sizes(orders) >> np.uint64(preserved.page_shift)
        first.append(batch.index)
        stop.append(batch.index + pages)
        number.append(batch.number)
    return _Placed(np.concatenate(first), np.concatenate(stop), np.concatenate(number))


def _overlaps(case: Case) -> Iterator[Hit]:
    for file, memfd in _memfds(case):
        placed = _placed(case, memfd)
        if placed is None or not len(placed.overlapping):
            continue
        rows = placed.overlapping
        page = int(placed.first[rows[0]])
        message = f"{_what(file)}: {len(rows)} folios lie on another one's pages, the first at page {page} of the file"
        entry = memfd.entry_of(int(placed.number[rows[0]]))
        yield Hit(memfd.phys, message, file.owner, {"index": page, "count": len(rows)}, entry=entry)


def _sizes(case: Case) -> Iterator[Hit]:
    size = case.opened.page_size
    for file, memfd in _memfds(case):
        if memfd.nr_folios > _MAX_FOLIOS:
            message = f"{_what(file)} has {memfd.nr_folios} folios, more than a kernel preserves"
            entry = memfd.field_of("nr_folios")
            yield Hit(memfd.phys, message, file.owner, {"value": memfd.nr_folios}, entry=entry)
        placed = _placed(case, memfd)
        if (
            placed is None or len(placed.first) < memfd.nr_folios
        ):  # entries that name no memory, which is told
            continue
        if len(placed.overlapping):  # then some lie elsewhere than they should, which is told
            continue
        pages = ceil_div(memfd.size, size)
        end = np.uint64(pages)
        held = Intervals.covering(np.minimum(placed.first, end), np.minimum(placed.stop, end)).size
        if held < pages:
            message = f"{_what(file)} is {format_size(memfd.size)} long, but its folios hold {format_size(held * size)} of that"
            evidence = {"value": memfd.size, "held": held * size}
            yield Hit(memfd.phys, message, file.owner, evidence, entry=memfd.field_of("size"))


def _sizes_outcome(case: Case, finding: Finding) -> Outcome:
    file = case.file_of(finding.owner)
    if "held" in finding.evidence or file is None:
        return Outcome(Effect.FILE, "retrieves a file that reads as zeros where no folio is")
    return file_lost(file, Errno.EFBIG)


def _seals(case: Case) -> Iterator[Hit]:
    for file, memfd in _memfds(case):
        unknown = (memfd.seals or 0) & ~_SEALS
        if unknown:
            message = f"{_what(file)} has seals {memfd.seals:#x}, of which {unknown:#x} are unknown"
            entry = memfd.field_of("seals")
            yield Hit(memfd.phys, message, file.owner, {"value": memfd.seals or 0}, entry=entry)


def _seals_outcome(case: Case, finding: Finding) -> Outcome:
    return harm(case, finding.owner, MEMFD_SEALS.of(Errno.EOPNOTSUPP), errno=Errno.EOPNOTSUPP)


def _flags(case: Case) -> Iterator[Hit]:
    for file, memfd in _memfds(case):
        odd, first = 0, None
        for batch in memfd.folios():
            rows = np.flatnonzero(batch.flags != _FLAGS)
            odd += len(rows)
            if first is None and len(rows):
                columns = (batch.phys, batch.index, batch.flags, batch.number)
                first = tuple(int(column[rows[0]]) for column in columns)
        if first is not None:
            phys, index, flags, number = first
            message = (
                f"{_what(file)}: {odd} folios are not marked dirty and up to date, and no more; the first is at page "
                f"{index} of the file, with flags {flags:#x}"
            )
            evidence = {"index": index, "value": flags, "count": odd}
            yield Hit(phys, message, file.owner, evidence, entry=memfd.entry_of(number))


_FILE: Final = see(
    "sessions",
    "--session",
    Blank.SESSION,
    "--file",
    Blank.TOKEN,
    shows="shows the file's size, seals and folios, and how much is preserved",
)
_ENTRY: Final = confirm(
    see(
        "lookup",
        Blank.ENTRY,
        shows="shows the entry of the list: flags in the upper 12 bits above the page's number, then the page of the file",
    ),
    _FILE,
)

RULES: Final = (
    Rule(
        MemfdFolioCount.name,
        MemfdFolioCount.severity,
        MemfdFolioCount.title,
        "It reads past the end of the list, which it has mapped with vmalloc.",
        confirm(see("lookup", Blank.ENTRY, shows="shows the count, in the file's state"), _FILE),
        _SOURCE,
        Outcome(Effect.PANIC, "reads past the end of the list and faults, when the file is retrieved"),
    ),
    Rule(
        MemfdListUnread.name,
        MemfdListUnread.severity,
        MemfdListUnread.title,
        "Nothing can be said of the folios that are not listed, nor of memory that nobody else claims: it may be theirs.",
        confirm(
            see("lookup", Blank.PHYS, shows="says why the image does not hold the page, and whose it is"),
            remark="Dump again with a lower dump level (makedumpfile -d).",
        ),
        "the image itself",
        Outcome(Effect.UNKNOWN, "sees what this image does not hold: which folios the file has is not known"),
    ),
    Rule(
        MemfdFolioMissing.name,
        MemfdFolioMissing.severity,
        MemfdFolioMissing.title,
        "It skips such entries: the file reads as zeros there. Preserving fills the holes of sparse files, so no kernel "
        "writes one.",
        _ENTRY,
        "memfd_luo_preserve_folios() and memfd_luo_retrieve_folios(), mm/memfd_luo.c",
        Outcome(Effect.FILE, "retrieves a file that reads as zeros where these folios were"),
    ),
    Rule(
        "memfd-folio-overlap",
        Severity.ERROR,
        "two folios of a memfd lie on the same pages of the file",
        "The second cannot be added to the page cache: EEXIST.",
        _ENTRY,
        f"memfd_luo_retrieve_folios(), {_SOURCE.partition(', ')[2]}",
        lambda case, finding: harm(
            case,
            finding.owner,
            MEMFD_PAGE_CACHE.of(finding.evidence["index"], Errno.EEXIST),
            errno=Errno.EEXIST,
        ),
        log=(MEMFD_PAGE_CACHE,),
        wants=(Need.FOLIO_LISTS,),
        look=_overlaps,
    ),
    Rule(
        "memfd-size-mismatch",
        Severity.ERROR,
        "the folios of a memfd do not fill the file",
        "It takes the size as it stands; what no folio holds reads as zeros. Preserving fills sparse files.",
        confirm(_FILE),
        _SOURCE,
        _sizes_outcome,
        wants=(Need.FOLIO_LISTS,),
        look=_sizes,
    ),
    Rule(
        "memfd-seals-unknown",
        Severity.ERROR,
        "a memfd has seals that the next kernel does not know",
        "It refuses the file with EOPNOTSUPP.",
        confirm(_FILE, remark="Known seals are 0x3f."),
        "memfd_luo_retrieve(), mm/memfd_luo.c; 20260216185946.1215770",
        _seals_outcome,
        log=(MEMFD_SEALS,),
        look=_seals,
    ),
    Rule(
        "memfd-folio-flags",
        Severity.ERROR,
        "folios of a memfd are not marked dirty and up to date",
        "One that is not up to date reads as zeros, and one that is not dirty may be dropped: early kernels lost data so.",
        _ENTRY,
        "memfd_luo_retrieve_folios(), mm/memfd_luo.c; the memfd fixes of February 2026",
        Outcome(
            Effect.FILE, "retrieves a file of which these folios read as zeros, or are dropped under pressure"
        ),
        wants=(Need.FOLIO_LISTS,),
        look=_flags,
    ),
)
