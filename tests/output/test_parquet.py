"""parquet holds the rows of every command in typed columns, and comes in row groups."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from khodump.names import well_formed
from khodump.output import parquet
from khodump.output.formats import Format
from khodump.output.write import write
from khodump.rows import Column, Head, Kind, Result, Rows, Tail
from tests.captures import CAPTURES
from tests.commands import COMMANDS as GROUP
from tests.output.test_output import BLOCK, HOSTILE, result
from tests.transcript import run

pq = pytest.importorskip("pyarrow.parquet")

IMAGE = CAPTURES["kho-test serialized"].path
KHODUMP = [sys.executable, "-m", "khodump"]

COMMANDS = {
    "inspect": ("inspect", IMAGE),
    "inspect --pages": ("inspect", IMAGE, "--pages"),
    "inspect --owners": ("inspect", IMAGE, "--owners"),
    "scan": ("scan", IMAGE),
    "check": ("check", IMAGE),
    "check, with findings": ("check", CAPTURES["fail-compat serialized"].path),
    "check --list": ("check", "--list"),
    "owners": ("owners", IMAGE),
    "sessions": ("sessions", CAPTURES["luo-memfd serialized"].path),
    "subtrees": ("subtrees", IMAGE),
    "lookup": ("lookup", IMAGE, "0x4cd000", "0"),
    "key": ("key", "--phys", "0x40000000", "--order", "18"),
    "formats": ("formats",),
    "diff": ("diff", IMAGE, CAPTURES["luo-memfd serialized"].path),
    "map": ("map", IMAGE),
    "tree": ("tree", IMAGE),
}


def test_every_kind_of_value_has_a_type():
    assert parquet._TYPES.keys() == set(Kind)


def test_every_command_with_a_format_is_here():
    having = {name for name, each in GROUP.items() if any("--format" in param.opts for param in each.params)}
    having.remove("slim")  # its --output is the core: tests/cli/test_outputs.py
    assert having == {arguments[0] for arguments in COMMANDS.values()}


def written(shown: Result) -> io.BytesIO:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw)
    assert write(shown, Format.PARQUET, text).summary == "done"
    text.detach()
    return raw


def test_columns_are_typed_and_text_is_as_in_json():
    table = pq.read_table(written(result(BLOCK, BLOCK)))
    assert [str(field.type) for field in table.schema] == ["uint64", "string", "uint64", "bool"]
    assert table.to_pylist()[:2] == [
        {"phys": 0x1000, "name": well_formed(HOSTILE), "size": 4096, "ok": True},
        {"phys": 0x2000, "name": "=cmd()", "size": None, "ok": None},
    ]
    assert table.num_rows == 4


def test_the_metadata_holds_schema_facts_and_summary():
    told = pq.read_metadata(written(result(BLOCK))).metadata
    assert told[b"khodump.schema"] == b"khodump.test/1"
    assert told[b"khodump.root"] == b"0x1000"
    assert told[b"khodump.image_name"].decode() == well_formed(HOSTILE)
    assert told[b"khodump.summary"] == b"done"


def test_no_rows_are_a_file_with_columns():
    table = pq.read_table(written(result()))
    assert table.num_rows == 0
    assert table.column_names == ["phys", "name", "size", "ok"]


def test_rows_are_written_in_groups_as_they_come(monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 1000)
    raw, sizes = io.BytesIO(), []

    def blocks():
        for start in range(0, 10_000, 300):
            sizes.append(len(raw.getvalue()))
            yield (np.random.default_rng(start).integers(0, 1 << 63, 300, np.uint64),)

    rows = Rows("things", (Column("phys", Kind.ADDRESS),), blocks())
    text = io.TextIOWrapper(raw)
    write(Result("khodump.test/1", lambda: Head(()), rows, lambda: Tail("done")), Format.PARQUET, text)
    assert pq.read_metadata(raw).num_row_groups >= 8
    assert len(set(sizes)) >= 8  # bytes have left before the last row came
    text.detach()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_every_command_writes_the_rows_that_it_writes_as_json_lines(command, tmp_path):
    path = tmp_path / "rows.parquet"
    assert run(*command, "-f", "parquet", "-o", path).stdout == ""
    lines = run(*command, "-f", "jsonl").stdout.splitlines()
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == len(lines)
    csv = run(*command, "-f", "csv").stdout.splitlines()[0].replace(" ", "_").split(",")
    assert pq.read_schema(path).names == csv


def test_addresses_survive_as_they_are(tmp_path):
    run("inspect", IMAGE, "--pages", "-f", "parquet", "-o", tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    blocks = list(zip(table["phys"].to_pylist(), table["order"].to_pylist(), strict=True))
    assert sorted(blocks) == sorted(CAPTURES["kho-test serialized"].blocks())


def test_it_goes_through_a_pipe():
    piped = subprocess.run(
        [*KHODUMP, "inspect", "-q", str(IMAGE), "-f", "parquet"], stdout=subprocess.PIPE, check=True
    )
    assert pq.read_table(io.BytesIO(piped.stdout)).num_rows > 0


def test_a_reader_that_goes_away_is_no_error():
    command = [
        *KHODUMP,
        "inspect",
        "-q",
        str(CAPTURES["luo-memfd serialized"].path),
        "--pages",
        "-f",
        "parquet",
    ]
    read, end = os.pipe()
    os.close(read)
    ended = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(end)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_is_said():
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        command = [*KHODUMP, "inspect", "-q", str(IMAGE), "-f", "parquet"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("khodump: cannot write the output: No space left on device")


def test_a_terminal_is_spared():
    master, slave = os.openpty()
    command = [*KHODUMP, "inspect", str(IMAGE), "-f", "parquet"]
    ended = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, text=True, check=False)
    os.close(slave)
    os.close(master)
    assert ended.returncode == 2
    assert ended.stderr == (
        "khodump: parquet is binary, and stdout is a terminal\n  hint: send it to a file: > FILE\n"
    )


def test_without_the_extra_it_says_so_at_once(monkeypatch, tmp_path):
    def no_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("khodump.extras.import_module", no_module)
    ran = run("inspect", "no-such-image", "-f", "parquet", "-o", tmp_path / "rows.parquet")
    assert ran.status == 2
    assert "parquet needs the Python module pyarrow" in ran.stderr
    assert "pip install 'khodump[arrow]'" in ran.stderr
    assert not (tmp_path / "rows.parquet").exists()
