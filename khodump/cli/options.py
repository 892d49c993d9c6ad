"""Arguments that several commands share, each declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from khodump.numbers import parse_number
from khodump.output.formats import Format


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


Images: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...",
        help="Memory image, by content: raw, ELF core, kdump, LiME (khodump formats lists all), or a URL of one. "
        "FILE@BASE places a raw file at a physical address; several files make one memory.",
        show_default=False,
    ),
]
OptionalImages: TypeAlias = Annotated[list[str] | None, Images.__metadata__[0]]
Fdt: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|0xPHYS",
        help="The root FDT: a .dtb file, or its physical address. Default: search the image.",
    ),
]
As: TypeAlias = Annotated[
    str | None,
    typer.Option("--as", metavar="VERSION", help="Read it as this version (kho-v4), whatever the FDT says."),
]
PageSize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="The kernel's page size: 4K, 16K or 64K. Default: worked out from evidence."
    ),
]
AssumeZero: TypeAlias = Annotated[
    bool, typer.Option("--assume-zero", help="Take pages that were filtered from a dump for zeros.")
]
Ranges: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The raw image holds the System RAM ranges of this file (/proc/iomem's format) without their holes.",
    ),
]
Scratch: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="debugfs' scratch_phys, and again for scratch_len; or their directory."
    ),
]
OutputFormat: TypeAlias = Annotated[
    Format, typer.Option("--format", "-f", help="csv, tsv and jsonl hold rows alone, json everything.")
]
Output: TypeAlias = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
]
ColorWhen: TypeAlias = Annotated[
    Color, typer.Option("--color", help="Colour in tables; NO_COLOR is honoured.")
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No notes, warnings or summary on stderr.")
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Every finding on stderr, not the first few.")
]


def fdt_argument(text: str | None) -> str | int | None:
    """A file name, or a physical address where the text is one and no such file exists."""
    if text is None or not text.lower().startswith("0x") or Path(text).exists():
        return text
    return parse_number(text)


def page_size_argument(text: str | None) -> int | None:
    """Bytes a page, as written."""
    return None if text is None else parse_number(text)
