"""Writing an ELF64 core: what stands before the memory itself. The layouts are those that `elf` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from elftools.construct import Container
from elftools.elf.enums import ENUM_E_MACHINE

from khodump.columns.intervals import Intervals
from khodump.memories.elf import MACHINES, PN_XNUM, PT_LOAD, PT_NOTE, columns_of, core_structs

_PF_R: Final = 4
_NO_MACHINE: Final = "EM_NONE"


def core_head(
    held: Intervals, left_out: Intervals, *, machine: str | None, vmcoreinfo: Mapping[str, str]
) -> bytes:
    """The bytes of a core file up to its memory: the bytes of `held` follow, in this order and without gaps.

    Args:
        held: memory that the file holds.
        left_out: memory that the machine had, and that the file leaves out.
        machine: as `Platform.machine` has it.
        vmcoreinfo: lines of the VMCOREINFO note; empty for none.
    """
    structs = core_structs()
    note = _note(structs, b"VMCOREINFO\0", _lines(vmcoreinfo)) if vmcoreinfo else b""
    size = held.end - held.start
    count = len(size) + len(left_out.start) + bool(note)
    counted = count < PN_XNUM
    section = b"" if counted else _counting_section(structs, count)
    headers = np.zeros(count, columns_of(structs.Elf_Phdr))
    at = structs.Elf_Ehdr.sizeof() + len(section) + headers.nbytes
    headers["p_flags"] = _PF_R
    headers["p_type"] = PT_LOAD
    loads = headers[bool(note) :]
    if note:
        headers[0]["p_type"], headers[0]["p_offset"] = PT_NOTE, at
        headers[0]["p_filesz"] = headers[0]["p_memsz"] = len(note)
    loads["p_paddr"] = np.concatenate([held.start, left_out.start])
    loads["p_memsz"] = np.concatenate([size, left_out.end - left_out.start])
    loads["p_filesz"][: len(size)] = size
    loads["p_offset"][: len(size)] = np.uint64(at + len(note)) + np.cumsum(size) - size
    return _header(structs, machine, count, with_section=not counted) + section + headers.tobytes() + note


def _header(structs: Any, machine: str | None, count: int, *, with_section: bool) -> bytes:  # noqa: ANN401 - pyelftools makes its structs at run time
    size, section_size = structs.Elf_Ehdr.sizeof(), structs.Elf_Shdr.sizeof()
    header = Container(
        e_ident=Container(
            EI_MAG=[0x7F, *b"ELF"],
            EI_CLASS="ELFCLASS64",
            EI_DATA="ELFDATA2LSB",
            EI_VERSION="EV_CURRENT",
            EI_OSABI="ELFOSABI_SYSV",
            EI_ABIVERSION=0,
        ),
        e_type="ET_CORE",
        e_machine=_machine(machine),
        e_version="EV_CURRENT",
        e_entry=0,
        e_phoff=size + with_section * section_size,
        e_shoff=size if with_section else 0,
        e_flags=0,
        e_ehsize=size,
        e_phentsize=structs.Elf_Phdr.sizeof(),
        e_phnum=min(count, PN_XNUM),
        e_shentsize=section_size if with_section else 0,
        e_shnum=int(with_section),
        e_shstrndx=0,
    )
    return bytes(structs.Elf_Ehdr.build(header))


def _machine(machine: str | None) -> str | int:
    """e_machine; of machines that ELF has no name for, none."""
    names = {name: value for value, name in MACHINES.items()}
    found = names.get(machine or "", machine or _NO_MACHINE)
    if found.isdecimal() and int(found) < 1 << 16:
        return int(found)
    return found if found.startswith("EM_") and found in ENUM_E_MACHINE else _NO_MACHINE


def _counting_section(structs: Any, count: int) -> bytes:  # noqa: ANN401 - pyelftools makes its structs at run time
    """Section header 0, which counts the segments where e_phnum cannot."""
    section = np.zeros(1, columns_of(structs.Elf_Shdr))
    section["sh_info"] = count
    return section.tobytes()


def _note(structs: Any, name: bytes, description: bytes) -> bytes:  # noqa: ANN401 - pyelftools makes its structs at run time
    header = structs.Elf_Nhdr.build(Container(n_namesz=len(name), n_descsz=len(description), n_type=0))
    return b"".join([header, *(part + bytes(-len(part) % 4) for part in (name, description))])


def _lines(vmcoreinfo: Mapping[str, str]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in vmcoreinfo.items()).encode()
