"""The rules of `check`, one file a subject, and the table of them all."""

from __future__ import annotations

from typing import Final

from khodump.checking.rule import Rule
from khodump.checking.rules import blobs, claims, fdt, live, map, memfd, scratch, sessions  # noqa: A004 - the map's rules

#: In the order in which a kernel would meet what they look at.
RULES: Final[tuple[Rule, ...]] = (
    *fdt.RULES,
    *map.RULES,
    *scratch.RULES,
    *blobs.RULES,
    *sessions.RULES,
    *live.RULES,
    *memfd.RULES,
    *claims.RULES,
)
