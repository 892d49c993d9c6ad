"""What is published: the package and nothing else, on dependencies that are bounded here and pinned for development."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.transcript import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def build(target: str, directory: Path) -> Path:
    """Build with what is installed: no network, no isolation."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = directory.iterdir()
    return path


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    files = (
        path for path in (ROOT / "khodump").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    sources = {path.relative_to(ROOT).as_posix() for path in files}
    about = {name for name in names if re.fullmatch(r"khodump-[^/]+\.dist-info/.+", name)}
    manual = {f"man1/{path.name}" for path in (ROOT / "man").rglob("*.1")}
    shared = {
        name for name in names if re.fullmatch(r"khodump-[^/]+\.data/data/share/man/man1/[^/]+\.1", name)
    }
    assert {"/".join(name.split("/")[-2:]) for name in shared} == manual
    assert names - about - shared == sources
    assert {name.partition("/")[2] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    assert entry_points.split("\n")[:2] == ["[console_scripts]", "khodump = khodump.cli:main"]


def test_the_source_archive_holds_what_is_named(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names}
    named = {path.strip("/") for path in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    assert tops <= named | {"PKG-INFO", "pyproject.toml", ".gitignore"}
    assert not any("__pycache__" in name or "/." in name for name in names)


REQUIREMENTS = [
    *PROJECT["project"]["dependencies"],
    *(each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra),
]


@pytest.mark.parametrize("requirement", [each for each in REQUIREMENTS if not each.startswith("khodump[")])
def test_a_dependency_is_bounded_on_both_sides(requirement):
    assert ">=" in requirement
    assert "<" in requirement


def test_the_lock_pins_everything_that_is_named():
    lines = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8").split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^=]*", line) for line in lines)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    groups = PROJECT["dependency-groups"].values()
    named = [*REQUIREMENTS, *(each for group in groups for each in group if isinstance(each, str))]
    names = {re.split(r"[<>=;\[ ]", each)[0].lower() for each in named} - {"khodump"}
    assert names <= pinned
