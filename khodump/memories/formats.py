"""The table of image formats: what says so of itself is that, and whether khodump reads it."""

from __future__ import annotations

from typing import Final, NamedTuple

from khodump.extras import is_installed
from khodump.memories import avml, codecs, elf, flattened, kdump_header, lime, remote
from khodump.memories.file import ByteSource
from khodump.memories.named import NAMED
from khodump.memories.signature import HEAD_BYTES, Format

_PAGE_CODECS: Final = tuple((codec.name, codec.module) for codec in codecs.CODECS if codec.module)

FORMATS: Final = (
    Format("elf", (elf.MAGIC,), "ELF64 core"),
    Format("kdump", (kdump_header.MAGIC,), "kdump-compressed", codecs.EXTRA, _PAGE_CODECS),
    Format("flattened", (flattened.MAGIC,), "flattened makedumpfile stream of these"),
    Format("lime", (lime.MAGIC,), "LiME"),
    Format("lime", (lime.AVML_MAGIC,), "AVML (LiME version 2)", avml.EXTRA, (("snappy", "cramjam"),)),
    Format("raw", (), "raw, padded or with --ranges"),
    Format("remote", (), "any of these behind a URL", remote.EXTRA, (("fsspec", "fsspec"),)),
    *NAMED,
)

#: Formats whose mark is not theirs alone come first: a Xen dump begins as any ELF file does.
_IN_ORDER: Final = sorted(FORMATS, key=lambda known: known.confirm is None)


def recognise(file: ByteSource) -> Format | None:
    """The format of `file`; None for anything that bears no mark, which may be raw."""
    head = file.read(0, HEAD_BYTES)
    return next((known for known in _IN_ORDER if known.fits(file, head)), None)


class Support(NamedTuple):
    """What this installation makes of a format, or of a part of it.

    Attributes:
        name: the format, and the part in brackets.
        is_read: whether khodump reads it.
        extra: the extra of khodump that it takes, if any.
        is_installed: whether it can be read here and now.
        hint: what to do where it cannot.
    """

    name: str
    is_read: bool
    extra: str | None
    is_installed: bool
    hint: str


def supported() -> list[Support]:
    """All formats that khodump knows, with one line more for every part that takes an optional library."""
    rows = []
    for known in FORMATS:
        is_read = known.key is not None
        if known.name not in _WHOLLY_OPTIONAL:
            rows.append(Support(known.name, is_read, None, is_read, known.hint.format(path="FILE")))
        for part, module in known.modules:
            installed = is_installed(module)
            hint = "" if installed else f"pip install 'khodump[{known.extra}]'"
            rows.append(Support(f"{known.name} [{part}]", is_read, known.extra, installed, hint))
    return rows


#: Formats of which nothing can be read without their extra.
_WHOLLY_OPTIONAL: Final = ("AVML (LiME version 2)", "any of these behind a URL")
