"""Breaks of the rules of LUO's sessions and files."""

from __future__ import annotations

from khodump.checking.rule import Effect
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover
from tests.builders.luo import Flb, Luo, Session
from tests.checking.rules.blobs import NO_SESSION, SESSION, place
from tests.checking.rules.breaking import FILE, MEMFD, SESSION_FAILS, Break, breaks, flipped, handed_over, luo

ENTRIES = "LUO/sessions/0/files/entries"


@breaks("state-not-serialized")
def no_list() -> Break:
    """The page of the list stays preserved, and is nobody's."""
    built = handed_over({"LUO": luo()})
    at = built.blobs["LUO"] + 16
    then = "would find no sessions, if it were started from this very memory"
    return Break(built, at, u64(0), Effect.NONE, then, "LUO", also=("unclaimed",))


@breaks("session-file-count-mismatch")
def two_more() -> Break:
    built = handed_over()
    at, data = flipped(built, place(built, "LUO/sessions/entries") + 72, 1)
    log = ("luo: File count mismatch: expected 3, found 1", SESSION_FAILS)
    phys = place(built, "LUO/sessions/0/files")
    return Break(built, at, data, Effect.SESSIONS, NO_SESSION, SESSION, phys, log)


@breaks("session-file-count-mismatch")
def files_of_no_list() -> Break:
    built = handed_over({"LUO": luo()})
    at, data = flipped(built, place(built, "LUO/sessions/entries") + 72, 0)
    log = ("luo: File count mismatch: expected 1, found 0", SESSION_FAILS)
    return Break(built, at, data, Effect.SESSIONS, NO_SESSION, SESSION, None, log)


@breaks("file-handler-unknown")
def of_no_kernel() -> Break:
    """What a file of a kind that nobody knows preserves is on no record."""
    built = handed_over()
    at, data = flipped(built, place(built, ENTRIES) + 7, 0)
    log = ("luo: No registered handler for compatible 'memfd-v3'",)
    return Break(built, at, data, Effect.SESSIONS, NO_SESSION, FILE, None, log, also=("unclaimed",))


@breaks("session-name-invalid")
def a_session_name_without_an_end() -> Break:
    built = handed_over({"LUO": luo(name="v" * 63)})
    owner = f'LUO/session "{"v" * 64}"'
    then = "knows the session by the first 63 bytes"
    at = place(built, "LUO/sessions/entries") + 63
    return Break(built, at, b"v", Effect.UNJUDGED, then, owner)


@breaks("session-name-repeated")
def one_name() -> Break:
    built = handed_over({"LUO": luo(more=(Session("vl"),))})
    at, data = flipped(built, built.places["LUO/sessions/entries"][1] + 1, 0)
    log = ("luo: Failed to insert session [vm] -17",)
    return Break(built, at, data, Effect.SESSIONS, NO_SESSION, SESSION, None, log)


@breaks("token-repeated")
def one_token() -> Break:
    """Tokens 1 and 2, the second of which becomes the first."""
    built = handed_over({"LUO": luo(MEMFD, MEMFD)})
    at = built.places[ENTRIES][1] + 56
    then = "finds the first of these files by the token, and never the other"
    phys = place(built, "LUO/sessions/0/files")
    return Break(built, at, u64(1), Effect.FILE, then, SESSION, phys)


def with_flb() -> BuiltHandover:
    return handed_over({"LUO": Luo((Session("vm"),), (Flb("pci", 7),))})


def _flb(at: int, data: bytes) -> Break:
    built = with_flb()
    page = place(built, "LUO/flbs")
    return Break(built, page + at, data, Effect.UNJUDGED, "takes the list on trust", "LUO/flbs", page)


@breaks("flb-list-invalid")
def one_flb_too_few() -> Break:
    return _flb(8, u64(0))


@breaks("flb-list-invalid")
def one_flb_too_many() -> Break:
    return _flb(8, u64(2))


@breaks("flb-list-invalid")
def pages_that_it_has_not() -> Break:
    return _flb(0, u64(3))


@breaks("flb-list-invalid")
def a_name_without_an_end() -> Break:
    return _flb(16, b"x" * 48)


@breaks("flb-list-invalid")
def no_users() -> Break:
    return _flb(16 + 56, u64(0))
