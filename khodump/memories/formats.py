"""The table of image formats: what says so of itself is that, and whether khodump reads it."""

from __future__ import annotations

from typing import Final, NamedTuple

from khodump.errors import ImageError
from khodump.extras import is_installed
from khodump.memories import avml, codecs, elf, flattened, kdump_header, lime, raw, remote
from khodump.memories.file import ByteSource
from khodump.memories.named import NAMED
from khodump.memories.part import Part
from khodump.memories.signature import HEAD_BYTES, Format

_PAGE_CODECS: Final = tuple((codec.name, codec.module) for codec in codecs.CODECS if codec.module)


def _kdump(file: ByteSource, *, assume_zero: bool) -> Part:
    """See `kdump.part`, which is of no use to other images, and takes its time to import."""
    from khodump.memories import kdump  # noqa: PLC0415

    return kdump.part(file, assume_zero=assume_zero)


#: What anything is that bears no mark.
RAW: Final = Format((), "raw, padded or with --ranges", raw.part)

#: Formats that files are in. To read one more takes one line here.
FORMATS: Final = (
    Format((elf.MAGIC,), "ELF64 core", elf.part),
    Format((kdump_header.MAGIC,), "kdump-compressed", _kdump, extra=codecs.EXTRA, modules=_PAGE_CODECS),
    Format((flattened.MAGIC,), "flattened makedumpfile stream of these", unwrap=flattened.unwrap),
    Format((lime.MAGIC,), "LiME", lime.part),
    Format(
        (lime.AVML_MAGIC, lime.MAGIC),
        "AVML (LiME version 2)",
        avml.part,
        extra=avml.EXTRA,
        modules=(("snappy", "cramjam"),),
        needs_extra=True,
        confirm=avml.is_avml,
    ),
    RAW,
    Format(
        (),
        "any of these behind a URL",
        extra=remote.EXTRA,
        modules=(("fsspec", "fsspec"),),
        needs_extra=True,
    ),
    *NAMED,
)

#: Formats whose mark is not theirs alone come first: a Xen dump begins as any ELF file does.
_IN_ORDER: Final = sorted(FORMATS, key=lambda known: known.confirm is None)


def recognise(file: ByteSource) -> Format:
    """The format of `file`, which is `RAW` if it bears no mark."""
    head = file.read(0, HEAD_BYTES)
    return next((known for known in _IN_ORDER if known.fits(file, head)), RAW)


def read_part(file: ByteSource, *, assume_zero: bool) -> Part:
    """What `file` has of a memory, by the format that its bytes say it is of.

    Raises:
        ImageError: its format is not one that khodump reads, or it is damaged so that no memory can be found in it.
    """
    known = recognise(file)
    if known.unwrap is not None:
        return read_part(known.unwrap(file), assume_zero=assume_zero)
    if known.read is None:
        raise ImageError(
            f"{file.name} is of a format that khodump does not read: {known.name}",
            hint=known.hint.format(path=file.name),
        )
    return known.read(file, assume_zero=assume_zero)


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
        if not known.needs_extra:
            hint = known.hint.format(path="FILE")
            rows.append(Support(known.name, known.is_read, None, known.is_read, hint))
        for part, module in known.modules:
            installed = is_installed(module)
            hint = "" if installed else f"pip install 'khodump[{known.extra}]'"
            rows.append(Support(f"{known.name} [{part}]", known.is_read, known.extra, installed, hint))
    return rows
