"""The `kexec-metadata` node: which kernel handed over (7.1 and later)."""

from __future__ import annotations

from dataclasses import dataclass

from khodump.abi.kexec_handover import PROP_PRESERVED_DATA
from khodump.abi.kexec_metadata import KHO_KEXEC_METADATA, NODE_NAME, VERSION
from khodump.fdt import FdtNode
from khodump.memory import Hole, PhysicalMemory


@dataclass(frozen=True, slots=True)
class KexecMetadata:
    """The kernel that made the handover.

    Attributes:
        release: its `uname -r`.
        kexec_count: 1 after a cold boot, one more a live update.
    """

    release: str
    kexec_count: int


def read_kexec_metadata(memory: PhysicalMemory, tree: FdtNode) -> KexecMetadata | None:
    """What the root FDT's `kexec-metadata` node says; None when it is missing, unreadable or of another version."""
    node = tree.child(NODE_NAME)
    phys = node.u64(PROP_PRESERVED_DATA) if node else None
    blob = memory.read(phys, KHO_KEXEC_METADATA.size) if phys is not None else None
    if blob is None or isinstance(blob, Hole):
        return None
    metadata = KHO_KEXEC_METADATA.parse(blob)
    if metadata.version != VERSION:
        return None
    release = metadata.previous_release.split(b"\0", 1)[0].decode("ascii", "backslashreplace")
    return KexecMetadata(release, metadata.kexec_count)
