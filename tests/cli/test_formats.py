"""`khodump formats`, wherever which extras are installed."""

from __future__ import annotations

import json

import pytest

from khodump.memories.formats import FORMATS
from khodump.trackers import FORMATS as MAP_FORMATS
from tests.transcript import run

OPTIONAL = {
    "kdump-compressed [lzo]": "kdump",
    "kdump-compressed [snappy]": "kdump",
    "kdump-compressed [zstd]": "kdump",
    "AVML (LiME version 2) [snappy]": "kdump",
    "any of these behind a URL [fsspec]": "remote",
}


@pytest.fixture
def listed(monkeypatch):
    """What `khodump formats` says where these modules are installed and no others."""

    def ask(*modules: str) -> dict[str, dict[str, object]]:
        monkeypatch.setattr("khodump.memories.formats.is_installed", modules.__contains__)
        ran = run("formats", "--format", "json")
        assert ran.status == 0
        return {row["image"]: row for row in json.loads(ran.stdout)["images"]}

    return ask


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_an_extra_reads_is_there_only_with_it(listed, name):
    without, having = listed()[name], listed("cramjam", "lzallright", "fsspec")[name]
    assert (without["read"], without["extra"], without["installed"]) == (True, OPTIONAL[name], False)
    assert without["otherwise"] == f"pip install 'khodump[{OPTIONAL[name]}]'"
    assert (having["read"], having["extra"], having["installed"]) == (True, OPTIONAL[name], True)
    assert having["otherwise"] is None


def test_each_codec_takes_its_own_module(listed):
    half = listed("lzallright")
    assert half["kdump-compressed [lzo]"]["installed"]
    assert not half["kdump-compressed [zstd]"]["installed"]


@pytest.mark.parametrize("name", ["ELF64 core", "kdump-compressed", "LiME", "raw, padded or with --ranges"])
def test_the_rest_is_read_by_any_installation(listed, name):
    row = listed()[name]
    assert (row["read"], row["extra"], row["installed"], row["otherwise"]) == (True, None, True, None)


def test_what_is_not_read_says_what_to_do(listed):
    rows = listed("cramjam", "lzallright", "fsspec")
    unread = {known.name: known.hint for known in FORMATS if not known.is_read}
    assert {name for name, row in rows.items() if not row["read"]} == set(unread)
    assert {name: rows[name]["otherwise"] for name in unread} == {
        name: hint.format(path="FILE") for name, hint in unread.items()
    }
    assert not any(rows[name]["installed"] for name in unread)


def test_every_format_that_is_recognised_is_listed(listed):
    names = " ".join(listed())
    assert all(known.name in names for known in FORMATS)


@pytest.mark.parametrize(
    "modules", [(), ("lzallright", "fsspec"), ("cramjam", "lzallright", "fsspec")], ids=len
)
def test_the_summary_counts_what_is_missing(listed, modules):
    rows = listed(*modules).values()
    here = sum(bool(row["installed"]) for row in rows)
    missing = sum(bool(row["read"]) and not row["installed"] for row in rows)
    assert (missing == 0) == (len(modules) == 3)
    more = f"; {missing} more with an extra" if missing else ""
    told = f"khodump: {here} image formats and parts of them can be read here{more}\n"
    assert run("formats").stderr == told


def test_the_map_formats_stand_beside_them():
    maps = json.loads(run("formats", "--format", "json").stdout)["maps"]
    assert [(row["version"], row["property"], row["kernels"]) for row in maps] == [
        (known.version, known.prop, known.kernels) for known in MAP_FORMATS
    ]


def test_rows_alone_are_the_image_formats():
    ran = run("formats", "--format", "tsv")
    header, *rows = ran.stdout.splitlines()
    assert header == "image\tread\textra\tinstalled\totherwise"
    assert "ELF64 core\tyes\t\tyes\t" in rows
