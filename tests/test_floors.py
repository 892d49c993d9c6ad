"""The floors of docs/architecture.md: no import goes up, and none goes across."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parent.parent
ROW = re.compile(r"^\| (\d+) \| (.+?) \|", re.MULTILINE)
FLOORS = {
    room.removesuffix(".py").rstrip("/"): int(number)
    for number, rooms in ROW.findall((HOUSE / "docs/architecture.md").read_text())
    for room in re.findall(r"`([^`]+)`", rooms)
}
MODULES = sorted((HOUSE / "khodump").rglob("*.py"))
#: The package's own name is what users import; the report and the man pages take its version from there.
FACE = "khodump"


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE / "khodump").parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == FACE:
            names = [f"{FACE}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        parts = (name.split(".") for name in names)
        yield from (part[1] for part in parts if part[0] == FACE and len(part) > 1)


def test_every_room_has_a_floor_and_every_floor_a_room():
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


def test_no_import_goes_up_or_across():
    climbing = [
        f"{path.relative_to(HOUSE)} imports {target}"
        for path in MODULES
        for target in set(imported_rooms(path)) - {room_of(path), "__version__"}
        if room_of(path) != "__init__" and FLOORS[target] >= FLOORS[room_of(path)]
    ]
    assert not climbing


def test_no_room_holds_more_than_15_percent_of_the_lines():
    lines = dict.fromkeys(FLOORS, 0) | {"__init__": 0}
    for path in MODULES:
        lines[room_of(path)] += path.read_text().count("\n")
    largest = max(lines, key=lambda room: lines[room])
    assert lines[largest] <= 0.15 * sum(lines.values()), largest
