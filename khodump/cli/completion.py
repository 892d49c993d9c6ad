"""What TAB offers for the values of options: known names at once, and what is in the image on the line, quickly or not at all."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import typer

if TYPE_CHECKING:
    from types import FrameType

    from khodump.handover import Handover

Completer: TypeAlias = Callable[[typer.Context, str], list[str]]

#: Seconds after which there is nothing to offer.
_BUDGET: Final = 0.5
#: Images that take no more than this on disk are searched for their root FDT; of others it must be named.
_SMALL: Final = 64 << 20
#: Names come from an image, and some shells evaluate what they are offered: whatever they could make something of is left out.
_SAFE: Final = re.compile(r"[0-9A-Za-z_./%+,-]+")


class _TooLateError(BaseException):
    """The budget is spent; no Exception, so that nobody who handles one takes it for his own."""


def known(names: Callable[[], Iterable[str]]) -> Completer:
    """Offer names that are the same for all images."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001 - typer passes by name
        return _offered(names(), incomplete)

    return complete


def in_image(names: Callable[[typer.Context, Handover], Iterable[str]]) -> Completer:
    """Offer names from the handover in the image on the line."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            with _budget(), _handover(context) as handover:
                return _offered(names(context, handover), incomplete)
        except (Exception, _TooLateError):  # noqa: BLE001 - a prompt is no place to say what is wrong with an image
            return []

    return complete


def _offered(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete) and _SAFE.fullmatch(name)]


@contextmanager
def _budget() -> Iterator[None]:
    def late(_: int, __: FrameType | None) -> None:
        raise _TooLateError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _BUDGET)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _handover(context: typer.Context) -> Iterator[Handover]:
    from khodump.api import open_handover
    from khodump.cli.source import Source

    said = {
        field.name: context.params[field.name] for field in fields(Source) if context.params.get(field.name)
    }
    said.setdefault("images", context.args)  # where arguments are left while an option lacks its value
    source = Source(**said)
    if source.fdt is None and sum(_size(path) for path in source.paths) > _SMALL:
        raise _TooLateError
    with open_handover(source.paths, **source.options) as handover:
        yield handover


def _size(path: str) -> int:
    """Bytes on disk; what is no file (a URL, FILE@BASE) is never small."""
    return Path(path).stat().st_blocks * 512 if Path(path).is_file() else _SMALL + 1


def _page_sizes() -> Iterable[str]:
    return "4K", "16K", "64K"


def _versions() -> Iterable[str]:
    from khodump.trackers import READABLE_VERSIONS

    return READABLE_VERSIONS


def _kernels() -> Iterable[str]:
    from khodump.abi.kernels import names

    return names()


def _rules() -> Iterable[str]:
    from khodump.checking.rules import RULES

    return [rule.name for rule in RULES]


def _session_names(_: typer.Context, handover: Handover) -> Iterable[str]:
    from khodump.luo_sessions import find_sessions

    return [session.name for session in find_sessions(handover)]


def _file_tokens(context: typer.Context, handover: Handover) -> Iterable[str]:
    """Of all files, or those of the session on the line."""
    from khodump.luo_sessions import find_sessions

    named = context.params.get("session")
    chosen = [session for session in find_sessions(handover) if named in (None, session.name)]
    return [f"{file.file.token:#x}" for session in chosen for file in session.files]


def _memfd_names(_: typer.Context, handover: Handover) -> Iterable[str]:
    from khodump.luo_sessions import find_sessions

    files = ((session, found.file) for session in find_sessions(handover) for found in session.files)
    return [f"{session.name}/{file.token:#x}" for session, file in files if file.handler.startswith("memfd-")]


def _node_names(_: typer.Context, handover: Handover) -> Iterable[str]:
    return [subtree.name for subtree in handover.subtrees]


def _region_names(_: typer.Context, handover: Handover) -> Iterable[str]:
    from khodump.subtrees.memblock import ReserveMem

    contents = (subtree.decoded.content for subtree in handover.subtrees)
    regions = (region for content in contents if isinstance(content, tuple) for region in content)
    return [region.name for region in regions if isinstance(region, ReserveMem)]


page_sizes = known(_page_sizes)
versions = known(_versions)
kernels = known(_kernels)
rules = known(_rules)
sessions = in_image(_session_names)
tokens = in_image(_file_tokens)
memfds = in_image(_memfd_names)
nodes = in_image(_node_names)
regions = in_image(_region_names)
