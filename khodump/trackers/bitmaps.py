"""Bitmaps to runs of set bits, many words at a time.

What is fastest depends on how full the words are. Where most are empty or hold few runs, each round takes the lowest run
of every word that has one left. Elsewhere the edges of the runs are found at once, as set bits of another bitmap.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from khodump.columns.arrays import I64, U64, Bool

_ONE, _SIX, _TOP = np.uint64(1), np.uint64(6), np.uint64(63)
#: Above so many runs a word (of those that are not empty), edges are found faster than runs.
_FEW: Final = 3


def runs_of_set_bits(words: U64, apart: Bool | None = None) -> tuple[U64, U64]:
    """Where runs of set bits begin, and how many bits they have.

    Args:
        words: uint64, one bitmap a row, least significant bit first.
        apart: the rows that no run enters from the row before; by default all.

    Returns:
        The first bit of each run, a uint64 position counted through all rows, ascending; and uint64 bits a run.
    """
    flat = words.reshape(-1).astype("<u8", copy=False)
    first, count = _runs(flat)
    rows = np.arange(len(words)) if apart is None else np.flatnonzero(apart)
    return _cut(first, count, rows.astype(np.uint64) * np.uint64(words.shape[1] * 64))


def set_bits(words: U64) -> U64:
    """Positions of all set bits, counted through all words from the first word's least significant bit."""
    flat = words.reshape(-1).astype("<u8", copy=False)
    filled = np.flatnonzero(flat != 0)
    if len(filled) > len(flat) // 2:  # hardly a word to leave out, and then no way to find back
        return np.flatnonzero(_unpacked(flat)).view(np.uint64)
    at = np.flatnonzero(_unpacked(flat[filled])).view(np.uint64)
    positions: U64 = filled.view(np.uint64)[at >> _SIX] << _SIX | at & _TOP
    return positions


def _unpacked(words: U64) -> Bool:
    """A bool a bit; numpy finds those several times faster than bytes that are not 0."""
    return np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)


def _runs(words: U64) -> tuple[U64, U64]:
    """First bit and length of each run; runs go on from word to word."""
    filled = np.flatnonzero(words != 0)
    if len(filled) <= len(words) * 31 // 32:
        held = words[filled]
        pieces = np.cumsum(np.bitwise_count(held & ~(held << _ONE)), dtype=np.int64)
        if len(filled) and pieces[-1] <= _FEW * len(filled):
            return _lowest_first(filled, held, pieces)
    return _between_edges(words)


def _between_edges(words: U64) -> tuple[U64, U64]:
    """A bit that differs from the one before is an edge; every other edge begins a run."""
    edges = words << _ONE
    edges[1:] |= words[:-1] >> _TOP
    edges ^= words
    at = set_bits(edges)
    first = at[::2].copy()  # a view would keep the other half
    count = np.uint64(len(words) * 64) - first  # as if each went on to the very end, as only the last may
    closed = len(at) // 2
    np.subtract(at[1::2], first[:closed], out=count[:closed])
    return first, count


def _lowest_first(filled: I64, held: U64, pieces: I64) -> tuple[U64, U64]:
    """Round by round the lowest run of each word, put where the runs of the words before it end.

    Args:
        filled: the words that are not empty.
        held: these words.
        pieces: how many runs they and those before them have, when each word is taken for itself.
    """
    goes_on = (held[:-1] >> _TOP & held[1:]).view(np.int64) & (np.diff(filled) == 1)
    joins = pieces[:-1][goes_on != 0]
    first, count = np.empty(pieces[-1], np.uint64), np.empty(pieces[-1], np.uint64)
    slot = np.concatenate([np.zeros(1, np.int64), pieces[:-1]])
    base = filled.view(np.uint64) << _SIX
    while len(held):
        lowest = np.negative(held)
        lowest &= held
        rest = held + lowest  # carries through the lowest run, and leaves those above it
        rest &= held
        held ^= rest
        count[slot] = np.bitwise_count(held)
        lowest -= _ONE
        first[slot] = base + np.bitwise_count(lowest)
        left = np.flatnonzero(rest != 0)
        held, base, slot = rest[left], base[left], slot[left] + 1
    if not len(joins):
        return first, count
    fresh = np.ones(len(first), np.bool_)
    fresh[joins] = False
    kept, more = np.flatnonzero(fresh), count[joins]
    first, count = first[kept], count[kept]
    np.add.at(count, np.searchsorted(kept, joins) - 1, more)
    return first, count


def _cut(first: U64, count: U64, at: U64) -> tuple[U64, U64]:
    """The runs, cut at these ascending positions."""
    row = np.searchsorted(first, at) - 1
    last = first + count if len(at) else count
    cuts = (row >= 0) & (last[row] > at) if len(first) else row >= 0
    if not cuts.any():
        return first, count
    row, at = row[cuts], at[cuts]
    begins, ends = np.insert(first, row + 1, at), np.insert(last, row, at)
    return begins, ends - begins
