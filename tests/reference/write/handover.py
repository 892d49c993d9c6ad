"""A whole random handover from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.reference.read.dialects import DIALECTS, PAGE_SHIFTS, Dialect
from tests.reference.read.fdt import Node
from tests.reference.read.handover import Circumstances
from tests.reference.read.maps import Block
from tests.reference.read.memory import Memory
from tests.reference.read.tables import SLOTS

from . import fdt, luo, maps, users
from .machine import FullError, Machine, random_ram

SHALLOW = 4


@dataclass(frozen=True)
class Written:
    """A handover in its machine's memory."""

    seed: int
    known: Circumstances
    memory: Memory
    ram: list[tuple[int, int]]
    fdt_at: int
    kept: list[Block]

    def __str__(self) -> str:
        known = self.known
        return f"seed {self.seed}: {known.dialect.name}, {known.page_size >> 10} KiB, {len(self.kept)} blocks"


def write(seed: int, dialect: Dialect | None = None, page_shift: int | None = None) -> Written:
    """The handover of this seed; the same every time. A machine that turns out too small is made anew."""
    for attempt in range(100):
        rng = Random(f"{seed}/{attempt}")  # noqa: S311 - nothing secret
        try:
            return _write(seed, rng, dialect or rng.choice(DIALECTS), page_shift or rng.choice(PAGE_SHIFTS))
        except FullError:
            continue
    raise FullError


def _write(seed: int, rng: Random, dialect: Dialect, page_shift: int) -> Written:
    highest = SLOTS[page_shift] - 1 if dialect.family == "tables" else 12
    machine = Machine(rng, page_shift, random_ram(rng), highest)
    inline = dialect.name == "kho-v1a" and rng.random() < 0.5
    known = Circumstances(dialect, page_shift, machine.ram_end, inline_test=inline)
    if dialect.depth(14) == SHALLOW:
        machine.mark_end()
    root_at = machine.keep_zeroed(machine.page_size)
    children = [_child(machine, dialect, name, blob) for name, blob in _users(machine, known)]
    _loose_blocks(machine)
    rng.shuffle(children)
    properties = {
        "compatible": fdt.text(dialect.compatible),
        dialect.map_property: fdt.u64(maps.write(machine, dialect)),
    }
    machine.memory.write(root_at, fdt.build(Node("", properties, children)))
    return Written(seed, known, machine.memory, machine.ram, root_at, machine.kept)


def _users(machine: Machine, known: Circumstances) -> list[tuple[str, bytes | int]]:
    """A random choice of them; each is a blob, or the address of what has a page already."""
    rng = machine.rng
    dialect = known.dialect
    chosen: list[tuple[str, bytes | int]] = []
    if dialect.has_blob_size:
        chosen.append(("kexec-metadata", users.metadata(dialect.release, rng.randint(1, 99))))
    if dialect.luo and rng.random() < 0.8:
        chosen.append(("LUO", luo.write(machine, dialect)))
    if rng.random() < 0.6:
        chosen.append(("memblock", users.memblock(machine)))
    if rng.random() < 0.4:
        chosen.append(("kho_test", users.kho_test(machine, inline=known.inline_test)))
    if rng.random() < 0.2:
        chosen.append(("vendor-thing", users.unknown(machine)))
    return chosen


def _child(machine: Machine, dialect: Dialect, name: str, blob: bytes | int) -> Node:
    at = blob
    size = 32
    if isinstance(blob, bytes):
        at = machine.keep_zeroed(len(blob))
        size = len(blob)
        machine.memory.write(at, blob)
    properties = {dialect.blob_property: fdt.u64(int(at))}
    if dialect.has_blob_size:
        properties = {"blob-size": fdt.u64(size), **properties}
    return Node(name, properties)


def _loose_blocks(machine: Machine) -> None:
    """Blocks of all orders that nobody claims, some of them many in a row."""
    for _ in range(machine.rng.choice([0, 5, 50, 400])):
        machine.keep(machine.rng.choice([0, 0, 0, 1, machine.rng.randint(0, machine.highest_order)]))
