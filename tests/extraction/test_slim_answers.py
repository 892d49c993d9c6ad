"""A slim core answers as the dump it was made from; where it cannot, it is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from khodump.api import open_handover, open_in
from khodump.checking.checkup import examine
from khodump.columns.arrays import U8
from khodump.errors import KhodumpError
from khodump.extraction.slim import Slim
from khodump.handover import Handover
from khodump.memory import Hole, PhysicalMemory
from khodump.rows import Cell, Result
from khodump.tables.check import check
from khodump.tables.diff import Diff
from khodump.tables.inspect import Selection, inspect
from khodump.tables.lookup import lookup
from khodump.tables.owners import owners
from khodump.tables.sessions import sessions
from khodump.tables.subtrees import subtrees
from khodump.tables.tree import Branches, tree
from tests.builders.handover import Description, build_handover
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltSession
from tests.builders.memfd import Folio, Memfd
from tests.fuzz.memory import memory_of
from tests.fuzz.mutators import PAGE, execute, programs
from tests.fuzz.seeds import DESCRIPTIONS, Seed, seed
from tests.kernel.moments import MOMENTS

SEEDS = (*DESCRIPTIONS, "kho-test serialized", "luo-memfd next-out", "v1a", "v1b", "rfc1")
#: More for a longer run.
MUTANTS = int(os.environ.get("SLIM_MUTANTS", "6"))
#: What slim says where a core cannot answer as its image.
SAID = {"slim-left-out", "slim-differs"}
#: Of a structure that is not all in the image nothing is kept, so that it breaks off at its start.
BROKEN_OFF = "blob-unreadable"
#: The columns of lookup that tell of the image's files, and of what is preserved itself.
OF_FILES = {"file", "file offset", "bytes", "value", "holds", "claimed by"}


class Answer(NamedTuple):
    """What a command says: its rows, and the rules and addresses of its findings."""

    command: str
    rows: list[tuple[Cell, ...]]
    findings: list[tuple[str, int | None]]


class Bytes:
    """A sink that remembers its bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: U8) -> None:
        self.data += data.tobytes()

    def skip(self, size: int) -> None:
        self.data += bytes(size)


def rows_of(result: Result) -> list[tuple[Cell, ...]]:
    """All rows of a result."""
    return [row for block in result.rows.blocks for row in zip(*block, strict=True)]


def answer(command: str, result: Result) -> Answer:
    """What a result says."""
    rows = rows_of(result)
    findings = [(finding.rule, finding.phys) for finding in result.tail().findings]
    return Answer(command, rows, sorted(findings, key=str))


def verdicts(handover: Handover) -> Answer:
    """What check says, without the bytes that it shows as evidence: they may be of what is preserved."""
    result = check(handover, examine(handover))
    at = [column.name for column in result.rows.columns].index("seen")
    rows = [row[:at] for row in rows_of(result) if row[1] != BROKEN_OFF]
    return Answer("check", rows, [])


def answers(handover: Handover) -> Iterator[Answer]:
    """What the commands say that a slim core answers."""
    yield answer("inspect", inspect(handover, Selection(), pages=True))
    yield answer("owners", owners(handover))
    yield answer("sessions", sessions(handover))
    yield without_strangers(handover)
    yield answer("tree", tree(handover, Branches()))
    yield whereabouts(handover)
    yield verdicts(handover)


def without_strangers(handover: Handover) -> Answer:
    """What subtrees says, but for the blobs of users that nobody knows: these are left out on purpose."""
    strangers = {subtree.name for subtree in handover.subtrees if subtree.decoded.content is None}
    said = answer("subtrees", subtrees(handover))
    return said._replace(rows=[row for row in said.rows if row[0] not in strangers])


def whereabouts(handover: Handover) -> Answer:
    """What lookup says of some addresses, but for where in the image they are."""
    ends = [*handover.preserved.phys[:2].tolist(), *handover.preserved.end[-2:].tolist()]
    addresses = [handover.fdt.phys or 0, *(min(end, (1 << 64) - 1) for end in ends)]
    result = lookup(handover, addresses)
    of_files = [at for at, column in enumerate(result.rows.columns) if column.name in OF_FILES]
    rows = [tuple(cell for at, cell in enumerate(row) if at not in of_files) for row in rows_of(result)]
    return Answer("lookup", rows, [])


def memory_from(grown: Seed, program: bytes) -> PhysicalMemory:
    """The memory of a seed, damaged by a program."""
    data = bytearray(grown.data)
    lost = execute(program, data, grown.pages)
    return memory_of(data, [page for page, _ in grown.pages], lost, grown.machine)


def compared(handover: Handover, path: Path, *, is_named: bool = True) -> list[str]:
    """Where a slim core answers otherwise than its image; nothing where slim itself says that it may.

    Without a name, the core has to lead to the root FDT by itself.
    """
    core = Slim.of(handover)
    sink = Bytes()
    core.write(sink)
    path.write_bytes(sink.data)
    if SAID & {finding.rule for finding in core.findings}:
        return []
    fdt = handover.fdt.phys if is_named else None
    with open_handover([path], fdt=fdt, version=handover.version) as again:
        pairs = [(ours, admitted(ours, theirs)) for ours, theirs in both(handover, again)]
        different = [f"{ours}\n{theirs}" for ours, theirs in pairs if normal(ours) != normal(theirs)]
        if all(subtree.decoded.content is not None for subtree in handover.subtrees):
            different += [f"diff: {row}" for row in rows_of(Diff(handover, again).result())]
        return different


def both(one: Handover, other: Handover) -> Iterator[tuple[Answer, Answer]]:
    """The answers of both, command by command."""
    return zip(answers(one), answers(other), strict=True)


def admitted(ours: Answer, theirs: Answer) -> Answer:
    """The same answer of the core, but for "unknown": where damage left an image's map in parts, a core may know less."""
    rows = list(theirs.rows)
    for at, (row, said) in enumerate(zip(ours.rows, theirs.rows, strict=False)):
        if ours.command == "lookup" and (row[1], said[1]) == ("not preserved", "unknown"):
            rows[at] = (said[0], row[1], *said[2:])
    return theirs._replace(rows=rows)


def normal(said: Answer) -> str:
    """What was said, but for why a page is missing, and where a structure that is not all there breaks off."""
    findings = [(rule, phys if rule != BROKEN_OFF else None) for rule, phys in said.findings]
    text = str(said._replace(findings=sorted(findings, key=str)))
    return text.replace("excluded from the dump", "not in the dump")


def mutants(name: str) -> Iterator[bytes]:
    """No damage, and then some."""
    yield b""
    dice = Random(name)  # noqa: S311
    for _ in range(MUTANTS):
        yield programs(dice)


@pytest.mark.parametrize("name", SEEDS)
def test_a_slim_core_answers_as_its_image_or_says_that_it_does_not(name, tmp_path):
    grown = seed(name)
    opened = 0
    for program in mutants(name):
        try:
            handover = open_in(memory_from(grown, program), fdt=grown.fdt_phys)
        except KhodumpError:
            continue  # damage to the root FDT: there is no handover to make a core of
        opened += 1
        with handover:
            assert compared(handover, tmp_path / "core") == []
    assert opened > MUTANTS // 2


def small_holed() -> Handover:
    """64 KiB pages, of which the dump leaves out 4 KiB that no decoder looks at."""
    built = build_handover(Description(page_size=65536))
    blob = built.blobs["kexec-metadata"]
    pages = {
        at: built.image.read(at, PAGE) for low, high in built.image.ranges for at in range(low, high, PAGE)
    }
    memory = memory_of(b"".join(pages.values()), list(pages), frozenset([blob + PAGE]), "aarch64")
    return open_in(memory, fdt=built.fdt_phys)


def test_what_is_there_of_a_large_page_is_kept(tmp_path):
    with small_holed() as handover:
        assert handover.metadata is not None
        assert compared(handover, tmp_path / "core") == []


def test_the_machines_memory_ends_where_it_did(tmp_path):
    built = build_handover(Description())
    raw = built.image.to_raw(tmp_path / "mem.img", end=1 << 30)
    with open_handover([raw]) as handover:
        assert compared(handover, tmp_path / "core") == []
        with open_handover([tmp_path / "core"]) as again:
            assert again.memory.end == handover.memory.end == 1 << 30


@pytest.mark.parametrize("is_incoming", [False, True])
@pytest.mark.parametrize("name", MOMENTS)
def test_a_running_kernel_in_a_slim_core_answers_as_in_its_image(moments, name, is_incoming, tmp_path):
    """Its own sessions, owners and scratch are told by symbols, types and lists, all of which are in the core."""
    facts = moments[name].facts
    incoming = int(facts["in_fdt_phys"], 16)
    if is_incoming and not incoming:
        return  # it was not booted through KHO
    with open_handover(moments[name].image, fdt=incoming if is_incoming else None) as handover:
        assert compared(handover, tmp_path / "core", is_named=is_incoming) == []
        assert not SAID & {finding.rule for finding in Slim.of(handover).findings}
        with open_handover([tmp_path / "core"], fdt=handover.fdt.phys) as again:
            assert again.role is handover.role
            assert again.scratch == handover.scratch
            assert again.live_luo is not None


DISK = Memfd((Folio(0, b"of the guest" * 300, 1), Folio(2, b"end of the guest")))


def living() -> LivingKernel:
    """A kernel that prepares one session, and received another."""
    kernel = LivingKernel.of(DISK)
    kernel.lists.write(incoming=[BuiltSession("old", kernel.receive(DISK))], outgoing=[kernel.prepared(1)])
    return kernel


def slim_core(handover: Handover, path: Path, *, keep_kernel: bool) -> bytes:
    core, sink = Slim.of(handover, keep_kernel=keep_kernel), Bytes()
    core.write(sink)
    path.write_bytes(sink.data)
    return bytes(sink.data)


def test_of_the_kernel_no_byte_is_kept_that_was_not_decoded(tmp_path):
    built = living()
    secret = b"what lies beside LUO's objects"
    lists = built.kernel.object(secret)
    with built.kernel.opened() as memory, open_in(memory) as handover:
        data = slim_core(handover, tmp_path / "core", keep_kernel=True)
        page = built.kernel.phys(lists) // 4096 * 4096
        with open_handover([tmp_path / "core"]) as again:
            different = [
                ours.command for ours, theirs in both(handover, again) if normal(ours) != normal(theirs)
            ]
            assert different == ["check"]  # which says how much of the contents is there to be extracted
            there = again.memory.read(page, 4096)
            assert not isinstance(there, Hole)
    assert secret not in data
    assert b"of the guest" not in data
    assert any(there)


def test_a_switch_leaves_the_kernel_out(tmp_path):
    built = living()
    with built.kernel.opened() as memory, open_in(memory) as handover:
        with_kernel = slim_core(handover, tmp_path / "whole", keep_kernel=True)
        without = slim_core(handover, tmp_path / "core", keep_kernel=False)
        assert len(without) < len(with_kernel)
        assert b"kallsyms" not in without
        with open_handover([tmp_path / "core"]) as again:
            assert again.live_luo is None
            assert again.fdt.phys == handover.fdt.phys
