"""The page compressions of kdump-compressed files; none may yield more than a page."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from khodump.extras import require

EXTRA: Final = "kdump"


class Codec(NamedTuple):
    """One compression.

    Attributes:
        flag: its bit in a page descriptor and in the header's status.
        name: as makedumpfile calls it.
        module: the Python module it takes, None if the standard library will do.
        unpack: from compressed bytes and the page size to the page; None when the data is damaged.
    """

    flag: int
    name: str
    module: str | None
    unpack: Callable[[bytes, int], bytes | None]

    def check(self) -> None:
        """Raise ImageError, naming the extra, when its module is missing."""
        if self.module:
            require(self.module, extra=EXTRA, purpose=f"{self.name} compression")


def _unpack_zlib(data: bytes, size: int) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        return None


def _unpack_lzo(data: bytes, size: int) -> bytes | None:
    # It cannot be told to stop at `size`, but LZO expands at most 255-fold, and `data` is no longer than a page.
    lzo = require("lzallright", extra=EXTRA, purpose="lzo compression")
    try:
        page: bytes = lzo.LZOCompressor.decompress(data, size)
    except lzo.LZOError:
        return None
    return page


def _unpack_snappy(data: bytes, size: int) -> bytes | None:
    cramjam = require("cramjam", extra=EXTRA, purpose="snappy compression")
    page = bytearray(size)
    try:
        return bytes(page[: cramjam.snappy.decompress_raw_into(data, page)])
    except cramjam.DecompressionError:
        return None


def _unpack_zstd(data: bytes, size: int) -> bytes | None:
    cramjam = require("cramjam", extra=EXTRA, purpose="zstd compression")
    page = bytearray(size)
    try:
        return bytes(page[: cramjam.zstd.decompress_into(data, page)])
    except cramjam.DecompressionError:
        return None


CODECS: Final = (
    Codec(0x1, "zlib", None, _unpack_zlib),
    Codec(0x2, "lzo", "lzallright", _unpack_lzo),
    Codec(0x4, "snappy", "cramjam", _unpack_snappy),
    Codec(0x20, "zstd", "cramjam", _unpack_zstd),
)


def unpack_page(data: bytes, flags: int, size: int) -> bytes | None:
    """The page of `size` bytes that `data` holds as `flags` say; None when it does not hold one.

    Raises:
        ImageError: the library for this compression is not installed.
    """
    if not flags:
        page: bytes | None = data
    else:
        codec = next((codec for codec in CODECS if codec.flag == flags), None)
        page = codec.unpack(data, size) if codec else None
    return page if page is not None and len(page) == size else None
