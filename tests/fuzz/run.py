"""A campaign: `python -m tests.fuzz.run --seconds T`, or `make fuzz SECONDS=T`; or of `--inputs N`.

All four levels run for a share of the time each, in as many processes as asked for. A campaign of so many inputs has most
of those that cost least, and takes the time that it takes: an input of `fdt` 0.3 ms, one of `mutants` half a second.
Every run adds lines to the log
and goes on where the last one ended: mutants have numbers, coverage keeps its corpus, and hypothesis takes a new seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.fuzz import reference, report
from tests.fuzz.worker import ALL

_ROOT: Final = Path(__file__).parents[2]
_WEIGHTS: Final = {"commands": 6.0, "vmcoreinfo": 0.05}  # a share of a level's time; 1 for the others
_LEVEL_WEIGHTS: Final = {"hypothesis": 0.15, "mutation": 0.5, "coverage": 0.35, "reference": 0.25}
#: Of a campaign of so many inputs: inputs in a thousand.
_SHARES: Final = {
    ("mutation", "fdt"): 250.0,
    ("mutation", "flattened"): 180.0,
    ("mutation", "lime"): 150.0,
    ("mutation", "vmcoreinfo"): 131.0,
    ("mutation", "avml"): 120.0,
    ("mutation", "elf"): 90.0,
    ("mutation", "kdump"): 40.0,
    ("mutation", "users"): 20.0,
    ("mutation", "radix"): 6.0,
    ("mutation", "chain"): 6.0,
    ("mutation", "order table"): 3.0,
    ("mutation", "root"): 3.0,
    ("reference", "mutants"): 1.5,
    ("mutation", "commands"): 0.25,
    ("reference", "handovers"): 0.06,
}
_PASSING: Final = re.compile(r"- (\d+) passing(?: examples)?, (\d+) failing")
_EXAMPLES_A_SECOND: Final = 10  # of each test, so that there is more than one round
_MODULES: Final = {
    "mutation": "tests.fuzz.worker",
    "coverage": "tests.fuzz.coverage",
    "reference": "tests.fuzz.reference",
}
_NO_LIMIT: Final = 7 * 24 * 3600.0
_GRACE: Final = 300.0  # seconds that a process may take to begin and to end


class Task(NamedTuple):
    """What one process does; `most` inputs, or what it can in `seconds` where that is None."""

    level: str
    target: str
    first: int
    seconds: float
    most: int | None = None


def tasks(
    runs: list[dict[str, Any]], seed: int, seconds: float, only: list[str], levels: list[str]
) -> Iterator[Task]:
    """What to run, the longest first, in `seconds` of processor time altogether."""
    shares = {level: _LEVEL_WEIGHTS[level] for level in levels}
    for level in levels:
        time_of_level = seconds * shares[level] / sum(shares.values())
        names = _names(level, only)
        weights = {name: _WEIGHTS.get(name, 1.0) for name in names}
        for name in sorted(names, key=weights.__getitem__, reverse=True):
            first = _done(runs, seed, level, name)
            yield Task(level, name, first, time_of_level * weights[name] / sum(weights.values()))


def counted_tasks(
    runs: list[dict[str, Any]], seed: int, inputs: int, only: list[str], levels: list[str]
) -> Iterator[Task]:
    """What is left to run of `inputs` inputs with this seed; the cheapest first."""
    shares = {
        (level, name): share
        for (level, name), share in _SHARES.items()
        if level in levels and (not only or name in only)
    }
    for (level, name), share in shares.items():
        first = _done(runs, seed, level, name)
        left = math.ceil(inputs * share / sum(shares.values())) - first
        if left > 0:
            yield Task(level, name, first, _NO_LIMIT, left)


def _done(runs: list[dict[str, Any]], seed: int, level: str, target: str) -> int:
    """The first input that was not run yet."""
    done = [run for run in runs if (run["level"], run["target"], run["seed"]) == (level, target, seed)]
    return max((run["first"] + run["inputs"] for run in done), default=0)


def _names(level: str, only: list[str]) -> list[str]:
    """The targets of a level."""
    if level == "hypothesis":
        return ["all"]
    known = reference.NAMES if level == reference.LEVEL else ALL
    names = [name for name in known if not only or name in only]
    if level == "coverage" and not only:
        names.remove("commands")  # thousands of lines a mutant: no edge stands out
    return names


def carry_out(task: Task, seed: int) -> dict[str, Any]:
    """Run a task in a process of its own; one that ends badly is a crash."""
    if task.level == "hypothesis":
        return _hypothesis(task, seed)
    command = [
        sys.executable,
        "-m",
        _MODULES[task.level],
        task.target,
        "--seed",
        str(seed),
        "--first",
        str(task.first),
    ]
    command += ["--seconds", f"{task.seconds:.1f}"]
    command += [] if task.most is None else ["--count", str(task.most)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, cwd=_ROOT, check=False, timeout=task.seconds + _GRACE
        )
    except subprocess.TimeoutExpired:
        return _failed(task, seed, hangs=1, why="the process did not end")
    found = [line for line in ended.stdout.splitlines() if line.startswith('{"target"')]
    if not found:
        return _failed(
            task, seed, crashes=1, why=f"the process ended with {ended.returncode}: {ended.stderr[-300:]}"
        )
    told: dict[str, Any] = json.loads(found[-1])
    return told


def _failed(
    task: Task, seed: int, *, crashes: int = 0, hangs: int = 0, inputs: int = 0, why: str
) -> dict[str, Any]:
    return {
        "target": task.target,
        "level": task.level,
        "seed": seed,
        "first": task.first,
        "inputs": inputs,
        "crashes": crashes,
        "hangs": hangs,
        "wrong": 0,
        "slowest": 0.0,
        "memory": 0,
        "seconds": task.seconds,
        "failures": [why],
    }


def _hypothesis(task: Task, seed: int) -> dict[str, Any]:
    """The tests of properties with the deep profile, over and over with new seeds while there is time."""
    began, inputs, rounds, failing = time.monotonic(), 0, 0, ""
    examples = str(min(max(int(task.seconds * _EXAMPLES_A_SECOND), 20), 2000))
    while not rounds or time.monotonic() - began < task.seconds:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "tests/fuzz/test_properties.py"]
        command += ["--hypothesis-profile=deep", "--hypothesis-show-statistics"]
        command += [f"--hypothesis-seed={seed * 1_000_003 + task.first + inputs}"]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=_ROOT,
            check=False,
            env={**os.environ, "KHODUMP_EXAMPLES": examples},
        )
        inputs += sum(int(passed) + int(failed) for passed, failed in _PASSING.findall(ended.stdout))
        rounds += 1
        if ended.returncode:
            failing = ended.stdout[-2000:]
            break
    told = _failed(task, seed, crashes=int(bool(failing)), inputs=inputs, why=failing)
    return {**told, "seconds": round(time.monotonic() - began, 1), "failures": [failing] if failing else []}


def main() -> int:
    """See the module; the status is 1 when an input failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long it takes, about")
    parser.add_argument("--inputs", type=int, help="how many there shall be with this seed, instead")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[*ALL, *reference.NAMES],
        help="this target; may be repeated",
    )
    parser.add_argument("--level", action="append", default=[], choices=report.LEVELS, help="this level")
    parser.add_argument("--log", type=Path, default=_ROOT / "tests" / "fuzz" / "log.jsonl")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "reliability.md")
    parser.add_argument("--fresh", action="store_true", help="forget what was run before")
    asked = parser.parse_args()
    if asked.fresh:
        asked.log.unlink(missing_ok=True)
    levels = [level for level in report.LEVELS if not asked.level or level in asked.level]
    if "coverage" in levels and find_spec("atheris") is None:
        sys.stdout.write("no coverage-guided level: atheris is not installed (pip install --group fuzz)\n")
        levels.remove("coverage")
    runs = report.read_log(asked.log)
    if asked.inputs:
        planned = counted_tasks(runs, asked.seed, asked.inputs, asked.only, levels)
    else:
        planned = tasks(runs, asked.seed, asked.seconds * asked.jobs, asked.only, levels)
    bad = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for told in pool.map(lambda task: carry_out(task, asked.seed), planned):
            with asked.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(told) + "\n")
            failed = told["crashes"] + told["hangs"] + told["wrong"]
            bad += failed
            sys.stdout.write(
                f"{told['level']:10} {told['target']:12} {told['inputs']:>9,} inputs, {failed} failed\n"
            )
            sys.stdout.writelines(f"  {why}\n" for why in told["failures"][:5])
            sys.stdout.flush()
    report.write(asked.log, asked.page)
    sys.stdout.write(
        f"{sum(run['inputs'] for run in report.read_log(asked.log)):,} inputs so far: {asked.page}\n"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
