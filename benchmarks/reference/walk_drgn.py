"""The same walk as a plain drgn script: one read a node, one step a bit.

    python walk_drgn.py IMAGE ROOT

The number of keys and the seconds of the walk go to stderr, the seconds alone on the last line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import drgn

PAGE_SHIFT, DEPTH = 12, 6
TABLE_BITS, LEAF_BITS = PAGE_SHIFT - 3, PAGE_SHIFT + 3


def keys(program: drgn.Program, phys: int, level: int, prefix: int) -> Iterator[int]:
    """The keys below a node."""
    page = program.read(phys, 1 << PAGE_SHIFT, physical=True)
    for slot in range(0, len(page), 8):
        word = int.from_bytes(page[slot : slot + 8], "little")
        if level and word:
            yield from keys(program, word, level - 1, prefix << TABLE_BITS | slot // 8)
        while not level and word:
            yield prefix << LEAF_BITS | slot * 8 + (word & -word).bit_length() - 1
            word &= word - 1


def main(image: str, root: str) -> None:
    """Join neighbouring blocks of one order into runs."""
    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    size = Path(image).stat().st_size
    with open(image, "rb") as file:  # noqa: PTH123 - beside Path above, for its descriptor

        def read(_address: int, count: int, offset: int, _physical: bool) -> bytes:
            file.seek(offset)
            return file.read(count)

        program.add_memory_segment(0, size, read, physical=True)
        begun = time.perf_counter()
        runs, end, last = 0, 0, None
        for key in keys(program, int(root, 0), DEPTH - 1, 0):
            order = 64 - PAGE_SHIFT - (key.bit_length() - 1)
            phys = key << (PAGE_SHIFT + order) & (1 << 64) - 1
            runs += phys != end or order != last
            end, last = phys + (1 << (PAGE_SHIFT + order)), order
        sys.stderr.write(f"{runs}\n{time.perf_counter() - begun}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
