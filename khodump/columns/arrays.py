"""Names for the column types that flow through khodump, and sets of numbers.

numpy's own set functions import its masked arrays, which takes longer than most handovers take to read.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

# Spelled out, as importing numpy.typing takes longer than a small handover takes to read.
U8: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.uint8]]
U32: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.uint32]]
U64: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.uint64]]
I32: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.int32]]
I64: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.int64]]
F64: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.float64]]
Bool: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.bool_]]
AnyArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]

#: Just below the largest block that glibc may serve from its heap (DEFAULT_MMAP_THRESHOLD_MAX).
_LARGEST_OF_HEAP: Final = (32 << 20) - (1 << 16)


def warm_heap() -> None:
    """Let arrays of megabytes reuse memory, before work that makes and drops many.

    glibc maps blocks above 128 KiB afresh each time, and page faults then take longer than the work. It stops doing so for
    blocks as large as any that was freed; one that is never touched costs nothing. Elsewhere this does nothing.
    """
    np.empty(_LARGEST_OF_HEAP, np.uint8)


def distinct(values: U8 | U64) -> list[int]:
    """The different values, ascending."""
    ascending = np.sort(values)
    fresh = np.ones(len(values), np.bool_)
    fresh[1:] = ascending[1:] != ascending[:-1]
    found: list[int] = ascending[fresh].tolist()
    return found


def repeats(values: U64) -> Bool:
    """Which values stand further in front already."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    found = np.zeros(len(values), np.bool_)
    found[order[1:]] = ascending[1:] == ascending[:-1]
    return found


def among(values: U64, known: U64) -> Bool:
    """Which values are in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(values), np.bool_)
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    found: Bool = known[at] == values
    return found
