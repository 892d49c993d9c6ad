"""The Live Update Orchestrator: sessions, their files, and data that is bound to files' life (FLB).

luo-v1 (6.19 to 7.1) is a device tree that leads to arrays; luo-v5 (7.2, 7.3) is a struct that leads to lists.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from . import fdt, lists, memfd
from .claims import Claims
from .memfd import Memfd
from .memory import Memory

SESSION = 80
FILE = 64
FLB = 64
V5_STRING = b"luo-v5\0\0"
V5_SIZE = 32
V1_SESSION_PAGES = 16
V1_FILE_PAGES = 2


class LuoError(ValueError):
    """This is nothing that LUO writes."""


@dataclass
class File:
    handler: str
    data: int
    token: int
    memfd: Memfd | None = None


@dataclass
class Session:
    name: str
    files_at: int
    count: int
    files: list[File] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Flb:
    name: str
    data: int
    count: int


@dataclass
class Luo:
    version: str
    number: int
    sessions: list[Session] = field(default_factory=list)
    flbs: list[Flb] = field(default_factory=list)
    session_pages: list[int] = field(default_factory=list)
    flb_page: int = 0

    def claim(self, claims: Claims) -> None:
        for page in self.session_pages:
            claims.block("LUO/sessions", page)
        if self.flb_page:
            claims.block("LUO/flbs", self.flb_page)
        for session in self.sessions:
            _claim_session(claims, session)


def _claim_session(claims: Claims, session: Session) -> None:
    label = f"LUO/session {quoted(session.name)}"
    for page in session.pages:
        claims.block(f"{label}/files", page)
    for file in session.files:
        if file.memfd:
            file.memfd.claim(claims, f"{label}/file {file.token:#x} (memfd)", file.handler)


def read_v5(memory: Memory, phys: int, page_shift: int) -> Luo:
    """The struct at this address and all that it leads to."""
    string, number, sessions_at, flbs_at = struct.unpack("<8sQQQ", memory.read(phys, V5_SIZE))
    if string != V5_STRING:
        raise LuoError(string)
    luo = Luo("luo-v5", number)
    listed = lists.read(memory, sessions_at, SESSION, 1 << page_shift)
    luo.session_pages = listed.pages
    luo.sessions = [_session(entry) for entry in listed.entries]
    for session in luo.sessions:
        files = lists.read(memory, session.files_at, FILE, 1 << page_shift)
        session.pages = files.pages
        session.files = [_file(memory, entry, page_shift) for entry in files.entries]
    _read_flbs(memory, luo, flbs_at)
    return luo


def read_v1(memory: Memory, root: fdt.Node, page_shift: int) -> Luo:
    """What the device tree leads to."""
    if root.string("compatible") != "luo-v1":
        raise LuoError(root.string("compatible"))
    luo = Luo("luo-v1", root.u64("liveupdate-number") or 0)
    sessions = root.child("luo-session")
    header = sessions.u64("luo-session-header") if sessions else None
    if header:
        luo.session_pages = [header]
        count = memory.u64(header)
        _check_capacity(8 + count * SESSION, V1_SESSION_PAGES << page_shift)
        luo.sessions = [_session(entry) for entry in _array(memory, header + 8, count, SESSION)]
    for session in luo.sessions:
        _check_capacity(session.count * FILE, V1_FILE_PAGES << page_shift)
        if session.files_at:
            session.pages = [session.files_at]
            entries = _array(memory, session.files_at, session.count, FILE)
            session.files = [_file(memory, entry, page_shift) for entry in entries]
    flbs = root.child("luo-flb")
    _read_flbs(memory, luo, (flbs.u64("luo-flb-header") if flbs else None) or 0)
    return luo


def _read_flbs(memory: Memory, luo: Luo, header: int) -> None:
    """The header's first word counts pages: it is no list."""
    if not header:
        return
    luo.flb_page = header
    count = memory.u64(header + 8)
    for entry in _array(memory, header + 16, count, FLB):
        name, data, users = struct.unpack("<48sQQ", entry)
        luo.flbs.append(Flb(_text(name), data, users))


def _array(memory: Memory, phys: int, count: int, size: int) -> list[bytes]:
    return lists.entries(memory.read(phys, count * size), size)


def _check_capacity(size: int, capacity: int) -> None:
    if size > capacity:
        raise LuoError(f"{size} bytes where {capacity} fit")


def _session(entry: bytes) -> Session:
    name, files_at, count = struct.unpack("<64sQQ", entry)
    return Session(_text(name), files_at, count)


def _file(memory: Memory, entry: bytes, page_shift: int) -> File:
    handler, data, token = struct.unpack("<48sQQ", entry)
    file = File(_text(handler), data, token)
    if file.handler in memfd.STATE_SIZES:
        file.memfd = memfd.read(memory, data, file.handler, page_shift)
    return file


def quoted(name: str) -> str:
    """A name as owners' names hold it."""
    return f'"{name}"'


def _text(name: bytes) -> str:
    return name.split(b"\0")[0].decode()
