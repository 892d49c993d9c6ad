"""Every error says what to do next, and guesses what was meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import khodump
from khodump.advice import FORCE, SCAN, VERSION, Advice, Invocation
from khodump.errors import KhodumpError, choice, near
from tests.captures import CAPTURES
from tests.transcript import ROOT, run

IMAGE = CAPTURES["luo-memfd serialized"].path
#: They take no hint, for their classes bring one; FdtErrors out of fdt.py are told again by who meets them.
WITH_THEIR_OWN = {"UnknownVersionError", "UnreadableError", "MissingError"}
SOURCES = sorted(path for path in (ROOT / "khodump").rglob("*.py") if path.name != "fdt.py")


#: What callers in Python reach; a command says itself what its own options are.
BELOW = [path for path in SOURCES if not {"cli", "drgn"} & set(path.parts)]
#: An option, but for that of a command that is named before it.
OPTION = re.compile(r"(?<!khodump check )--[a-z]")


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


@pytest.mark.parametrize("path", BELOW, ids=lambda path: str(Path(path).relative_to(ROOT)))
def test_what_is_raised_below_the_command_line_names_parameters_and_no_options(path):
    raised = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)
    ]
    texts = {
        node.value
        for each in raised
        for node in ast.walk(each)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not [text for text in texts if OPTION.search(text)]


def test_a_parameter_is_worded_for_whom_is_told(tmp_path):
    """One error, as a caller in Python has it, a command, and a command that takes the parameter for each side."""
    missing = tmp_path / "kho.dtb"
    with pytest.raises(khodump.ImageError) as raised:
        khodump.open(IMAGE, fdt=missing)
    after = "takes a .dtb file, or an address that begins with 0x; without it the image is searched"
    assert raised.value.hint == f"fdt= {after}"
    for arguments, option in (
        (["inspect", IMAGE, "--fdt", missing], "--fdt"),
        (["diff", IMAGE, IMAGE, "--fdt-old", missing], "--fdt-old"),
        (["diff", IMAGE, IMAGE, "--fdt-new", missing], "--fdt-new"),
    ):
        assert f"\n  hint: {option} {after}\n" in run(*arguments).stderr


def test_a_value_is_typed_at_a_prompt_and_written_in_python():
    version = VERSION.of("kho-v4")
    assert (version.as_option(), version.as_keyword()) == ("--as kho-v4", "version='kho-v4'")
    assert (FORCE.as_option(), FORCE.as_keyword()) == ("--force", "force=True")
    error = KhodumpError(Advice.of("not with ", version), hint=Advice.of("leave ", VERSION, " out"))
    assert (str(error), error.hint) == ("not with version='kho-v4'", "leave version= out")
    error.at_prompt()
    assert (str(error), error.hint) == ("not with --as kho-v4", "leave --as out")


def test_where_the_image_was_named_an_error_keeps_that_name_at_a_prompt():
    error = KhodumpError("lost", hint=Advice.of(SCAN, " lists them"))
    error.invocation = Invocation(("vmcore",))
    assert error.at_prompt().hint == "khodump scan vmcore lists them"


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
