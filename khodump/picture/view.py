"""What to draw of a handover, apart from what draws it: the command line needs the names at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class By(StrEnum):
    """What tells preserved memory apart."""

    OWNER = "owner"
    ORDER = "order"


class Scale(StrEnum):
    """How addresses become columns; see `khodump.picture.axis`."""

    LOG = "log"
    LINEAR = "linear"


@dataclass(frozen=True)
class View:
    """What to draw of a handover.

    Attributes:
        by: what tells preserved memory apart.
        scale: of the axis.
        start: only from this physical byte address on; None for all that is there.
        end: the same, exclusive.
    """

    by: By = By.ORDER
    scale: Scale = Scale.LOG
    start: int | None = None
    end: int | None = None
