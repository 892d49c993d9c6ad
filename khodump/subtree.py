"""The contract of a KHO user: what its node in the root FDT leads to, and which memory it claims.

Besides, decoders tell which bytes they look at: those that must be kept to read the handover again.

One file per user lives in `khodump.subtrees`; the node's name decides which one reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np

from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.columns.arrays import U64, AnyArray, Bool
from khodump.fdt import FDT_HEADER
from khodump.findings import Entry, Finding, Severity
from khodump.memory import Hole, PhysicalMemory
from khodump.owner import Owner
from khodump.problems import BlobUnreadable, Problem
from khodump.rounding import round_up
from khodump.rows import Fact

#: The part of a user that its node points to.
BLOB: Final = "blob"
#: In a claim: the one block that is preserved from there on, of whatever order the map says.
WHOLE_BLOCK: Final = 0


def blob_of(user: str) -> Owner:
    """The owner of what a user's node points to."""
    return Owner(user, part=BLOB)


class Visits:
    """Pages of states, lists and chains that were read, by all decoders of a handover.

    Each is read for the first two that name it, which is enough to see that they share it. Were it read for all, the work
    would be the product of what an image holds, and not its sum.
    """

    def __init__(self) -> None:
        self._once: set[int] = set()
        self._twice: set[int] = set()

    def refuse(self, page: int) -> bool:
        """Note a visit; whether it is one too many."""
        if page in self._twice:
            return True
        seen = self._twice if page in self._once else self._once
        seen.add(page)
        return False

    def is_full(self, page: int) -> bool:
        """Whether the next visit is one too many."""
        return page in self._twice


class Budget:
    """Bytes that decoders of one handover may keep of lists, so that these are read once, however many ask.

    A longer list is read again by each that asks: what a handover takes must not grow with its files.
    """

    def __init__(self, size: int = 32 << 20) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Whether `size` bytes may be kept; they count as kept then."""
        fits = size <= self._left
        self._left -= size if fits else 0
        return fits


class Context(NamedTuple):
    """What decoders read from.

    Attributes:
        memory: the image.
        page_size: the kernel's, in bytes.
        owner: whom the decoded belongs to, for findings.
        visits: of all that is decoded together; None for a single list.
        budget: of all that is decoded together; None to keep nothing.
    """

    memory: PhysicalMemory
    page_size: int
    owner: Owner | None = None
    visits: Visits | None = None
    budget: Budget | None = None

    def of(self, owner: Owner) -> Context:
        """The same for another owner."""
        return self._replace(owner=owner)

    def refuses(self, phys: int, size: int = 1) -> bool:
        """Whether two others have read one of the pages of these bytes already; notes the visit."""
        if self.visits is None:
            return False
        first = phys - phys % self.page_size
        refused = [self.visits.refuse(page) for page in range(first, phys + size, self.page_size)]
        return any(refused)

    def refuses_next(self, phys: int) -> bool:
        """Whether two others have read the page at `phys` already; notes nothing."""
        return self.visits is not None and self.visits.is_full(phys - phys % self.page_size)

    def may_keep(self, size: int) -> bool:
        """Whether `size` bytes that were read may be kept; they count as kept then."""
        return self.budget is not None and self.budget.take(size)

    def refused_blocks(self, blocks: U64, order: int) -> Bool:
        """Which of these different blocks of a list, aligned to their size, two others have read; notes the visits.

        A block counts as itself, not as its pages, which the image may not hold.
        """
        if self.visits is None:
            return np.zeros(len(blocks), np.bool_)
        keys = (blocks | np.uint64(order)).tolist()
        return np.fromiter(map(self.visits.refuse, keys), np.bool_, len(keys))

    def problem(
        self,
        problem: Problem | str,
        phys: int | None,
        message: str,
        *,
        entry: Entry | None = None,
        **evidence: int,
    ) -> Finding:
        """A finding of a decoder; `entry` is where the bad entry stands, if that is not `phys`.

        A name alone, with whatever numbers, is an error of a kind that is not declared; khodump's own decoders have none.
        """
        if isinstance(problem, Problem):
            return problem.finding(phys, message, self.owner, entry)
        return Finding(problem, Severity.ERROR, phys, message, evidence, self.owner, entry=entry)

    def unreadable(self, hole: Hole, what: str) -> Finding:
        """The finding for a structure that the image does not hold."""
        why = self.memory.hole_at(hole.phys, hole.presence)
        return self.problem(BlobUnreadable(), hole.phys, f"{what} is {why}")


def nowhere(row: int) -> Entry | None:  # noqa: ARG001 - see `Claims.named`
    """Of claims that stand in no entry that is known."""
    return None


@dataclass(frozen=True, eq=False)
class Claims:
    """Memory that one owner says is its own, as columns.

    Attributes:
        owner: whose it is.
        start: uint64, physical bytes.
        size: uint64, bytes; WHOLE_BLOCK where only the map knows.
        named: gives, for a row, the entry that names its address; None where it is not known.
    """

    owner: Owner
    start: U64
    size: U64
    named: Callable[[int], Entry | None] = nowhere

    def entry_at(self, phys: int) -> Entry | None:
        """The first entry that names memory with this byte in it; of a whole block, its first byte."""
        size = np.maximum(self.size, np.uint64(1))
        rows = np.flatnonzero((self.start <= np.uint64(phys)) & (np.uint64(phys) - self.start < size))
        return self.named(int(rows[0])) if len(rows) else None

    @classmethod
    def of(cls, owner: Owner, *ranges: tuple[int, int], entry: Entry | None = None) -> Claims:
        """From (start, size) pairs; `entry` names them all."""
        return cls(
            owner,
            np.array([start for start, _ in ranges], np.uint64),
            np.array([size for _, size in ranges], np.uint64),
            lambda _: entry,
        )

    @classmethod
    def equal(
        cls, owner: Owner, start: U64, size: int, named: Callable[[int], Entry | None] = nowhere
    ) -> Claims:
        """Ranges of one size."""
        return cls(owner, start, np.full(len(start), size, np.uint64), named)


@dataclass(frozen=True, eq=False)
class Keep:
    """Bytes that describe what is preserved, as columns: what an image must hold for its handover to be read.

    Attributes:
        owner: whose memory they describe, as in `Claims`.
        what: they are, for a person.
        start: uint64, physical bytes.
        length: uint64, bytes that mean something; 0 for a page that is read, but of which none do.
        doubtful: they are understood by nobody, or are what no kernel writes: they may be anybody's data.
    """

    owner: Owner
    what: str
    start: U64
    length: U64
    doubtful: bool = False

    @classmethod
    def of(cls, owner: Owner, what: str, *spans: tuple[int, int], doubtful: bool = False) -> Keep:
        """From (start, length) pairs."""
        claims = Claims.of(owner, *spans)
        return cls(owner, what, claims.start, claims.size, doubtful)

    @classmethod
    def of_fdt(cls, owner: Owner, what: str, phys: int, data: bytes) -> Keep:
        """The valid tree at `phys` that begins `data`.

        Left out is what its blocks leave free, and its memory reservations: KHO makes none, and zeros are none.
        """
        header = FDT_HEADER.parse(data)
        blocks = (
            (0, FDT_HEADER.size),
            (header.off_dt_struct, header.size_dt_struct),
            (header.off_dt_strings, header.size_dt_strings),
        )
        # All of its pages are read, whatever they hold.
        size = min(header.totalsize, len(data))
        pages = (*range(0, size, PAGE_SIZES[0]), size - 1)
        return cls.of(
            owner, what, *((phys + at, size) for at, size in blocks), *((phys + at, 0) for at in pages)
        )

    @classmethod
    def of_rows(cls, owner: Owner, what: str, start: U64, rows: AnyArray, *, doubtful: bool = False) -> Keep:
        """The structured array `rows`, each at its address, without what follows the NUL of its strings."""
        starts, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for name, (field, offset, *_) in (rows.dtype.fields or {}).items():
            length = np.full(len(rows), field.itemsize, np.uint64)
            if field.kind == "V":  # a string; numbers count whole
                column = np.ascontiguousarray(rows[name]).view(np.uint8).reshape(len(rows), field.itemsize)
                nul = column == 0
                length = np.where(nul.any(axis=1), nul.argmax(axis=1), length).astype(np.uint64)
            starts.append(start + np.uint64(offset))
            lengths.append(length)
        return cls(owner, what, np.concatenate(starts), np.concatenate(lengths), doubtful)


def no_doubts() -> Iterator[Finding]:
    """Nothing."""
    return iter(())


def no_claims() -> Iterator[Claims]:
    """Nothing."""
    return iter(())


def no_keeps() -> Iterator[Keep]:
    """Nothing."""
    return iter(())


class Blob(NamedTuple):
    """What a node of the root FDT points to.

    Attributes:
        phys: physical address.
        size: bytes, as the root FDT or the blob itself says.
        data: its first bytes, as many as decoders look at.
    """

    phys: int
    size: int
    data: bytes


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a blob.

    Attributes:
        kind: what it is: its compatible string, or what else tells it.
        facts: decoded values, for a person.
        content: the same for code, of the decoder's own type.
        findings: what is wrong with it, as far as it had to be read to be decoded.
        doubts: what else is wrong with it, or missing; to find out, all that it leads to is read.
        claims: the memory it leads to, in bounded batches; the blob itself is claimed by the caller.
        keeps: the bytes that were decoded, in bounded batches, those of the blob included; of content that was not
            understood there are none.
    """

    kind: str
    facts: tuple[Fact, ...] = ()
    content: object | None = None
    findings: tuple[Finding, ...] = ()
    claims: Callable[[], Iterator[Claims]] = no_claims
    keeps: Callable[[], Iterator[Keep]] = no_keeps
    doubts: Callable[[], Iterator[Finding]] = no_doubts


@dataclass(frozen=True)
class Subtree:
    """A node of the root FDT and what it leads to.

    Attributes:
        name: of the node; it names the user.
        blob: what it points to; None when that is missing or cannot be read.
        decoded: what the user's decoder made of it.
        entry: the property that points to the blob, where it is known where the root FDT lies.
    """

    name: str
    blob: Blob | None
    decoded: Decoded
    entry: Entry | None = None

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All that is wrong with it or missing, with an owner each; reads all that it leads to."""
        found = (*self.decoded.findings, *self.decoded.doubts())
        return tuple(replace(finding, owner=finding.owner or Owner(self.name)) for finding in found)

    def claims(self, page_size: int) -> Iterator[Claims]:
        """All memory of this user, its blob's pages first."""
        if self.blob is not None:
            start = self.blob.phys - self.blob.phys % page_size
            end = round_up(self.blob.phys + max(self.blob.size, 1), page_size)
            end = min(end, (1 << 64) - page_size)  # whatever the root FDT says, no memory lies beyond
            # A small blob may lie in a folio of any order, as that of kho_test does.
            size = end - start if end - start > page_size else WHOLE_BLOCK
            yield Claims.of(blob_of(self.name), (start, size), entry=self.entry)
        yield from self.decoded.claims()
