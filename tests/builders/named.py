"""The beginnings of files that khodump names and does not read, each after its own specification; and what packs.

Those that the standard library writes are written by it. The others are spelt out here, apart from khodump's table.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

from elftools.construct import Container
from elftools.elf.structs import ELFStructs

from tests.builders.elf import build_elf
from tests.builders.lime import build_lime

_PAGE = 4096
BODY = bytes(range(256)) * 64


def build_xen_dump(pages: Mapping[int, bytes]) -> bytes:
    """What `xl dump-core` writes of an HVM guest: no program headers, and sections with the pages and their PFNs."""
    structs = ELFStructs(little_endian=True, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs(e_type="ET_CORE")
    names = [b"", b".shstrtab", b".note.Xen", b".xen_pages", b".xen_pfn"]
    contents = [
        b"",
        b"\0".join(names) + b"\0",
        bytes(64),
        b"".join(pages.values()),
        b"".join(struct.pack("<Q", at // _PAGE) for at in pages),
    ]
    head = bytearray(build_elf([]))
    sections_at = len(head)
    data_at = sections_at + len(names) * structs.Elf_Shdr.sizeof()
    table = b""
    for number, content in enumerate(contents):
        header = Container(
            sh_name=contents[1].index(names[number]),
            sh_type="SHT_PROGBITS" if content else "SHT_NULL",
            sh_flags=0,
            sh_addr=0,
            sh_offset=data_at,
            sh_size=len(content),
            sh_link=0,
            sh_info=0,
            sh_addralign=0,
            sh_entsize=0,
        )
        table += structs.Elf_Shdr.build(header)
        data_at += len(content)
    struct.pack_into("<Q", head, 0x28, sections_at)  # e_shoff
    struct.pack_into("<HHH", head, 0x3A, structs.Elf_Shdr.sizeof(), len(names), 1)
    return bytes(head) + table + b"".join(contents)


def build_vmware(memory: bytes, magic: int = 0xBED2BED2, order: str = "<") -> bytes:
    """A .vmss with the memory in it: a header, one group of tags, and the memory from the second page on."""
    group = struct.pack(f"{order}64sQ", b"memory", 0x800)
    return (struct.pack(f"{order}III", magic, 8, 1) + group).ljust(_PAGE, b"\0") + memory


def build_swap(signature: bytes, page_size: int = _PAGE) -> bytes:
    """A swap area whose first page ends with `signature` in its last ten bytes."""
    return bytes(page_size - 10) + signature.ljust(10, b"\0") + bytes(page_size)


def build_zip(content: bytes, name: str = "memory") -> bytes:
    """A zip archive of one file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def build_tar(content: bytes, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive of one file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        member = tarfile.TarInfo("memory.raw")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _at(offset: int, mark: bytes, size: int = 1 << 17) -> bytes:
    return (bytes(offset) + mark).ljust(size, b"\0")


def _from_end(offset: int, mark: bytes) -> bytes:
    return BODY + mark.ljust(offset, b"\0")


#: A file, or several, of every format; by the name that `khodump formats` has for it.
NAMED: dict[str, list[bytes]] = {
    "diskdump": [_at(0, b"DISKDUMP")],
    "sadump (Fujitsu's stand-alone dump)": [_at(0, b"sadump\0\0"), _at(4096, b"sadump\0\0")],
    "LKCD dump": [_at(0, struct.pack(order + "Q", 0xA8190173618F23ED)) for order in "<>"],
    "Mission Critical Linux crash dump": [_at(0, struct.pack("<I", 0x9A8BCCDD))],
    "s390 stand-alone dump": [_at(0, struct.pack(">Q", 0xA8190173618F23FD))],
    "Xen dump-core": [build_xen_dump({0: BODY[:_PAGE], 0x5000: BODY[:_PAGE]})],
    "Xen dump-core, of Xen 3.0": [_at(0, struct.pack("<I", magic)) for magic in (0xF00FEBED, 0xF00FEBEE)],
    "Xen save file": [_at(0, b"LibxlFmt"), _at(0, b"LinuxGuestRecord"), _at(0, b"\xff" * 8 + b"XENF")],
    "QEMU migration stream": [_at(0, b"QEVM\0\0\0\3")],
    "VMA archive of Proxmox": [_at(0, b"VMA\0\0\0\0\1")],
    "libvirt save file": [_at(0, b"LibvirtQemudSave\2\0\0\0")],
    "interrupted libvirt save file": [_at(0, b"LibvirtQemudPart\2\0\0\0")],
    "VMware state file (.vmss, .vmsn)": [
        build_vmware(BODY, magic, order)
        for magic in (0xBED2BED0, 0xBED2BED1, 0xBED2BED2, 0xBED2BED3, 0xBED0BED0, 0xBED3BED3, 0xBAD1BAD1)
        for order in "<>"
    ],
    "VirtualBox saved state": [_at(0, b"\x7fVirtualBox SavedState V2.0\n")],
    "Hyper-V state file (.vmrs)": [_at(at, struct.pack("<I", 0x01282014)) for at in (0, 4096)],
    "hibernation image (swsusp)": [
        build_swap(b"S1SUSPEND"),
        build_swap(b"S1SUSPEND", 1 << 14),
        build_swap(b"S1SUSPEND", 1 << 16),
        build_swap(b"LINHIB0001"),
        build_swap(b"ULSUSPEND"),
    ],
    "swap space": [build_swap(b"SWAPSPACE2"), build_swap(b"SWAPSPACE2", 1 << 16)],
    "HPAK archive of FastDump": [_at(0, b"HPAK\0\0\0\0")],
    "Windows crash dump": [_at(0, b"PAGEDUMP"), _at(0, b"PAGEDU64")],
    "compressed Windows crash dump of DumpIt": [_at(0, b"ZDMP\1\0\0\0")],
    "Windows minidump": [_at(0, b"MDMP\x93\xa7")],
    "Windows hibernation file": [_at(0, b"hibr\0\0\0\0"), _at(0, b"HIBR\0\0\0\0"), _at(0, b"RSTR\0\0\0\0")],
    "Mach-O core": [_at(0, struct.pack(order + "I", 0xFEEDFACF)) for order in "<>"],
    "gzip-compressed": [gzip.compress(BODY), gzip.compress(b"")],
    "zstd-compressed": [_at(0, struct.pack("<I", 0xFD2FB528))],
    "compressed by pzstd, or zstd or lz4 in frames": [_at(0, struct.pack("<III", 0x184D2A50, 4, 77))],
    "xz-compressed": [lzma.compress(BODY)],
    "lzma-compressed": [lzma.compress(BODY, lzma.FORMAT_ALONE, preset=preset) for preset in (0, 6, 9)],
    "bzip2-compressed": [bz2.compress(BODY), bz2.compress(BODY, 1), bz2.compress(b"")],
    "lz4-compressed": [_at(0, struct.pack("<I", 0x184D2204))],
    "lz4-compressed, in legacy frames": [_at(0, struct.pack("<I", 0x184C2102))],
    "lzop-compressed": [_at(0, b"\x89LZO\0\r\n\x1a\n\x10\x30")],
    "lzip-compressed": [_at(0, b"LZIP\1\x0c")],
    "lrzip-compressed": [_at(0, b"LRZI\0\6")],
    "compressed by compress(1)": [_at(0, b"\x1f\x9d\x90")],
    "snappy-compressed": [_at(0, b"\xff\6\0\0sNaPpY")],
    "zlib-compressed (LiME with compress=1)": [
        zlib.compress(build_lime({0: BODY[:_PAGE]}), level) for level in (0, 1, 4, 6, 9)
    ],
    "zip archive (AFF4 is one)": [build_zip(BODY, "container.description"), build_zip(b"")],
    "tar archive": [build_tar(BODY, form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)],
    "7-Zip archive": [_at(0, b"7z\xbc\xaf\x27\x1c\0\4")],
    "RAR archive": [_at(0, b"Rar!\x1a\7\0"), _at(0, b"Rar!\x1a\7\1\0")],
    "cpio archive": [_at(0, b"070701" + b"0" * 8), _at(0, b"070707" + b"0" * 8)],
    "ar archive": [_at(0, b"!<arch>\n")],
    "cabinet archive": [_at(0, b"MSCF\0\0\0\0")],
    "ISO 9660 image": [_at(0x8000, b"\1CD001\1\0")],
    "squashfs image": [_at(0, b"hsqs")],
    "EWF evidence file (EnCase)": [_at(0, b"EVF\x09\x0d\x0a\xff\0\1\1\0"), _at(0, b"EVF2\x0d\x0a\x81\0")],
    "AFF evidence file": [_at(0, b"AFF10\r\n\0")],
    "Android sparse image": [_at(0, struct.pack("<I", 0xED26FF3A))],
    "qcow2 disk image": [_at(0, b"QFI\xfb\0\0\0\3")],
    "QED disk image": [_at(0, b"QED\0")],
    "VHD disk image": [_at(0, b"conectix"), _from_end(512, b"conectix")],
    "VHDX disk image": [_at(0, b"vhdxfile")],
    "VMDK disk image": [_at(0, b"KDMV\1\0\0\0"), _at(0, b"COWD\1\0\0\0")],
    "VDI disk image": [_at(64, struct.pack("<I", 0xBEDA107F))],
    "Parallels disk image": [_at(0, b"WithoutFreeSpace"), _at(0, b"WithouFreSpacExt")],
    "Apple disk image": [_from_end(512, b"koly\0\0\0\4")],
    "LUKS volume": [_at(0, b"LUKS\xba\xbe\0\2")],
    "disk with a GUID partition table": [_at(512, b"EFI PART"), _at(4096, b"EFI PART")],
    "flattened device tree": [_at(0, struct.pack(">II", 0xD00DFEED, 1 << 17))],
}
