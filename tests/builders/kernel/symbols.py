"""kallsyms' tables in the making, as scripts/kallsyms.c writes them; only the choice of tokens is simpler."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

#: Sequences that take one byte; all other characters stand for themselves.
TOKENS = ("kho_", "luo_", "session", "_global", "init", "__", "Tkho", "kallsyms_", "_end", "scratch")


class Encoding(Enum):
    """What an entry of kallsyms_offsets means."""

    PLACE = "relative to its own place"
    BASE = "relative to kallsyms_relative_base"
    PERCPU = "relative to kallsyms_relative_base where negative, else absolute"


@dataclass(frozen=True)
class SymbolTables:
    """The tables, each as its bytes; `base` is the value of kallsyms_relative_base."""

    num_syms: bytes
    names: bytes
    token_table: bytes
    token_index: bytes
    offsets: Callable[[int], bytes]
    base: int | None


def build_tables(symbols: Mapping[str, int], encoding: Encoding, letter: str = "t") -> SymbolTables:
    """The tables of these symbols, in their order; where `offsets` stands is known later."""
    tokens, codes = _tokens()
    names = b"".join(_name(letter + name, codes) for name in symbols)
    index, table = b"", b""
    for token in tokens:
        index += struct.pack("<H", len(table))
        table += token.encode("latin-1") + b"\0"
    base = min(symbols.values(), default=0)

    def offsets(place: int) -> bytes:
        values = enumerate(symbols.values())
        return b"".join(_entry(va, place + 4 * number, base, encoding) for number, va in values)

    number = struct.pack("<I", len(symbols))
    return SymbolTables(number, names, table, index, offsets, None if encoding is Encoding.PLACE else base)


def _tokens() -> tuple[list[str], dict[str, int]]:
    """The 256 tokens, and the numbers of those that can be used."""
    tokens = [chr(number) if 33 <= number < 127 else "" for number in range(256)]
    for number, token in enumerate(TOKENS):
        tokens[200 + number] = token
    return tokens, {token: number for number, token in enumerate(tokens) if token}


def _name(text: str, codes: Mapping[str, int]) -> bytes:
    body = bytearray()
    while text:
        token = next((token for token in TOKENS if text.startswith(token)), text[0])
        body.append(codes[token])
        text = text[len(token) :]
    size = len(body)
    head = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return head + bytes(body)


def _entry(va: int, place: int, base: int, encoding: Encoding) -> bytes:
    if encoding is Encoding.PLACE:
        return struct.pack("<i", va - place)
    if encoding is Encoding.BASE:
        return struct.pack("<I", va - base)
    return struct.pack("<i", base - 1 - va)
