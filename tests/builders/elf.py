"""ELF64 core files in the shapes that dump tools give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elftools.construct import Container
from elftools.elf.structs import ELFStructs

_EHDR_SIZE, _PHDR_SIZE, _SHDR_SIZE = 64, 56, 64
_PN_XNUM = 0xFFFF


class ElfSegment(NamedTuple):
    """A PT_LOAD: `data` at `paddr`, of `memsz` bytes in memory (by default as many as there are in the file)."""

    paddr: int
    data: bytes
    memsz: int | None = None


#: The firmware that QEMU puts below 4 GiB in every dump of a PC.
QEMU_ROM = ElfSegment(0xFFFC0000, b"\xff" * 0x40000)


def build_elf(
    segments: Sequence[ElfSegment],
    *,
    qemu: bool = False,
    machine: str | int = "EM_X86_64",
    elf_type: str = "ET_CORE",
    vmcoreinfo: Mapping[str, str] | None = None,
    null_headers: int = 0,
    flags: int = 0,
) -> bytes:
    """A core file of these segments.

    Args:
        segments: in the order of their program headers.
        qemu: as dump-guest-memory lays it out: e_ehsize 8, section headers at 64, program headers at 192.
        machine: e_machine.
        elf_type: e_type.
        vmcoreinfo: lines of a VMCOREINFO note.
        null_headers: PT_NULL headers before all others; enough of them need PN_XNUM.
        flags: e_flags; 1 is makedumpfile's mark of an incomplete dump.
    """
    structs = _structs()
    note = _vmcoreinfo_note(structs, vmcoreinfo) if vmcoreinfo is not None else b""
    count = null_headers + bool(note) + len(segments)
    overflown = count >= _PN_XNUM
    sections = 2 if qemu else int(overflown)
    headers_at = _EHDR_SIZE + sections * _SHDR_SIZE
    at = headers_at + count * _PHDR_SIZE
    headers = [_program_header(structs, "PT_NULL", 0, ElfSegment(0, b""))] * null_headers
    if note:
        headers.append(_program_header(structs, "PT_NOTE", at, ElfSegment(0, note)))
        at += len(note)
    for segment in segments:
        headers.append(_program_header(structs, "PT_LOAD", at, segment))
        at += len(segment.data)
    header = structs.Elf_Ehdr.build(
        Container(
            e_ident=Container(
                EI_MAG=[0x7F, *b"ELF"],
                EI_CLASS="ELFCLASS64",
                EI_DATA="ELFDATA2LSB",
                EI_VERSION="EV_CURRENT",
                EI_OSABI="ELFOSABI_SYSV",
                EI_ABIVERSION=0,
            ),
            e_type=elf_type,
            e_machine=machine,
            e_version="EV_CURRENT",
            e_entry=0,
            e_phoff=headers_at,
            e_shoff=_EHDR_SIZE if sections else 0,
            e_flags=flags,
            e_ehsize=8 if qemu else _EHDR_SIZE,
            e_phentsize=_PHDR_SIZE,
            e_phnum=min(count, _PN_XNUM),
            e_shentsize=_SHDR_SIZE if sections else 0,
            e_shnum=sections,
            e_shstrndx=0,
        )
    )
    first_section = _section_header(structs, count if overflown else 0)
    table = (first_section + _section_header(structs, 0))[: sections * _SHDR_SIZE]
    return b"".join([header, table, *headers, note, *(segment.data for segment in segments)])


def _structs() -> Any:
    structs = ELFStructs(little_endian=True, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs(e_type="ET_CORE")
    return structs


def _program_header(structs: Any, kind: str, offset: int, segment: ElfSegment) -> bytes:
    size = len(segment.data)
    header = Container(
        p_type=kind,
        p_flags=4,
        p_offset=offset,
        p_vaddr=0,
        p_paddr=segment.paddr,
        p_filesz=size,
        p_memsz=size if segment.memsz is None else segment.memsz,
        p_align=0,
    )
    return bytes(structs.Elf_Phdr.build(header))


def _section_header(structs: Any, info: int) -> bytes:
    header = Container(
        sh_name=0,
        sh_type="SHT_NULL",
        sh_flags=0,
        sh_addr=0,
        sh_offset=0,
        sh_size=0,
        sh_link=0,
        sh_info=info,
        sh_addralign=0,
        sh_entsize=0,
    )
    return bytes(structs.Elf_Shdr.build(header))


def _vmcoreinfo_note(structs: Any, lines: Mapping[str, str]) -> bytes:
    """A CPU's register note, as kdump has, and then VMCOREINFO."""
    text = "".join(f"{key}={value}\n" for key, value in lines.items()).encode()
    return _note(structs, b"CORE\0", bytes(10)) + _note(structs, b"VMCOREINFO\0", text)


def _note(structs: Any, name: bytes, description: bytes) -> bytes:
    header = structs.Elf_Nhdr.build(Container(n_namesz=len(name), n_descsz=len(description), n_type=0))
    return b"".join([header, *(part + bytes(-len(part) % 4) for part in (name, description))])
