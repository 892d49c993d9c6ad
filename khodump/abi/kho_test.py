"""lib/test_kho.c: the kernel's own test of KHO."""

from __future__ import annotations

from typing import Final

NODE_NAME: Final = "kho_test"
COMPATIBLE: Final = "kho-test-v1"

PROP_MAGIC: Final = "magic"
MAGIC: Final = 0x4B484F21  # native-endian u32, "KHO!"

DATA_NODE: Final = "data"
PROP_NR_FOLIOS: Final = "nr_folios"
PROP_CSUM: Final = "csum"
#: In 6.17 the array itself, of u64 that are phys | order; from 6.18 on a struct kho_vmalloc that leads to it.
PROP_FOLIOS_INFO: Final = "folios_info"
