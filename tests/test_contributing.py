"""CONTRIBUTING's recipes, followed to the letter in a copy of the tree: what they add works, and the checks pass."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from khodump.fdt import FdtNode
from tests.builders.fdt import build_fdt, string, u64
from tests.builders.handover import Description, build_handover
from tests.builders.memory import MemoryImage
from tests.copies import copy_tree, environment
from tests.transcript import ROOT

RECIPES = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
#: Code, behind the path of its file.
FILE = re.compile(r"`([\w/]+\.py)`[^`]*:\n\n```python\n(.*?)```", re.DOTALL)
DIFF = re.compile(r"```diff\n(.*?)```", re.DOTALL)
PAGE = 4096

#: The tests that a new format, user, rule, map version or command concerns.
CHECKS = (
    "tests/test_floors.py",
    "tests/test_errors.py::test_every_error_has_a_hint",
    "tests/test_problems.py",
    "tests/test_docs.py::test_the_page_of_formats_is_made_from_the_tables",
    "tests/test_docs.py::test_the_page_of_checks_is_made_from_the_rules",
    "tests/test_docs.py::test_every_command_is_in_the_readme",
    "tests/cli/test_manpages.py::test_the_pages_are_kept",
    "tests/cli/test_manpages.py::test_every_command_has_a_page_and_is_in_the_first",
    "tests/cli/test_manpages.py::test_every_rule_is_on_its_page_in_the_list_and_in_the_docs",
    "tests/cli/test_manpages.py::test_every_option_and_example_is_in_help_and_on_the_page[orders]",
    "tests/cli/test_formats.py",
    "tests/cli/test_help.py::test_khodump_alone_shows_the_commands_by_task",
    "tests/cli/test_help.py::test_help_ends_with_examples[orders]",
    "tests/cli/test_help.py::test_examples_run[orders vmcore]",
    "tests/cli/test_every_format.py::test_every_dump_format_lists_the_same_bytes[single pages]",
)
#: Tests that write what they hold.
MADE = ("tests/test_docs.py", "tests/cli/test_manpages.py")


def module_of(code: str) -> str:
    """What of the code of a recipe goes into the file: all but what shows how it is used."""
    lines = code.splitlines(keepends=True)
    for node in ast.parse(code).body:
        if isinstance(node, ast.With | ast.Expr):
            return "".join(lines[: node.lineno - 1])
    return code


def patch(home: Path, diff: str) -> None:
    """Apply a diff: lines go where the line before them, or the one they replace, stands; there must be one."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *changes = part.splitlines()
        lines = (home / name).read_text(encoding="utf-8").splitlines()
        at = -1
        for change in changes:
            sign, line = change[0], change[1:]
            if sign == "+":
                at += 1
                lines.insert(at, line)
                continue
            assert lines.count(line) == 1, f"{name} has {lines.count(line)} times {line!r}"
            at = lines.index(line)
            if sign == "-":
                del lines[at]
                at -= 1
        (home / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def python(home: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def grown(tmp_path_factory) -> Path:
    """The tree, with all that the recipes add."""
    home: Path = tmp_path_factory.mktemp("tree")
    copy_tree(home)
    for recipe in RECIPES:
        for name, code in FILE.findall(recipe):
            assert not (home / name).exists()
            (home / name).write_text(module_of(code), encoding="utf-8")
        for diff in DIFF.findall(recipe):
            patch(home, diff)
    return home


def khodump(home: Path, *arguments: str | Path) -> str:
    """What the command writes to stdout; it must end well."""
    ran = python(home, "-m", "khodump", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def rows(home: Path, *arguments: str | Path) -> set[str]:
    return set(khodump(home, *arguments, "--format", "tsv").splitlines()[1:])


@pytest.fixture
def core(tmp_path) -> Path:
    """A handover with a page that belongs to a clock."""
    users = {"clock": (7).to_bytes(8, "little") + u64_le(0x20_0000)}
    built = build_handover(Description(subtrees=users, preservations=((0x20_0000, 0),)))
    return built.image.to_elf(tmp_path / "core", machine="EM_X86_64")


def u64_le(number: int) -> bytes:
    return number.to_bytes(8, "little")


def test_there_are_five_and_each_says_what_to_add():
    assert len(RECIPES) == 5
    for recipe in RECIPES:
        assert FILE.search(recipe), recipe[:40]
        assert DIFF.search(recipe), recipe[:40]


def test_the_image_format_is_read(grown, tmp_path):
    built = build_handover(Description(preservations=((0x20_0000, 0),)))
    dump = b"PAGES001"
    for start, end in built.image.ranges:
        for phys in range(start, end, PAGE):
            dump += u64_le(phys) + built.image.read(phys, PAGE)
    (tmp_path / "dump").write_bytes(dump)
    wanted = {f"{phys:#x}\t{order}" for phys, order in built.blocks}
    assert rows(grown, "inspect", tmp_path / "dump", "--pages") == wanted
    assert "single pages\tyes" in khodump(grown, "formats", "--format", "tsv")


def test_the_map_version_is_read(grown, tmp_path):
    image = MemoryImage()
    fdt, pages, own = 0x10_0000, 0x10_1000, (0x10_0000, 0x20_0000, 0x30_0000)
    image.write(
        fdt, build_fdt(FdtNode("", {"compatible": string("kho-v0"), "preserved-memory-map": u64(pages)}))
    )
    image.write(pages, b"".join(map(u64_le, own)).ljust(PAGE, b"\0"))
    source = image.to_elf(tmp_path / "core", machine="EM_X86_64")
    assert rows(grown, "inspect", source, "--pages") == {f"{phys:#x}\t0" for phys in own}


def test_the_user_is_decoded_and_owns_its_page(grown, core):
    told = json.loads(khodump(grown, "subtrees", core, "--format", "json"))["values"]
    facts = {row["what"]: row["value"] for row in told if row["node"] == "clock"}
    assert (facts["kind"], facts["ticks"], facts["page"]) == ("clock", "7", "0x200000")
    assert "clock/page" in khodump(grown, "owners", core)


def test_the_rule_is_listed_explained_and_fires(grown, core):
    assert "map-small" in khodump(grown, "check", "--list")
    assert "It walks it in no time." in khodump(grown, "check", "--explain", "map-small")
    assert "map-small" in khodump(grown, "check", core)


def test_the_command_runs_and_is_helped(grown, core):
    blocks = rows(grown, "inspect", core, "--pages")
    assert rows(grown, "orders", core) == {f"0\t{len(blocks)}"}
    assert "orders" in khodump(grown, "--help")
    assert "khodump orders vmcore --format csv" in khodump(grown, "orders", "--help")


def test_the_checks_pass_once_what_is_made_is_made_anew(grown):
    made = [check for check in CHECKS if check.startswith(MADE)]
    python(grown, "-m", "pytest", "-q", "-p", "no:cacheprovider", *made, UPDATE_DOCS="1")
    ran = python(grown, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHECKS)
    assert ran.returncode == 0, ran.stdout[-4000:]
