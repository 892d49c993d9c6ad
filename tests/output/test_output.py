"""Every format writes the same rows, and nothing in them acts on a terminal, a spreadsheet or a parser."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from khodump.findings import Finding, Severity
from khodump.output.formats import Format
from khodump.output.text import human_text, machine_text, printable
from khodump.output.write import write
from khodump.rows import Column, Fact, Head, Kind, Result, Rows, Tail

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202eevil\u2066 nul\0 tab\t line\n two\r\u2028 back\\slash <script> 日本 \udcff"
COLUMNS = (
    Column("phys", Kind.ADDRESS),
    Column("name", Kind.TEXT),
    Column("size", Kind.SIZE),
    Column("ok", Kind.TRUTH),
)


def result(*blocks) -> Result:
    tail = Tail("done", (Finding("some-rule", Severity.ERROR, 0x1000, HOSTILE, {"slot": 3}),))
    head = Head((Fact("image name", HOSTILE, Kind.TEXT), Fact("root", 4096, Kind.ADDRESS)))
    return Result("khodump.test/1", lambda: head, Rows("things", COLUMNS, blocks), lambda: tail)


BLOCK = (np.array([0x1000, 0x2000], np.uint64), [HOSTILE, "=cmd()"], [4096, None], [True, None])


def written(format_: Format, *blocks) -> str:
    stream = io.StringIO()
    assert write(result(*blocks), format_, stream).summary == "done"
    return stream.getvalue()


@pytest.mark.parametrize("format_", [format_ for format_ in Format if format_ is not Format.PARQUET])
def test_nothing_hostile_gets_through(format_):
    text = written(format_, BLOCK)
    assert not set(text) & {"\x1b", "\x07", "\0", "\u202e", "\u2066", "\u2028", "\r", "\udcff"}


def test_json_is_one_object_with_integers():
    parsed = json.loads(written(Format.JSON, BLOCK, BLOCK))
    assert parsed["schema"] == "khodump.test/1"
    assert parsed["image_name"] == HOSTILE
    assert parsed["findings"][0]["message"] == HOSTILE.replace(
        "\udcff", "\\xff"
    )  # lone surrogates are no text
    assert len(parsed["things"]) == 4
    assert parsed["things"][1] == {"phys": 0x2000, "name": "=cmd()", "size": None, "ok": None}
    assert parsed["findings"][0]["evidence"] == {"slot": 3}
    assert json.loads(written(Format.JSON))["things"] == []


def test_jsonl_is_an_object_a_row():
    lines = written(Format.JSONL, BLOCK).splitlines()
    assert [json.loads(line)["phys"] for line in lines] == [0x1000, 0x2000]
    assert written(Format.JSONL) == ""


def test_csv_parses_back_and_holds_no_formula():
    rows = list(csv.reader(io.StringIO(written(Format.CSV, BLOCK))))
    assert rows[0] == ["phys", "name", "size", "ok"]
    assert rows[1] == ["0x1000", printable(HOSTILE), "4096", "yes"]
    assert rows[2] == ["0x2000", "'=cmd()", "", ""]


def test_tsv_has_as_many_cells_as_columns():
    lines = written(Format.TSV, BLOCK).split("\n")
    assert [line.split("\t")[0] for line in lines[:-1]] == ["phys", "0x1000", "0x2000"]
    assert {len(line.split("\t")) for line in lines[:-1]} == {4}


def test_a_table_grows_with_its_first_block_only():
    text = written(Format.TABLE, BLOCK, (np.array([1 << 60], np.uint64), ["x"], [1 << 30], [False]))
    lines = text.splitlines()
    assert lines[0].startswith("image name  ")
    assert lines[-1].split() == ["0x1000000000000000", "x", "1", "GiB", "no"]


@pytest.mark.parametrize(
    ("value", "kind", "human", "machine"),
    [
        (0, Kind.ADDRESS, "0x0", "0x0"),
        (None, Kind.ADDRESS, "-", ""),
        (0, Kind.SIZE, "0 B", "0"),
        (1023, Kind.SIZE, "1023 B", "1023"),
        (1536, Kind.SIZE, "1.5 KiB", "1536"),
        (1 << 63, Kind.SIZE, "8 EiB", str(1 << 63)),
        (False, Kind.TRUTH, "no", "no"),
        ("plain", Kind.TEXT, "plain", "plain"),
    ],
)
def test_single_values(value, kind, human, machine):
    assert human_text(value, kind) == human
    assert machine_text(value, kind) == machine


def test_printable_text_can_be_told_from_its_escapes():
    assert printable("a\nb") == "a\\nb"
    assert printable("a\\nb") == "a\\\\nb"
    assert printable("ÅÄ 日本") == "ÅÄ 日本"


def changes(*blocks, empty: str | None = None) -> Result:
    columns = (Column("change", Kind.CHANGE), Column("name", Kind.TEXT))
    rows = Rows("changes", columns, blocks, empty)
    return Result("khodump.test/1", lambda: Head((), (rows,)), rows, lambda: Tail("done"))


CHANGED = (["added", "removed", "reordered", "moved", "unknown"], ["a", "b", "c", "\x1b[31md", "e"])


def test_changes_are_signs_in_tables_and_words_elsewhere():
    stream = io.StringIO()
    write(changes(CHANGED), Format.TABLE, stream)
    signs = [line[0] for line in stream.getvalue().splitlines() if line]
    assert signs == ["c", "+", "-", "~", ">", "?"] * 2
    stream = io.StringIO()
    write(changes(CHANGED), Format.TSV, stream)
    assert [line.split("\t")[0] for line in stream.getvalue().splitlines()[1:]] == CHANGED[0]


def test_changes_colour_their_lines_when_colour_is_wanted():
    stream = io.StringIO()
    write(changes(CHANGED), Format.TABLE, stream, color=True)
    text = stream.getvalue()
    for code, name in ((32, "a"), (31, "b"), (33, "c"), (35, "e")):
        lines = [line for line in text.splitlines() if line.startswith(f"\x1b[{code}m")]
        assert len(lines) == 2
        assert all(line.endswith(f"{name}\x1b[0m") for line in lines)
    assert "\x1b[31md" not in text


def test_no_rows_are_an_answer_where_they_are_one():
    stream = io.StringIO()
    write(changes(empty="nothing changed"), Format.TABLE, stream)
    assert stream.getvalue() == "nothing changed\n"
    stream = io.StringIO()
    write(changes(CHANGED, empty="nothing changed"), Format.TABLE, stream)
    assert "nothing" not in stream.getvalue()
