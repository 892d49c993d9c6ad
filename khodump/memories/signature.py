"""How a file format is told by what its bytes say, never by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from khodump.memories.file import ByteSource
from khodump.memories.part import Part

#: How far from the start marks are looked for: that of a hibernation image is at the end of its first page of 64 KiB.
HEAD_BYTES: Final = 1 << 16
_MARK_BYTES: Final = 64  # no mark is longer


class Reader(Protocol):
    """Reads a file of one format.

    Raises:
        ImageError: it is cut short or damaged so that no memory can be found in it.
    """

    def __call__(self, file: ByteSource, *, assume_zero: bool) -> Part:
        """What `file` has of a memory; `assume_zero` takes what a dump leaves out on purpose for zeros."""


class Format(NamedTuple):
    """A format.

    Attributes:
        marks: bytes one of which stands at one of `at`; none where nothing tells the format.
        name: what it is.
        read: reads it, if a file can be of this format by itself and khodump reads it.
        unwrap: takes the file out that is in it, which has a format of its own.
        extra: the extra of khodump that it, or a part of it, takes.
        modules: what that part imports, by the part's name; the standard library reads the rest.
        needs_extra: whether nothing of it can be read without the extra.
        hint: what makes a format readable that is not; `{path}` stands for the file.
        at: offsets in the file; those below 0 count from its end.
        confirm: what must hold as well, where other files can bear the same mark.
    """

    marks: tuple[bytes, ...]
    name: str
    read: Reader | None = None
    unwrap: Callable[[ByteSource], ByteSource] | None = None
    extra: str | None = None
    modules: tuple[tuple[str, str], ...] = ()
    needs_extra: bool = False
    hint: str = ""
    at: tuple[int, ...] = (0,)
    confirm: Callable[[ByteSource], bool] | None = None

    @property
    def is_read(self) -> bool:
        """Whether khodump reads it."""
        return not self.hint

    def fits(self, file: ByteSource, head: bytes) -> bool:
        """Whether `file`, which begins with the `HEAD_BYTES` bytes `head`, is of the format."""
        is_marked = any(_around(file, head, at).startswith(self.marks) for at in self.at)
        return is_marked and (self.confirm is None or self.confirm(file))


def _around(file: ByteSource, head: bytes, at: int) -> bytes:
    """The bytes from offset `at` on in which a mark may stand."""
    if at >= 0:
        return head[at : at + _MARK_BYTES]
    return file.read(file.size + at, _MARK_BYTES) if file.size + at >= 0 else b""
