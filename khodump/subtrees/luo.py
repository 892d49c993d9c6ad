"""The `LUO` node: sessions, their files, and file-lifecycle-bound state (kernel/liveupdate/luo_*.c).

Branches on what is there, the newest layout first: a struct that begins with its version (7.2 on), else the FDT of
luo-v1 (6.19 to 7.1) and of the never released luo-v2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.abi.layout import dtype_of
from khodump.abi.luo import (
    COMPATIBLE_PREFIX,
    FILE_ARRAY_PAGES,
    FLB_NODE,
    LUO_FILE_SER,
    LUO_FLB_HEADER_SER,
    LUO_FLB_SER,
    LUO_HEADER,
    LUO_SESSION_SER,
    PROP_ABI_HEADER,
    PROP_FLB_HEADER,
    PROP_LIVEUPDATE_NUMBER,
    PROP_SESSION_HEADER,
    SESSION_ARRAY_PAGES,
    SESSION_NODE,
    LuoHeader,
)
from khodump.errors import FdtError
from khodump.fdt import MAGIC, FdtNode, parse_fdt
from khodump.findings import Finding
from khodump.memory import Hole
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Claims, Context, Decoded, Keep
from khodump.subtrees.block import block_keeps, read_blocks
from khodump.subtrees.memfd import COMPATIBLES as MEMFD_COMPATIBLES
from khodump.subtrees.memfd import Memfd, decode_memfd
from khodump.subtrees.text import quoted, text

#: Which of the struct's versions put what into blocks; arrays otherwise.
_SESSIONS_IN_BLOCKS: Final = ("luo-v5", "luo-v4")
_FILES_IN_BLOCKS: Final = ("luo-v5",)
_STRUCT_VERSIONS: Final = ("luo-v5", "luo-v4", "luo-v3")


@dataclass(frozen=True)
class LuoFile:
    """A file of a session.

    Attributes:
        token: what user space calls it.
        handler: compatible string of the file handler that knows `data`.
        data: the handler's own, usually a physical address.
        state: what a known handler made of it; None for unknown handlers and unreadable state.
    """

    token: int
    handler: str
    data: int
    state: Memfd | None


@dataclass(frozen=True)
class Session:
    """A session.

    Attributes:
        name: what user space calls it.
        files_phys: physical address of its list of files; 0 is none.
        count: files that it says it has.
        files: those that were found.
        pages: physical (start, size) of the pages that list them.
    """

    name: str
    files_phys: int
    count: int
    files: tuple[LuoFile, ...]
    pages: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Flb:
    """File-lifecycle-bound state: `data` is its owner's own, not necessarily an address."""

    name: str
    data: int
    count: int


@dataclass(frozen=True)
class Luo:
    """The live update orchestrator's state.

    Attributes:
        version: its compatible string.
        number: live updates so far.
        sessions_phys: physical address of the sessions; 0 before the reboot that serializes them.
        sessions: all of them.
        flbs: all of them.
        pages: owner's last part, and (start, size), of the pages that list sessions and FLBs.
    """

    version: str
    number: int
    sessions_phys: int
    sessions: tuple[Session, ...]
    flbs: tuple[Flb, ...]
    pages: tuple[tuple[str, int, int], ...]

    @property
    def is_serialized(self) -> bool:
        """Whether the sessions were written down: only the reboot into the next kernel does."""
        return self.sessions_phys != 0


class _Array(NamedTuple):
    """Entries in contiguous pages, as before there were blocks.

    Attributes:
        what: they are, for a person.
        schema: of an entry.
        length: bytes of the pages.
        offset: bytes before the first entry.
    """

    what: str
    schema: Any
    length: int
    offset: int = 0


def _sessions_array(page_size: int) -> _Array:
    return _Array("LUO's sessions", LUO_SESSION_SER, SESSION_ARRAY_PAGES * page_size, 8)


def _files_array(page_size: int, what: str) -> _Array:
    return _Array(what, LUO_FILE_SER, FILE_ARRAY_PAGES * page_size)


def _flbs_array(page_size: int) -> _Array:
    return _Array("LUO's FLBs", LUO_FLB_SER, page_size, LUO_FLB_HEADER_SER.size)


class _Reader:
    """Collects findings while it follows one LUO state."""

    def __init__(self, context: Context, version: str) -> None:
        self._context = context
        self._version = version
        self.findings: list[Finding] = []

    def luo(self, header: LuoHeader) -> Luo:
        """Everything that the header leads to."""
        sessions, session_pages = self._sessions(header.sessions_pa)
        flbs, flb_pages = self._flbs(header.flbs_pa)
        pages = [("sessions", *span) for span in session_pages] + [("flbs", *span) for span in flb_pages]
        return Luo(self._version, header.liveupdate_num, header.sessions_pa, sessions, flbs, tuple(pages))

    def _sessions(self, head: int) -> tuple[tuple[Session, ...], tuple[tuple[int, int], ...]]:
        size = self._context.page_size
        if self._version in _SESSIONS_IN_BLOCKS:
            found = read_blocks(self._context, head, LUO_SESSION_SER, "LUO's sessions")
            self.findings += found.findings
            rows, pages = found.entries, tuple((block, size) for block in found.blocks)
        else:
            pages = ((head, SESSION_ARRAY_PAGES * size),) if head else ()
            rows = self._array(_sessions_array(size), head)
        return tuple(self._session(row) for row in rows), pages

    def _session(self, row: Any) -> Session:  # noqa: ANN401 - a numpy record
        name, head, count = text(bytes(row["name"])), int(row["files"]), int(row["count"])
        what, size = f"session {quoted(name)}", self._context.page_size
        if self._version in _FILES_IN_BLOCKS:
            found = read_blocks(self._context, head, LUO_FILE_SER, f"the files of {what}")
            self.findings += found.findings
            rows, pages = found.entries, tuple((block, size) for block in found.blocks)
        else:
            pages = ((head, FILE_ARRAY_PAGES * size),) if head else ()
            rows = self._array(_files_array(size, f"the files of {what}"), head, count)
        if len(rows) != count:
            message = f"{what} says it has {count} files, but its list has {len(rows)}"
            problem = self._context.problem
            self.findings.append(problem("session-file-count-mismatch", head or None, message, value=count))
        return Session(name, head, count, tuple(self._file(row, what) for row in rows), pages)

    def _file(self, row: Any, session: str) -> LuoFile:  # noqa: ANN401 - a numpy record
        handler, data, token = text(bytes(row["compatible"])), int(row["data"]), int(row["token"])
        if handler not in MEMFD_COMPATIBLES:
            return LuoFile(token, handler, data, None)
        state = decode_memfd(self._context, handler, data, f"file {token:#x} of {session}")
        if isinstance(state, Finding):
            self.findings.append(state)
            return LuoFile(token, handler, data, None)
        self.findings += state.findings
        return LuoFile(token, handler, data, state)

    def _flbs(self, head: int) -> tuple[tuple[Flb, ...], tuple[tuple[int, int], ...]]:
        if not head:
            return (), ()
        rows = self._array(_flbs_array(self._context.page_size), head)
        flbs = tuple(Flb(text(bytes(row["name"])), int(row["data"]), int(row["count"])) for row in rows)
        return flbs, ((head, self._context.page_size),)

    def _array(self, array: _Array, head: int, count: int | None = None) -> npt.NDArray[Any]:
        """The entries of the array at `head`; the u64 before the first counts them, unless told."""
        entry = dtype_of(array.schema)
        none: npt.NDArray[Any] = np.zeros(0, entry)
        if not head:
            return none
        data = self._context.memory.read(head, array.length)
        if isinstance(data, Hole):
            self.findings.append(self._context.unreadable(data, f"the list of {array.what}, at {head:#x},"))
            return none
        said = int.from_bytes(data[array.offset - 8 : array.offset], "little") if count is None else count
        capacity = (array.length - array.offset) // entry.itemsize
        if said > capacity:
            message = f"the list of {array.what}, at {head:#x}, counts {said} entries, but holds {capacity}"
            self.findings.append(self._context.problem("block-count-invalid", head, message, value=said))
        return np.frombuffer(data, entry, min(said, capacity), array.offset)


def decode(context: Context, blob: Blob) -> Decoded:
    """LUO's state, as `Luo`."""
    if blob.data.startswith(MAGIC):
        return _decode_fdt(context, blob)
    version = text(blob.data[:64])
    if version not in _STRUCT_VERSIONS:
        message = (
            f"LUO's state at {blob.phys:#x} begins with {quoted(version[:32])}, which is no known version"
        )
        return Decoded(
            "unknown LUO state", findings=(context.problem("blob-incompatible", blob.phys, message),)
        )
    # The string is padded to a multiple of 8, which a longer one would move the rest by.
    offset = (len(version) + 1 + 7) // 8 * 8
    if len(blob.data) < offset + LUO_HEADER.size:
        message = (
            f"LUO's state at {blob.phys:#x} has {len(blob.data)} bytes, and needs {offset + LUO_HEADER.size}"
        )
        return Decoded(
            version, findings=(context.problem("blob-too-small", blob.phys, message, value=blob.size),)
        )
    spans = (blob.phys, len(version) + 1), (blob.phys + offset, LUO_HEADER.size)
    keep = Keep.of("LUO/blob", "blob", *spans)
    return _decoded(context, version, LUO_HEADER.parse(blob.data[offset:]), [keep])


def _decode_fdt(context: Context, blob: Blob) -> Decoded:
    try:
        tree = parse_fdt(blob.data)
    except FdtError as error:
        message = f"LUO's FDT at {blob.phys:#x} is damaged: {error}"
        return Decoded("damaged FDT", findings=(context.problem("blob-invalid", blob.phys, message),))
    version = tree.string(PROP_COMPATIBLE) or "no compatible"
    header = _abi_header(context, tree) if PROP_ABI_HEADER in tree.properties else _v1_header(tree)
    if not version.startswith(COMPATIBLE_PREFIX) or header is None:
        message = f"LUO's FDT at {blob.phys:#x} says {version}, and leads to no sessions"
        return Decoded(version, findings=(context.problem("blob-incompatible", blob.phys, message),))
    keeps = [Keep.of_fdt("LUO/blob", "blob", blob.phys, blob.data)]
    if PROP_ABI_HEADER in tree.properties:
        keeps.append(Keep.of("LUO/header", "header", (tree.u64(PROP_ABI_HEADER) or 0, LUO_HEADER.size)))
    return _decoded(context, version, header, keeps)


def _v1_header(tree: FdtNode) -> LuoHeader | None:
    """luo-v1's FDT as the struct that came after it."""
    sessions, flbs = tree.child(SESSION_NODE), tree.child(FLB_NODE)
    if sessions is None:
        return None
    return LuoHeader(
        tree.u64(PROP_LIVEUPDATE_NUMBER) or 0,
        sessions.u64(PROP_SESSION_HEADER) or 0,
        (flbs.u64(PROP_FLB_HEADER) or 0) if flbs else 0,
    )


def _abi_header(context: Context, tree: FdtNode) -> LuoHeader | None:
    data = context.memory.read(tree.u64(PROP_ABI_HEADER) or 0, LUO_HEADER.size)
    return None if isinstance(data, Hole) else LUO_HEADER.parse(data)


def _decoded(context: Context, version: str, header: LuoHeader, blob: list[Keep]) -> Decoded:
    """What the header leads to; `blob` are the bytes that led to it."""
    reader = _Reader(context, version)
    luo = reader.luo(header)
    files = [file for session in luo.sessions for file in session.files]
    facts = (
        Fact("live update number", luo.number, Kind.COUNT),
        Fact("state", "serialized" if luo.is_serialized else "not serialized yet", Kind.TEXT),
        Fact("sessions", len(luo.sessions), Kind.COUNT),
        Fact("files", len(files), Kind.COUNT),
        Fact("FLBs", len(luo.flbs), Kind.COUNT),
    )
    return Decoded(
        version,
        facts,
        luo,
        tuple(reader.findings),
        lambda: _claims(luo),
        lambda: chain(blob, _keeps(context, luo)),
    )


def session_owner(session: Session) -> str:
    """The path of a session among the owners of memory."""
    return f"LUO/session {quoted(session.name)}"


def memfd_owner(session: Session, file: LuoFile) -> str:
    """The path of a memfd among the owners of memory."""
    return f"{session_owner(session)}/file {file.token:#x} (memfd)"


def _claims(luo: Luo) -> Iterator[Claims]:
    for part, start, size in luo.pages:
        yield Claims.of(f"LUO/{part}", (start, size))
    for session in luo.sessions:
        owner = session_owner(session)
        for span in session.pages:
            yield Claims.of(f"{owner}/files", span)
        for file in session.files:
            if file.state is not None:
                yield from file.state.claims(memfd_owner(session, file))


def _keeps(context: Context, luo: Luo) -> Iterator[Keep]:
    """All lists, and what memfds say of themselves."""
    sessions = [(start, size) for part, start, size in luo.pages if part == "sessions"]
    if luo.version in _SESSIONS_IN_BLOCKS:
        blocks = [start for start, _ in sessions]
        yield from block_keeps(context, blocks, LUO_SESSION_SER, "LUO/sessions", "list of LUO's sessions")
    else:
        yield from _array_keeps(context, "LUO/sessions", _sessions_array(context.page_size), sessions)
    flbs = [(start, size) for part, start, size in luo.pages if part == "flbs"]
    yield from _array_keeps(context, "LUO/flbs", _flbs_array(context.page_size), flbs)
    for session in luo.sessions:
        yield from _session_keeps(context, luo, session)


def _session_keeps(context: Context, luo: Luo, session: Session) -> Iterator[Keep]:
    owner = f"LUO/session {quoted(session.name)}"
    if luo.version in _FILES_IN_BLOCKS:
        blocks = [start for start, _ in session.pages]
        yield from block_keeps(context, blocks, LUO_FILE_SER, f"{owner}/files", "list of files")
    else:
        array = _files_array(context.page_size, "files")
        yield from _array_keeps(context, f"{owner}/files", array, session.pages, session.count)
    for file in session.files:
        if file.state is not None:
            yield from file.state.keeps(memfd_owner(session, file))


def _array_keeps(
    context: Context, owner: str, array: _Array, spans: Iterable[tuple[int, int]], count: int | None = None
) -> Iterator[Keep]:
    """Of the array in these pages (one span or none): what counts its entries, as many, and that its pages are read."""
    entry = dtype_of(array.schema)
    capacity = (array.length - array.offset) // entry.itemsize
    for head, size in spans:
        data = context.memory.read(head, size)
        if isinstance(data, Hole):
            continue
        said = int.from_bytes(data[array.offset - 8 : array.offset], "little") if count is None else count
        pages = ((head + at, 0) for at in range(0, size, context.page_size))
        yield Keep.of(owner, f"list of {array.what}", (head, array.offset), *pages)
        rows = np.frombuffer(data, entry, min(said, capacity), array.offset)
        start = np.uint64(head + array.offset) + np.arange(len(rows), dtype=np.uint64) * np.uint64(
            entry.itemsize
        )
        # An array that counts more than it holds is none, or none any more.
        yield Keep.of_rows(owner, f"list of {array.what}", start, rows, doubtful=said > capacity)
