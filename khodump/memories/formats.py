"""The table of image formats: what begins like this is that, and whether khodump reads it."""

from __future__ import annotations

from typing import Final, NamedTuple

from khodump.extras import is_installed
from khodump.memories import avml, codecs, elf, flattened, kdump_header, lime, remote


class Format(NamedTuple):
    """A format.

    Attributes:
        key: how the code that opens it calls it; None if khodump does not read it.
        magic: bytes at the start of the file; None where nothing tells the format.
        name: what it is.
        extra: the extra of khodump that it, or a part of it, takes.
        modules: what that part imports, by the part's name; the standard library reads the rest.
        hint: what makes a format readable that is not; `{path}` stands for the file.
    """

    key: str | None
    magic: bytes | None
    name: str
    extra: str | None = None
    modules: tuple[tuple[str, str], ...] = ()
    hint: str = ""


_PAGE_CODECS: Final = tuple((codec.name, codec.module) for codec in codecs.CODECS if codec.module)
_ELF_CORE: Final = "rewrite it as an ELF core: makedumpfile -E -d 0 {path} OUT.elf"

FORMATS: Final = (
    Format("elf", elf.MAGIC, "ELF64 core"),
    Format("kdump", kdump_header.MAGIC, "kdump-compressed", codecs.EXTRA, _PAGE_CODECS),
    Format("flattened", flattened.MAGIC, "flattened makedumpfile stream of these"),
    Format("lime", lime.MAGIC, "LiME"),
    Format("lime", lime.AVML_MAGIC, "AVML (LiME version 2)", avml.EXTRA, (("snappy", "cramjam"),)),
    Format("raw", None, "raw, padded or with --ranges"),
    Format("remote", None, "any of these behind a URL", remote.EXTRA, (("fsspec", "fsspec"),)),
    Format(None, b"DISKDUMP", "diskdump", hint=_ELF_CORE),
    Format(None, b"\x1f\x8b", "gzip-compressed", hint="unpack it: gzip -dc {path} > IMAGE"),
    Format(None, b"\x28\xb5\x2f\xfd", "zstd-compressed", hint="unpack it: zstd -dc {path} > IMAGE"),
    Format(None, b"\xfd7zXZ\0", "xz-compressed", hint="unpack it: xz -dc {path} > IMAGE"),
    Format(None, b"BZh", "bzip2-compressed", hint="unpack it: bzip2 -dc {path} > IMAGE"),
    Format(None, b"\x04\x22\x4d\x18", "lz4-compressed", hint="unpack it: lz4 -dc {path} > IMAGE"),
    Format(None, b"QFI\xfb", "qcow2 disk image", hint="name the memory dump, not the disk"),
    Format(None, b"QEVM", "QEMU migration stream", hint="take a dump with dump-guest-memory instead"),
    Format(
        None,
        b"LibvirtQemudSave",
        "libvirt save file",
        hint="take a dump with virsh dump --memory-only instead",
    ),
    Format(
        None,
        b"\xd0\x0d\xfe\xed",
        "flattened device tree",
        hint="pass it with --fdt and name the memory image as IMAGE",
    ),
)


def recognise(head: bytes) -> Format | None:
    """The format of a file that begins with `head`; None for anything else, which may be raw."""
    return next((known for known in FORMATS if known.magic and head.startswith(known.magic)), None)


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
