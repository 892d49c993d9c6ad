"""A picture of physical memory as SVG: in one piece, small, and safe to open whatever the image holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Final
from xml.sax.saxutils import escape

from khodump.picture.paint import DARK, LIGHT, Palette
from khodump.picture.picture import Picture
from khodump.picture.scene import Box, Label, Scene, Shape, Skyline, lay_out

_TEXTS: Final = ("title", "text", "faint")
_STRIPES: Final = 6


def draw_svg(picture: Picture, *, name: str = "khodump-map") -> str:
    """The picture, painted for `scene.CANVAS`, as an SVG document that stands alone or in a page.

    Args:
        picture: what to draw.
        name: tells it from other pictures in the same page; letters, digits, `-` and `_`.
    """
    return "\n".join(_lines(lay_out(picture), name)) + "\n"


def _lines(scene: Scene, name: str) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" viewBox="0 0 {scene.width} {scene.height}" '
        f'width="{scene.width}" height="{scene.height}" role="img" aria-labelledby="{name}-title {name}-desc">'
    )
    yield f'<title id="{name}-title">{escape(scene.title)}</title>'
    yield f'<desc id="{name}-desc">{escape(scene.description)}</desc>'
    yield f"<style>{_style(name)}</style>"
    yield (
        f'<defs><pattern id="{name}-cut" width="{_STRIPES}" height="{_STRIPES}" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect class="stripe" width="2" height="{_STRIPES}"/></pattern></defs>'
    )
    for shape in scene.shapes:
        yield _element(shape)
    yield "</svg>"


@singledispatch
def _element(shape: Shape) -> str:
    raise NotImplementedError(shape)


@_element.register
def _(shape: Box) -> str:
    where = f'x="{shape.x}" y="{shape.y}" width="{shape.width}" height="{shape.height}"'
    memory = f' data-range="{shape.range[0]:#x}-{shape.range[1]:#x}"' if shape.range else ""
    return _closed(f'rect class="{shape.paint}" {where}{memory}', "rect", _title(shape.tip))


@_element.register
def _(shape: Label) -> str:
    anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
    text = escape(shape.text) + _title(shape.tip)
    return _closed(f'text class="{shape.paint}" x="{shape.x}" y="{shape.y}"{anchor}', "text", text)


@_element.register
def _(shape: Skyline) -> str:
    path: list[str] = []
    at, level = -1, 0
    for left, right, height in shape.bars:
        if left != at:
            path.append(f"V{shape.base}zM{left} {shape.base}" if path else f"M{left} {shape.base}")
            level = 0
        path.append(f"v{level - height}h{right - left}")
        at, level = right, height
    steps = "".join(path)
    return f'<path class="{shape.paint}" d="{steps}V{shape.base}z"/>'


def _title(tip: str | None) -> str:
    return "" if tip is None else f"<title>{escape(tip)}</title>"


def _closed(start: str, name: str, content: str) -> str:
    return f"<{start}>{content}</{name}>" if content else f"<{start}/>"


def _style(name: str) -> str:
    """The colours, light and dark. Nothing but this picture is touched in a page that holds it."""
    font = f".{name} text{{font:12px ui-monospace,Menlo,Consolas,monospace}}.{name} .title{{font:600 16px system-ui,sans-serif}}"
    tips = f".{name} .tip{{fill:transparent}}.{name} .tip:hover{{stroke-width:1.5}}"
    dark = f"@media (prefers-color-scheme:dark){{{_colors(name, DARK)}}}"
    return font + tips + _colors(name, LIGHT) + dark


def _colors(name: str, palette: Palette) -> str:
    rules = [f".{name} .{paint}{{fill:{color}}}" for paint, color in palette.items()]
    rules.append(f".{name} .cut{{fill:url(#{name}-cut)}}.{name} .tip:hover{{stroke:{palette['ink']}}}")
    return "".join(rules)
