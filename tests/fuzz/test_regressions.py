"""Inputs that fuzzing found to fail, each with a name. Those that claim too much are in `test_bombs`."""

from __future__ import annotations

import pytest

from khodump.fdt import MAGIC
from tests.builders.handover import Description, build_handover
from tests.fuzz import commands
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import ALL
from tests.transcript import run


@pytest.mark.parametrize("size", [4, 24, 39, 40, 41])
def test_slim_of_a_blob_shorter_than_an_fdt_header(size, tmp_path):
    built = build_handover(Description(subtrees={"x": MAGIC + bytes(size - 4)}))
    image = built.image.to_elf(tmp_path / "image")
    assert run("slim", image, "--output", tmp_path / "out").status in (0, 4)


#: (target, seed, number) of mutants that failed once.
MUTANTS = [
    ("commands", 1, 134),
    ("commands", 1, 503),
    ("commands", 1, 18),
    ("commands", 1, 88),
    ("kdump", 1, 124),
    ("lime", 1, 3666),
]


@pytest.mark.parametrize(("target", "seed", "number"), MUTANTS)
def test_mutants_that_failed(target, seed, number):
    ALL[target].check(ALL[target].mutant(seed, number))


@pytest.mark.parametrize("name", TARGETS)
def test_a_mutant_is_its_number(name):
    """A campaign can be repeated, and a failure found again."""
    target = TARGETS[name]
    assert [target.mutant(3, number) for number in range(20)] == [
        target.mutant(3, number) for number in range(20)
    ]
    assert len({target.mutant(3, number) for number in range(20)}) > 10


def test_commands_are_tried_on_every_image():
    cooked = [commands.cook(commands.TARGET.mutant(1, number))[0].name for number in range(400)]
    assert set(cooked) == {image.name for image in commands.images()}


def test_no_input_is_empty_of_meaning():
    """The targets take noise, too, down to nothing at all."""
    for name, target in TARGETS.items():
        for data in (b"", b"\0", b"\xff" * 64):
            target.check(data)
        assert name in ALL
