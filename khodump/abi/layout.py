"""A typed edge around construct: a schema in, a frozen dataclass or a numpy dtype out."""

from __future__ import annotations

# ruff: noqa: PYI042 - types are named as the kernel names them
from dataclasses import asdict, fields
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, cast, get_args, get_type_hints

import construct
import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")


# A field's annotation says what Python makes of it, and how it lies in memory.
u8: TypeAlias = Annotated[int, construct.Int8ul]
u16: TypeAlias = Annotated[int, construct.Int16ul]
u32: TypeAlias = Annotated[int, construct.Int32ul]
u64: TypeAlias = Annotated[int, construct.Int64ul]
s32: TypeAlias = Annotated[int, construct.Int32sl]
be32: TypeAlias = Annotated[int, construct.Int32ub]
be_s64: TypeAlias = Annotated[int, construct.Int64sb]


class Layout(Generic[Record]):
    """The layout of one structure, as the annotations of a frozen dataclass say it.

    Args:
        record: what a parsed structure becomes. Its fields are in memory order, and each is annotated with a construct
            schema: `u64`, or `Annotated[bytes, construct.Bytes(16)]`.
    """

    def __init__(self, record: type[Record]) -> None:
        self._record = record

    @cached_property
    def schema(self) -> Any:  # noqa: ANN401 - construct is untyped
        """The construct schema; most runs of khodump use few."""
        hints = get_type_hints(self._record, include_extras=True)
        return construct.Struct(
            *(self._member(field.name, hints[field.name]) for field in fields(self._record))
        )

    def _member(self, name: str, hint: Any) -> Any:  # noqa: ANN401 - construct is untyped
        schemas = get_args(hint)[1:]
        if not schemas:
            raise TypeError(f"{self._record.__name__}.{name} does not say how it lies in memory")
        return name / schemas[0]

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
