"""Whose something is: the memory that is claimed, and what is wrong with the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

#: The user that KHO itself is: of its root FDT, its map and its scratch memory.
KHO: Final = "KHO"


def quoted(name: str) -> str:
    """A name in the double quotes that set it off in a sentence or an owner's path; escaped where it is shown, not here."""
    return f'"{name}"'


@dataclass(frozen=True, slots=True)
class Owner:
    """A user of KHO, or a session, a file or a part of what it preserves.

    Names come out of the image and may hold anything, so that only the fields tell owners apart, never their words.

    Attributes:
        user: the node of the root FDT; `KHO` for what is KHO's own.
        session: name of the LUO session.
        token: of the file in that session.
        part: what it is of all this: `blob`, `folios`.
        kind: of the file, as its handler names it: `memfd`.
    """

    user: str
    session: str | None = None
    token: int | None = None
    part: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        """The path that people see: `LUO/session "vm-1"/file 0x2 (memfd)/folios`."""
        steps = [self.user]
        if self.session is not None:
            steps.append(f"session {quoted(self.session)}")
        if self.token is not None:
            steps.append(f"file {self.token:#x} ({self.kind})")
        if self.part is not None:
            steps.append(self.part)
        return "/".join(steps)

    def with_part(self, part: str) -> Owner:
        """That part of the same user, session or file."""
        return replace(self, part=part)

    @property
    def file(self) -> Owner | None:
        """The file that this is, or is a part of; None where it is no file's."""
        return None if self.token is None else replace(self, part=None)

    def holds(self, other: Owner) -> bool:
        """Whether the other is this one, or belongs to it."""
        pairs = (
            (self.user, other.user),
            (self.session, other.session),
            (self.token, other.token),
            (self.kind, other.kind),
            (self.part, other.part),
        )
        return all(mine is None or mine == theirs for mine, theirs in pairs)
