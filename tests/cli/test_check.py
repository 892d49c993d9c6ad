"""`khodump check` at a prompt: its status, its options, and what its formats look like with hostile names in them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from khodump.checking.rules import RULES
from tests.builders.fdt import u64
from tests.builders.luo import LuoFile, Session
from tests.builders.memfd import Memfd
from tests.captures import CAPTURES
from tests.checking.rules.breaking import bit_of, handed_over, in_fdt, luo
from tests.transcript import run

SOUND = CAPTURES["luo-memfd serialized"].path
WAITING = CAPTURES["luo-memfd pre"].path
REFUSED = CAPTURES["fail-compat serialized"].path
COLUMNS = [
    "severity",
    "rule",
    "phys",
    "owner",
    "message",
    "next kernel",
    "log",
    "seen",
    "stands",
    "confirm",
    "shows",
]


def image_of(built, directory: Path) -> Path:
    path: Path = built.image.to_elf(directory / "core", machine="EM_X86_64")
    return path


@pytest.fixture
def warned(tmp_path) -> Path:
    """A handover with a warning, and nothing graver: its FDT claims more than its page."""
    built = handed_over()
    built.image.write(built.fdt_phys + 6, b"\x21")
    return image_of(built, tmp_path)


def test_a_sound_handover_ends_with_0():
    ran = run("check", SOUND)
    assert ran.status == 0
    assert "accepted by kho-v4 kernels; nothing was found against it." in ran.stdout


def test_a_refused_one_ends_with_1_and_says_what_the_kernel_prints():
    ran = run("check", REFUSED)
    assert ran.status == 1
    lines = [line.strip() for line in ran.stdout.splitlines()]
    at = lines.index("log          KHO: setup: handover FDT (0x51f000) is incompatible with 'kho-v4': 1")
    assert lines[at + 1] == "KHO: disabling KHO revival"
    assert any("boots cold" in line for line in lines)


@pytest.mark.parametrize(
    ("severity", "statuses"), [("error", (0, 0, 0, 1)), ("warning", (0, 0, 1, 1)), ("info", (0, 1, 1, 1))]
)
def test_what_counts_as_found_can_be_told(severity, statuses, warned):
    images = (SOUND, WAITING, warned, REFUSED)
    assert tuple(run("check", image, "--fail-on", severity).status for image in images) == statuses


@pytest.mark.parametrize(
    ("kernel", "status"), [("kho-v4", 0), ("7.3", 0), ("7.2.13", 0), ("kho-v3", 1), ("7.1", 1), ("6.18", 1)]
)
def test_the_next_kernel_can_be_named(kernel, status):
    assert run("check", SOUND, "--next", kernel).status == status


@pytest.mark.parametrize(
    ("arguments", "why", "hint"),
    [
        ((SOUND, "--next", "kho-v5"), "khodump knows no kernel kho-v5", "it knows kho-v4, "),
        ((SOUND, "--next", "7.30"), "khodump knows no kernel 7.30", "7.3, 7.2"),
        ((SOUND, "--next", ""), "khodump knows no kernel", "it knows kho-v4, "),
        (("--explain", "fdt-incompatble"), "there is no rule fdt-incompatble", "did you mean fdt-incompatible"),
        (("--explain", "memfd"), "there is no rule memfd", "memfd-seals-unknown"),
        (("--explain", "xyzzy"), "there is no rule xyzzy", "khodump check --list names them all"),
        (("--explain", ""), "there is no rule", "khodump check --list names them all"),
        ((), "no memory image named", "khodump check IMAGE, or khodump check --list"),
        (("/nowhere/at/all",), "cannot open /nowhere/at/all", ""),
    ],
)  # fmt: skip
def test_a_bad_request_ends_with_2_and_a_hint(arguments, why, hint):
    ran = run("check", *arguments)
    assert (ran.status, ran.stdout) == (2, "")
    assert why in ran.stderr
    assert hint in ran.stderr


def test_a_severity_that_is_none_is_a_bad_request():
    assert run("check", SOUND, "--fail-on", "fatal").status == 2


def test_an_image_without_kho_ends_with_3(tmp_path):
    path = tmp_path / "mem.img"
    path.write_bytes(bytes(1 << 20))
    for options in ([], ["--fdt", "0x100000000"]):
        ran = run("check", path, *options)
        assert (ran.status, ran.stdout) == (3, "")
        assert "hint: " in ran.stderr


def test_a_page_that_is_no_fdt_is_what_the_kernel_is_handed(tmp_path):
    path = tmp_path / "mem.img"
    path.write_bytes(bytes(1 << 20))
    ran = run("check", path, "--fdt", "0x1000")
    assert ran.status == 1
    assert "KHO: setup: handover FDT (0x1000) is invalid: -9" in ran.stdout


def test_the_list_has_every_rule():
    ran = run("check", "--list", "--format", "json")
    said = json.loads(ran.stdout)
    assert (ran.status, said["schema"]) == (0, "khodump.rules/1")
    assert [(row["rule"], row["severity"]) for row in said["rules"]] == [
        (rule.name, rule.severity.value) for rule in RULES
    ]
    assert all(rule.name in run("check", "--list").stdout for rule in RULES)


@pytest.mark.parametrize("rule", ["fdt-incompatible", "claim-not-preserved", "stale-incoming"])
def test_a_rule_can_be_explained_without_an_image(rule):
    ran = run("check", "--explain", rule)
    assert ran.status == 0
    for name in ("finds", "for the next kernel", "how to confirm", "source"):
        assert name in ran.stdout


def test_json_is_one_object_with_a_verdict_and_typed_findings():
    ran = run("check", REFUSED, "--format", "json")
    said = json.loads(ran.stdout)
    assert said["schema"] == "khodump.check/1"
    assert "would be refused" in said["verdict"]
    assert (said["errors"], said["warnings"], said["infos"]) == (1, 0, 0)
    (finding,) = said["findings"]
    assert set(finding) == {name.replace(" ", "_") for name in COLUMNS}
    assert (finding["rule"], finding["severity"]) == ("fdt-incompatible", "error")
    assert (finding["phys"], finding["owner"]) == (0x51F000, "KHO/root FDT")
    assert finding["message"] == "the root FDT says kho-v9, and kernels of 7.3 take kho-v4 alone"
    assert json.loads(run("check", SOUND, "--format", "json").stdout)["findings"] == []


FORGED = "vm]\nKHO: found kexec handover data.\r\x1b[31m\u202e\n\nrule  fdt-invalid"
HANDLER = 'x\nKHO: forged\x1b]0;t\x07"'


@pytest.fixture
def hostile(tmp_path) -> Path:
    """Two sessions of one name, one of which has a file of a kind that nobody knows."""
    files = (LuoFile(1, 0xDEAD, HANDLER), LuoFile(2, Memfd(seals=1 << 20)))
    built = handed_over({"LUO": luo(name=FORGED, more=(Session(FORGED, files),))})
    return image_of(built, tmp_path)


def test_names_forge_no_lines_in_a_table(hostile):
    ran = run("check", hostile)
    assert ran.status == 1
    names = {line.partition("  ")[0] for line in ran.stdout.splitlines()}
    known = {*COLUMNS, "", "verdict", "image", "fdt", "compatible", "made by", "next kernel"}
    assert names <= known | {
        "rules run",
        "errors",
        "warnings",
        "infos",
        "not run",
        "scratch-overlap, scratch-misaligned",
    }
    lines = ran.stdout.splitlines()
    assert not any(line.strip().startswith(("KHO:", "rule  fdt-invalid")) for line in lines)
    assert ran.stdout.count("rule         ") == len([line for line in lines if line.startswith("severity")])
    assert not set(ran.stdout + ran.stderr) & {"\x1b", "\r", "\x07", "\u202e"}


@pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "json"])
def test_every_format_parses_with_hostile_names_in_it(format_, hostile):
    text = run("check", hostile, "--format", format_).stdout
    assert not set(text) & {"\x1b", "\r", "\x07", "\u202e"}
    if format_ in ("csv", "tsv"):
        rows = list(csv.reader(io.StringIO(text), delimiter="," if format_ == "csv" else "\t"))
        assert rows[0] == COLUMNS
        assert {len(row) for row in rows} == {len(COLUMNS)}
        rules = [row[1] for row in rows[1:]]
    else:
        said = (
            json.loads(text)["findings"]
            if format_ == "json"
            else [json.loads(line) for line in text.splitlines()]
        )
        rules = [row["rule"] for row in said]
        logs = [line for row in said for line in (row["log"] or "").split("\n") if line]
        assert all(line.startswith(("luo: ", "memfd_luo: ")) for line in logs)
    assert set(rules) == {"session-name-repeated", "file-handler-unknown", "memfd-seals-unknown"}


def test_formats_have_a_row_a_finding_and_none_without(tmp_path):
    assert run("check", SOUND, "--format", "jsonl").stdout == ""
    assert run("check", SOUND, "--format", "csv").stdout.splitlines() == [",".join(COLUMNS)]
    built = handed_over()
    for phys in (built.blobs["memblock"], built.places["LUO/sessions"][0]):
        built.image.write(*bit_of(built, phys, 0))
    rows = run("check", image_of(built, tmp_path), "--format", "tsv").stdout.splitlines()[1:]
    assert sorted(row.split("\t")[1] for row in rows) == ["blob-not-preserved", "claim-not-preserved"]


def test_a_version_can_be_forced_on_what_says_another(tmp_path):
    """`--as` reads it; what the next kernel makes of the string it has is the same as ever."""
    ran = run("check", REFUSED, "--as", "kho-v4", "--format", "json")
    assert [row["rule"] for row in json.loads(ran.stdout)["findings"]] == ["fdt-incompatible"]
    built = handed_over()
    built.image.write(in_fdt(built, u64(built.tree.root)), u64(0))
    ran = run("check", image_of(built, tmp_path), "--fdt", hex(built.fdt_phys))
    assert ran.status == 1
    assert "KHO: disabling KHO revival" in ran.stdout
    assert "failed to get preserved memory" not in ran.stdout  # of an address of 0, the kernel says nothing
