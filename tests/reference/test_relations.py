"""Random handovers, sound and damaged, through khodump's commands. `make fuzz` goes on where this ends."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from . import relate
from .read.dialects import DIALECTS, PAGE_SHIFTS
from .relate import mutants
from .relate.case import case

SEED = 2026
MUTANTS = 3


@pytest.mark.parametrize("number", range(len(DIALECTS)), ids=[dialect.name for dialect in DIALECTS])
def test_a_random_handover(number):
    """Every version, with every page size in turn."""
    with case(SEED + number, DIALECTS[number], PAGE_SHIFTS[number % 3]) as sound:
        relate.hold(sound)


@pytest.mark.parametrize("number", range(4))
def test_mutants_of_a_random_handover(number):
    with case(3 * SEED + number) as sound:
        for mutant in range(MUTANTS):
            mutants.hold(sound, mutant)


def test_nothing_but_the_relations_knows_khodump():
    """The reader and the writers import the standard library, and each other."""
    home = Path(__file__).parent
    for path in [*home.glob("read/*.py"), *home.glob("write/*.py"), *home.glob("images/*.py")]:
        for name in imported(path):
            assert not name.startswith(("khodump", "tests.builders", "tests.oracle")), path


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names
