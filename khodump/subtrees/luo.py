"""The `LUO` node: sessions, their files, and file-lifecycle-bound state (kernel/liveupdate/luo_*.c).

Branches on what is there, the newest layout first: a struct that begins with its version (7.2 on), else the FDT of
luo-v1 (6.19 to 7.1) and of the never released luo-v2.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from khodump.abi.kexec_handover import PROP_COMPATIBLE
from khodump.abi.layout import offset_of
from khodump.abi.luo import (
    COMPATIBLE_PREFIX,
    FILE_ARRAY_PAGES,
    FLB_NODE,
    LUO_FILE_SER,
    LUO_HEADER,
    LUO_SESSION_SER,
    NODE_NAME,
    PROP_ABI_HEADER,
    PROP_FLB_HEADER,
    PROP_LIVEUPDATE_NUMBER,
    PROP_SESSION_HEADER,
    SESSION_ARRAY_PAGES,
    SESSION_NODE,
    VERSIONS,
    LuoHeader,
    luo_version,
)
from khodump.columns.arrays import AnyArray
from khodump.errors import FdtError
from khodump.fdt import MAGIC, FdtNode, parse_fdt
from khodump.findings import Entry, Finding
from khodump.memory import Hole
from khodump.owner import Owner, quoted
from khodump.problems import (
    BlobIncompatible,
    BlobInvalid,
    BlobTooSmall,
    ListPageShared,
    SessionFileCountMismatch,
    SessionNameInvalid,
)
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Context, Decoded, Keep, blob_of
from khodump.subtrees.array import read_array
from khodump.subtrees.block import places_from, read_blocks
from khodump.subtrees.luo_doubts import flb_problems, luo_doubts
from khodump.subtrees.luo_memory import luo_claims, luo_keeps
from khodump.subtrees.luo_state import (
    FLBS_OWNER,
    SESSIONS_OWNER,
    Flb,
    Luo,
    LuoArray,
    LuoFile,
    Session,
    file_owner,
    files_array,
    flbs_array,
    session_owner,
    sessions_array,
)
from khodump.subtrees.memfd import COMPATIBLES as MEMFD_COMPATIBLES
from khodump.subtrees.memfd import decode_memfd
from khodump.subtrees.text import text

#: The versions that begin with their name instead of an FDT.
_STRUCT_VERSIONS: Final = tuple(version.name for version in VERSIONS if version.is_struct)


class _Shared:
    """Pages of one kind that were not read, for two others had named them: counted, and told together."""

    def __init__(self, what: str, *, are_files: bool = False) -> None:
        self._what = what
        self._are_files = are_files
        self._first: tuple[Context, int] | None = None
        self._count = 0

    def add(self, context: Context, phys: int) -> None:
        """The owner of `context` names the page at `phys`."""
        self._first = self._first or (context, phys)
        self._count += 1

    def findings(self) -> Iterator[Finding]:
        """One, whose owner is the first of all that were refused; none where none was."""
        if self._first is None:
            return
        context, phys = self._first
        message = (
            f"{self._count} {self._what}, the first at {phys:#x}, are in pages that two others name too; for these they are "
            "not read"
        )
        problem = ListPageShared(phys, self._count, self._count if self._are_files else None)
        yield context.problem(problem, phys, message)


class _Reader:
    """Collects findings while it follows one LUO state."""

    def __init__(self, context: Context, version: str) -> None:
        self._context = context
        self._version = version
        self._layout = luo_version(version)
        self._shared_lists = _Shared("lists of sessions' files")
        self._shared_states = _Shared("states of files", are_files=True)
        self.findings: list[Finding] = []

    def luo(self, header: LuoHeader, header_phys: int | None) -> Luo:
        """Everything that the header leads to, which lies at `header_phys`, if it is a struct."""
        sessions, session_pages = self._sessions(header.sessions_pa)
        for shared in (self._shared_lists, self._shared_states):
            self.findings += shared.findings()
        flbs, flb_pages = self._flbs(header.flbs_pa)
        pages = [("sessions", *span) for span in session_pages] + [("flbs", *span) for span in flb_pages]
        return Luo(
            self._version,
            header.liveupdate_num,
            header.sessions_pa,
            sessions,
            flbs,
            tuple(pages),
            header_phys,
        )

    def _sessions(self, head: int) -> tuple[tuple[Session, ...], tuple[tuple[int, int], ...]]:
        size = self._context.page_size
        if self._layout.sessions_in_blocks:
            found = read_blocks(self._context.of(SESSIONS_OWNER), head, LUO_SESSION_SER, "LUO's sessions")
            self.findings += found.findings
            rows, places = found.entries, found.places
            pages = tuple((block, size) for block in found.blocks)
        else:
            array = sessions_array(size)
            pages = ((head, SESSION_ARRAY_PAGES * size),) if head else ()
            rows = self._array(self._context.of(SESSIONS_OWNER), array, head)
            places = places_from(head + array.offset, rows)
        sessions = zip(rows, places.tolist(), strict=True)
        return tuple(self._session(row, place) for row, place in sessions), pages

    def _session(self, row: Any, place: int) -> Session:  # noqa: ANN401 - a numpy record
        name, head, count = text(bytes(row["name"])), int(row["files"]), int(row["count"])
        what, size = f"session {quoted(name)}", self._context.page_size
        context = self._context.of(session_owner(name))
        if b"\0" not in bytes(row["name"]):
            message = f"the name of {what} fills its field, and has no end"
            entry = Entry("name of the session's entry", place + offset_of(LUO_SESSION_SER, "name"))
            self.findings.append(context.problem(SessionNameInvalid(), head or None, message, entry=entry))
        told = len(self.findings)
        if head and context.refuses_next(head):
            self._shared_lists.add(context, head)
            return Session(name, head, count, (), (), place)
        if self._layout.files_in_blocks:
            found = read_blocks(context, head, LUO_FILE_SER, f"the files of {what}")
            self.findings += found.findings
            rows, places = found.entries, found.places
            pages = tuple((block, size) for block in found.blocks)
        else:
            pages = ((head, FILE_ARRAY_PAGES * size),) if head else ()
            rows = self._array(context, files_array(size, f"the files of {what}"), head, count)
            places = places_from(head, rows)
        if (
            len(rows) != count and len(self.findings) == told
        ):  # a list that could not be read says nothing of it
            message = f"{what} says it has {count} files, but its list has {len(rows)}"
            phys = head or None
            problem = SessionFileCountMismatch(count, len(rows))
            entry = Entry("count of the session's entry", place + offset_of(LUO_SESSION_SER, "count"))
            self.findings.append(context.problem(problem, phys, message, entry=entry))
        files = zip(rows, places.tolist(), strict=True)
        return Session(
            name, head, count, tuple(self._file(each, at, name) for each, at in files), pages, place
        )

    def _file(self, row: Any, place: int, session: str) -> LuoFile:  # noqa: ANN401 - a numpy record
        handler, data, token = text(bytes(row["compatible"])), int(row["data"]), int(row["token"])
        if handler not in MEMFD_COMPATIBLES:
            return LuoFile(token, handler, data, None, place)
        context = self._context.of(file_owner(session, token, handler))
        if context.refuses(data):
            self._shared_states.add(context, data)
            return LuoFile(token, handler, data, None, place)
        state = decode_memfd(context, handler, data, f"file {token:#x} of session {quoted(session)}")
        if isinstance(state, Finding):
            self.findings.append(state)
            return LuoFile(token, handler, data, None, place)
        self.findings += state.findings
        return LuoFile(token, handler, data, state, place)

    def _flbs(self, head: int) -> tuple[tuple[Flb, ...], tuple[tuple[int, int], ...]]:
        if not head:
            return (), ()
        context = self._context.of(FLBS_OWNER)
        rows = self._array(context, flbs_array(context.page_size), head)
        self.findings += flb_problems(context, head)
        flbs = tuple(Flb(text(bytes(row["name"])), int(row["data"]), int(row["count"])) for row in rows)
        return flbs, ((head, self._context.page_size),)

    def _array(self, context: Context, array: LuoArray, head: int, count: int | None = None) -> AnyArray:
        """The entries of the array at `head`; the u64 before the first counts them, unless told."""
        found = read_array(context, array, head, count)
        self.findings += found.findings
        return found.entries


def decode(context: Context, blob: Blob) -> Decoded:
    """LUO's state, as `Luo`."""
    if blob.data.startswith(MAGIC):
        return _decode_fdt(context, blob)
    smallest = len(_STRUCT_VERSIONS[0]) + 2 + LUO_HEADER.size
    if len(blob.data) < smallest:
        return _too_small(context, blob, "unknown LUO state", smallest)
    version = text(blob.data[:64])
    if version not in _STRUCT_VERSIONS:
        message = f"LUO's state at {blob.phys:#x} begins with {quoted(version[:32])}, which is no known version (a kernel that has booted from it frees it early)"
        return Decoded(
            "unknown LUO state", findings=(context.problem(BlobIncompatible(), blob.phys, message),)
        )
    # The string is padded to a multiple of 8, which a longer one would move the rest by.
    offset = (len(version) + 1 + 7) // 8 * 8
    if len(blob.data) < offset + LUO_HEADER.size:
        return _too_small(context, blob, version, offset + LUO_HEADER.size)
    spans = (blob.phys, len(version) + 1), (blob.phys + offset, LUO_HEADER.size)
    keep = Keep.of(blob_of(NODE_NAME), "blob", *spans)
    return _decoded(context, version, LUO_HEADER.parse(blob.data[offset:]), [keep], blob.phys + offset)


def _too_small(context: Context, blob: Blob, version: str, need: int) -> Decoded:
    message = f"LUO's state at {blob.phys:#x} has {len(blob.data)} bytes, and needs {need}"
    finding = context.problem(BlobTooSmall(blob.size, need), blob.phys, message)
    return Decoded(version, findings=(finding,))


def _decode_fdt(context: Context, blob: Blob) -> Decoded:
    try:
        tree = parse_fdt(blob.data)
    except FdtError as error:
        message = f"LUO's FDT at {blob.phys:#x} is damaged: {error}"
        return Decoded("damaged FDT", findings=(context.problem(BlobInvalid(), blob.phys, message),))
    version = tree.string(PROP_COMPATIBLE) or "no compatible"
    header = _abi_header(context, tree) if PROP_ABI_HEADER in tree.properties else _v1_header(tree)
    if not version.startswith(COMPATIBLE_PREFIX) or header is None:
        message = f"LUO's FDT at {blob.phys:#x} says {version}, and leads to no sessions"
        return Decoded(version, findings=(context.problem(BlobIncompatible(), blob.phys, message),))
    keeps = [Keep.of_fdt(blob_of(NODE_NAME), "blob", blob.phys, blob.data)]
    if PROP_ABI_HEADER in tree.properties:
        keeps.append(
            Keep.of(
                Owner(NODE_NAME, part="header"), "header", (tree.u64(PROP_ABI_HEADER) or 0, LUO_HEADER.size)
            )
        )
    return _decoded(context, version, header, keeps, tree.u64(PROP_ABI_HEADER))


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


def _decoded(
    context: Context, version: str, header: LuoHeader, blob: list[Keep], header_phys: int | None
) -> Decoded:
    """What the header leads to; `blob` are the bytes that led to it."""
    reader = _Reader(context, version)
    luo = reader.luo(header, header_phys)
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
        lambda: luo_claims(luo),
        lambda: chain(blob, luo_keeps(context, luo)),
        lambda: luo_doubts(context, luo),
    )
