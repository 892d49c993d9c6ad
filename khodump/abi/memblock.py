"""include/linux/kho/abi/memblock.h: the regions of `reserve_mem=` on the command line."""

from __future__ import annotations

from typing import Final

NODE_NAME: Final = "memblock"
COMPATIBLE: Final = "memblock-v1"
RESERVE_MEM_COMPATIBLE: Final = "reserve-mem-v1"

#: Native-endian u64: physical address and bytes.
PROP_START: Final = "start"
PROP_SIZE: Final = "size"
