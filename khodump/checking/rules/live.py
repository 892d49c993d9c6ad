"""Rules of LUO's sessions in the lists of the kernel that runs in the image: before the jump, and after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from khodump.abi import luo as luo_abi
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case
from khodump.checking.log import Errno
from khodump.checking.rule import Effect, Hit, Outcome, Rule
from khodump.errors import KhodumpError
from khodump.extraction.extract import plan_found
from khodump.extraction.losses import find_losses
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.kernel import FileState, LiveFile
from khodump.luo_sessions import FoundFile, FoundSession, find_sessions
from khodump.numbers import format_size
from khodump.owner import Owner, quoted
from khodump.problems import (
    LiveCountMismatch,
    LiveListBroken,
    LiveListsUnread,
    LiveObjectUnreadable,
    LiveReceivedMismatch,
    LiveSerializedMismatch,
)
from khodump.subtrees.luo_state import session_owner

_NAMED: Final = 5
_SOURCE: Final = "struct luo_session and struct luo_file, kernel/liveupdate/luo_session.c and luo_file.c"
_OWN: Final = Outcome(
    Effect.UNKNOWN, "cannot be foretold: the running kernel's own lists are damaged, or not all in the image"
)

_UNREAD: Final = Outcome(
    Effect.UNKNOWN, "cannot be foretold: the running kernel's lists of sessions are not in the image"
)


def _prepared(case: Case) -> Iterator[Hit]:
    handover = case.opened
    living = handover.live_luo
    if handover.unserialized is None or living is None or not living.prepared:
        return
    files = sum(len(session.live.files) for session in living.prepared)
    message = (
        f"the kernel's lists have {len(living.prepared)} sessions with {files} files that are to be handed over, "
        "not yet serialized"
    )
    yield Hit(None, message, Owner(luo_abi.NODE_NAME), {"sessions": len(living.prepared), "files": files})


def _received(case: Case) -> Iterator[Hit]:
    living = case.opened.live_luo
    if living is None or not living.received:
        return
    taken = [session.live.name for session in living.received if session.live.retrieved]
    waiting = [session for session in living.received if any(map(_is_waiting, session.live.files))]
    files = sum(len(session.live.files) for session in living.received)
    message = (
        f"this kernel received {len(living.received)} sessions with {files} files that are not finished: "
        f"{len(taken)} of them retrieved{_named(taken)}; files are still to be retrieved of {len(waiting)}"
        f"{_named(session.live.name for session in waiting)}"
    )
    yield Hit(
        None, message, Owner(luo_abi.NODE_NAME), {"sessions": len(living.received), "retrieved": len(taken)}
    )


def _named(names: Iterable[str]) -> str:
    """The first of these sessions, in brackets."""
    shown = [quoted(name) for name in names]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f" ({', '.join(shown[:_NAMED])}{more})" if shown else ""


def _is_waiting(file: LiveFile) -> bool:
    return file.state is FileState.NOT_RETRIEVED


def _waiting(case: Case) -> Iterator[Hit]:
    for session in find_sessions(case.opened):
        waiting = [file for file in session.files if file.live and _is_waiting(file.live)]
        if waiting:
            yield _hit(case.opened, session, waiting)


def _failed(case: Case) -> Iterator[Hit]:
    for session in find_sessions(case.opened):
        failed = [file.live for file in session.files if file.live and file.live.state is FileState.FAILED]
        if not failed:
            continue
        first = failed[0]
        message = (
            f"{len(failed)} of {len(session.files)} files of session {quoted(session.name)} could not be retrieved, "
            f"the first with token {first.token:#x}: error -{first.error}{_name_of(first.error)}"
        )
        evidence = {"files": len(failed), "token": first.token}
        yield Hit(first.phys, message, session_owner(session.name), evidence)


def _name_of(error: int) -> str:
    """The name of an errno, in brackets, if it is one that users of KHO see."""
    return next((f" ({each.name})" for each in Errno if each == error), "")


def _hit(handover: Handover, session: FoundSession, waiting: list[FoundFile]) -> Hit:
    """Where the data of a session's files lies, and how much of it is in the image."""
    name = session.name
    size = lost = 0
    phys: int | None = None
    whole: list[str] = []
    unplanned = 0
    for file in waiting:
        try:
            plan = plan_found(handover, name, file)
        except KhodumpError:
            unplanned += 1
            continue
        size += plan.size
        missing = find_losses(handover.memory, plan).size
        lost += missing
        first = int(plan.runs.pfn.min()) * plan.page_size if len(plan.runs) else None
        phys = first if phys is None or (first is not None and first < phys) else phys
        if not missing:
            whole.append(f"{file.file.token:#x}")
    message = f"{len(waiting)} of {len(session.files)} files of session {quoted(name)} are not retrieved"
    if unplanned < len(waiting):
        where = "" if phys is None else f", the lowest at {phys:#x}"
        message += (
            f"; {format_size(size)} of memfds lie in the folios that the last kernel preserved{where}, and "
            f"{format_size(size - lost)} of that are in this image, {len(whole)} files wholly"
        )
    if whole:
        message += (
            f": khodump extract --memfd {quoted(f'{name}/{whole[0]}')} rebuilds the first{_others(whole[1:])}"
        )
    if unplanned:
        message += f"; of {unplanned} the handler is not known, or the state cannot be read"
    evidence = {"files": len(waiting), "bytes": size, "missing": lost}
    return Hit(phys, message, session_owner(name), evidence)


def _others(tokens: list[str]) -> str:
    """The tokens of further files, for the same command; not all of very many."""
    shown = tokens[:_NAMED]
    if not shown:
        return ""
    more = f" and {len(tokens) - len(shown)} more" if len(tokens) > len(shown) else ""
    return f", and likewise {', '.join(shown)}{more}"


RULES: Final = (
    Rule(
        "sessions-in-lists",
        Severity.INFO,
        "sessions that are to be handed over are in the kernel's lists alone",
        "The reboot into the next kernel writes them down; before, this is as it should be.",
        confirm(see("sessions", shows="lists them, with list outgoing")),
        _SOURCE,
        Outcome(Effect.NONE, "would get these sessions, if the reboot went on from here"),
        look=_prepared,
    ),
    Rule(
        "sessions-received",
        Severity.INFO,
        "the running kernel received sessions that are not finished",
        "Nothing: what this kernel received is its own to retrieve. What it does not retrieve is lost with it.",
        confirm(see("sessions", shows="lists them, with list incoming, and which files are retrieved")),
        _SOURCE,
        Outcome(Effect.NONE, "hears nothing of them: they are the running kernel's to retrieve"),
        look=_received,
    ),
    Rule(
        "files-not-retrieved",
        Severity.INFO,
        "files of a received session are not retrieved yet, and can be rebuilt",
        "Nothing: what this kernel received is its own to retrieve. What it does not retrieve is lost with it.",
        confirm(
            see(
                "sessions",
                "--session",
                Blank.SESSION,
                shows="lists its files, and which of them are retrieved",
            ),
            remark="khodump extract --memfd SESSION/TOKEN rebuilds a file.",
        ),
        "memfd_luo_retrieve(), mm/memfd_luo.c",
        Outcome(Effect.NONE, "hears nothing of them: they are the running kernel's to retrieve"),
        look=_waiting,
    ),
    Rule(
        "files-failed",
        Severity.WARNING,
        "user space of the running kernel asked for files, and did not get them",
        "Nothing: what this kernel received is its own to retrieve. It answers every further try with the same error.",
        confirm(
            see("sessions", "--session", Blank.SESSION, shows="lists its files, and says how many failed"),
        ),
        "luo_retrieve_file(), kernel/liveupdate/luo_file.c; 20260216132221.987987",
        Outcome(Effect.NONE, "hears nothing of them: they failed in the running kernel"),
        look=_failed,
    ),
    Rule(
        LiveListBroken.name,
        LiveListBroken.severity,
        LiveListBroken.title,
        "The running kernel walks the same list: what it does then, nobody can tell.",
        confirm(see("sessions", shows="lists what came before")),
        _SOURCE,
        _OWN,
    ),
    Rule(
        LiveObjectUnreadable.name,
        LiveObjectUnreadable.severity,
        LiveObjectUnreadable.title,
        "Nothing, where only the image lacks it.",
        confirm(see("sessions", shows="lists what could be read")),
        _SOURCE,
        _OWN,
    ),
    Rule(
        LiveListsUnread.name,
        LiveListsUnread.severity,
        LiveListsUnread.title,
        "Nothing: only the image lacks it. What is preserved for sessions cannot be told from what nobody claims.",
        confirm(see("sessions", shows="says what cannot be read")),
        _SOURCE,
        _UNREAD,
    ),
    Rule(
        LiveCountMismatch.name,
        LiveCountMismatch.severity,
        LiveCountMismatch.title,
        "A list that is changed while the image is taken, or damage.",
        confirm(see("sessions", shows="lists what is there")),
        _SOURCE,
        _OWN,
    ),
    Rule(
        LiveReceivedMismatch.name,
        LiveReceivedMismatch.severity,
        LiveReceivedMismatch.title,
        "Deserializing fails, and with it every open of /dev/liveupdate.",
        confirm(see("sessions", shows="lists what is there")),
        "luo_session_deserialize(), kernel/liveupdate/luo_session.c",
        _OWN,
    ),
    Rule(
        LiveSerializedMismatch.name,
        LiveSerializedMismatch.severity,
        LiveSerializedMismatch.title,
        "It reads what was serialized, whatever the lists of the kernel before said.",
        confirm(
            see("sessions", shows="lists what was serialized"),
            remark="The kernel's lists are khodump.kernel.live_luo().",
        ),
        "luo_session_serialize(), kernel/liveupdate/luo_session.c",
        Outcome(Effect.UNJUDGED, "reads what was serialized, whatever the lists of this kernel say"),
    ),
)
