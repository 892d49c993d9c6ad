"""LUO's state in both of its released forms."""

from __future__ import annotations

import struct

from tests.reference.read.dialects import Dialect
from tests.reference.read.fdt import Node
from tests.reference.read.luo import V1_FILE_PAGES, V1_SESSION_PAGES, V5_STRING

from . import fdt, memfd
from .machine import Machine
from .structures import block_list

NAMES = ["vm-1", "systemd", "a/b", 'with "quotes"', "back\\slash", "größe", "x" * 63, "vm 2"]
FLBS = ["liveupdate-test-flb-v0", "liveupdate-test-flb-v1"]
OPAQUE = 0xFEEDF00DCAFEBEE0
LARGEST_TOKEN = 2**64 - 1


def write(machine: Machine, dialect: Dialect) -> bytes | int:
    """The address of LUO's struct for luo-v5, the bytes of its device tree for luo-v1."""
    names = machine.rng.sample(NAMES, machine.rng.randint(0, len(NAMES)))
    sessions = [(name, _files(machine, dialect)) for name in names]
    sessions += [(f"empty-{number}", []) for number in range(machine.rng.choice([0, 0, 60]))]
    if dialect.luo == "luo-v1":
        return _write_v1(machine, sessions)
    return _write_v5(machine, sessions)


Sessions = list[tuple[str, list[bytes]]]


def _files(machine: Machine, dialect: Dialect) -> list[bytes]:
    rng = machine.rng
    many = rng.choice([0, 1, 2, 5]) if rng.random() < 0.97 else 80
    tokens = rng.sample(range(200), many)
    if tokens and rng.random() < 0.2:
        tokens[0] = LARGEST_TOKEN
    return [_file(machine, dialect, token, small=many > 10) for token in tokens]


def _file(machine: Machine, dialect: Dialect, token: int, *, small: bool) -> bytes:
    if machine.rng.random() < 0.05:
        return struct.pack("<48sQQ", b"somebody-else-v1", OPAQUE, token)
    assert dialect.memfd
    state = memfd.write(machine, dialect.memfd, 1 if small else machine.rng.choice([10, 40, 300]))
    return struct.pack("<48sQQ", dialect.memfd.encode(), state, token)


def _write_v5(machine: Machine, sessions: Sessions) -> int:
    entries = [_session(name, block_list(machine, files), files) for name, files in sessions]
    at = machine.keep_zeroed(32)
    head = block_list(machine, entries)
    number = machine.rng.randint(1, 9)
    machine.memory.write(at, V5_STRING + struct.pack("<QQQ", number, head, _flbs(machine)))
    return at


def _write_v1(machine: Machine, sessions: Sessions) -> bytes:
    header = machine.keep_zeroed(V1_SESSION_PAGES << machine.page_shift)
    entries = [_session(name, _array(machine, files), files) for name, files in sessions]
    machine.memory.write(header, struct.pack("<Q", len(entries)) + b"".join(entries))
    flbs = _flbs(machine)
    root = Node("", {"compatible": fdt.text("luo-v1"), "liveupdate-number": fdt.u64(1)})
    session = {"compatible": fdt.text("luo-session-v2"), "luo-session-header": fdt.u64(header)}
    root.children.append(Node("luo-session", session))
    flb = {"compatible": fdt.text("luo-flb-v1"), "luo-flb-header": fdt.u64(flbs)}
    root.children.append(Node("luo-flb", flb))
    return fdt.build(root)


def _array(machine: Machine, files: list[bytes]) -> int:
    if not files:
        return 0
    at = machine.keep_zeroed(V1_FILE_PAGES << machine.page_shift)
    machine.memory.write(at, b"".join(files))
    return at


def _session(name: str, files_at: int, files: list[bytes]) -> bytes:
    return struct.pack("<64sQQ", name.encode(), files_at, len(files))


def _flbs(machine: Machine) -> int:
    names = machine.rng.sample(FLBS, machine.rng.randint(0, len(FLBS)))
    entries = [struct.pack("<48sQQ", name.encode(), OPAQUE, 3) for name in names]
    at = machine.keep_zeroed(machine.page_size)
    machine.memory.write(at, struct.pack("<QQ", 1, len(entries)) + b"".join(entries))
    return at
