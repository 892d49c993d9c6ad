"""Mutants are whole modules that differ in one place; those of a line are what one would write by hand."""

from __future__ import annotations

import ast

from tests.mutation.mutants import mutants_of
from tests.mutation.run import ROOMS, all_places
from tests.transcript import ROOT

CODE = """
LIMIT = 7

def decide(value: int, other):
    \"\"\"If value < 3, say so.\"\"\"
    if value < 3 and other:
        return f"{value < 3}"
    value += 1
    return not value
"""


def test_each_place_is_changed_in_each_way():
    changed = [(mutant.line, mutant.before, mutant.after) for mutant in mutants_of(CODE)]
    assert sorted(changed) == sorted(
        [
            (6, "value < 3 and other", "(not (value < 3 and other))"),
            (6, "value < 3 and other", "(other)"),
            (6, "value < 3 and other", "(value < 3)"),
            (6, "value < 3", "(value <= 3)"),
            (6, "3", "4"),
            (8, "value += 1", "pass"),
            (8, "1", "2"),
            (9, "not value", "(value)"),
        ]
    )


def test_every_mutant_of_every_room_can_be_parsed_and_differs():
    places = all_places()
    originals = {
        place.path: ast.dump(ast.parse((ROOT / place.path).read_text(encoding="utf-8"))) for place in places
    }
    for place in places[::20]:
        assert ast.dump(ast.parse(place.mutant.text)) != originals[place.path], place


def test_every_room_that_decides_has_its_tests():
    decides = [*(ROOT / "khodump" / "opening").glob("*.py"), *(ROOT / "khodump" / "extraction").glob("*.py")]
    having = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for pattern in room.modules
        for path in ROOT.glob(pattern)
    }
    assert {str(path.relative_to(ROOT)) for path in decides} <= having
    for room in ROOMS:
        assert all((ROOT / test).exists() for test in room.tests if test.startswith("tests/"))
