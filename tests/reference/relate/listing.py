"""What `inspect` lists, as tuples that can be compared."""

from __future__ import annotations

from .command import Row, Told, tell_well


def blocks(told: Told) -> list[tuple[int, int]]:
    """(phys, order) of all rows, in the order in which they stand."""
    return [(row["phys"], row["order"]) for row in told.rows]


def pages_of(*image: str) -> list[tuple[int, int]]:
    """All blocks of an image that is sound."""
    return blocks(tell_well("inspect", "--pages", "-q", "-f", "jsonl", *image))


def sizes(rows: list[Row], page_size: int) -> list[tuple[int, int]]:
    """Blocks that are listed as runs, one by one."""
    return [
        (row["phys"] + number * (page_size << row["order"]), row["order"])
        for row in rows
        for number in range(row["count"])
    ]
