"""Xen's dump-core files (xl dump-core): ELF without program headers, whose memory is in sections that Xen names.

docs/misc/dump-core-format.txt of Xen: `.xen_pages` holds the pages, `.xen_p2m` or `.xen_pfn` says where they belong.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

from elftools.common.exceptions import ELFParseError
from elftools.common.utils import struct_parse

from khodump.memories.elf import core_structs
from khodump.memories.file import ByteSource

_SECTIONS: Final = b"\0.xen_"
_MOST_NAMES: Final = 4096  # bytes; there are some ten names


def is_dump(file: ByteSource) -> bool:
    """Whether the ELF file `file` is such a dump: it has no program headers, and Xen's sections."""
    structs = core_structs()
    try:
        header = struct_parse(structs.Elf_Ehdr, BytesIO(file.read(0, structs.Elf_Ehdr.sizeof())))
        if header["e_phnum"]:
            return False
        size = structs.Elf_Shdr.sizeof()
        at = header["e_shoff"] + header["e_shstrndx"] * size
        names = struct_parse(structs.Elf_Shdr, BytesIO(file.read(at, size)))
    except ELFParseError:
        return False
    return _SECTIONS in file.read(names["sh_offset"], min(names["sh_size"], _MOST_NAMES))
