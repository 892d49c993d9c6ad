"""What damage does to the owner of the damaged: each user of KHO fails in its own way."""

from __future__ import annotations

from typing import Final

from khodump.abi import kexec_metadata, kho_test, luo, memblock
from khodump.analysis.rules.case import Case, PreservedFile
from khodump.analysis.rules.rule import Effect, Outcome
from khodump.subtrees.text import quoted

#: luo_restore_fail() of kernel/liveupdate/luo_internal.h panics, whatever liveupdate= says.
_LUO_PANIC: Final = (
    "luo_core: The incoming tree failed to initialize properly [-{errno}], disabling live update"
)
_NO_SESSIONS: Final = "EIO on every open of /dev/liveupdate: no session can be retrieved"


def harm(case: Case, owner: str | None, *log: str, errno: str = "EINVAL") -> Outcome:
    """What the next kernel does when what this owner needs is damaged.

    Args:
        case: the handover.
        owner: path of the owner.
        log: what is printed before the owner's own lines.
        errno: name of the error that the owner sees.
    """
    file = case.file_of(owner)
    if file is not None:
        return file_lost(file, errno, *log)
    user = (owner or "").partition("/")[0]
    if user == luo.NODE_NAME:
        return _luo(case.session_of(owner), errno, log)
    if user == kexec_metadata.NODE_NAME:
        return Outcome(Effect.NONE, "does not say which kernel came before it", log)
    if user == memblock.NODE_NAME:
        return Outcome(Effect.USER, "does not revive the reserve_mem regions", log)
    if user == kho_test.NODE_NAME:
        return Outcome(Effect.USER, "fails the test", (*log, "test_kho: KHO restore failed"))
    return Outcome(Effect.USER, f"does not give {user} its memory back", log)


def file_lost(file: PreservedFile, errno: str, *log: str) -> Outcome:
    """A file that cannot be retrieved."""
    text = f"{errno} when token {file.file.token} of session {quoted(file.session)} is retrieved"
    return Outcome(Effect.FILE, text, log)


def sessions_lost(*log: str) -> Outcome:
    """Sessions that are refused together, at the first open of /dev/liveupdate."""
    return Outcome(Effect.SESSIONS, _NO_SESSIONS, log)


def _luo(session: str | None, errno: str, log: tuple[str, ...]) -> Outcome:
    """What follows for LUO as a whole, or for one session."""
    if session is not None:
        line = f"luo_session: Failed to deserialize files for session [{session}] -{errno}"
        return sessions_lost(*log, line)
    return Outcome(Effect.PANIC, "panics in luo_core, early in boot", (*log, _LUO_PANIC.format(errno=errno)))
