"""SECURITY.md promises nothing that no test holds, and nothing of an image is run or loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transcript import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
#: What every promise must stand in, and what begins one.
DEFENDED = PAGE.partition("## What is defended")[2].partition("## How it is tested")[0]
PROMISES = re.findall(r"^- .*(?:\n {2}.*)*", DEFENDED, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", PAGE)))

#: What runs or loads what a string says, as functions and as modules.
RUNNING = {"eval", "exec", "compile", "__import__", "system", "popen", "spawnl", "spawnv", "execv", "execve"}
LOADING = {"pickle", "marshal", "shelve", "dill", "runpy", "code", "ctypes", "imp", "joblib"}
#: Who may start a program, the pager that the user named, and who may import by a name that stands in khodump's own code.
STARTS = {"khodump/cli/pager.py"}
IMPORTS_BY_NAME = {"khodump/__init__.py", "khodump/cli/help.py", "khodump/extras.py"}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[2:40])
def test_every_promise_names_the_tests_that_hold_it(promise):
    assert re.search(r"`tests/", promise)


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_is_there(name):
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert any(test.startswith("test_") for test in tests)
    assert not function or function in tests


def test_the_page_has_promises():
    assert len(PROMISES) >= 12
    assert len(NAMED) >= 20


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a module, by the last part of the name that is called."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            yield node.func.id, node
        # re.compile() is as harmless as it is common; the builtin stands alone.
        elif isinstance(node.func, ast.Attribute) and node.func.attr != "compile":
            yield node.func.attr, node


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def misdeeds(path: Path) -> list[str]:
    """What a module does that nothing in khodump may do."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    bad = [module for module in imported(tree) if module in LOADING]
    if "subprocess" in imported(tree) and name not in STARTS:
        bad.append("subprocess")
    for called, call in calls(tree):
        if called in RUNNING or (called == "import_module" and name not in IMPORTS_BY_NAME):
            bad.append(called)
        bad += [keyword.arg for keyword in call.keywords if keyword.arg in ("shell", "allow_pickle")]
    return bad


def test_nothing_is_run_and_nothing_loaded():
    found = {path: misdeeds(path) for path in sorted((ROOT / "khodump").rglob("*.py"))}
    assert len(found) > 100
    assert {path: bad for path, bad in found.items() if bad} == {}


@pytest.mark.parametrize(
    "code",
    [
        "eval(name)",
        "import pickle",
        "from subprocess import run",
        "np.load(name, allow_pickle=True)",
        "os.system(name)",
    ],
)
def test_what_runs_something_would_be_seen(code, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_security.ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(code)
    assert misdeeds(tmp_path / "bad.py")
