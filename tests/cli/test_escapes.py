"""Names that come out of an image are text in every format: never an escape sequence, a formula, markup or a path."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from tests.builders.handover import Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.builders.users import Memblock, ReserveMem, User
from tests.fuzz.commands import FORMATS, check_run
from tests.transcript import run

NAMES = {
    "ansi": b"\x1b[31mred\x1b[2J",
    "osc": b"\x1b]0;owned\x07",
    "osc 8": b"\x1b]8;;http://x\x1b\\click\x1b]8;;\x1b\\",
    "c1": "\x9b31m\x90q\x9c".encode(),
    "bidi": "a\u202eb\u2066c\u200f".encode(),
    "lines": b"one\ntwo\rthree\x0b\x0c" + "\x85\u2028\u2029".encode(),
    "half a character": b"half \xc3",
    "no text at all": b"\xff\xfe\x80\x81",
    "surrogate": b"\xed\xa0\x80",
    "markup": b"<script>alert(1)</script>",
    "quotes": b"\"'`,;|\t\\",
    "backslashes": b"\\x1b[31m\\n",
    "up": b"../../etc/passwd",
    "absolute": b"/etc/passwd",
    "equals": b"=cmd|'/C calc'!A0",
    "plus": b"+1+1",
    "minus": b"-1+1",
    "at": b"@SUM(A1)",
    "tab and formula": b"\t=1+1",
    "line and formula": b"\r=1+1",
    "options": b"--force",
    "astral": "\U000e0041\U0001f4a9".encode(),
    "zero width": "a\u200bb\ufeff\u00ad".encode(),
}
#: Names of nodes and regions pass the validator of FDTs, and so are of printable ASCII.
NODES = [
    "=cmd()",
    "+1",
    "-1",
    "@SUM",
    "<script>",
    "..",
    "$(reboot)",
    "`id`",
    "%n%s",
    '"',
    "'",
    "\\",
    "{}",
    "[red]x",
]


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    memfd = Memfd((Folio(0, b"content"),), 7)
    sessions = tuple(Session(name, (LuoFile(1, memfd), LuoFile(2, 7, "x\x1b[1m"))) for name in NAMES.values())
    regions = tuple(ReserveMem(name, 0x4000_0000 + at * 4096, 4096) for at, name in enumerate(NODES))
    users: dict[str, bytes | User] = {
        "LUO": Luo(sessions, (Flb("flb\x1b[31m", 1),)),
        "memblock": Memblock(regions),
        **dict.fromkeys(NODES, b"\x1b[31m=1\n" * 8),
    }
    release = "7.3\x1b]0;x\x07=1"
    built = build_handover(Description(subtrees=users, release=release))
    return built.image.to_elf(tmp_path_factory.mktemp("escapes") / "image")


COMMANDS = [
    ("inspect",),
    ("inspect", "--owners"),
    ("inspect", "--owners", "--pages"),
    ("scan",),
    ("check",),
    ("owners",),
    ("sessions",),
    ("subtrees",),
    ("lookup", "ADDRESS"),
    ("tree",),
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_name_acts_on_anything(command, format_, image):
    name, *options = command
    line = [name, image, *("0x100000" if option == "ADDRESS" else option for option in options)]
    line += ["--format", format_, "--verbose"]
    ran = run(*line)
    assert ran.status in (0, 1)
    check_run([str(word) for word in line], ran)


def test_the_source_of_a_tree_is_harmless(image):
    ran = run("subtrees", image, "--dts")
    check_run(["subtrees", "--dts"], ran)


def test_a_map_is_harmless(image):
    check_run(["map"], run("map", image, "--by", "owner"))


def test_a_report_runs_nothing_but_its_own_scripts(image, tmp_path):
    """Names are text there, too: what is markup in a name is no markup in the page."""
    ran = run("report", image, "--output", tmp_path / "report.html")
    check_run(["report"], ran)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not set(page) & {"\x1b", "\x07", "\u202e", "\u2066", "\u2028", "\0"}


def sessions_in(image: Path, format_: str) -> list[str]:
    """The names of sessions as the format gives them."""
    text = run("sessions", image, "--format", format_).stdout
    if format_ == "json":
        return [row["session"] for row in json.loads(text)["files"]]
    if format_ == "jsonl":
        return [json.loads(row)["session"] for row in text.splitlines()]
    if format_ == "csv":
        return [row[0] for row in csv.reader(io.StringIO(text))][1:]
    return [row.split("\t")[0] for row in text.split("\n")[1:-1]]


@pytest.mark.parametrize("format_", ["json", "jsonl"])
def test_json_holds_every_name_exactly(format_, image):
    """What is no UTF-8 is a lone surrogate, written as \\udcXX, from which the bytes can be had back."""
    told = dict.fromkeys(sessions_in(image, format_))
    assert [name.encode("utf-8", "surrogateescape") for name in told] == [
        name.split(b"\0")[0] for name in NAMES.values()
    ]


@pytest.mark.parametrize("format_", ["csv", "tsv"])
def test_escaped_names_stay_apart(format_, image):
    assert len(set(sessions_in(image, format_))) == len(NAMES)


def test_a_spreadsheet_runs_nothing(image):
    """What would be a formula gets a quote mark in front, which spreadsheets take for "this is text"."""
    names = sessions_in(image, "csv")
    assert not any(name.lstrip().startswith(("=", "+", "-", "@")) for name in names)
    assert "'=cmd|'/C calc'!A0" in names
    assert "'+1+1" in names
    for command in (("subtrees",), ("owners",), ("inspect", "--owners")):
        rows = csv.reader(io.StringIO(run(*command[:1], image, *command[1:], "--format", "csv").stdout))
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_path(name, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = os.fsdecode(NAMES[name])
    ran = run("extract", image, "--memfd", f"{session}/1")
    assert (ran.status, ran.stdout) == (0, "content")
    check_run(["extract"], ran._replace(stdout=""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [("extract", "--memfd", "no/1"), ("extract", "--blob", "no"), ("extract", "--reserve-mem", "no")],
)
def test_names_in_hints_are_harmless(command, image):
    ran = run(command[0], image, *command[1:])
    assert ran.status == 2
    check_run(command, ran)


@pytest.mark.parametrize("argument", ["\x1b[31m", "\u202e", "new\nline", "\udcff"])
@pytest.mark.parametrize(
    "line", [("inspect", "ARGUMENT"), ("inspect", "IMAGE", "--fdt", "ARGUMENT"), ("inspect", "IMAGE", "--as", "ARGUMENT"),
             ("lookup", "IMAGE", "ARGUMENT"), ("check", "--explain", "ARGUMENT"), ("check", "IMAGE", "--next", "ARGUMENT"),
             ("extract", "IMAGE", "--blob", "ARGUMENT"), ("key", "ARGUMENT")]
)  # fmt: skip
def test_arguments_come_back_harmless(line, argument, image):
    """File names come from elsewhere, too: an image may be unpacked from an archive."""
    words = [{"ARGUMENT": argument, "IMAGE": str(image)}.get(word, word) for word in line]
    ran = run(*words)
    assert ran.status in (2, 3)
    check_run(line, ran)
