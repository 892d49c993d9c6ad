"""Physical memory as a dictionary of small pages. What was never written is missing, which is not zero."""

from __future__ import annotations

from collections.abc import Iterator

GRAIN = 4096


class MissingError(Exception):
    """Nothing is known of the bytes at this physical address."""

    def __init__(self, phys: int) -> None:
        super().__init__(f"nothing at {phys:#x}")
        self.phys = phys


class Memory:
    """Bytes by physical address. All page sizes are multiples of the grain."""

    def __init__(self) -> None:
        self.grains: dict[int, bytearray] = {}

    def read(self, phys: int, size: int) -> bytes:
        """Exactly ``size`` bytes; raises MissingError where one of them was never written."""
        parts = [bytes(self._held(grain)[start:end]) for grain, start, end in _pieces(phys, size)]
        return b"".join(parts)

    def write(self, phys: int, data: bytes) -> None:
        """Put bytes there; the rest of a grain that is new becomes zero."""
        taken = 0
        for grain, start, end in _pieces(phys, len(data)):
            page = self.grains.setdefault(grain, bytearray(GRAIN))
            page[start:end] = data[taken : taken + end - start]
            taken += end - start

    def clear(self, phys: int, size: int) -> None:
        """Write zeros."""
        self.write(phys, bytes(size))

    def u64(self, phys: int) -> int:
        return int.from_bytes(self.read(phys, 8), "little")

    def u32(self, phys: int) -> int:
        return int.from_bytes(self.read(phys, 4), "little")

    def write_u64(self, phys: int, value: int) -> None:
        self.write(phys, value.to_bytes(8, "little"))

    def runs(self) -> Iterator[tuple[int, bytes]]:
        """Neighbouring grains joined, by ascending address."""
        run: list[bytes] = []
        start = 0
        last = -2
        for grain in sorted(self.grains):
            if grain != last + 1 and run:
                yield start * GRAIN, b"".join(run)
                run = []
            if not run:
                start = grain
            run.append(bytes(self.grains[grain]))
            last = grain
        if run:
            yield start * GRAIN, b"".join(run)

    def copy(self) -> Memory:
        other = Memory()
        other.grains = {grain: bytearray(data) for grain, data in self.grains.items()}
        return other

    def _held(self, grain: int) -> bytearray:
        try:
            return self.grains[grain]
        except KeyError:
            raise MissingError(grain * GRAIN) from None


def _pieces(phys: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Cut a range at the grains' borders: (grain, first byte in it, end in it)."""
    end = phys + size
    while phys < end:
        grain = phys // GRAIN
        stop = min(end, (grain + 1) * GRAIN)
        yield grain, phys - grain * GRAIN, stop - grain * GRAIN
        phys = stop
