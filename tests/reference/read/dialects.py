"""The ways in which kernels have written down what they preserve."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_SHIFTS = (12, 14, 16)


@dataclass(frozen=True)
class Dialect:
    """One version of the format, as some kernel writes it."""

    name: str
    compatible: str
    map_property: str
    family: str  # "chunks", "tables" or "radix"
    blob_property: str
    has_blob_size: bool
    release: str
    luo: str | None  # what LUO of that time calls itself
    memfd: str | None

    def depth(self, page_shift: int) -> int:
        """Levels of the radix tree. Only at 16 KiB do the kernels differ (commit d64b0372760e)."""
        if self.name in {"kho-v2", "kho-v2-posted", "kho-v3-shallow"}:
            return _ceiling(64 - page_shift - (page_shift + 3), page_shift - 3) + 1
        return _ceiling(64 - page_shift + 1 - (page_shift + 3), page_shift - 3) + 1

    def bitmap_bytes(self, page_shift: int) -> int:
        """Bytes of a bitmap of the chunk list: 512 until commit a2fff99f92da, a page since."""
        return 512 if self.name == "kho-v1a" else 1 << page_shift


def _ceiling(value: int, divisor: int) -> int:
    return -(-value // divisor)


_MAP = "preserved-memory-map"
_RADIX = "preserved-page-radix-tree"
_TABLE = "preserved-order-table"
_DATA = "preserved-data"

DIALECTS = (
    Dialect("kho-v1a", "kho-v1", _MAP, "chunks", "fdt", False, "6.16.3", None, None),
    Dialect("kho-v1b-6.18", "kho-v1", _MAP, "chunks", "fdt", False, "6.18.2", None, None),
    Dialect("kho-v1b", "kho-v1", _MAP, "chunks", "fdt", False, "7.0.4", "luo-v1", "memfd-v1"),
    Dialect("kho-v1-tables", "kho-v1", _TABLE, "tables", "fdt", False, "6.17.0-rc6", None, None),
    Dialect("kho-v1-posted", "kho-v1", _RADIX, "radix", "fdt", False, "6.17.0-rc7", None, None),
    Dialect("kho-v2-posted", "kho-v2", _RADIX, "radix", "fdt", False, "6.18.0-rc2", None, None),
    Dialect(
        "kho-v2", "kho-v2", _MAP, "radix", _DATA, False, "7.0.0-08123-g3f2ad90060f6", "luo-v1", "memfd-v1"
    ),
    Dialect("kho-v3-shallow", "kho-v3", _MAP, "radix", _DATA, True, "7.1.0-rc4", "luo-v1", "memfd-v2"),
    Dialect("kho-v3", "kho-v3", _MAP, "radix", _DATA, True, "7.1.2", "luo-v1", "memfd-v2"),
    Dialect("kho-v4", "kho-v4", _MAP, "radix", _DATA, True, "7.3.4", "luo-v5", "memfd-v2"),
)


def named(name: str) -> Dialect:
    return next(dialect for dialect in DIALECTS if dialect.name == name)
