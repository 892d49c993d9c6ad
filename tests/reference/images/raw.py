"""Raw memory: byte N of the file is byte N of RAM. What was never written is a hole of the file, and reads as zeros."""

from __future__ import annotations

from pathlib import Path

from .picture import Picture

MOST = 8 << 40


def write(picture: Picture, path: Path) -> list[str]:
    """One sparse file of all RAM, and where it belongs, which the file does not tell."""
    _write(path, list(picture.runs()), 0, picture.ram_end)
    return [f"{path}@0"]


def write_parts(picture: Picture, path: Path) -> list[str]:
    """Two sparse files, cut at a run's start, each placed at its address."""
    runs = list(picture.runs())
    cut = runs[len(runs) // 2][0]
    cut -= cut % picture.page_size
    base = runs[0][0] - runs[0][0] % picture.page_size
    low = [run for run in runs if run[0] < cut]
    high = [run for run in runs if run[0] >= cut]
    if not low:
        low, cut = high, base
    names = []
    for number, (start, part) in enumerate([(base, low), (cut, high)][: 1 if low is high else 2]):
        name = path.with_name(f"{path.name}.{number}")
        _write(name, part, start, part[-1][0] + len(part[-1][1]))
        names.append(f"{name}@{start:#x}")
    return names


def _write(path: Path, runs: list[tuple[int, bytes]], base: int, end: int) -> None:
    with path.open("wb") as file:
        file.truncate(end - base)
        for phys, data in runs:
            file.seek(phys - base)
            file.write(data)
