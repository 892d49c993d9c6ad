"""Whole numbers, rounded to whole units."""

from __future__ import annotations


def ceil_div(number: int, unit: int) -> int:
    """How many units it takes to hold `number`: 2 of 4096 for 4097."""
    return -(-number // unit)


def round_up(number: int, unit: int) -> int:
    """The next multiple of `unit` that is not below `number`: 8192 for 4097 and 4096."""
    return ceil_div(number, unit) * unit
