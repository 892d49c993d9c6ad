"""ELF64 core files: kdump's vmcore, QEMU's dump-guest-memory, virsh dump --memory-only.

Segments are placed by p_paddr. p_filesz < p_memsz means that makedumpfile or the kernel left pages out; nobody
promises that they were zero, so they are *excluded*.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import numpy as np
from elftools.common.exceptions import ELFParseError
from elftools.common.utils import struct_parse
from elftools.elf.structs import ELFStructs

from khodump.columns.arrays import U64
from khodump.errors import ImageError
from khodump.memories.file import ByteSource
from khodump.memories.part import Part
from khodump.memories.segments import ZERO_FILE, Segments
from khodump.memory import Platform, Presence, vmcoreinfo_lines
from khodump.rounding import round_up

MAGIC: Final = b"\x7fELF"

_ELFCLASS64, _ELFDATA2LSB = 2, 1
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM: Final = 0xFFFF  # e_phnum overflowed: the count is section header 0's sh_info
_MAX_PHNUM: Final = 1 << 22  # 235 MB of headers; /proc/kcore and QEMU stay far below
_MAX_NOTE_BYTES: Final = 1 << 22
_INCOMPLETE: Final = 0x1  # of e_flags: makedumpfile's DUMP_ELF_INCOMPLETE
_NO_PADDR: Final = (1 << 64) - 1  # /proc/kcore marks segments that have no physical address
MACHINES: Final = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}


def core_structs() -> Any:  # noqa: ANN401 - pyelftools makes its structs at run time
    """The structs of an ELF64 core, as pyelftools has them."""
    structs = ELFStructs(little_endian=True, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs(e_type="ET_CORE")
    return structs


def columns_of(schema: Any) -> np.dtype[Any]:  # noqa: ANN401 - pyelftools makes its structs at run time
    """The dtype of a pyelftools struct of unsigned little-endian integers."""
    return np.dtype([(member.name, f"<u{member.sizeof()}") for member in schema.subcons])


def part(file: ByteSource, *, assume_zero: bool) -> Part:
    """See `signature.Reader`."""
    table, platform = segments(file, assume_zero=assume_zero)
    return Part(f"ELF64 core, {platform.machine}", file, table, platform, tuple(warnings(file, table)))


def segments(file: ByteSource, *, assume_zero: bool) -> tuple[Segments, Platform]:
    """The memory an ELF64 core holds, and what its notes say of the machine.

    Args:
        file: an open file that begins with `MAGIC`.
        assume_zero: take p_filesz..p_memsz for zeros instead of excluded.

    Raises:
        ImageError: not a little-endian ELF64 core, or its program headers are cut off or make no sense.
    """
    structs = core_structs()
    header = _header(file, structs)
    headers = _program_headers(file, structs, header)
    notes = headers[headers["p_type"] == PT_NOTE]
    vmcoreinfo: dict[str, str] = {}
    for offset, size in zip(notes["p_offset"].tolist(), notes["p_filesz"].tolist(), strict=True):
        vmcoreinfo |= _vmcoreinfo(file.read(offset, min(size, _MAX_NOTE_BYTES)), structs)
    machine = MACHINES.get(header["e_machine"], str(header["e_machine"]))
    return _load_segments(file, headers, assume_zero=assume_zero), Platform(machine, vmcoreinfo)


def _header(file: ByteSource, structs: Any) -> Any:  # noqa: ANN401 - a pyelftools container
    data = file.read(0, structs.Elf_Ehdr.sizeof())
    if len(data) > 5 and (data[4], data[5]) != (_ELFCLASS64, _ELFDATA2LSB):
        raise ImageError(
            f"{file.name} is an ELF file, but not a 64-bit little-endian one",
            hint="KHO exists on x86_64 and arm64; take the dump in ELF64 form",
        )
    try:
        header = struct_parse(structs.Elf_Ehdr, BytesIO(data))
    except ELFParseError as error:
        raise ImageError(
            f"{file.name} ends inside its ELF header ({file.size} bytes)", hint="copy it again"
        ) from error
    if header["e_type"] != "ET_CORE":
        raise ImageError(
            f"{file.name} is an ELF file of type {header['e_type']}, not a core file",
            hint="khodump reads memory images; a vmlinux or a program holds none",
        )
    return header


def _program_headers(file: ByteSource, structs: Any, header: Any) -> Any:  # noqa: ANN401 - a structured array
    """The program header table as a structured array."""
    count, size, offset = header["e_phnum"], header["e_phentsize"], header["e_phoff"]
    if count == PN_XNUM:
        try:
            count = struct_parse(structs.Elf_Shdr, BytesIO(file.read(header["e_shoff"], 64)))["sh_info"]
        except ELFParseError as error:
            raise ImageError(
                f"{file.name} has no section header 0, which counts its segments",
                hint="copy the dump again: it is cut short or damaged",
            ) from error
    dtype = columns_of(structs.Elf_Phdr)
    if size < dtype.itemsize or count > _MAX_PHNUM:
        raise ImageError(
            f"{file.name} claims {count} program headers of {size} bytes", hint="its ELF header is damaged"
        )
    rows = np.empty((count if offset + count * size <= file.size else 0, size), np.uint8)
    if len(rows) < count or file.read_rows(rows, offset):
        raise ImageError(
            f"{file.name} ends inside its program headers: {count} of {size} bytes at {offset:#x}, "
            f"but the file has {file.size} bytes",
            hint="copy the file again; without them no address can be found in it",
        )
    return np.ascontiguousarray(rows[:, : dtype.itemsize]).view(dtype)[:, 0]


def _load_segments(file: ByteSource, headers: Any, *, assume_zero: bool) -> Segments:  # noqa: ANN401
    loads = (headers["p_type"] == PT_LOAD) & (headers["p_paddr"] != np.uint64(_NO_PADDR))
    columns = (headers[name][loads] for name in ("p_paddr", "p_offset", "p_filesz", "p_memsz"))
    paddr, offset, filesz, memsz = (column.astype(np.uint64) for column in columns)
    memsz = np.maximum(memsz, filesz)
    if bool(np.any(paddr + memsz < paddr)):
        raise ImageError(
            f"{file.name} has a segment that wraps around the address space", hint="its headers are damaged"
        )
    if len(paddr) > 1 and not paddr.any():
        raise ImageError(
            f"{file.name} has no physical addresses: p_paddr is 0 in all {len(paddr)} segments",
            hint="it may be the core of a process; take the dump with kdump or dump-guest-memory",
        )
    file_size = np.uint64(file.size)
    held = np.minimum(filesz, file_size - np.minimum(offset, file_size))

    def rows(start: U64, end: U64, presence: Presence, file: int) -> Segments:
        kept = np.flatnonzero(end > start)  # of 100,000 segments, most parts are empty
        presences, files = np.full(len(kept), presence, np.uint8), np.full(len(kept), file, np.int64)
        return Segments(start[kept], end[kept], presences, files, offset[kept])

    filtered = Presence.PRESENT if assume_zero else Presence.EXCLUDED
    return Segments.concatenate(
        [
            rows(paddr, paddr + held, Presence.PRESENT, 0),
            rows(paddr + held, paddr + filesz, Presence.TRUNCATED, 0),
            rows(paddr + filesz, paddr + memsz, filtered, ZERO_FILE),
        ]
    )


def warnings(file: ByteSource, table: Segments) -> Iterator[str]:
    """What is wrong with the core `file`, whose memory is `table`."""
    if _header(file, core_structs())["e_flags"] & _INCOMPLETE:
        yield f"{file.name} says that it is incomplete: its writer ran out of room, and pages are missing"
    cut = table.take(np.flatnonzero(table.presence == Presence.TRUNCATED))
    lost = int((cut.end - cut.start).sum())
    if lost:
        yield (
            f"{file.name} is cut short: {lost} bytes of its segments, the lowest at physical address "
            f"{int(cut.start.min()):#x}, should be behind its end"
        )


def vmcoreinfo_of(notes: bytes) -> dict[str, str]:
    """The KEY=VALUE lines of the VMCOREINFO note among these notes of an ELF64 core."""
    return _vmcoreinfo(notes, core_structs())


def _vmcoreinfo(notes: bytes, structs: Any) -> dict[str, str]:  # noqa: ANN401 - pyelftools makes its structs at run time
    """The KEY=VALUE lines of the VMCOREINFO note among `notes`, if it is there and whole."""
    at, header_size = 0, structs.Elf_Nhdr.sizeof()
    while at + header_size <= len(notes):
        header = struct_parse(structs.Elf_Nhdr, BytesIO(notes[at : at + header_size]))
        name_at = at + header_size
        desc_at = name_at + round_up(header["n_namesz"], 4)
        at = desc_at + round_up(header["n_descsz"], 4)
        if notes[name_at : name_at + header["n_namesz"]].rstrip(b"\0") == b"VMCOREINFO":
            return vmcoreinfo_lines(notes[desc_at : desc_at + header["n_descsz"]])
    return {}
