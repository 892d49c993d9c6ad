"""A random handover with its dump files, and what the reference says of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.reference import images
from tests.reference.images.picture import Picture
from tests.reference.read import handover
from tests.reference.read.dialects import Dialect
from tests.reference.read.handover import Answer
from tests.reference.write.handover import Written, write

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a scratch directory that costs no disk


class Case:
    """A handover. Its dumps are written when they are asked for."""

    def __init__(self, written: Written, home: Path) -> None:
        self.written = written
        self.known = written.known
        self.answer: Answer = handover.read(written.memory, written.fdt_at, written.known)
        self.home = home
        self.rng = Random(written.seed)  # noqa: S311 - nothing secret
        self._images: dict[tuple[str, bool], list[str]] = {}

    def picture(self, *, tells: bool = True) -> Picture:
        known = self.known
        return Picture(self.written.memory, known.page_size, known.ram_end, known.dialect.release, tells)

    def kinds(self) -> list[str]:
        return images.suitable(self.picture())

    def image(self, kind: str = "elf", *, tells: bool = True) -> list[str]:
        """A dump of this kind, as the words that name it on the command line."""
        if (kind, tells) not in self._images:
            name = f"{kind} {tells}".replace(" ", "-")
            self._images[kind, tells] = images.WRITERS[kind](self.picture(tells=tells), self.home / name)
        return self._images[kind, tells]

    @property
    def elf(self) -> str:
        return self.image("elf")[0]

    @property
    def rows(self) -> list[tuple[int, int]]:
        """All blocks by address, as commands list them."""
        return sorted((block.phys, block.order) for block in self.answer.preserved.blocks)


@contextmanager
def case(seed: int, dialect: Dialect | None = None, page_shift: int | None = None) -> Iterator[Case]:
    """The case of this seed, whose files are gone afterwards."""
    with scratch() as home:
        yield Case(write(seed, dialect, page_shift), home)


@contextmanager
def scratch() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
    try:
        yield home
    finally:
        shutil.rmtree(home)
