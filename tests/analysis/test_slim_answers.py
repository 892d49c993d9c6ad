"""A slim core answers as the dump it was made from; where it cannot, it is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from khodump.analysis.check import check, examine
from khodump.analysis.inspect import Selection, inspect
from khodump.analysis.owners import owners
from khodump.analysis.sessions import sessions
from khodump.analysis.slim import Slim
from khodump.analysis.subtrees import subtrees
from khodump.analysis.tree import Branches, tree
from khodump.arrays import U8
from khodump.errors import KhodumpError
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.memory import PhysicalMemory
from khodump.opening import open_handover, open_in
from khodump.rows import Cell, Result
from tests.captures import CAPTURES, HISTORIC
from tests.fuzz.memory import memory_of
from tests.fuzz.mutators import execute, programs
from tests.fuzz.seeds import DESCRIPTIONS, Seed, seed

SEEDS = (*DESCRIPTIONS, "kho-test serialized", "luo-memfd next-out", "v1a", "v1b", "rfc1")
#: More for a longer run.
MUTANTS = int(os.environ.get("SLIM_MUTANTS", "12"))


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
    rows = [row[:at] for row in rows_of(result)]
    return Answer("check", rows, [])


def answers(handover: Handover) -> Iterator[Answer]:
    """What the commands say that a slim core answers."""
    yield answer("inspect", inspect(handover, Selection(), pages=True))
    yield answer("owners", owners(handover))
    yield answer("sessions", sessions(handover))
    strangers = {subtree.name for subtree in handover.subtrees if subtree.decoded.content is None}
    said = answer("subtrees", subtrees(handover))
    yield said._replace(rows=[row for row in said.rows if row[0] not in strangers])
    yield answer("tree", tree(handover, Branches()))
    yield verdicts(handover)


def memory_from(grown: Seed, program: bytes) -> PhysicalMemory:
    """The memory of a seed, damaged by a program."""
    data = bytearray(grown.data)
    lost = execute(program, data, grown.pages)
    return memory_of(data, [page for page, _ in grown.pages], lost, grown.machine)


def compared(handover: Handover, path: Path) -> list[str]:
    """The commands whose answers differ, where slim said nothing of leaving anything out."""
    core = Slim.of(handover)
    sink = Bytes()
    core.write(sink)
    path.write_bytes(sink.data)
    if any(finding.rule == "slim-left-out" for finding in core.findings):
        return []
    with open_handover([path], fdt=handover.fdt.phys, version=handover.version) as again:
        pairs = zip(answers(handover), answers(again), strict=True)
        return [f"{ours}\n{theirs}" for ours, theirs in pairs if ours != theirs]
