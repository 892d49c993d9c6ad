"""`khodump map`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.source import Source
from khodump.cli.terminal import Screen, Terminal
from khodump.errors import UsageError
from khodump.numbers import parse_number, parse_range
from khodump.output.formats import Format
from khodump.picture.view import By, Scale, View

if TYPE_CHECKING:
    from khodump.handover import Handover
    from khodump.picture.picture import Picture


@dataclass(frozen=True)
class _Terminal(Terminal):
    """Drawn on stdout, or into a file."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Draw into FILE.svg or FILE.png (which needs Pillow)."
        ),
    ] = None


@command(
    examples=[
        Example("map vmcore", "Physical memory, drawn in the terminal"),
        Example("map vmcore --by owner -o map.svg", "A picture of whose the preserved memory is"),
        Example("map vmcore --range 1G-2G", "Only this range"),
    ]
)
def map_(
    source: Source,
    terminal: _Terminal,
    by: Annotated[By, typer.Option(help="What tells preserved memory apart.")] = By.ORDER,
    scale: Annotated[
        Scale,
        typer.Option(
            help="log leaves empty stretches out, and gives what is between them room by the logarithm of its size."
        ),
    ] = Scale.LOG,
    range_: Annotated[
        str | None, typer.Option("--range", metavar="START-END", help="Only these addresses, END exclusive.")
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(metavar="N", help="Characters a line, 40 to 1000. Default: the terminal's."),
    ] = None,
    ascii_: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII alone.")] = False,
) -> Status:
    """Draw physical memory: what the image holds, scratch, what is preserved, and the map's own pages.

    On a terminal in characters; with -o as SVG or PNG. The data formats give a row a segment of the picture.
    """
    start, end = parse_range(range_, "--range") if range_ else (None, None)
    view = View(by, scale, start, end)
    columns = None if width is None else parse_number(width, "--width", least=40, most=1000)
    if terminal.format_ is not Format.TABLE:
        from khodump.picture.picture import segments_of
        from khodump.picture.scene import CANVAS

        with source.opened(terminal) as handover:
            return terminal.write(segments_of(handover, view, CANVAS))
    if terminal.output is not None:
        return _into_file(source, terminal, view, terminal.output)
    with source.opened(terminal) as handover:
        return _on_screen(terminal, handover, view, columns, ascii_=ascii_)


def _on_screen(
    terminal: _Terminal, handover: Handover, view: View, width: int | None, *, ascii_: bool
) -> Status:
    from khodump.picture.blocks import ASCII, canvas_of, charset_of, draw_blocks
    from khodump.picture.picture import paint, tail_of

    def lines(screen: Screen) -> Iterable[str]:
        room = width or screen.width
        charset = ASCII if ascii_ else charset_of(screen.encoding)
        picture = paint(handover, view, canvas_of(room, view.by))
        return draw_blocks(picture, room, charset, color=screen.color)

    terminal.draw(lines)
    return terminal.conclude(tail_of(handover))


def _into_file(source: Source, terminal: _Terminal, view: View, output: str) -> Status:
    import numpy as np

    from khodump.output.files import new_file
    from khodump.picture.picture import paint, tail_of
    from khodump.picture.scene import CANVAS

    drawn = _drawing(output)
    with source.opened(terminal) as handover:
        picture = np.frombuffer(drawn(paint(handover, view, CANVAS)), np.uint8)
        with new_file(output, room=len(picture), force=terminal.force, inputs=source.inputs) as sink:
            sink.write(picture)
        tail = tail_of(handover)
    return terminal.conclude(tail)


def _drawing(output: str) -> Callable[[Picture], bytes]:
    """What draws a picture, by the name of its file."""
    from khodump.picture.png import draw_png, require_pillow
    from khodump.picture.svg import draw_svg

    suffix = Path(output).suffix.lower()
    if suffix == ".svg":
        return lambda picture: draw_svg(picture).encode()
    if suffix == ".png":
        require_pillow()
        return draw_png
    raise UsageError(
        f"{output} names no kind of picture", hint="name a file .svg or .png, or leave -o out to draw it here"
    )
