"""A typed edge around construct: a schema in, a frozen dataclass or a numpy dtype out."""

from __future__ import annotations

from dataclasses import asdict, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import construct
import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")


class Layout(Generic[Record]):
    """The layout of one structure, written down once.

    Args:
        record: the frozen dataclass a parsed structure becomes.
        subcons: a construct schema per field of `record`, in memory order.
    """

    def __init__(self, record: type[Record], **subcons: Any) -> None:  # noqa: ANN401 - construct is untyped
        if [f.name for f in fields(record)] != list(subcons):
            raise TypeError(f"the layout of {record.__name__} does not name its fields in order")
        self._record = record
        self._subcons = subcons

    @cached_property
    def schema(self) -> Any:  # noqa: ANN401 - construct is untyped
        """The construct schema; most runs of khodump use few."""
        return construct.Struct(*(name / subcon for name, subcon in self._subcons.items()))

    @cached_property
    def size(self) -> int:
        """Bytes of the structure."""
        return int(self.schema.sizeof())

    def parse(self, data: bytes) -> Record:
        """Decode the first `size` bytes of `data`; raises ValueError when there are fewer."""
        if len(data) < self.size:
            raise ValueError(f"{self._record.__name__} takes {self.size} bytes, got {len(data)}")
        container = self.schema.parse(data)
        return self._record(**{f.name: container[f.name] for f in fields(self._record)})

    def build(self, record: Record) -> bytes:
        """Encode `record` as its `size` bytes."""
        return cast("bytes", self.schema.build(asdict(record)))


def offset_of(schema: Any, name: str) -> int:  # noqa: ANN401 - construct is untyped
    """Bytes before the member `name` of a fixed-size construct Struct."""
    members: Any = dtype_of(schema).fields
    return int(members[name][1])


def dtype_of(schema: Any) -> np.dtype[Any]:  # noqa: ANN401 - construct is untyped
    """The numpy dtype with the layout of a fixed-size construct schema.

    Long arrays (table entries, bitmap words) are read as columns; deriving their dtype from the schema keeps
    the layout written down once.
    """
    if isinstance(schema, construct.Renamed):
        return dtype_of(schema.subcon)
    if isinstance(schema, construct.FormatField):
        order, code = schema.fmtstr  # such as ">L"; numpy's own letters have other sizes
        return np.dtype(f"{order}{'u' if code.isupper() else 'i'}{schema.length}")
    if isinstance(schema, construct.Bytes):
        return np.dtype(f"V{schema.length}")
    if isinstance(schema, construct.Array):
        return np.dtype((dtype_of(schema.subcon), (int(schema.count),)))
    if isinstance(schema, construct.Struct):
        return np.dtype([(member.name, dtype_of(member)) for member in schema.subcons])
    raise TypeError(f"no dtype for {schema!r}")
