"""Long tables go to a pager on a terminal, fit its window, and nothing else does."""

from __future__ import annotations

import os
import re

import pytest

from tests.captures import CAPTURES
from tests.screen import on_a_terminal
from tests.transcript import ROOT, run

IMAGE = CAPTURES["luo-memfd serialized"].path
BROKEN = "samples/synthetic/cyclic-sessions.elf"
MARK = "sed s/^/paged:/"


def test_a_table_goes_to_the_pager():
    shown = on_a_terminal("owners", IMAGE, KHODUMP_PAGER=MARK, PAGER="false")
    assert "\npaged:preserved " in shown
    assert re.search(r"^khodump: .* preserved, ", shown, re.MULTILINE)  # the summary is no data


def test_pager_is_asked_where_khodumps_own_is_not_set(monkeypatch):
    monkeypatch.setattr(
        "tests.screen.KHODUMP", ["env", "-u", "KHODUMP_PAGER", *on_a_terminal.__globals__["KHODUMP"]]
    )
    assert "\npaged:preserved " in on_a_terminal("owners", IMAGE, PAGER=MARK)


@pytest.mark.parametrize(
    "arguments", [["--no-pager"], ["--format", "json"], ["--format", "tsv"], ["--output", os.devnull]]
)
def test_what_is_not_paged(arguments):
    assert "paged:" not in on_a_terminal("owners", IMAGE, *arguments, KHODUMP_PAGER=MARK)


def test_what_is_piped_is_not_paged(tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        on_a_terminal("owners", IMAGE, KHODUMP_PAGER=MARK, stdout=file.fileno(), columns=40)
    assert path.read_text() == run("owners", IMAGE).stdout


@pytest.mark.parametrize("pager", ["", "cat", "no-such-pager --really", "unclosed 'quote"])
def test_without_a_pager_the_table_is_shown_all_the_same(pager):
    assert on_a_terminal("owners", IMAGE, KHODUMP_PAGER=pager) == on_a_terminal("owners", IMAGE, "--no-pager")


@pytest.mark.parametrize("pager", ["true", "false", "head -n 1", "sh -c 'kill $$'"])
def test_a_pager_that_goes_away_is_no_error(pager):
    shown = on_a_terminal("inspect", IMAGE, "--pages", KHODUMP_PAGER=pager)
    assert "Traceback" not in shown
    assert "cannot write" not in shown
    assert "hint:" not in shown


def test_less_is_the_default_and_quits_where_all_fits():
    arguments = ["key", "0x10000000000103", "--page-size", "4K"]
    shown = on_a_terminal(*arguments, columns=200, KHODUMP_PAGER="less", TERM="xterm")
    assert "order bit" in shown


@pytest.mark.parametrize("columns", [60, 80, 100, 300])
def test_tables_fit_the_window(columns):
    wide = run("owners", IMAGE, "-q").stdout.splitlines()
    shown = on_a_terminal("owners", IMAGE, "-q", columns=columns).splitlines()
    assert len(shown) == len(wide)
    assert max(map(len, wide)) < 300
    assert (shown == wide) == (columns == 300)
    assert all(len(line) <= columns for line in shown)


def test_numbers_and_addresses_are_never_shortened():
    shown = on_a_terminal("owners", IMAGE, "-q", columns=30)
    cut = [re.split(r"  +", line)[1:] for line in shown.splitlines() if "…" in line]
    whole = [re.split(r"  +", line)[1:] for line in run("owners", IMAGE, "-q").stdout.splitlines()]
    assert cut
    assert all(row in whole for row in cut)


def test_sentences_are_wrapped_below_their_beginning(monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = on_a_terminal("check", BROKEN, "-q", columns=60)
    assert max(map(len, shown.splitlines())) <= 60
    assert re.search(r"^message      the list .*\n {13}\S", shown, re.MULTILINE)
    assert "  ".join(run("check", BROKEN, "-q").stdout.split())[:300] == "  ".join(shown.split())[:300]
