"""Timing commands side by side. Nothing but the standard library: a large parent would count as its children's peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

#: As users have it: modules are compiled once.
_ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_ROOT: Final = Path(__file__).parent.parent


@dataclass(frozen=True)
class Command:
    """A side of a comparison.

    Attributes:
        words: the command line.
        seconds: from what it wrote to stderr; None times the whole process.
        before: to be done before each run, untimed.
        status: how it ends when all is well.
    """

    words: Sequence[str]
    seconds: Callable[[str], float] | None = None
    before: Callable[[], None] = lambda: None
    status: int = 0


@dataclass(frozen=True)
class Cost:
    """The median time of a side in seconds, and its highest peak of memory in bytes."""

    seconds: float
    peak: int


def python(*words: str, status: int = 0) -> Command:
    """A whole process of this interpreter."""
    return Command([sys.executable, *words], status=status)


def task(name: str, *words: str) -> Command:
    """Work done by `benchmarks.tasks`, which times itself."""
    return Command(
        [sys.executable, "-m", "benchmarks.tasks", name, *words], lambda said: float(json.loads(said))
    )


def run(command: Command) -> tuple[float, int]:
    """Seconds and peak bytes of one run; its output goes nowhere.

    Raises:
        RuntimeError: it failed.
    """
    command.before()
    begun = time.perf_counter()
    with subprocess.Popen(
        command.words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd=_ROOT,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    taken = time.perf_counter() - begun
    if process.returncode != command.status:
        raise RuntimeError(f"{' '.join(command.words)} failed: {said}")
    return (taken if command.seconds is None else command.seconds(said)), usage.ru_maxrss * 1024


def alternately(sides: Mapping[str, Command], repeats: int) -> dict[str, Cost]:
    """What each side costs, by turns, so that whatever else the machine does hits all of them."""
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, command in sides.items():
            runs[name].append(run(command))
    return {
        name: Cost(median(seconds for seconds, _ in each), max(peak for _, peak in each))
        for name, each in runs.items()
    }
