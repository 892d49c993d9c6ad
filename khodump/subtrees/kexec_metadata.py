"""The `kexec-metadata` node: which kernel handed over (7.1 and later)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from khodump.abi.kexec_handover import PROP_PRESERVED_DATA
from khodump.abi.kexec_metadata import KHO_KEXEC_METADATA, NODE_NAME, VERSION
from khodump.abi.layout import dtype_of
from khodump.fdt import FdtNode
from khodump.memory import Hole, PhysicalMemory
from khodump.problems import BlobIncompatible, BlobTooSmall
from khodump.rows import Fact, Kind
from khodump.subtree import Blob, Context, Decoded, Keep, blob_of, no_claims
from khodump.subtrees.text import text


@dataclass(frozen=True, slots=True)
class KexecMetadata:
    """The kernel that made the handover.

    Attributes:
        release: its `uname -r`.
        kexec_count: 1 after a cold boot, one more a live update.
    """

    release: str
    kexec_count: int


def decode(context: Context, blob: Blob) -> Decoded:
    """The producing kernel, as `KexecMetadata`."""
    if len(blob.data) < KHO_KEXEC_METADATA.size:
        message = (
            f"kexec-metadata at {blob.phys:#x} has {len(blob.data)} bytes, not {KHO_KEXEC_METADATA.size}"
        )
        problem = BlobTooSmall(blob.size, KHO_KEXEC_METADATA.size)
        return Decoded("unknown", findings=(context.problem(problem, blob.phys, message),))
    metadata = KHO_KEXEC_METADATA.parse(blob.data)
    if metadata.version != VERSION:
        message = f"kexec-metadata at {blob.phys:#x} is of version {metadata.version}, not {VERSION}"
        finding = context.problem(BlobIncompatible(metadata.version), blob.phys, message)
        return Decoded(f"version {metadata.version}", findings=(finding,))
    content = KexecMetadata(text(metadata.previous_release), metadata.kexec_count)
    facts = (
        Fact("release", content.release, Kind.TEXT),
        Fact("kexec count", content.kexec_count, Kind.COUNT),
    )
    return Decoded(f"version {VERSION}", facts, content, (), no_claims, lambda: _keeps(blob))


def _keeps(blob: Blob) -> Iterator[Keep]:
    rows = np.frombuffer(blob.data, dtype_of(KHO_KEXEC_METADATA.schema), 1)
    yield Keep.of_rows(blob_of(NODE_NAME), "blob", np.array([blob.phys], np.uint64), rows)


def read_kexec_metadata(memory: PhysicalMemory, tree: FdtNode) -> KexecMetadata | None:
    """What the root FDT's `kexec-metadata` node says; None when it is missing, unreadable or of another version."""
    node = tree.child(NODE_NAME)
    phys = node.u64(PROP_PRESERVED_DATA) if node else None
    data = memory.read(phys, KHO_KEXEC_METADATA.size) if phys is not None else None
    if phys is None or data is None or isinstance(data, Hole):
        return None
    content = decode(Context(memory, 0), Blob(phys, len(data), data)).content
    return content if isinstance(content, KexecMetadata) else None
