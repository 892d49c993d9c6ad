"""Flattened device trees, written as libfdt does for the kernel."""

from __future__ import annotations

import construct

from khodump.abi.kexec_handover import PHYS
from khodump.fdt import FDT_HEADER, FdtHeader, FdtNode

_BEGIN_NODE, _END_NODE, _PROP, _END = (construct.Int32ub.build(tag) for tag in (1, 2, 3, 9))
_NO_RESERVATIONS = bytes(16)


def u64(value: int) -> bytes:
    """The payload of a KHO property: a u64 in the byte order of the kernel."""
    return bytes(PHYS.build(value))


def string(text: str) -> bytes:
    """The payload of a string property."""
    return text.encode("utf-8", "surrogateescape") + b"\0"


def build_fdt(node: FdtNode, *, pack_to: int | None = None) -> bytes:
    """A version 17 tree with `node` as its root.

    Args:
        node: the root; its name is ignored.
        pack_to: totalsize in bytes, as after fdt_open_into(); by default as small as fdt_pack() makes it.
    """
    strings = bytearray()
    body = _structure("", node, strings) + _END
    reservations_at = FDT_HEADER.size
    structure_at = reservations_at + len(_NO_RESERVATIONS)
    strings_at = structure_at + len(body)
    end = strings_at + len(strings)
    if pack_to is not None and pack_to < end:
        raise ValueError(f"the tree takes {end} bytes, more than {pack_to}")
    header = FDT_HEADER.build(
        FdtHeader(
            magic=0xD00DFEED,
            totalsize=pack_to or end,
            off_dt_struct=structure_at,
            off_dt_strings=strings_at,
            off_mem_rsvmap=reservations_at,
            version=17,
            last_comp_version=16,
            boot_cpuid_phys=0,
            size_dt_strings=len(strings),
            size_dt_struct=len(body),
        )
    )
    tree: bytes = header + _NO_RESERVATIONS + body + strings
    return tree.ljust(pack_to or end, b"\0")


def _structure(name: str, node: FdtNode, strings: bytearray) -> bytes:
    parts = [_BEGIN_NODE, _padded(string(name))]
    for key, value in node.properties.items():
        parts += [_PROP, _u32(len(value)), _u32(_string_offset(key, strings)), _padded(value)]
    parts += [_structure(child.name, child, strings) for child in node.children]
    return b"".join([*parts, _END_NODE])


def _string_offset(name: str, strings: bytearray) -> int:
    """Where `name` stands in the strings block; names are shared, also as the tail of another."""
    wanted = string(name)
    at = strings.find(wanted)
    if at < 0:
        at = len(strings)
        strings += wanted
    return at


def _u32(value: int) -> bytes:
    return bytes(construct.Int32ub.build(value))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
