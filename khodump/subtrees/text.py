"""Fixed-size strings of the ABI."""

from __future__ import annotations


def text(raw: bytes) -> str:
    """A NUL-padded string; bytes that are no UTF-8 survive as lone surrogates."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def quoted(name: str) -> str:
    """A name in the double quotes that set it off in a sentence or an owner's path; escaped where it is shown, not here."""
    return f'"{name}"'
