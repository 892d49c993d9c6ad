"""The moments of a real kernel in samples/captures/kernel-objects, and the truth about them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.captures import SAMPLES

ARCHIVE = SAMPLES / "captures" / "kernel-objects" / "moments.tar.xz"

MOMENTS = ("outgoing", "serialized", "successor", "successor-untouched")


@dataclass(frozen=True)
class Moment:
    """One of them, unpacked into a directory."""

    home: Path

    @property
    def image(self) -> Path:
        return self.home / "image.elf"

    @cached_property
    def facts(self) -> Any:
        return json.loads((self.home / "facts.json").read_text())

    @property
    def files(self) -> list[dict[str, str]]:
        """The lines of luo.tsv; sessions without files have one, too."""
        head, *rows = (line.split("\t") for line in (self.home / "luo.tsv").read_text().splitlines())
        names = [name.removeprefix("#") for name in head]
        return [dict(zip(names, row, strict=True)) for row in rows]


def unpack(directory: Path) -> dict[str, Moment]:
    """All moments."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory, filter="data")
    return {name: Moment(directory / name) for name in MOMENTS}
