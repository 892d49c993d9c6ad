"""Making text fit a window."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Final

#: Text is not made shorter than this, whatever the window.
_LEAST: Final = 8
#: A word of a shell: bare, or quoted as shlex.quote() does.
_WORD: Final = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
#: What makes a shell take the next line for the same command.
_GOES_ON: Final = " \\"
_NUMBER: Final = re.compile(r"[A-Za-z]*[0-9][0-9A-Za-z]*")


def fitted(widths: Sequence[int], least: Sequence[int | None], room: int) -> list[int]:
    """Widths of columns that take no more than `room` together, as far as that can be.

    Args:
        widths: as wide as the columns would like to be.
        least: how narrow each may become; None for one that must keep its width.
        room: for all of them, without the gaps.

    Returns:
        The widest of those that may give way are cut down to one width, as wide as it can be. Room that is left over goes
        to them all.
    """
    soft = [at for at, floor in enumerate(least) if floor is not None]
    floors = [max(floor or 0, _LEAST) for floor in least]
    spare = room - sum(widths)
    fit = list(widths)
    if not soft or spare >= 0:
        for at in soft:
            fit[at] += spare // len(soft)
        return fit
    cap = max(widths[at] for at in soft)
    while sum(fit) > room and cap > _LEAST:
        cap -= 1
        for at in soft:
            fit[at] = min(widths[at], max(cap, floors[at]))
    return fit


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` characters, without its middle if need be: both ends of a path or a name tell more.

    A number stays whole or goes: half an address is the address of something else.
    """
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    tail = len(text) - (width - 1 - head)
    for number in _NUMBER.finditer(text):
        if number.start() < head < number.end():
            head = number.start()
        if number.start() < tail < number.end():
            tail = number.end()
    return f"{text[:head]}…{text[tail:]}"


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of `width` characters; words are not broken."""
    return textwrap.wrap(text, max(width, _LEAST), break_long_words=False, break_on_hyphens=False) or [""]


def wrapped_command(line: str, width: int) -> list[str]:
    """A command of a shell in lines of `width` characters, which a shell takes for one; words are not broken."""
    lines: list[str] = []
    room = max(width, _LEAST) - len(_GOES_ON)
    for word in _WORD.findall(line):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and len(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [*(f"{each}{_GOES_ON}" for each in lines[:-1]), *lines[-1:]]
