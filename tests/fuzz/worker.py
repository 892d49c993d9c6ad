"""One process of a campaign: `python -m tests.fuzz.worker TARGET --seed S --first N --seconds T`.

It runs mutant after mutant under a limit of time and of memory, and writes what came of them as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from tests.fuzz import commands
from tests.fuzz.targets import TARGETS, Target

ALL: Final = {**TARGETS, commands.TARGET.name: commands.TARGET}
_MOST_SECONDS: Final = {commands.TARGET.name: 120}  # a dozen commands
_MOST_SECONDS_OF_A_PART: Final = 20
_ADDRESS_SPACE: Final = 6 << 30
_MEASURED: Final = 64  # every so many inputs, allocations are measured, which is slow
_MOST_MEMORY: Final = 384 << 20  # for images of at most 2 MB
_KEPT_FAILURES: Final = 50


class HangError(BaseException):
    """An input took too long."""


@dataclass
class Tally:
    """What came of some inputs; seconds, and bytes."""

    target: str
    level: str
    seed: int
    first: int
    inputs: int = 0
    crashes: int = 0
    hangs: int = 0
    wrong: int = 0
    slowest: float = 0.0
    slowest_input: str = ""
    memory: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        """Inputs that failed."""
        return self.crashes + self.hangs + self.wrong


class Judge:
    """Runs inputs, and keeps those that fail.

    Args:
        target: what to run.
        tally: takes the counts.
        home: directory for inputs that fail.
        most_seconds: that an input may take; by the target, if not given.
    """

    def __init__(self, target: Target, tally: Tally, home: Path, most_seconds: float | None = None) -> None:
        self._target, self.tally, self._home = target, tally, home
        self._limit: float = most_seconds or _MOST_SECONDS.get(target.name, _MOST_SECONDS_OF_A_PART)

    def run(self, data: bytes, name: str, *, measured: bool = False) -> None:
        """Run one input, and count what came of it."""
        began = time.perf_counter()
        check = self._measured if measured else self._target.check
        try:
            with time_limit(self._limit):
                check(data)
        except HangError as error:
            self.tally.hangs += 1
            self._keep(data, name, error)
        except AssertionError as error:
            self.tally.wrong += 1
            self._keep(data, name, error)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self.tally.crashes += 1
            self._keep(data, name, error)
        self.tally.inputs += 1
        took = round(time.perf_counter() - began, 3)
        if took > self.tally.slowest and not measured:
            self.tally.slowest, self.tally.slowest_input = took, name

    def _measured(self, data: bytes) -> None:
        tracemalloc.start()
        try:
            self._target.check(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < _MOST_MEMORY, f"it took {peak} bytes of memory"

    def _keep(self, data: bytes, name: str, error: BaseException) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        self.tally.failures.append(
            f"{name}: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:300]
        )
        if len(self.tally.failures) <= _KEPT_FAILURES:
            self._home.mkdir(parents=True, exist_ok=True)
            stem = f"{self.tally.level}-{self._target.name}-{name}".replace(" ", "_")
            (self._home / f"{stem}.bin").write_bytes(data)
            (self._home / f"{stem}.txt").write_text(
                "".join(traceback.format_exception(error)), encoding="utf-8"
            )


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `HangError` in the block after so many seconds."""

    def expired(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def campaign(target: Target, seed: int, first: int, going: Callable[[int], bool], home: Path) -> Tally:
    """Run mutants `first`, `first + 1`, ... as long as `going` says so, given how many there were."""
    tally = Tally(target.name, "mutation", seed, first)
    judge = Judge(target, tally, home)
    began = time.monotonic()
    while going(tally.inputs):
        number = first + tally.inputs
        judge.run(target.mutant(seed, number), f"{seed}-{number}", measured=number % _MEASURED == 0)
    tally.seconds = round(time.monotonic() - began, 1)
    tally.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return tally


def report(tally: Tally) -> None:
    """The tally as a line of JSON on stdout."""
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")
    sys.stdout.flush()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=ALL)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--failures", type=Path, default=Path(".fuzz/failures"))
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    target = ALL[asked.target]
    target.mutant(asked.seed, 0)  # makes the corpus, which is no part of the time
    until = time.monotonic() + asked.seconds
    report(
        campaign(
            target,
            asked.seed,
            asked.first,
            lambda done: done < asked.count and time.monotonic() < until,
            asked.failures,
        )
    )


if __name__ == "__main__":
    main()
