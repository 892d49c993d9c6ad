"""struct kho_vmalloc of include/linux/kho/abi/kexec_handover.h: a virtually contiguous area as a chain of chunks (6.18)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import construct

from khodump.abi.layout import Layout, u16, u32, u64


class VmallocFlags(IntFlag):
    """Flags of a preserved area; the next kernel refuses others."""

    ALLOC = 1
    HUGE_VMAP = 2


@dataclass(frozen=True, slots=True)
class KhoVmalloc:
    """struct kho_vmalloc: physical address of the first chunk (0 is none), base pages, flags, order of each block."""

    first: u64
    total_pages: u32
    flags: u16
    order: u16


KHO_VMALLOC: Final = Layout(KhoVmalloc)


def kho_vmalloc_chunk(page_size: int) -> Any:  # noqa: ANN401 - construct is untyped
    """A chunk: a page with the next chunk's physical address, then those of blocks, up to the first 0 or the end."""
    return construct.Struct(
        "next" / construct.Int64ul, "phys" / construct.Array(page_size // 8 - 1, construct.Int64ul)
    )


def chunk_capacity(page_size: int) -> int:
    """Blocks that a chunk names. A chunk that becomes full is followed by another at once, maybe an empty one."""
    return page_size // 8 - 1
