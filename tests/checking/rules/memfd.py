"""Breaks of the rules of memfds."""

from __future__ import annotations

from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER
from khodump.checking.rule import Effect
from tests.builders.handover import BuiltHandover
from tests.builders.memfd import Folio, Memfd
from tests.checking.rules.blobs import place
from tests.checking.rules.breaking import FILE, Break, breaks, flipped, handed_over, luo

STATE = "LUO/sessions/0/files/0"
ENTRIES = f"{STATE}/folios/entries"
SIZE, SEALS, NR_FOLIOS = 8, 16, 24  # in struct memfd_luo_ser


def with_memfd(*folios: Folio, size: int | None = None) -> BuiltHandover:
    """A session with one memfd."""
    return handed_over({"LUO": luo(Memfd(folios or (Folio(0), Folio(1)), size))})


@breaks("memfd-folio-count")
def more_than_a_page_holds() -> Break:
    built = with_memfd()
    state = place(built, STATE)
    then = "reads past the end of the list and faults, when the file is retrieved"
    return Break(built, *flipped(built, state + NR_FOLIOS, 8), Effect.PANIC, then, FILE, state)


def _overlap(built: BuiltHandover, entry: int, index: int, bit: int) -> Break:
    at, data = flipped(built, built.places[ENTRIES][entry] + 8, bit)
    log = (f"memfd_luo: shmem: failed to add to page cache folio index {index}: -17",)
    then = 'EEXIST when token 1 of session "vm" is retrieved'
    return Break(built, at, data, Effect.FILE, then, FILE, place(built, STATE), log)


@breaks("memfd-folio-overlap")
def one_page_twice() -> Break:
    return _overlap(with_memfd(), 1, 0, 0)


@breaks("memfd-folio-overlap")
def within_a_large_folio() -> Break:
    return _overlap(with_memfd(Folio(0, b"", 2), Folio(6), size=0x4000), 1, 2, 2)


@breaks("memfd-size-mismatch")
def longer_than_its_folios() -> Break:
    built = with_memfd(Folio(0))
    state = place(built, STATE)
    then = "retrieves a file that reads as zeros where no folio is"
    return Break(built, *flipped(built, state + SIZE, 13), Effect.FILE, then, FILE, state)


@breaks("memfd-size-mismatch")
def a_folio_past_its_end() -> Break:
    built = with_memfd()
    at, data = flipped(built, built.places[ENTRIES][1] + 8, 1)
    then = "retrieves a file that reads as zeros where no folio is"
    return Break(built, at, data, Effect.FILE, then, FILE, place(built, STATE))


@breaks("memfd-seals-unknown")
def a_seventh_seal() -> Break:
    built = with_memfd()
    state = place(built, STATE)
    then = 'EOPNOTSUPP when token 1 of session "vm" is retrieved'
    log = ("memfd_luo: failed to add seals: -95",)
    return Break(built, *flipped(built, state + SEALS, 6), Effect.FILE, then, FILE, state, log)


def _flag(bit: int) -> Break:
    built = with_memfd()
    at, data = flipped(built, built.places[ENTRIES][1], bit)
    then = "of which these folios read as zeros, or are dropped under pressure"
    phys = built.places[f"{STATE}/contents"][1]
    return Break(built, at, data, Effect.FILE, then, FILE, phys)


@breaks("memfd-folio-flags")
def not_dirty() -> Break:
    return _flag(52)


@breaks("memfd-folio-flags")
def not_up_to_date() -> Break:
    return _flag(53)


@breaks("memfd-folio-flags")
def unknown_flag() -> Break:
    return _flag(54)


@breaks("memfd-list-unread")
def a_list_that_was_not_dumped() -> Break:
    built = with_memfd()
    array = built.places[f"{STATE}/folios/blocks"][0]
    then = "which folios the file has is not known"
    return Break(built, array, b"", Effect.UNKNOWN, then, FILE, array, dropped=array)


@breaks("memfd-folio-missing")
def a_list_of_zeros() -> Break:
    built = with_memfd()
    at = built.places[ENTRIES][0]
    then = "retrieves a file that reads as zeros where these folios were"
    entry = MEMFD_LUO_FOLIO_SER.sizeof()
    also = ("unclaimed",)
    return Break(built, at, bytes(2 * entry), Effect.FILE, then, FILE, place(built, STATE), also=also)
