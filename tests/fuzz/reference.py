"""The level that holds khodump to `tests/reference`: `python -m tests.fuzz.reference TARGET --seed S --first N --seconds T`.

An input is a number: of a random handover that goes through all relations, or of a mutant of one. What it makes is
made of (target, seed, number) alone, so that `--first N --count 1` makes it again.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.fuzz.targets import Target
from tests.fuzz.worker import Judge, Tally, report
from tests.reference import relate
from tests.reference.relate import mutants
from tests.reference.relate.case import Case, case

LEVEL: Final = "reference"
_FAR_APART: Final = 1_000_000_000  # so that handovers of two seeds never meet
_MUTANTS_OF_ONE: Final = 16  # writing a handover takes longer than damaging it
_MOST_SECONDS: Final = 240  # dozens of commands an input, beside whatever else the machine does


def handover(data: bytes) -> None:
    """One random handover through all relations."""
    with case(int(data)) as sound:
        relate.hold(sound)


class Mutants:
    """Mutants by number; the handover of the last one is kept, as the next is of the same."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._seed = -1
        self._case: Case | None = None

    def check(self, data: bytes) -> None:
        """One mutant of a handover's memory, and one of a file."""
        seed, number = divmod(int(data), _MUTANTS_OF_ONE)
        if self._case is None or seed != self._seed:
            self.close()
            self._case = self._stack.enter_context(case(seed))
            self._seed = seed
        mutants.hold(self._case, number)

    def close(self) -> None:
        """Remove the files of the last handover."""
        self._stack.close()
        self._case = None


@contextmanager
def targets() -> Iterator[dict[str, Target]]:
    """Both targets, by name."""
    damaged = Mutants()
    checks: dict[str, Callable[[bytes], None]] = {"handovers": handover, "mutants": damaged.check}
    try:
        yield {name: Target(name, check, list) for name, check in checks.items()}
    finally:
        damaged.close()


NAMES: Final = ("handovers", "mutants")


def campaign(target: Target, seed: int, first: int, going: Callable[[int], bool], home: Path) -> Tally:
    """Run inputs `first`, `first + 1`, ... as long as `going` says so, given how many there were."""
    tally = Tally(target.name, LEVEL, seed, first)
    judge = Judge(target, tally, home, most_seconds=_MOST_SECONDS)
    began = time.monotonic()
    while going(tally.inputs):
        number = first + tally.inputs
        judge.run(b"%d" % (seed * _FAR_APART + number), f"{seed}-{number}")
    tally.seconds = round(time.monotonic() - began, 1)
    tally.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return tally


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--failures", type=Path, default=Path(".fuzz/failures"))
    asked = parser.parse_args()
    until = time.monotonic() + asked.seconds
    with targets() as known:
        tally = campaign(
            known[asked.target],
            asked.seed,
            asked.first,
            lambda done: done < asked.count and time.monotonic() < until,
            asked.failures,
        )
    report(tally)


if __name__ == "__main__":
    main()
