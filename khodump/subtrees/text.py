"""Fixed-size strings of the ABI."""

from __future__ import annotations


def text(raw: bytes) -> str:
    """A NUL-padded string; bytes that are no UTF-8 survive as lone surrogates."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
