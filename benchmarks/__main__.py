"""`make bench`: measure khodump beside others, check that both say the same, and print a table."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.measure import Command, Cost, alternately, python, task

_HERE: Final = Path(__file__).parent
_REFERENCE: Final = _HERE / "reference"
_CAPTURE: Final = "samples/captures/luo-memfd/serialized.elf"
_FDT: Final = "0x100000"
_SHAPES: Final = ("dense", "random", "sparse", "mixed", "tiny")
_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Comparison:
    """Two sides that do the same.

    Attributes:
        name: what they do.
        khodump, other: the sides.
        beside: what the other one is.
        goal: the most that khodump's time divided by the other's should be.
        most: the most bytes khodump should take.
        overhead: what is taken off khodump's time first: its start, where that does not count.
    """

    name: str
    khodump: Command
    other: Command
    beside: str
    goal: float | None = None
    most: int | None = None
    overhead: Command | None = None


class Bench:
    """The images in a directory, and the commands over them.

    Args:
        directory: where the images are, and whatever is written meanwhile.
        drgn: an interpreter that has drgn, if any.
    """

    def __init__(self, directory: Path, drgn: str | None) -> None:
        self.directory, self.drgn = directory, drgn
        self.reference = directory / "walk"

    def prepare(self) -> None:
        """Build the reference, and write what is not there yet."""
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-o", self.reference, _REFERENCE / "walk.c"], check=True
        )
        done = self.directory / "written"
        if not done.exists():
            subprocess.run([sys.executable, "-m", "benchmarks.images", self.directory], check=True)
            done.touch()

    def image(self, name: str) -> str:
        """The path of an image."""
        return str(self.directory / f"{name}.img")

    def root(self, name: str) -> str:
        """The root of its map."""
        return (self.directory / f"{name}.root").read_text()

    def in_c(self, mode: str, name: str) -> Command:
        """The reference; it says its own seconds unless it prints, when the whole process counts."""
        words = [str(self.reference), mode, self.image(name), self.root(name)]
        return Command(words, None if mode == "print" else lambda said: float(said.split()[-1]))

    def listing(self, name: str) -> Command:
        """Khodump printing every key."""
        fdt = [] if name == "tiny" else ["--fdt", _FDT]
        words = ("inspect", "--quiet", "--pages", "--format", "tsv", f"{self.image(name)}@0", *fdt)
        return python("-m", "khodump", *words)

    def check(self) -> None:
        """Both sides walk to the same runs, and print the same bytes.

        Raises:
            RuntimeError: they do not.
        """
        for name in _SHAPES:
            arguments = [
                sys.executable,
                "-m",
                "benchmarks.tasks",
                "answer",
                self.image(name),
                self.root(name),
            ]
            ours = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
            theirs = {
                mode: subprocess.run(self.in_c(mode, name).words, check=True, capture_output=True, text=True)
                for mode in ("runs", "count")
            }
            if theirs["runs"].stderr.split()[:3] != ours or theirs["count"].stderr.split()[0] != ours[0]:
                raise RuntimeError(f"{name}: khodump says {ours}, the reference {theirs}")
        for name in ("random", "sparse"):
            if _digest(self.listing(name)) != _digest(self.in_c("print", name)):
                raise RuntimeError(f"{name}: the listings differ")

    def comparisons(self) -> Iterator[Comparison]:
        """All there are."""
        for name, goal in zip(_SHAPES, (0.25, 1, 1.5, None, None), strict=True):
            ours = task("walk", self.image(name), self.root(name))
            yield Comparison(f"walk to runs, {name}", ours, self.in_c("runs", name), "C joining runs", goal)
        for name in ("dense", "random"):
            ours = task("walk", self.image(name), self.root(name))
            yield Comparison(f"walk to runs, {name}", ours, self.in_c("count", name), "C counting keys")
        if self.drgn:
            words = [self.drgn, str(_REFERENCE / "walk_drgn.py"), self.image("sparse"), self.root("sparse")]
            script = Command(words, lambda said: float(said.split()[-1]))
            ours = task("walk", self.image("sparse"), self.root("sparse"))
            yield Comparison("walk to runs, sparse", ours, script, "drgn script", 1 / 50)
        yield from self._listings()
        yield from self._users()
        yield from self._starts()

    def _listings(self) -> Iterator[Comparison]:
        for name, goal, most in (("dense", None, None), ("random", 0.5, 400 * _MIB), ("mixed", None, None)):
            ours, theirs = self.listing(name), self.in_c("print", name)
            yield Comparison(
                f"`inspect --pages --format tsv`, {name}", ours, theirs, "C printing", goal, most
            )
        yield Comparison(
            "the same beyond start-up, sparse",
            self.listing("sparse"),
            self.in_c("print", "sparse"),
            "C printing",
            1,
            overhead=self.listing("tiny"),
        )
        if find_spec("khodump.tables.diff"):
            sides = (f"{self.image('random')}@0", f"{self.image('random2')}@0")
            ours = python("-m", "khodump", "diff", "--stat", "--quiet", *sides, status=1)
            walks = task("walks", *(word for name in ("random", "random2") for word in self._tree(name)))
            yield Comparison("`diff --stat` of two random maps", ours, walks, "the two walks", 2.5)

    def _tree(self, name: str) -> tuple[str, str]:
        return self.image(name), self.root(name)

    def _users(self) -> Iterator[Comparison]:
        file, out = str(self.directory / "file"), self.directory / "out"
        yield Comparison("search an image for FDTs", task("scan", file), Command(["cat", file]), "cat", 0.5)
        for name, goal in (("near", 1 / 0.7), ("far", 1 / 0.3)):
            words = ["--memfd", "vm/1", "--quiet", "--output", str(out), self.image(name), "--fdt", _FDT]
            ours = python("-m", "khodump", "extract", *words)
            ours, theirs = (
                Command(side, before=self._settle) for side in (ours.words, ["cp", file, str(out)])
            )
            what = "contiguous" if name == "near" else "scattered"
            yield Comparison(f"`extract` 2 GiB in 4K folios, {what}", ours, theirs, "cp", goal)
        folios = task("folios", str(self.directory / "folios"))
        ours = task("ownership", self.image("many"))
        yield Comparison("owners of a memfd of 2^24 folios", ours, folios, "numpy reading its list", 3)

    def _settle(self) -> None:
        """Nothing written so far slows down what is written next."""
        (self.directory / "out").unlink(missing_ok=True)
        os.sync()

    def _starts(self) -> Iterator[Comparison]:
        yield Comparison(
            "`khodump --version`",
            python("-m", "khodump", "--version"),
            python("-c", "import typer"),
            "`import typer`",
            1.5,
        )
        yield Comparison(
            "`khodump inspect` of a capture",
            python("-m", "khodump", "inspect", "--quiet", _CAPTURE),
            python("-c", "import typer, numpy, construct"),
            "`import typer, numpy, construct`",
            2,
        )
        if Path(self.image("huge")).exists():
            ours, theirs = (
                python("-m", "khodump", "inspect", "--quiet", f"{self.image(name)}@0", "--fdt", _FDT)
                for name in ("huge", "small")
            )
            yield Comparison("`inspect --fdt`, 64 TiB of holes", ours, theirs, "64 MiB", 1.1)


def _digest(command: Command) -> str:
    """Of what it prints."""
    digest = sha256()
    with subprocess.Popen(command.words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _measured(comparison: Comparison, repeats: int) -> str:
    """A comparison as a row of the table."""
    sides = {"ours": comparison.khodump, "theirs": comparison.other}
    if comparison.overhead is not None:
        sides["overhead"] = comparison.overhead
    costs = alternately(sides, repeats)
    ours, theirs = costs["ours"], costs["theirs"]
    start = costs["overhead"].seconds if comparison.overhead else 0.0
    ratio = max(ours.seconds - start, 0) / theirs.seconds
    goal = "" if comparison.goal is None else f"{comparison.goal:.2f}"
    missed = comparison.goal is not None and ratio > comparison.goal
    missed |= comparison.most is not None and ours.peak > comparison.most
    goal += f", {comparison.most / _MIB:.0f} MiB" if comparison.most else ""
    verdict = "" if not goal else "missed" if missed else "met"
    cells = (
        comparison.name,
        comparison.beside,
        _cost(ours, start),
        _cost(theirs),
        f"{ratio:.2f}",
        goal,
        verdict,
    )
    return f"| {' | '.join(cells)} |"


def _cost(cost: Cost, start: float = 0.0) -> str:
    return f"{(cost.seconds - start) * 1e3:.0f} ms, {cost.peak / _MIB:.0f} MiB"


def _machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "typer"))
    gcc = subprocess.run(
        ["gcc", "-dumpfullversion"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory} GiB; Linux {platform.release()}, "
        f"Python {platform.python_version()}, {packages}, gcc {gcc}"
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scratch", type=Path, help="keep the images here (12 GiB, most of it holes)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs of each side, of which the median counts"
    )
    parser.add_argument("--only", default="", help="comparisons whose row has this text")
    parser.add_argument("--drgn", metavar="PYTHON", help="an interpreter that has drgn")
    options = parser.parse_args()
    if options.scratch:
        options.scratch.mkdir(parents=True, exist_ok=True)
        _run(Bench(options.scratch.absolute(), options.drgn), options.repeats, options.only, sys.stdout.write)
        return
    with TemporaryDirectory(prefix="khodump-bench-") as directory:
        _run(Bench(Path(directory), options.drgn), options.repeats, options.only, sys.stdout.write)


def _run(bench: Bench, repeats: int, only: str, write: Callable[[str], object]) -> None:
    bench.prepare()
    if not only:
        bench.check()
    write(
        f"{_machine()}\n\n| what | beside | khodump | other | ratio | goal | |\n|---|---|---|---|---|---|---|\n"
    )
    for comparison in bench.comparisons():
        if only in f"{comparison.name} {comparison.beside}":
            write(_measured(comparison, repeats) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
