"""Progress bars: when they are shown, what they say, and that nothing of them stays."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from khodump.cli.progress import Bar
from tests.captures import CAPTURES, SAMPLES
from tests.screen import on_a_terminal

IMAGE = CAPTURES["luo-memfd serialized"].path
RAW = SAMPLES / "synthetic" / "mem.img"
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _speaking(monkeypatch):
    monkeypatch.setattr(Bar, "silent", False)
    monkeypatch.setattr(Bar, "_open", [])
    monkeypatch.setenv("COLUMNS", "100")


def bar(*times: float, unit: str | None = None) -> tuple[Bar, io.StringIO]:
    """A bar that finds it is so late, each time it looks."""
    stream = io.StringIO()
    clock: Iterator[float] = iter(times)
    return Bar("searching", unit, stream, lambda: next(clock)), stream


def test_it_tells_how_far_how_fast_and_how_long():
    shown, stream = bar(0, 10)
    shown(5 * GIB, 20 * GIB)
    assert (
        stream.getvalue()
        == "\r\x1b[Ksearching  [#####               ]  25%  5 GiB of 20 GiB  512 MiB/s  0:30 left"
    )


def test_without_an_end_it_tells_how_much_and_how_fast():
    shown, stream = bar(0, 10, unit="rows")
    shown(123_456, 0)
    assert stream.getvalue() == "\r\x1b[Ksearching  123,456 rows  12,345 rows/s"


def test_what_is_quick_shows_nothing():
    shown, stream = bar(0, 0.2, 0.4)
    for done in (1, 2, 3):
        shown(done, 3)
    shown.close()
    assert stream.getvalue() == ""


def test_it_is_not_drawn_too_often_and_goes_at_the_end():
    shown, stream = bar(0, 1, 1.01, 1.02, 1.2)
    for done in range(1, 6):
        shown(done, 5)
    assert stream.getvalue().count("searching") == 2
    assert stream.getvalue().endswith("\r\x1b[K")


def test_the_last_that_began_has_the_line():
    outer, above = bar(0, 1, 2, 3)
    inner, below = bar(0, 1)
    outer(1, 0)
    inner(1, 0)
    outer(2, 0)
    assert above.getvalue().count("searching") == below.getvalue().count("searching") == 1
    inner.close()
    outer(3, 0)
    assert above.getvalue().count("searching") == 2


def test_it_fits_a_narrow_window(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    shown, stream = bar(0, 10)
    shown(5, 20)
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) == 29


@pytest.fixture
def impatient(monkeypatch):
    """Bars that are shown at once, in processes too."""
    code = "import khodump.cli.progress as p; p._PATIENCE = p._INTERVAL = -1; import khodump.cli; khodump.cli.main()"
    python = on_a_terminal.__globals__["KHODUMP"][0]
    monkeypatch.setattr("tests.screen.KHODUMP", [python, "-c", code])


@pytest.mark.usefixtures("impatient")
def test_every_long_thing_has_a_bar(tmp_path):
    shown = on_a_terminal(
        "inspect", IMAGE, "--pages", "--format", "tsv", "--output", tmp_path / "rows", columns=120
    )
    for what in ("searching for the root FDT", "walking the map", "writing pages"):
        assert f"\r\x1b[K{what}  " in shown
    assert shown.replace("\r", "\n").splitlines()[-1].startswith("\x1b[Kkhodump: ")
    copied = on_a_terminal("extract", RAW, "--range", "0+8M", "-o", tmp_path / "disk", columns=120)
    assert "extracting range 0x0+0x800000  " in copied
    assert "writing" in on_a_terminal("slim", IMAGE, "-o", tmp_path / "slim.elf", columns=150)


@pytest.mark.usefixtures("impatient")
def test_data_on_the_terminal_is_not_overwritten():
    shown = on_a_terminal("inspect", IMAGE, "--pages", "--sort", "walk", columns=120)
    assert "\x1b" not in shown[shown.index("image ") :]


@pytest.mark.usefixtures("impatient")
def test_quiet_is_quiet(tmp_path):
    assert on_a_terminal("inspect", IMAGE, "-q", "--output", tmp_path / "rows") == ""
