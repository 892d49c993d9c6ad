"""What can be wrong with a request. What can be wrong with the data is a `khodump.findings.Finding`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self

from khodump.advice import IN_PYTHON, PLACEHOLDERS, VERSION, Advice, Invocation, Sentence, told

#: How many names a hint lists.
_LISTED: Final = 8


class KhodumpError(Exception):
    """A request that cannot be served.

    Args:
        message: what was tried, and where (file, offset, physical address).
        hint: what to do next, as one sentence or command.

    Attributes:
        invocation: how the image was named, where a person is to paste the commands of the hint; by default, and where
            parameters are keywords, it is for a caller in Python.
    """

    def __init__(self, message: Sentence, *, hint: Sentence | None = None) -> None:
        super().__init__(message)
        self._message = message
        self._hint = hint
        self.invocation: Invocation = IN_PYTHON

    def __str__(self) -> str:
        return told(self._message, self.invocation)

    @property
    def hint(self) -> str | None:
        """What to do next."""
        return None if self._hint is None else told(self._hint, self.invocation)

    def at_prompt(self) -> Self:
        """This error, worded for a prompt also where nothing says how the image was named."""
        if self.invocation is IN_PYTHON:
            self.invocation = PLACEHOLDERS
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to know, one sentence each: what is wrong with the image as a whole."""
        return tuple(getattr(self, "__notes__", ()))


def near(name: str, names: Iterable[str]) -> str:
    """The beginning of a hint: those of `names` that `name` may have been meant for; empty if none looks like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - only who errs needs it

    known = list(names)
    within = [each for each in known if name and name in each][:_LISTED]
    found = within or get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}? " if found else ""


def choice(what: str, names: Sequence[str], wanted: str) -> str:
    """A hint for a name that there is not: those like it, and the first of those there are."""
    shown = ", ".join(names[:_LISTED]) or "none at all"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{near(wanted, names)}the {what} are {shown}{more}"


class UsageError(KhodumpError):
    """An argument that makes no sense, whatever the data."""


class ImageError(KhodumpError):
    """A memory image that cannot be opened or read."""


class MissingExtraError(ImageError):
    """An optional library that an image, or a format to write, needs and that is not installed."""


class FdtError(KhodumpError):
    """Bytes that are not a well-formed flattened device tree."""


class FdtTruncatedError(FdtError):
    """A flattened device tree that ends before its own totalsize."""


class NoHandoverError(KhodumpError):
    """There is no KHO handover there, or none of a version that khodump reads."""


class UnknownVersionError(NoHandoverError):
    """A root FDT whose compatible string is of no version that khodump reads.

    Attributes:
        compatible: the string it has, if any.
    """

    def __init__(self, compatible: str | None, phys: int | None = None) -> None:
        where = "" if phys is None else f" at {phys:#x}"
        said = "no version" if compatible is None else f"{compatible}, which is no version that khodump reads"
        super().__init__(
            f"the root FDT{where} says {said}",
            hint=Advice.of(
                "kernels compare this string exactly, and boot cold on any other; ",
                VERSION.of("kho-v4"),
                " reads it as that version",
            ),
        )
        self.compatible = compatible
