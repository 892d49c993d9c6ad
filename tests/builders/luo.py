"""The live update orchestrator's state, in every version."""

from __future__ import annotations

from dataclasses import dataclass

import construct

from khodump.abi.kexec_handover import PROP_COMPATIBLE
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
    LuoFlbHeaderSer,
    LuoHeader,
)
from khodump.fdt import FdtNode
from tests.builders.chains import Row, Writer, write_blocks, write_entries
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.memfd import Memfd

_COUNT = construct.Int64ul


@dataclass(frozen=True)
class LuoFile:
    """A file: its token, what its handler keeps, and that handler (by default the memfd's own)."""

    token: int
    data: Memfd | int
    compatible: str | None = None

    def row(self, writer: Writer) -> Row:
        """Its entry; what a memfd preserves is noted under the writer's path."""
        if isinstance(self.data, int):
            return {"compatible": _padded(self.compatible or "", 48), "data": self.data, "token": self.token}
        compatible = self.data.compatible if self.compatible is None else self.compatible
        return {
            "compatible": _padded(compatible, 48),
            "data": self.data.write(writer),
            "token": self.token,
        }


@dataclass(frozen=True)
class Session:
    """A session and its files."""

    name: str | bytes
    files: tuple[LuoFile, ...] = ()


@dataclass(frozen=True)
class Flb:
    """File-lifecycle-bound state: `data` is opaque, `count` its users."""

    name: str
    data: int = 0
    count: int = 1


@dataclass(frozen=True)
class Luo:
    """All of LUO's state.

    Noted are: the session array or its blocks under `sessions`, the page of FLBs under `flbs`, luo-v2's struct under
    `header`; entries of each under `sessions/entries` and `flbs/entries`. For session i, its array or blocks of files
    under `sessions/i/files`, their entries under `sessions/i/files/entries`, and what file j preserves under
    `sessions/i/files/j`; see `Memfd.write()`.

    Attributes:
        version: 1 to 5.
        sessions, flbs: None for `flbs` is a kernel without them (6.19).
        liveupdate_number: how many live updates there were.
        serialized: False before the reboot: everything is preserved, nothing counted or linked yet.
    """

    sessions: tuple[Session, ...] = ()
    flbs: tuple[Flb, ...] | None = ()
    liveupdate_number: int = 1
    version: int = 5
    serialized: bool = True

    def write(self, writer: Writer) -> bytes:
        """Preserve all of it; returns the blob."""
        rows = [
            self._session(writer.at(f"sessions/{number}/files"), session)
            for number, session in enumerate(self.sessions)
        ]
        sessions_at = writer.at("sessions")
        if self.version >= 4:
            sessions = write_blocks(sessions_at, LUO_SESSION_SER, rows, serialized=self.serialized)
            sessions *= self.serialized
        else:
            sessions = self._array(sessions_at, rows)
        flbs = 0 if self.flbs is None else self._flbs(writer.at("flbs"), self.flbs)
        return self._blob(writer, LuoHeader(self.liveupdate_number, sessions, flbs))

    def _session(self, writer: Writer, session: Session) -> Row:
        rows = [file.row(writer.at(number)) for number, file in enumerate(session.files)]
        if self.version >= 5:
            files = write_blocks(writer, LUO_FILE_SER, rows, serialized=self.serialized)
        else:
            files = self._files(writer, rows)
        return {"name": _padded(session.name, 64), "files": files, "count": len(rows)}

    def _files(self, writer: Writer, rows: list[Row]) -> int:
        """The array of files before luo-v5, allocated with the first of them."""
        if not rows:
            return 0
        _refuse_more(rows, FILE_ARRAY_PAGES * writer.page_size, LUO_FILE_SER)
        phys = writer.preserve(order=writer.order_of(FILE_ARRAY_PAGES * writer.page_size))
        write_entries(writer, phys, LUO_FILE_SER, rows if self.serialized else ())
        return phys

    def _array(self, writer: Writer, rows: list[Row]) -> int:
        """The array of sessions before luo-v4."""
        size = SESSION_ARRAY_PAGES * writer.page_size
        _refuse_more(rows, size - _COUNT.sizeof(), LUO_SESSION_SER)
        rows = rows if self.serialized else []
        phys = writer.preserve(_COUNT.build(len(rows)), writer.order_of(size))
        write_entries(writer, phys + _COUNT.sizeof(), LUO_SESSION_SER, rows)
        return phys

    def _flbs(self, writer: Writer, flbs: tuple[Flb, ...]) -> int:
        rows: list[Row] = [
            {"name": _padded(flb.name, 48), "data": flb.data, "count": flb.count} for flb in flbs
        ]
        _refuse_more(rows, writer.page_size - LUO_FLB_HEADER_SER.size, LUO_FLB_SER)
        rows = rows if self.serialized else []
        phys = writer.preserve(LUO_FLB_HEADER_SER.build(LuoFlbHeaderSer(1, len(rows))))
        write_entries(writer, phys + LUO_FLB_HEADER_SER.size, LUO_FLB_SER, rows)
        return phys

    def _blob(self, writer: Writer, header: LuoHeader) -> bytes:
        compatible = f"{COMPATIBLE_PREFIX}{self.version}"
        if self.version >= 3:
            room = -(-len(string(compatible)) // 8) * 8
            return _padded(compatible, room) + LUO_HEADER.build(header)
        properties = {PROP_COMPATIBLE: string(compatible)}
        if self.version == 2:
            phys = writer.at("header").preserve(LUO_HEADER.build(header))
            return build_fdt(FdtNode("", {**properties, PROP_ABI_HEADER: u64(phys)}))
        # The code says luo-session-v2 from the beginning, whatever the documentation says.
        nodes = [(SESSION_NODE, "luo-session-v2", PROP_SESSION_HEADER, header.sessions_pa)]
        if self.flbs is not None:
            nodes.append((FLB_NODE, "luo-flb-v1", PROP_FLB_HEADER, header.flbs_pa))
        children = tuple(
            FdtNode(name, {PROP_COMPATIBLE: string(compatible), prop: u64(phys)})
            for name, compatible, prop, phys in nodes
        )
        properties[PROP_LIVEUPDATE_NUMBER] = u64(header.liveupdate_num)
        return build_fdt(FdtNode("", properties, children))


def _padded(text: str | bytes, size: int) -> bytes:
    """A C string in a field of `size` bytes; one that fills it has no NUL, as no kernel writes it."""
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > size:
        raise ValueError(f"{len(raw)} bytes in a field of {size}")
    return raw.ljust(size, b"\0")


def _refuse_more(rows: list[Row], room: int, schema: construct.Construct) -> None:
    if len(rows) > room // schema.sizeof():
        raise ValueError(f"{len(rows)} entries where {room // schema.sizeof()} fit")
