"""Bitmaps to runs of set bits, word by word."""

from __future__ import annotations

import numpy as np

from khodump.arrays import U64, Bool

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
    flat = words.reshape(-1).astype("<u8", copy=False)
    filled = np.flatnonzero(flat)
    if len(filled) > len(flat) // 2:  # hardly a word to leave out, and then no way to find back
        return np.flatnonzero(_unpacked(flat)).view(np.uint64)
    at = np.flatnonzero(_unpacked(flat[filled]))
    positions: U64 = filled.view(np.uint64)[at >> 6] << np.uint64(6) | (at & 63).view(np.uint64)
    return positions


def _unpacked(words: U64) -> Bool:
    """A bool a bit; numpy finds those several times faster than bytes that are not 0."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)
