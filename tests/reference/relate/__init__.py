"""What must hold between what khodump says of a random handover, what the reference says, and khodump's other answers."""

from __future__ import annotations

from collections.abc import Callable

from . import (
    containers,
    contents,
    differences,
    filters,
    formats,
    lookups,
    ownership,
    python_api,
    slimming,
    telling,
    users,
    verdicts,
)
from .case import Case

RELATIONS: dict[str, Callable[[Case], None]] = {
    "containers": containers.hold,
    "contents": contents.hold,
    "differences": differences.hold,
    "filters": filters.hold,
    "formats": formats.hold,
    "lookups": lookups.hold,
    "ownership": ownership.hold,
    "python api": python_api.hold,
    "slimming": slimming.hold,
    "telling": telling.hold,
    "users": users.hold,
    "verdicts": verdicts.hold,
}


def hold(case: Case) -> None:
    """All of them."""
    for relation in RELATIONS.values():
        relation(case)
