"""Pictures in characters: never wider than asked for, in any encoding, with and without colour."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

import khodump
from khodump.numbers import format_size
from khodump.picture.blocks import ASCII, UNICODE, canvas_of, charset_of, draw_blocks
from khodump.picture.picture import paint
from khodump.picture.view import By, Scale, View
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.captures import CAPTURES, HISTORIC
from tests.picture.test_svg import HOSTILE

EVERY = {**CAPTURES, **HISTORIC}
COLORS = re.compile(r"\x1b\[[0-9;]*m")


def drawn(handover, view, width, charset=UNICODE, *, color=False) -> list[str]:
    return list(draw_blocks(paint(handover, view, canvas_of(width, view.by)), width, charset, color=color))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("charset", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_every_capture_fits_every_width(name, charset):
    with khodump.open(EVERY[name].path, version="kho-v4" if name.startswith("fail") else None) as handover:
        for by in By:
            for scale in Scale:
                for width in (40, 41, 79, 80, 132, 400):
                    lines = drawn(handover, View(by, scale), width, charset)
                    assert max(map(cell_len, lines)) <= width
                    assert charset is UNICODE or "".join(lines).isascii()


def test_colour_adds_nothing_but_colour():
    with khodump.open(EVERY["kho-test serialized"].path) as handover:
        plain, colored = (drawn(handover, View(), 100, color=color) for color in (False, True))
    assert not any("\x1b" in line for line in plain)
    assert any("\x1b" in line for line in colored)
    assert [COLORS.sub("", line).rstrip() for line in colored] == plain


@pytest.mark.parametrize("name", [*HOSTILE, "会話" * 10, "e\u0301" * 20], ids=ascii)
@pytest.mark.parametrize("charset", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_names_of_any_width_keep_the_columns_straight(tmp_path, name, charset):
    memfd = Memfd(folios=folios_of(dict.fromkeys(range(9), b"a")))
    users = {"LUO": Luo(sessions=(Session(name.encode()[:60], (LuoFile(2, memfd),)),))}
    with khodump.open(build_handover(Description(subtrees=users)).image.to_raw(tmp_path / "mem")) as handover:
        for width in (40, 60, 77, 100):
            picture = paint(handover, View(By.OWNER), canvas_of(width, By.OWNER))
            lines = list(draw_blocks(picture, width, charset))
            assert max(map(cell_len, lines)) <= width
            assert not any(char in line for line in lines for char in "\x1b\x07\u202e\n")
            ends = set()
            for line, lane in zip(lines[2:], picture.lanes, strict=False):
                before, size, _ = line.partition(f" {format_size(lane.size)}")
                ends.add(cell_len(before + size))
            assert len(ends) == 1


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("iso8859-1", ASCII), ("nonsense", ASCII), (None, ASCII)],
)
def test_the_encoding_decides(encoding, charset):
    assert charset_of(encoding) is charset
