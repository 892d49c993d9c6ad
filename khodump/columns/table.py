"""What all tables in columns have in common, and rows that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, get_args, get_type_hints

import numpy as np

from khodump.columns.arrays import I64, Bool


@dataclass(frozen=True, eq=False)
class Columns:
    """Rows as columns of equal length; a subclass declares each as U8, U64, I64 or Bool."""

    def __len__(self) -> int:
        first: Any = getattr(self, self._names()[0])
        return len(first)

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[int]]) -> Self:
        """From rows, each a value a column."""
        values = tuple(zip(*rows, strict=True)) or ((),) * len(cls._names())
        return cls(*map(np.array, values, cls._dtypes()))

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        return cls.of_rows(())

    @classmethod
    def concatenate(cls, parts: Iterable[Self]) -> Self:
        """The rows of all parts, in that order."""
        held = tuple(parts) or (cls.none(),)
        return cls(*(np.concatenate([getattr(part, name) for part in held]) for name in cls._names()))

    def take(self, index: I64 | Bool | slice) -> Self:
        """The rows that `index` (positions, a mask or a slice) selects."""
        return type(self)(*(getattr(self, name)[index] for name in self._names()))

    @classmethod
    def _dtypes(cls) -> tuple[type[np.generic], ...]:
        """The element type of each column, as its annotation says it: `U64` is an array of a dtype of np.uint64."""
        hints = get_type_hints(cls)
        return tuple(get_args(get_args(hints[name])[1])[0] for name in cls._names())


def groups(count: int, begins: Bool) -> tuple[I64, I64]:
    """The first and the last row of each group of neighbouring rows.

    Args:
        count: how many rows there are.
        begins: of each row but the first, whether a new group begins there: [True, False, True] of four rows makes the
            groups 0, 1 to 2, and 3, which are the firsts [0, 1, 3] and the lasts [0, 2, 3].
    """
    if not count:
        none = np.zeros(0, np.int64)
        return none, none
    later = np.flatnonzero(begins) + 1
    return np.append(0, later), np.append(later, count) - 1
