"""LUO's own lists in the making, as a running kernel keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.builders.kernel.kernel import BuiltKernel

MEMFD = "memfd-v2"


@dataclass(frozen=True)
class BuiltFile:
    """A file; `opened` is its name and size, for one that has a struct file."""

    token: int
    data: int = 0
    status: int = 0
    handler: str = MEMFD
    opened: tuple[str, int] | None = None


@dataclass(frozen=True)
class BuiltSession:
    """A session; `count` is what its counter says, by default the truth."""

    name: str
    files: tuple[BuiltFile, ...] = ()
    retrieved: bool = False
    count: int | None = None


@dataclass
class LuoLists:
    """Writes both lists into a kernel.

    Attributes:
        kernel: it.
        nodes: virtual addresses of what was written, by session or (session, token): of their list_heads.
    """

    kernel: BuiltKernel

    def __post_init__(self) -> None:
        self.nodes: dict[object, int] = {}
        self._handlers: dict[str, int] = {}
        types = self.kernel.types
        self.top = self.kernel.variable("luo_session_global", bytes(types.size("luo_session_global")))
        for side in ("incoming", "outgoing"):
            self._link(self._head(side), ())

    def write(
        self, *, incoming: Sequence[BuiltSession] = (), outgoing: Sequence[BuiltSession] = ()
    ) -> LuoLists:
        """Both lists."""
        for side, sessions in (("incoming", incoming), ("outgoing", outgoing)):
            self._link(self._head(side), [self._session(session) for session in sessions])
            self.set_top(f"{side}.count", len(sessions))
            self.set_top(f"{side}.active", 1)
        return self

    def set_top(self, path: str, value: int) -> None:
        """Set a member of luo_session_global."""
        place = self.kernel.types.place("luo_session_global", path)
        size = self.kernel.types.size_of(place.type)
        self.kernel.poke(self.top + place.offset, value.to_bytes(size, "little"))

    def _head(self, side: str) -> int:
        return self.top + self.kernel.types.offset("luo_session_global", f"{side}.list")

    def _link(self, head: int, nodes: Sequence[int]) -> None:
        """A ring of these list_heads, by both pointers."""
        ring = [head, *nodes]
        for number, node in enumerate(ring):
            values = {"next": ring[(number + 1) % len(ring)], "prev": ring[number - 1]}
            self.kernel.poke(node, self.kernel.types.pack("list_head", values))

    def _session(self, session: BuiltSession) -> int:
        types = self.kernel.types
        count = len(session.files) if session.count is None else session.count
        values: dict[str, int | bytes] = {
            "name": session.name.encode(),
            "retrieved": int(session.retrieved),
            "file_set.count": count,
        }
        va = self.kernel.object(types.pack("luo_session", values))
        head = va + types.offset("luo_session", "file_set.files_list")
        self._link(head, [self._file(session, file) for file in session.files])
        node = va + types.offset("luo_session", "list")
        self.nodes[session.name] = node
        return node

    def _file(self, session: BuiltSession, file: BuiltFile) -> int:
        types = self.kernel.types
        values = {
            "fh": self._handler(file.handler),
            "file": self._open(*file.opened) if file.opened else 0,
            "serialized_data": file.data,
            "retrieve_status": file.status,
            "token": file.token,
        }
        known = {name for name, _ in types.structs["luo_file"]}
        kept = {name: value for name, value in values.items() if name in known}
        va = self.kernel.object(types.pack("luo_file", kept))
        node = va + types.offset("luo_file", "list")
        self.nodes[session.name, file.token] = node
        return node

    def _handler(self, compatible: str) -> int:
        if compatible not in self._handlers:
            data = self.kernel.types.pack("liveupdate_file_handler", {"compatible": compatible.encode()})
            self._handlers[compatible] = self.kernel.variable(f"handler_{len(self._handlers)}", data)
        return self._handlers[compatible]

    def _open(self, name: str, size: int) -> int:
        types, kernel = self.kernel.types, self.kernel
        text = kernel.object(name.encode() + b"\0")
        dentry = kernel.object(types.pack("dentry", {"d_name.name": text}))
        inode = kernel.object(types.pack("inode", {"i_size": size}))
        values = {"f_inode": inode, "f_path.dentry": dentry}
        return kernel.object(types.pack("file", values))
