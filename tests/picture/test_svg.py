"""SVG: well-formed, small, and harmless whatever the image says."""

from __future__ import annotations

import os
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import khodump
from khodump.picture.axis import linear_axis
from khodump.picture.picture import SEGMENTS, Picture, Segments, paint
from khodump.picture.pieces import Category, Lane
from khodump.picture.scene import CANVAS, clipped
from khodump.picture.svg import draw_svg
from khodump.picture.view import By, Scale, View
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import ROOT

SVG = "{http://www.w3.org/2000/svg}"
LIMIT = 200_000
ELEMENTS = {"svg", "title", "desc", "style", "defs", "pattern", "rect", "path", "text"}
EVERY = {**CAPTURES, **HISTORIC}
HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b]0;x\x07\x1b[31m",
    "\u202egnp.exe",
    "\"'&]]><!--",
    "\U0001f4a3" * 14,
]


def parsed(text: str) -> ET.Element:
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    assert not any(
        name.startswith("on") or "href" in name for element in root.iter() for name in element.attrib
    )
    return root


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("by", By)
@pytest.mark.parametrize("scale", Scale)
def test_every_capture_is_drawn(name, by, scale):
    with khodump.open(EVERY[name].path, version="kho-v4" if name.startswith("fail") else None) as handover:
        picture = paint(handover, View(by, scale), CANVAS)
        text = draw_svg(picture)
    root = parsed(text)
    assert len(text.encode()) < LIMIT
    assert root.get("role") == "img"
    ids = {element.get("id") for element in root.iter()}
    assert set(str(root.get("aria-labelledby")).split()) <= ids
    assert "prefers-color-scheme:dark" in text
    tips = [box for box in root.iter(f"{SVG}rect") if box.get("class") == "tip"]
    assert len(tips) == len(picture.segments)
    assert all(box.findtext(f"{SVG}title") for box in tips)
    _check_inside(root)


def test_the_picture_in_the_documentation_is_real(monkeypatch):
    monkeypatch.chdir(ROOT)
    with khodump.open(CAPTURES["luo-memfd serialized"].path.relative_to(ROOT)) as handover:
        now = draw_svg(paint(handover, View(By.OWNER), CANVAS))
    shown = ROOT / "docs" / "map.svg"
    if os.environ.get("UPDATE_DOCS"):
        shown.write_text(now, encoding="utf-8")
    assert now == shown.read_text(encoding="utf-8")


def _check_inside(root: ET.Element) -> None:
    """No rectangle is empty or reaches out of the picture."""
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        if "x" in box.attrib:
            x, y, w, h = (int(box.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert y >= 0
            assert w > 0
            assert h > 0
            assert x + w <= width
            assert y + h <= height


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_from_the_image_stay_text(tmp_path, name):
    memfd = Memfd(folios=folios_of({0: b"a"}))
    users = {"LUO": Luo(sessions=(Session(name.encode()[:63], (LuoFile(2, memfd),)),))}
    built = build_handover(Description(subtrees=users))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        picture = paint(handover, View(By.OWNER), CANVAS)
        assert any(owner.startswith("LUO/session") for owner in picture.owners)
        text = draw_svg(picture)
    parsed(text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<script" not in text


def test_a_name_is_clipped_in_its_middle_after_escaping():
    assert clipped("a" * 9 + "\n" + "b" * 9, 9) == "aaa…bbbbb"
    assert len(clipped("\x00" * 99, 12)) == 12
    assert clipped("short", 9) == "short"


def worst(segments: int = SEGMENTS, lanes: int = 18) -> Picture:
    """Every column of every lane another height, and as many segments with as long names as there can be."""
    axis = linear_axis(1 << 62, (1 << 62) + (1 << 61), CANVAS)
    name = "<&>" * 60
    rows = np.arange(segments)
    start = np.uint64(1 << 62) + rows.astype(np.uint64) * np.uint64(1 << 52)
    columns = (
        np.sort(rows % lanes),
        start,
        start + np.uint64((1 << 51) + 4096),
        np.full(segments, 1 << 50, np.uint64),
    )
    orders = np.zeros(segments, np.uint8), np.full(segments, 40, np.uint8)
    found = Segments(*columns, np.full(segments, 123456789), *orders, np.zeros(segments, np.int64))
    cover = np.random.default_rng(7).random((lanes, len(axis.cut)))
    made = tuple(Lane(name, Category.PRESERVED, 1 << 60) for _ in range(lanes))
    return Picture(name, name, axis, made, cover, found, (name,))


def test_the_worst_picture_is_small():
    text = draw_svg(worst())
    parsed(text)
    assert len(text.encode()) < LIMIT


def test_two_pictures_in_one_page_do_not_meet():
    first, second = (draw_svg(worst(9, 3), name=name) for name in ("a", "b"))
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    rules = re.findall(r"(?:^|[}{;])\s*([^{}@]+)\{", re.search(r"<style>(.*?)</style>", first, re.DOTALL)[1])  # type: ignore[index]
    assert rules
    assert all(rule.startswith(".a ") for rule in rules)
