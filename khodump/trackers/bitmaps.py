"""Bitmaps to runs of set bits, word by word."""

from __future__ import annotations

import numpy as np

from khodump.arrays import U64

_ONE, _TOP = np.uint64(1), np.uint64(63)


def runs_of_set_bits(words: U64) -> tuple[U64, U64]:
    """Where runs of set bits begin and end.

    Args:
        words: uint64, one bitmap a row, least significant bit first.

    Returns:
        The first and last bit (inclusive) of each run, as uint64 positions counted through all rows, ascending. A run
        does not go on from one row to the next.
    """
    before = words << _ONE
    before[:, 1:] |= words[:, :-1] >> _TOP
    after = words >> _ONE
    after[:, :-1] |= words[:, 1:] << _TOP
    return set_bits(words & ~before), set_bits(words & ~after)


def set_bits(words: U64) -> U64:
    """Positions of all set bits, counted through all words from the first word's least significant bit."""
    flat = words.reshape(-1)
    filled = np.flatnonzero(flat)
    bits = np.unpackbits(flat[filled].astype("<u8").view(np.uint8), bitorder="little")
    at = np.flatnonzero(bits)
    positions: U64 = filled.astype(np.uint64)[at >> 6] * np.uint64(64) + (at & 63).astype(np.uint64)
    return positions
