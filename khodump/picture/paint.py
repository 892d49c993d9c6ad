"""The colours of a picture, by the names that a scene uses; every lane is also told by its place and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

Palette: TypeAlias = Mapping[str, str]

#: What is preserved: hues that hold on light and dark alike; the last is for what shares a lane.
_LANES: Final = (
    "#4c78c8", "#2a9d8f", "#c9762b", "#8e5cc2", "#6a994e", "#c2528b",
    "#3d8fb5", "#a8832a", "#5f6fd6", "#2f9e68", "#b8603d", "#9a6fb0",
    "#7b8a6a",
)  # fmt: skip
_COMMON: Final = {f"p{row}": color for row, color in enumerate(_LANES)} | {
    "image": "#8a94a3",
    "missing": "#b9a27a",
    "scratch": "#d9a400",
    "unclaimed": "#7a7f87",
    "lost": "#d43c3c",
    "tracker": "#c43d7c",
}
LIGHT: Final[Palette] = {
    **_COMMON,
    "page": "#ffffff",
    "bed": "#eef1f5",
    "stripe": "#b4bcc8",
    "mark": "#6b7480",
    "title": "#16191d",
    "text": "#2b3036",
    "faint": "#656d78",
    "ink": "#3a4048",
}
DARK: Final[Palette] = {
    **_COMMON,
    "page": "#14171b",
    "bed": "#20252b",
    "stripe": "#48515c",
    "mark": "#8b95a1",
    "title": "#f1f3f5",
    "text": "#d3d8de",
    "faint": "#98a1ac",
    "ink": "#d8dde3",
}
