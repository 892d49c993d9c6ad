"""`khodump map`: where pictures go, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

import khodump
from khodump import extras
from tests.builders.handover import Description, build_handover
from tests.captures import SAMPLES
from tests.transcript import ROOT, run

IMAGE = SAMPLES / "captures" / "kho-test" / "serialized.elf"


def test_a_file_appears_whole_and_is_not_replaced_by_accident(tmp_path):
    file = tmp_path / "map.svg"
    assert run("map", IMAGE, "-o", file).status == 0
    ET.fromstring(file.read_text(encoding="utf-8"))  # noqa: S314 - our own
    refused = run("map", IMAGE, "-o", file, "--by", "owner")
    assert (refused.status, "exists already" in refused.stderr) == (2, True)
    before = file.read_bytes()
    assert run("map", IMAGE, "-o", file, "--by", "owner", "--force").status == 0
    assert file.read_bytes() != before
    assert [each.name for each in tmp_path.iterdir()] == ["map.svg"]


def test_nothing_is_left_behind_when_there_is_no_handover(tmp_path):
    (tmp_path / "noise").write_bytes(bytes(1 << 16))
    assert run("map", tmp_path / "noise", "-o", tmp_path / "map.svg").status == 3
    assert [each.name for each in tmp_path.iterdir()] == ["noise"]


def test_a_file_of_no_known_kind_is_refused(tmp_path):
    ran = run("map", IMAGE, "-o", tmp_path / "map.pdf")
    assert (ran.status, "map.pdf names no kind of picture" in ran.stderr) == (2, True)


def test_png(tmp_path):
    image = pytest.importorskip("PIL.Image")
    assert run("map", IMAGE, "-o", tmp_path / "map.PNG").status == 0
    with image.open(tmp_path / "map.PNG") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_png_without_pillow_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", missing)
    ran = run("map", IMAGE, "-o", tmp_path / "map.png")
    assert (ran.status, "khodump[png]" in ran.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_data_formats_hold_the_segments():
    rows = json.loads(run("map", IMAGE, "--format", "json", "-q").stdout)
    assert rows["schema"] == "khodump.map/1"
    assert {row["category"] for row in rows["segments"]} == {"image", "preserved", "tracker"}
    with khodump.open(IMAGE) as handover:
        size = sum(row["size"] for row in rows["segments"] if row["category"] == "preserved")
        assert size == handover.preserved.total_size


def test_a_damaged_map_is_drawn_and_said_to_be_partial(tmp_path):
    built = build_handover(Description(preservations=((0x4000, 0), (0x40_0000, 9))))
    built.image.drop(max(built.map_nodes))
    ran = run("map", built.image.to_elf(tmp_path / "core"))
    assert ran.status == 4
    assert "map's own pages" in ran.stdout
    assert "1 of the map's" in ran.stderr


def piped(**environment) -> bytes:
    command = [sys.executable, "-m", "khodump", "map", str(IMAGE)]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, **environment}
    ).stdout


def test_a_stream_of_ascii_gets_ascii_as_wide_as_columns_says():
    text = piped(PYTHONIOENCODING="ascii", COLUMNS="72").decode("ascii")
    assert 60 < max(map(len, text.splitlines())) <= 72
    assert "\\u" not in text
    assert "█" in piped(PYTHONIOENCODING="utf-8").decode()


def test_colour_is_asked_for():
    plain = run("map", IMAGE).stdout
    assert "\x1b" not in plain
    assert "\x1b[" in run("map", IMAGE, "--color", "always").stdout
