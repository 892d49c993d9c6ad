"""Names that come out of an image: any bytes, spelled so that they can be shown, and typed back as they are shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Unicode categories that are shown as escapes: controls, format characters (bidi overrides), lone surrogates,
#: private use, unassigned, and line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def spelled(text: str) -> str:
    """`text` with everything that does not simply print as itself escaped, backslashes included.

    No two texts are spelled alike: bytes that are no UTF-8, which are lone surrogates in `text`, have a spelling of
    their own.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escape, text))


def _escape(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if 0x80 <= code <= 0xFF:
        return f"\\u{code:04x}"  # \x is for bytes
    return char.encode("unicode_escape").decode("ascii")


def well_formed(text: str) -> str:
    """`text`, for what takes Unicode alone: bytes that are no UTF-8 are spelled, and nothing else is."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return _SURROGATE.sub(lambda match: _escape(match[0]), text)


def meant(typed: str, names: Iterable[str]) -> str:
    """The name that was meant by what was typed: that very name, or the one that is shown so."""
    known = list(names)
    if typed in known:
        return typed
    return next((name for name in known if typed in (spelled(name), well_formed(name))), typed)
