"""Every error says what to do next, and guesses what was meant."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from khodump.errors import KhodumpError, choice, near
from tests.captures import CAPTURES
from tests.transcript import ROOT, run

IMAGE = CAPTURES["luo-memfd serialized"].path
#: They take no hint, for their classes bring one; FdtErrors out of fdt.py are told again by who meets them.
WITH_THEIR_OWN = {"UnknownVersionError", "UnreadableError", "MissingError"}
SOURCES = sorted(path for path in (ROOT / "khodump").rglob("*.py") if path.name != "fdt.py")


def kinds(kind: type[KhodumpError]) -> Iterator[str]:
    yield kind.__name__
    for each in kind.__subclasses__():
        yield from kinds(each)


def without_hints(path: Path, known: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in known:
            continue
        if "hint" not in [keyword.arg for keyword in node.keywords]:
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_every_error_has_a_hint():
    known = set(kinds(KhodumpError)) - WITH_THEIR_OWN
    assert len(SOURCES) > 1
    assert not [place for path in SOURCES for place in without_hints(path, known)]


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["extract", IMAGE, "--memfd", "vm-bta/7"], "did you mean vm-beta"),
        (["extract", IMAGE, "--memfd", "vm-beta/0x77"], "did you mean 0x7"),
        (["extract", IMAGE, "--reserve-mem", "trase"], "did you mean trace"),
        (["extract", IMAGE, "--blob", "kexec-meta"], "did you mean kexec-metadata"),
        (["sessions", IMAGE, "--session", "vm-alfa"], "did you mean vm-alpha"),
        (["sessions", IMAGE, "--session", "vm-alpha", "--file", "0x44"], "did you mean 0x4"),
        (["check", "--explain", "claim-not-preservd"], "did you mean claim-not-preserved"),
        (["check", IMAGE, "--next", "kho-v5"], "did you mean kho-v4"),
        (["inspect", IMAGE, "--as", "khov4"], "did you mean kho-v4"),
        (["inspect", IMAGE.with_suffix(".elv")], f"did you mean {IMAGE}"),
    ],
)
def test_a_name_that_is_not_there_is_guessed(arguments, guess):
    ran = run(*arguments, "-q")
    assert ran.status == 2
    assert f"\n  hint: {guess}" in ran.stderr


def test_what_looks_like_nothing_is_not_guessed():
    assert near("zzz", ["vm-alpha"]) == ""
    assert choice("sessions", [], "zzz") == "the sessions are none at all"
    assert choice("files", list("abcdefghij"), "zzz") == "the files are a, b, c, d, e, f, g, h and 2 more"
