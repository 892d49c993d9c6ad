"""Rules of LUO's sessions and their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from khodump.abi import luo as luo_abi
from khodump.abi.luo import LUO_FILE_SER, LUO_SESSION_SER
from khodump.advice import Blank, confirm, see
from khodump.checking.case import Case
from khodump.checking.harm import TAKEN_ON_TRUST, harm, sessions_lost
from khodump.checking.log import FILE_COUNT, FILES_FAILED, NO_HANDLER, SESSION_FAILED, Errno
from khodump.checking.rule import Effect, Hit, Need, Outcome, Rule
from khodump.findings import Finding, Severity
from khodump.owner import Owner, quoted
from khodump.problems import FlbListInvalid, SessionFileCountMismatch, SessionNameInvalid
from khodump.subtrees.luo_state import Session, entry_of, session_owner

_Key = TypeVar("_Key")
_LISTS: Final = (Need.MAP, Need.WHOLE_LISTS)


def _not_serialized(case: Case) -> Iterator[Hit]:
    if case.luo is not None and not case.luo.is_serialized:
        message = "LUO has not serialized: which sessions and files there are is not written down yet"
        yield Hit(None, message, Owner(luo_abi.NODE_NAME))


def _count_outcome(case: Case, finding: Finding) -> Outcome:
    seen = SessionFileCountMismatch.of(finding)
    if seen is None:
        return harm(case, finding.owner)
    return harm(case, finding.owner, FILE_COUNT.of(seen.value, seen.found))


def _unknown_handlers(case: Case) -> Iterator[Hit]:
    known = case.reader.files
    unknown = Counter(file.file.handler for file in case.files if file.file.handler not in known)
    for handler, count in unknown.items():
        first = next(file for file in case.files if file.file.handler == handler)
        takes = ", ".join(known) or "none"
        message = (
            f"{count} files are of {quoted(handler)}, and kernels of {case.reader.release} know {takes}; the first is "
            f"token {first.file.token} of session {quoted(first.session)}"
        )
        entry = entry_of(first.file.phys, LUO_FILE_SER, "compatible", "compatible of the file's entry")
        yield Hit(None, message, first.owner, {"count": count}, entry=entry)


def _handler_outcome(case: Case, finding: Finding) -> Outcome:
    file = case.file_of(finding.owner)
    handler = file.file.handler if file else ""
    return sessions_lost(NO_HANDLER.of(handler))


def _repeated_names(case: Case) -> Iterator[Hit]:
    sessions = case.luo.sessions if case.luo else ()
    second = _seconds((session.name, session.phys) for session in sessions)
    for name, count in Counter(session.name for session in sessions).items():
        if count > 1:
            message = f"{count} sessions are called {quoted(name)}"
            entry = entry_of(second[name], LUO_SESSION_SER, "name", "name of the second's entry")
            yield Hit(None, message, session_owner(name), {"count": count}, entry=entry)


def _names_outcome(case: Case, finding: Finding) -> Outcome:
    return sessions_lost(SESSION_FAILED.of(case.session_of(finding.owner), Errno.EEXIST))


def _repeated_tokens(case: Case) -> Iterator[Hit]:
    for session in case.luo.sessions if case.luo else ():
        yield from _tokens_of(session)


def _tokens_of(session: Session) -> Iterator[Hit]:
    second = _seconds((file.token, file.phys) for file in session.files)
    for token, count in Counter(file.token for file in session.files).items():
        if count > 1:
            message = f"session {quoted(session.name)} has {count} files with token {token}"
            yield Hit(
                session.files_phys or None,
                message,
                session_owner(session.name),
                {"token": token, "count": count},
                entry=entry_of(second[token], LUO_FILE_SER, "token", "token of the second's entry"),
            )


def _seconds(entries: Iterable[tuple[_Key, int | None]]) -> Mapping[_Key, int | None]:
    """Where the second entry of each key stands that has several."""
    first: set[_Key] = set()
    second: dict[_Key, int | None] = {}
    for key, phys in entries:
        if key in first:
            second.setdefault(key, phys)
        first.add(key)
    return second


RULES: Final = (
    Rule(
        "state-not-serialized",
        Severity.INFO,
        "LUO has not written its sessions down",
        "It finds no sessions. Only the reboot into the next kernel writes them: before, this is as it should be.",
        confirm(
            see("subtrees", shows="says so of node LUO"),
            see("sessions", shows="says whether it has serialized"),
            remark="Compare the moment at which the image was taken.",
        ),
        "luo_session_serialize(), kernel/liveupdate/luo_session.c, called by liveupdate_reboot()",
        Outcome(Effect.NONE, "would find no sessions, if it were started from this very memory"),
        look=_not_serialized,
    ),
    Rule(
        SessionFileCountMismatch.name,
        SessionFileCountMismatch.severity,
        SessionFileCountMismatch.title,
        "Deserializing fails, and that error is given to every open of /dev/liveupdate.",
        confirm(see("sessions", "--session", Blank.SESSION, shows="lists the files that are there")),
        "luo_file_deserialize(), kernel/liveupdate/luo_file.c; 20260325044608.8407",
        _count_outcome,
        log=(FILE_COUNT, FILES_FAILED),
    ),
    Rule(
        "file-handler-unknown",
        Severity.ERROR,
        "files are of a kind that the next kernel has no handler for",
        "Deserializing fails with ENOENT, and every open of /dev/liveupdate with EIO. A module may bring a handler.",
        confirm(
            see(
                "sessions",
                "--session",
                Blank.SESSION,
                "--file",
                Blank.TOKEN,
                shows="names the handler of the first",
            ),
            remark="check --next KERNEL holds it against another kernel.",
        ),
        "luo_file_deserialize(), kernel/liveupdate/luo_file.c",
        _handler_outcome,
        log=(NO_HANDLER,),
        needs=_LISTS,
        look=_unknown_handlers,
    ),
    Rule(
        SessionNameInvalid.name,
        SessionNameInvalid.severity,
        SessionNameInvalid.title,
        "It copies the name as far as its own field goes: the session is known by the first 63 bytes alone.",
        confirm(
            see("sessions", "--session", Blank.SESSION, shows="shows the name"),
            see("lookup", Blank.ENTRY, shows="shows where the name begins"),
            remark="No kernel takes one of more than 63 bytes.",
        ),
        "luo_session_alloc(), kernel/liveupdate/luo_session.c",
        Outcome(Effect.UNJUDGED, "knows the session by the first 63 bytes of its name, which nobody gave it"),
    ),
    Rule(
        "session-name-repeated",
        Severity.ERROR,
        "two sessions have one name",
        "The second cannot be inserted: deserializing fails, and with it every open of /dev/liveupdate.",
        confirm(see("sessions", "--session", Blank.SESSION, shows="lists the files of both")),
        "luo_session_insert(), kernel/liveupdate/luo_session.c",
        _names_outcome,
        log=(SESSION_FAILED,),
        needs=_LISTS,
        look=_repeated_names,
    ),
    Rule(
        "token-repeated",
        Severity.ERROR,
        "two files of one session have one token",
        "It finds the first by that token, and never the second.",
        confirm(
            see(
                "sessions",
                "--session",
                Blank.SESSION,
                "--file",
                Blank.TOKEN,
                shows="lists the files of that token",
            )
        ),
        "luo_retrieve_file(), kernel/liveupdate/luo_file.c",
        Outcome(Effect.FILE, "finds the first of these files by the token, and never the other"),
        needs=_LISTS,
        look=_repeated_tokens,
    ),
    Rule(
        FlbListInvalid.name,
        FlbListInvalid.severity,
        FlbListInvalid.title,
        "It takes the list on trust: an FLB that is not found there has no state (ENOENT), and one with a wrong count of "
        "users is finished too early, or never.",
        confirm(
            see(
                "lookup",
                Blank.PHYS,
                shows="shows how the list begins: its pages, and how many entries it counts",
            ),
            see("sessions", shows="lists the FLBs"),
        ),
        "luo_flb_setup_incoming() and luo_flb_serialize(), kernel/liveupdate/luo_flb.c",
        Outcome(Effect.UNJUDGED, TAKEN_ON_TRUST),
    ),
)
