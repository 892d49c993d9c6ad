"""`khodump key`."""

from __future__ import annotations

from typing import Annotated

import typer

from khodump.cli import completion
from khodump.cli.command import Status, command
from khodump.cli.help import Example
from khodump.cli.terminal import Terminal
from khodump.errors import UsageError
from khodump.numbers import parse_number, parse_order


@command(
    examples=[
        Example("key 0x10000000000103", "What a key of the radix tree stands for"),
        Example(
            "key --phys 1G --order 9 --page-size 4K", "The key of a block, and the slots that lead to it"
        ),
    ]
)
def key(
    terminal: Terminal,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="A key of the radix tree.", show_default=False)
    ] = None,
    phys: Annotated[
        str | None, typer.Option(metavar="ADDR", help="The physical address of a block, with --order.")
    ] = None,
    order: Annotated[str | None, typer.Option(metavar="N", help="The block's order.")] = None,
    page_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            autocompletion=completion.page_sizes,
            help="Only this page size: 4K, 16K or 64K. Default: all.",
        ),
    ] = None,
) -> Status:
    """Decode a key of the radix tree, or encode one, and show the slots that lead to it. Needs no image."""
    from khodump.tables.key import decode, encode

    size = None if page_size is None else parse_number(page_size, "--page-size")
    if key is not None and phys is None and order is None:
        return terminal.write(decode(parse_number(key, "KEY"), size))
    if key is None and phys is not None and order is not None:
        return terminal.write(encode(parse_number(phys, "--phys"), parse_order(order), size))
    raise UsageError(
        "name either a key, or a block", hint="khodump key KEY, or khodump key --phys ADDR --order N"
    )
