"""A picture of physical memory as PNG: the same scene as the SVG, drawn by Pillow with the font that it carries."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from types import ModuleType
from typing import Any, Final

from khodump.extras import require
from khodump.picture.paint import LIGHT
from khodump.picture.picture import Picture
from khodump.picture.scene import Box, Label, Skyline, lay_out

_SCALE: Final = 2  # pixels a unit
_SIZES: Final = {"title": 17}
_TEXT_SIZE: Final = 12
_ANCHORS: Final = {"start": "ls", "middle": "ms", "end": "rs"}
_STRIPES: Final = 8


def draw_png(picture: Picture) -> bytes:
    """The picture, painted for `scene.CANVAS`, as a PNG file.

    Raises:
        ImageError: Pillow is not installed.
    """
    image, drawing = require_pillow("Image"), require_pillow("ImageDraw")
    scene = lay_out(picture)
    canvas = image.new("RGB", (scene.width * _SCALE, scene.height * _SCALE), LIGHT["page"])
    pen = drawing.Draw(canvas)
    for shape in scene.shapes:
        if isinstance(shape, Label):
            at = (shape.x * _SCALE, shape.y * _SCALE)
            font = _font(_SIZES.get(shape.paint, _TEXT_SIZE) * _SCALE)
            pen.text(at, shape.text, LIGHT[shape.paint], font, _ANCHORS[shape.anchor])
        elif isinstance(shape, Skyline):
            for left, right, height in shape.bars:
                _fill(pen, (left, shape.base - height, right, shape.base), LIGHT[shape.paint])
        elif shape.paint == "cut":
            _stripe(pen, shape)
        elif shape.paint in LIGHT:  # what is only pointed at has no colour
            box = (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
            _fill(pen, box, LIGHT[shape.paint])
    file = BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def require_pillow(part: str = "Image") -> ModuleType:
    """A module of Pillow.

    Raises:
        ImageError: it is not installed.
    """
    return require(f"PIL.{part}", extra="png", purpose="a picture as PNG")


@cache
def _font(size: int) -> Any:  # noqa: ANN401 - of an optional library
    return require_pillow("ImageFont").load_default(size)


def _fill(pen: Any, box: tuple[int, int, int, int], color: str) -> None:  # noqa: ANN401 - of an optional library
    left, top, right, bottom = (edge * _SCALE for edge in box)
    pen.rectangle((left, top, right - 1, bottom - 1), color)


def _stripe(pen: Any, box: Box) -> None:  # noqa: ANN401 - of an optional library
    """Slanted lines, each cut off where the box ends."""
    for at in range(-box.height, box.width, _STRIPES):
        low, high = max(at, 0), min(at + box.height, box.width)
        if low < high:
            ends = (
                (box.x + low, box.y + box.height - (low - at)),
                (box.x + high, box.y + box.height - (high - at)),
            )
            pen.line([(x * _SCALE, y * _SCALE) for x, y in ends], LIGHT["stripe"], 2 * _SCALE)
