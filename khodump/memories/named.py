"""Formats that khodump names but does not read: how each is told, and what to do with it. One line a format.

None may be taken for raw memory, whose misreading would be believed. The list is that of the tools that read such
files: crash, libkdumpfile, volatility3, Rekall, MemProcFS and dissect. A mark of three bytes or more is trusted alone:
chance puts it at the start of one page in 16 million at most. A shorter one is confirmed.
"""

from __future__ import annotations

import zlib
from itertools import product
from typing import Final

from khodump.memories import xen
from khodump.memories.file import ByteSource
from khodump.memories.signature import Format

_PAGE: Final = 4096
_DTB_HEADER: Final = 40
#: Where the last ten bytes of a page are; mkswap and swsusp write them for the page size of their machine.
_PAGE_ENDS: Final = tuple((1 << shift) - 10 for shift in range(12, 17))

_ELF_CORE: Final = "rewrite it as an ELF core: makedumpfile -E -d 0 {path} OUT.elf"
_SADUMP: Final = "rewrite it: makedumpfile -l -d 0 -x VMLINUX {path} OUT"
_AGAIN: Final = "no kernel with KHO is dumped so; take the dump with kdump, LiME or AVML"
_INSIDE: Final = "take the dump inside the guest instead, with kdump, LiME or AVML"
_QEMU: Final = "take a dump with dump-guest-memory instead"
_VIRSH: Final = "take a dump with virsh dump --memory-only instead"
_VBOX: Final = "start the VM from it, then: VBoxManage debugvm VM dumpvmcore --filename=OUT.elf"
_VMWARE: Final = "name the .vmem beside it, if there is one; else convert it: vmss2core -N6 {path}"
_HYPER_V: Final = "write it out, on Windows: pcileech dump -device hvsavedstate://{path} -out IMAGE"
_RESUME: Final = "resume the machine from it, and take the dump with kdump, LiME or AVML"
_NO_SWAP: Final = "name the memory dump, not the swap"
_NO_DISK: Final = "name the memory dump, not the disk"
_HPAK: Final = "take the memory out of it: vol.py -f {path} hpakextract -D OUT"
_LINUX: Final = "KHO is Linux's; name the memory of a Linux machine"
_ARCH: Final = "KHO exists on x86_64 and arm64; name the memory of such a machine"
_EWF: Final = "export what is in it: ewfexport -u -f raw -t OUT {path}"
_AFF: Final = "export what is in it: affcat {path} > IMAGE"
_ZIP: Final = "unpack it: unzip {path}; out of AFF4: aff4imager --export STREAM --export_dir OUT {path}"
_ZSTD_OR_LZ4: Final = "unpack it: zstd -dc {path} > IMAGE, or lz4 -dc {path} > IMAGE"
_FDT: Final = "pass it with --fdt and name the memory image as IMAGE; FILE@BASE forces raw"


def _is_device_tree(file: ByteSource) -> bool:
    """Whether the file ends where the tree at its start does, but for padding.

    RAM can begin with a tree: QEMU puts a machine's own at the start of its RAM (hw/arm/boot.c), and so does some
    firmware. Such a file goes on behind the tree for a page or more.
    """
    size = int.from_bytes(file.read(4, 4), "big")
    return size >= _DTB_HEADER and file.size - size < _PAGE


def _is_zlib(file: ByteSource) -> bool:
    """Whether the start of the file can be unpacked; the two bytes of its mark begin one page in 16,000 by chance."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(file.read(0, _PAGE), _PAGE)
    except zlib.error:
        return False
    return bool(unpacked)


def _vmware() -> tuple[bytes, ...]:
    """bed0bed0 to bed3bed3 with any mixture, bad1bad1 and bad2bad2: little-endian, and big-endian."""
    words = [*product((0xBED0, 0xBED1, 0xBED2, 0xBED3), repeat=2), (0xBAD1, 0xBAD1), (0xBAD2, 0xBAD2)]
    numbers = [high << 16 | low for high, low in words]
    return tuple(number.to_bytes(4, order) for number in numbers for order in ("little", "big"))


def _lkcd() -> tuple[bytes, ...]:
    """DUMP_MAGIC_NUMBER and DUMP_MAGIC_LIVE in both byte orders; s390's own, which is big-endian, is not among them."""
    numbers = (0xA8190173618F23ED, 0xA8190173618F23CD)
    return tuple(number.to_bytes(8, order) for number in numbers for order in ("little", "big"))


def _bzip2() -> tuple[bytes, ...]:
    """The level, and what a block, or the end of an empty stream, begins with."""
    parts = product(range(1, 10), (b"1AY&SY", b"\x17rE8P\x90"))
    return tuple(b"BZh%d%b" % part for part in parts)


def _lzma() -> tuple[bytes, ...]:
    """LZMA's usual properties, a dictionary of 64 KiB to 64 MiB, and no length, as a stream has it."""
    return tuple(b"\x5d" + (1 << shift).to_bytes(4, "little") + b"\xff" * 8 for shift in range(16, 27))


def _skippable() -> tuple[bytes, ...]:
    """A frame that zstd and lz4 skip; pzstd puts one in front of each of its own."""
    return tuple(number.to_bytes(4, "little") for number in range(0x184D2A50, 0x184D2A60))


def _named(name: str, hint: str, *marks: bytes, at: tuple[int, ...] = (0,)) -> Format:
    return Format(marks, name, hint=hint, at=at)


#: Memory, in the files of dump tools, hypervisors and other systems.
_DUMPS: Final = (
    _named("diskdump", _ELF_CORE, b"DISKDUMP"),
    _named("sadump (Fujitsu's stand-alone dump)", _SADUMP, b"sadump\0\0", at=(0, 4096)),
    _named("LKCD dump", _AGAIN, *_lkcd()),
    _named("Mission Critical Linux crash dump", _AGAIN, b"\xdd\xcc\x8b\x9a"),
    _named("s390 stand-alone dump", _ARCH, b"\xa8\x19\x01sa\x8f#\xfd"),
    Format((b"\x7fELF",), "Xen dump-core", hint=_INSIDE, confirm=xen.is_dump),
    _named("Xen dump-core, of Xen 3.0", _INSIDE, b"\xed\xeb\x0f\xf0", b"\xee\xeb\x0f\xf0"),
    _named("Xen save file", _INSIDE, b"LibxlFmt", b"LinuxGuestRecord", b"\xff" * 8 + b"XENF"),
    _named("QEMU migration stream", _QEMU, b"QEVM"),
    _named("VMA archive of Proxmox", _QEMU, b"VMA\0"),
    _named("libvirt save file", _VIRSH, b"LibvirtQemudSave"),
    _named("interrupted libvirt save file", _VIRSH, b"LibvirtQemudPart"),
    _named("VMware state file (.vmss, .vmsn)", _VMWARE, *_vmware()),
    _named("VirtualBox saved state", _VBOX, b"\x7fVirtualBox SavedState V"),
    _named("Hyper-V state file (.vmrs)", _HYPER_V, b"\x14\x20\x28\x01", at=(0, 4096)),
    _named(
        "hibernation image (swsusp)",
        _RESUME,
        *(b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"\xed\xc3\x02\xe9\x98V\xe5\x0c"),
        at=_PAGE_ENDS,
    ),
    _named("swap space", _NO_SWAP, b"SWAPSPACE2", b"SWAP-SPACE", at=_PAGE_ENDS),
    _named("HPAK archive of FastDump", _HPAK, b"HPAK"),
    _named("Windows crash dump", _LINUX, b"PAGEDUMP", b"PAGEDU64"),
    _named("compressed Windows crash dump of DumpIt", _LINUX, b"ZDMP"),
    _named("Windows minidump", _LINUX, b"MDMP\x93\xa7"),
    _named("Windows hibernation file", _LINUX, b"hibr", b"HIBR", b"wake", b"WAKE", b"RSTR"),
    _named(
        "Mach-O core",
        _LINUX,
        *(
            b"\xcf\xfa\xed\xfe",
            b"\xce\xfa\xed\xfe",
            b"\xfe\xed\xfa\xcf",
            b"\xfe\xed\xfa\xce",
            b"\xca\xfe\xba\xbe",
        ),
    ),
)

#: What memory is packed in.
_PACKED: Final = (
    _named("gzip-compressed", "unpack it: gzip -dc {path} > IMAGE", b"\x1f\x8b\x08"),
    _named("zstd-compressed", "unpack it: zstd -dc {path} > IMAGE", b"\x28\xb5\x2f\xfd"),
    _named("compressed by pzstd, or zstd or lz4 in frames", _ZSTD_OR_LZ4, *_skippable()),
    _named("xz-compressed", "unpack it: xz -dc {path} > IMAGE", b"\xfd7zXZ\0"),
    _named("lzma-compressed", "unpack it: xz -dc --format=lzma {path} > IMAGE", *_lzma()),
    _named("bzip2-compressed", "unpack it: bzip2 -dc {path} > IMAGE", *_bzip2()),
    _named("lz4-compressed", "unpack it: lz4 -dc {path} > IMAGE", b"\x04\x22\x4d\x18"),
    _named("lz4-compressed, in legacy frames", "unpack it: lz4 -dc {path} > IMAGE", b"\x02\x21\x4c\x18"),
    _named("lzop-compressed", "unpack it: lzop -dc {path} > IMAGE", b"\x89LZO\0\r\n\x1a\n"),
    _named("lzip-compressed", "unpack it: lzip -dc {path} > IMAGE", b"LZIP\1"),
    _named("lrzip-compressed", "unpack it: lrzip -d -o IMAGE {path}", b"LRZI"),
    _named("compressed by compress(1)", "unpack it: gzip -dc {path} > IMAGE", b"\x1f\x9d\x90"),
    _named("snappy-compressed", "unpack it: snzip -dc {path} > IMAGE", b"\xff\x06\0\0sNaPpY"),
    Format(
        (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
        "zlib-compressed (LiME with compress=1)",
        hint="unpack it: pigz -dc < {path} > IMAGE",
        confirm=_is_zlib,
    ),
    _named("zip archive (AFF4 is one)", _ZIP, b"PK\3\4", b"PK\5\6", b"PK\7\x08"),
    _named("tar archive", "unpack it: tar -xf {path}", b"ustar", at=(257,)),
    _named("7-Zip archive", "unpack it: 7z x {path}", b"7z\xbc\xaf\x27\x1c"),
    _named("RAR archive", "unpack it: unrar x {path}", b"Rar!\x1a\x07"),
    _named("cpio archive", "unpack it: cpio -id < {path}", b"070701", b"070702", b"070707"),
    _named("ar archive", "unpack it: ar x {path}", b"!<arch>\n"),
    _named("cabinet archive", "unpack it: cabextract {path}", b"MSCF\0\0\0\0"),
    _named("ISO 9660 image", "unpack it: 7z x {path}", b"CD001", at=(0x8001,)),
    _named("squashfs image", "unpack it: unsquashfs {path}", b"hsqs"),
    _named("EWF evidence file (EnCase)", _EWF, b"EVF\x09\r\n\xff\0", b"LVF\x09\r\n\xff\0", b"EVF2\r\n\x81\0"),
    _named("AFF evidence file", _AFF, b"AFF10\r\n\0"),
    _named("Android sparse image", "unpack it: simg2img {path} IMAGE", b"\x3a\xff\x26\xed"),
)

#: What is named by mistake.
_OTHERS: Final = (
    _named("qcow2 disk image", _NO_DISK, b"QFI\xfb"),
    _named("QED disk image", _NO_DISK, b"QED\0"),
    _named("VHD disk image", _NO_DISK, b"conectix", at=(0, -512, -511)),
    _named("VHDX disk image", _NO_DISK, b"vhdxfile"),
    _named("VMDK disk image", _NO_DISK, b"KDMV", b"COWD"),
    _named("VDI disk image", _NO_DISK, b"\x7f\x10\xda\xbe", at=(64,)),
    _named("Parallels disk image", _NO_DISK, b"WithoutFreeSpace", b"WithouFreSpacExt"),
    _named("Apple disk image", _NO_DISK, b"koly\0\0\0\4", at=(-512,)),
    _named("LUKS volume", _NO_DISK, b"LUKS\xba\xbe"),
    _named("disk with a GUID partition table", _NO_DISK, b"EFI PART", at=(512, 4096)),
    Format((b"\xd0\x0d\xfe\xed",), "flattened device tree", hint=_FDT, confirm=_is_device_tree),
)

NAMED: Final = (*_DUMPS, *_PACKED, *_OTHERS)
