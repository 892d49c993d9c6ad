"""`python -m tests.mutation.run`, or `make mutants`: a sample of all mutants, and which of them no test notices.

Each mutant takes the place of its module in a copy of the tree, where the tests of its room run until the first fails.
One that no test notices is a hole in the tests, or a change that changes nothing. The sample is the same every time.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

from tests.copies import copy_tree, environment
from tests.mutation.mutants import Mutant, mutants_of
from tests.transcript import ROOT

#: Percent of the sample that the tests must notice.
FLOOR: Final = 75
SAMPLE: Final = 40
SEED: Final = 16
_SECONDS: Final = 900  # a mutant that takes longer has been noticed


class Room(NamedTuple):
    """Modules, and the tests that decide whether they are right.

    Attributes:
        modules: patterns of paths.
        tests: arguments of pytest; what takes long and says little of single lines is left out.
    """

    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _rules() -> Iterator[Room]:
    """A room for every file of rules: the cases that break one of them, and those that nearly do."""
    for path in sorted((ROOT / _RULES).glob("[a-z]*.py")):
        rules = import_module(f"khodump.checking.rules.{path.stem}").RULES
        names = " or ".join(rule.name for rule in rules if rule.name not in _SLOW)
        yield Room(
            (f"{_RULES}/{path.name}",),
            (
                "tests/checking/rules/test_every_rule.py",
                *_BESIDES.get(path.stem, ()),
                "-k",
                f"{names} or test_live or test_ram_end",
            ),
        )


_RULES: Final = "khodump/checking/rules"
#: Tests of single files of rules that are elsewhere.
_BESIDES: Final = {
    "live": ("tests/checking/rules/test_live.py",),
    "map": ("tests/opening/test_ram_end.py",),
}
#: A property that takes a minute, and is of placing alone.
_PLACING_PROPERTY: Final = "tests/opening/test_placing.py::test_any_usual_layout_is_read_right_or_not_at_all"
#: Rules whose images are large.
_SLOW: Final = ("chain-too-long",)
_CHECKING: Final = tuple(
    f"tests/checking/rules/test_{name}.py" for name in ("harm", "live", "log", "shared", "standing")
)

#: A module is of the first room that has it.
ROOMS: Final = (
    Room(
        ("khodump/placement.py", *(f"khodump/opening/{name}.py" for name in ("placing", "bases", "reading"))),
        ("tests/opening/test_placing.py", "tests/opening/test_rootless.py"),
    ),
    Room(("khodump/opening/*.py",), ("tests/opening", f"--deselect={_PLACING_PROPERTY}")),
    *_rules(),
    Room(("khodump/checking/*.py",), ("tests/checking/test_checkup.py", *_CHECKING)),
    Room(
        ("khodump/extraction/slim.py", "khodump/extraction/keeping*.py"),
        (
            "tests/extraction/test_slim.py",
            "tests/extraction/test_keeping_kernel.py",
            "tests/extraction/test_slim_answers.py",
            "-k",
            "not 16K and not 64K and not answers_as_its_image",
        ),
    ),
    Room(("khodump/extraction/*.py",), ("tests/extraction/test_extract.py",)),
)


class Place(NamedTuple):
    """A mutant, the module it is of, and the room of that."""

    path: str
    mutant: Mutant
    room: Room

    def __str__(self) -> str:
        return f"{self.path}:{self.mutant}"


def all_places() -> list[Place]:
    """All mutants of all rooms, in order."""
    rooms: dict[str, Room] = {}
    for room in ROOMS:
        for pattern in room.modules:
            for path in sorted(ROOT.glob(pattern)):
                rooms.setdefault(str(path.relative_to(ROOT)), room)
    return [
        Place(path, mutant, room)
        for path, room in rooms.items()
        for mutant in mutants_of((ROOT / path).read_text(encoding="utf-8"))
    ]


class Copy:
    """A copy of the tree in which mutants are tried."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def passes(self, room: Room) -> bool:
        """Whether the tests of a room pass without a mutant."""
        return not self._is_noticed(room)

    def notices(self, place: Place) -> bool:
        """Whether a test fails, or takes for ever, with this mutant."""
        path = self._home / place.path
        original = path.read_bytes()
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            cached.unlink()  # its time stamp may be the same
        path.write_text(place.mutant.text, encoding="utf-8")
        try:
            return self._is_noticed(place.room)
        finally:
            path.write_bytes(original)

    def _is_noticed(self, room: Room) -> bool:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *room.tests]
        env = environment(self._home, PYTHONDONTWRITEBYTECODE="1")
        try:
            ended = subprocess.run(
                command, cwd=self._home, env=env, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        return ended.returncode != 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Try a sample of all mutants; the status is 1 where fewer than `FLOOR` percent of it are noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many mutants")
    parser.add_argument("--seed", type=int, default=SEED, help="which")
    parser.add_argument("--only", help="all of this place: FILE or FILE:LINE")
    options = parser.parse_args()
    places = all_places()
    if options.only is None:
        _say(f"{len(places)} mutants, of which {options.sample} are tried")
        places = random.Random(options.seed).sample(places, options.sample)  # noqa: S311 - repeatable
    else:
        places = [place for place in places if f"{place}".startswith(f"{options.only}:")]
    survivors = []
    with tempfile.TemporaryDirectory() as home:
        copy_tree(Path(home))
        copy = Copy(Path(home))
        for place in places:
            is_noticed = copy.notices(place)
            _say(f"{'noticed ' if is_noticed else 'SURVIVES'} {place}")
            if not is_noticed:
                survivors.append(place)
        # A survivor shows that the tests of its room pass; of the other rooms nothing shows it yet.
        unproved = {place.room for place in places} - {place.room for place in survivors}
        failing = [room.modules for room in unproved if not copy.passes(room)]
    if failing:
        sys.exit(f"these fail without a mutant, so that they notice nothing: {failing}")
    percent = 100 * (len(places) - len(survivors)) / max(len(places), 1)
    _say(f"{percent:.0f} % of {len(places)} mutants are noticed")
    return int(options.only is None and percent < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
