"""What is timed from inside: `python -m benchmarks.tasks TASK ARGUMENT...` writes its seconds to stderr.

Everything is done twice, and the second time counts, as in the reference: the first pays for what a process pays once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.trees import FDT, GEOMETRY
from khodump import open as open_handover
from khodump.abi.layout import dtype_of
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, PFN_BITS
from khodump.memories import open_memory
from khodump.memory import PhysicalMemory
from khodump.opening.locate import landmarks
from khodump.trackers.radix import RadixTracker


def _ignore(_: object) -> None:
    """The result is of no interest."""


def _memory(image: str) -> PhysicalMemory:
    return open_memory([f"{image}@0"])


def walk(image: str, root: str) -> Callable[[], None]:
    """Walk the map to runs, and drop them."""
    tracker = RadixTracker(_memory(image), int(root, 0), GEOMETRY)

    def work() -> None:
        for _ in tracker.walk():
            pass

    return work


def walks(image: str, root: str, other_image: str, other_root: str) -> Callable[[], None]:
    """Walk two maps, one after the other."""
    first, second = walk(image, root), walk(other_image, other_root)

    def work() -> None:
        first()
        second()

    return work


def scan(image: str) -> Callable[[], None]:
    """Search the image for landmarks."""
    memory = _memory(image)
    return lambda: _ignore(list(landmarks(memory)))


def ownership(image: str) -> Callable[[], None]:
    """Who owns what; the map and the users' state are read before."""
    handover = open_handover(f"{image}@0", fdt=FDT)
    handover.preserved, handover.subtrees  # noqa: B018 - read now
    return lambda: _ignore(handover.ownership)


def folios(array: str) -> Callable[[], None]:
    """What numpy alone takes to read the same list of folios: the file, and its columns phys and index."""
    bits = np.uint64(PFN_BITS)

    def work() -> None:
        entries = np.fromfile(array, dtype_of(MEMFD_LUO_FOLIO_SER))
        phys = (entries["folio"] & ((np.uint64(1) << bits) - np.uint64(1))) << np.uint64(GEOMETRY.page_shift)
        assert len(phys) == len(entries["index"].copy())

    return work


def answer(image: str, root: str) -> str:
    """Keys, runs and checksum of a map, as the reference says them."""
    keys = runs = checksum = 0
    for part in RadixTracker(_memory(image), int(root, 0), GEOMETRY).walk_by_address():
        keys, runs = keys + len(part), runs + part.runs
        checksum += int((part.phys ^ (part.size << np.uint64(1)) ^ part.order).sum())
    return f"{keys} {runs} {checksum % (1 << 64)}"


_TASKS = {task.__name__: task for task in (walk, walks, scan, ownership, folios)}


def main(name: str, *words: str) -> None:
    """Do a task, or tell an answer on stdout."""
    if name == "answer":
        sys.stdout.write(answer(*words))
        return
    work = _TASKS[name](*words)
    work()
    begun = time.perf_counter()
    work()
    sys.stderr.write(json.dumps(time.perf_counter() - begun))


if __name__ == "__main__":
    main(*sys.argv[1:])
