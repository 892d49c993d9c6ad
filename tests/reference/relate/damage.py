"""Ways to damage a handover, and a file."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.reference.read.memory import GRAIN, Memory

FEW = 64
Damage = Callable[[Random, Memory, list[int]], None]


def scribble(rng: Random, data: bytearray) -> None:
    """Write over some words, rather near the start, where headers are."""
    for _ in range(rng.choice([1, 4])):
        head = rng.random() < 0.6
        at = rng.randrange(min(len(data), 4096) if head else len(data))
        data[at : at + 8] = rng.choice([bytes(8), b"\xff" * 8, rng.randbytes(8)])[: len(data) - at]


def flip_bit(rng: Random, memory: Memory, grains: list[int]) -> None:
    """Where there is something to flip, half of the times."""
    at = _word(rng, memory, grains)
    memory.write_u64(at, memory.u64(at) ^ 1 << rng.randrange(64))


def put_word(rng: Random, memory: Memory, grains: list[int]) -> None:
    """A number that means something elsewhere."""
    value = rng.choice([0, 1, 2**64 - 1, 2**63, rng.choice(grains) * GRAIN, rng.getrandbits(64), 4095])
    memory.write_u64(_word(rng, memory, grains), value)


def copy_page(rng: Random, memory: Memory, grains: list[int]) -> None:
    source = rng.choice([grain for grain in grains if grain in memory.grains] or [min(memory.grains)])
    memory.write(rng.choice(grains) * GRAIN, bytes(memory.grains[source]))


def lose_page(rng: Random, memory: Memory, grains: list[int]) -> None:
    """It is in no dump."""
    memory.grains.pop(rng.choice(grains), None)
    if not memory.grains:
        memory.clear(0, GRAIN)


def zero_page(rng: Random, memory: Memory, grains: list[int]) -> None:
    memory.clear(rng.choice(grains) * GRAIN, GRAIN)


KINDS: list[Damage] = [flip_bit, flip_bit, put_word, put_word, copy_page, lose_page, zero_page]


def _word(rng: Random, memory: Memory, grains: list[int]) -> int:
    """A word of a page, rather one that is in use."""
    grain = rng.choice(
        [grain for grain in rng.choices(grains, k=FEW) if grain in memory.grains] or [min(memory.grains)]
    )
    data = memory.grains[grain]
    used = [at for at in range(0, GRAIN, 8) if any(data[at : at + 8])]
    offset = rng.choice(used) if used and rng.random() < 0.8 else rng.randrange(0, GRAIN, 8)
    return grain * GRAIN + offset
