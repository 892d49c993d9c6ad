"""What damage does to the owner of the damaged: each user of KHO fails in its own way."""

from __future__ import annotations

from typing import Final

from khodump.abi import kexec_metadata, kho_test, luo, memblock
from khodump.checking.case import Case, PreservedFile
from khodump.checking.log import FILES_FAILED, LUO_PANIC, TEST_FAILED, Errno, Printed
from khodump.checking.rule import Effect, Outcome
from khodump.owner import Owner, quoted
from khodump.subtrees.luo_state import FLBS_OWNER, SESSIONS_OWNER

TAKEN_ON_TRUST: Final = (
    "takes the list on trust: what it cannot find there, or finds wrong, is its user's to meet"
)
_NO_SESSIONS: Final = "EIO on every open of /dev/liveupdate: no session can be retrieved"


def harm(case: Case, owner: Owner | None, *log: Printed, errno: Errno = Errno.EINVAL) -> Outcome:
    """What the next kernel does when what this owner needs is damaged.

    Args:
        case: the handover.
        owner: whose it is.
        log: what is printed before the owner's own lines.
        errno: the error that the owner sees.
    """
    file = case.file_of(owner)
    if file is not None:
        return file_lost(file, errno, *log)
    user = "" if owner is None else owner.user
    if user == luo.NODE_NAME:
        return _luo(case, owner, errno, log)
    if user == kexec_metadata.NODE_NAME:
        return Outcome(Effect.NONE, "does not say which kernel came before it", log)
    if user == memblock.NODE_NAME:
        return Outcome(Effect.USER, "does not revive the reserve_mem regions", log)
    if user == kho_test.NODE_NAME:
        return Outcome(Effect.USER, "fails the test", (*log, TEST_FAILED.of()))
    return Outcome(Effect.USER, f"does not give {user} its memory back", log)


def second_of(first: PreservedFile, second: PreservedFile) -> str:
    """Words for the later of two files, whichever that will be."""
    if first is second:
        return f"token {first.file.token} of session {quoted(first.session)}"
    if first.session == second.session:
        return f"the second of tokens {first.file.token} and {second.file.token} of session {quoted(first.session)}"
    return (
        f"the second of token {first.file.token} of session {quoted(first.session)} and token {second.file.token} of "
        f"session {quoted(second.session)}"
    )


def file_lost(file: PreservedFile, errno: Errno, *log: Printed) -> Outcome:
    """A file that cannot be retrieved."""
    text = f"{errno.name} when token {file.file.token} of session {quoted(file.session)} is retrieved"
    return Outcome(Effect.FILE, text, log)


def sessions_lost(*log: Printed) -> Outcome:
    """Sessions that are refused together, at the first open of /dev/liveupdate."""
    return Outcome(Effect.SESSIONS, _NO_SESSIONS, log)


def _luo(case: Case, owner: Owner | None, errno: Errno, log: tuple[Printed, ...]) -> Outcome:
    """What follows for LUO as a whole, for one session, or for the FLBs."""
    session = case.session_of(owner)
    if session is not None:
        return sessions_lost(*log, FILES_FAILED.of(session, errno))
    if (
        owner == SESSIONS_OWNER
        and not luo.luo_version(case.luo.version if case.luo else "").sessions_in_blocks
    ):
        # An array is read when /dev/liveupdate is opened, and not before; nothing of it is checked at boot.
        return sessions_lost(*log)
    if owner == FLBS_OWNER:
        # luo_flb_setup_incoming() checks nothing in 7.3.4, so that LUO starts whatever the list is.
        return Outcome(Effect.UNJUDGED, TAKEN_ON_TRUST)
    # luo_restore_fail() of kernel/liveupdate/luo_internal.h panics, whatever liveupdate= says.
    return Outcome(Effect.PANIC, "panics in luo_core, early in boot", (*log, LUO_PANIC.of(errno)))
