"""Which kernel made a handover."""

from __future__ import annotations

from khodump.fdt import FdtNode
from khodump.memory import PhysicalMemory
from khodump.subtrees.kexec_metadata import read_kexec_metadata


def maker_release(memory: PhysicalMemory, tree: FdtNode | None) -> str:
    """The release (`uname -r`) of the kernel that made the handover, as far as is known; empty if nothing tells.

    Args:
        memory: the image.
        tree: the root FDT, if it is known. Its kexec-metadata names the maker (7.1 and later); else the kernel that runs in the
            image is taken for it, which may be the one that received the handover.
    """
    metadata = read_kexec_metadata(memory, tree) if tree else None
    return metadata.release if metadata else memory.platform.vmcoreinfo.get("OSRELEASE", "")
