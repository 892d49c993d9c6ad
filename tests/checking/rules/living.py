"""Breaks of the rules of LUO's own lists, in images with a running kernel."""

from __future__ import annotations

from khodump.abi.block import KHO_BLOCK_HEADER_SER, KhoBlockHeaderSer
from khodump.abi.luo import LUO_SESSION_SER
from khodump.checking.rule import Effect
from khodump.kernel.luo_state import SessionList
from khodump.subtrees.luo_state import SESSIONS_OWNER
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession
from tests.builders.memfd import Folio, Memfd
from tests.checking.rules.blobs import SESSION
from tests.checking.rules.breaking import Break, breaks

DISK = Memfd((Folio(0, b"disk", 1), Folio(2, b"end")))
#: That LUO has not serialized, and that its list has the session.
UNSERIALIZED = ("state-not-serialized", "sessions-in-lists")
DAMAGED = "the running kernel's own lists are damaged, or not all in the image"
OWN = "they are the running kernel's to retrieve"


def broken(living: LivingKernel, va: int, data: bytes, effect: Effect, then: str, **what: object) -> Break:
    """What breaks a rule where the running kernel's `va` is changed."""
    lines = living.kernel.finish()
    at = living.kernel.phys(va)
    return Break(living.handover, at, data, effect, then, vmcoreinfo=lines, **what)  # type: ignore[arg-type]


def member(living: LivingKernel, path: str) -> int:
    """Where a member of luo_session_global is."""
    return living.lists.top + living.kernel.types.offset("luo_session_global", path)


def prepared(*, serialized: bool = False) -> LivingKernel:
    """A kernel with one session to hand over."""
    living = LivingKernel.of(DISK, serialized=serialized)
    living.lists.write(outgoing=[living.prepared(1)])
    return living


def emptied(living: LivingKernel, side: SessionList) -> tuple[int, bytes]:
    """Where the counter and the ends of a list are, and what they are; the list is empty afterwards."""
    at = member(living, f"{side}.count")
    head = member(living, f"{side}.list")
    full = living.kernel.image.read(living.kernel.phys(at), 24)
    living.kernel.poke(at, bytes(8) + 2 * head.to_bytes(8, "little"))
    return at, full


@breaks("sessions-in-lists")
def before_the_jump() -> Break:
    living = prepared()
    at, full = emptied(living, SessionList.OUTGOING)
    known = ("state-not-serialized",)
    then = "would get these sessions"
    return broken(living, at, full, Effect.NONE, then, owner="LUO", also=known, before=known)


def received(status: int) -> tuple[LivingKernel, BuiltFile]:
    """A kernel that received one file, which was retrieved, or not."""
    living = LivingKernel.of(DISK)
    (file,) = living.receive(DISK)
    file = BuiltFile(file.token, file.data, status)
    living.lists.write(incoming=[BuiltSession("vm", (file,), retrieved=bool(status))])
    return living, file


@breaks("sessions-received")
def a_retrieved_session() -> Break:
    living, _ = received(1)
    at, full = emptied(living, SessionList.INCOMING)
    known = ("state-not-serialized",)
    return broken(living, at, full, Effect.NONE, OWN, owner="LUO", also=known, before=known)


@breaks("files-not-retrieved")
def a_file_that_nobody_asked_for() -> Break:
    living, file = received(1)
    types = living.kernel.types
    node = living.lists.nodes["vm", file.token] - types.offset("luo_file", "list")
    known = ("state-not-serialized", "sessions-received")
    status = node + types.offset("luo_file", "retrieve_status")
    return broken(
        living,
        status,
        bytes(4),
        Effect.NONE,
        OWN,
        owner=SESSION,
        phys=living.first_received,
        also=known,
        before=known,
    )


@breaks("files-failed")
def a_file_that_was_not_given() -> Break:
    living, file = received(1)
    types = living.kernel.types
    at = living.lists.nodes["vm", file.token] - types.offset("luo_file", "list")
    data = (-22).to_bytes(4, "little", signed=True)
    known = ("state-not-serialized", "sessions-received")
    return broken(
        living,
        at + types.offset("luo_file", "retrieve_status"),
        data,
        Effect.NONE,
        "they failed in the running kernel",
        owner=SESSION,
        phys=living.kernel.phys(at),
        also=known,
        before=known,
    )


@breaks("live-list-broken")
def a_list_that_loops() -> Break:
    """The session's own list_head leads to itself."""
    living = prepared()
    node = living.lists.nodes["vm"]
    data = node.to_bytes(8, "little")
    return broken(
        living,
        node,
        data,
        Effect.UNKNOWN,
        DAMAGED,
        owner=SESSIONS_OWNER,
        also=UNSERIALIZED,
        before=UNSERIALIZED,
    )


@breaks("live-object-unreadable")
def a_handler_that_is_nowhere() -> Break:
    living = prepared()
    types = living.kernel.types
    file = living.lists.nodes["vm", 1] - types.offset("luo_file", "list")
    data = (0xFFFF_8880_0000_0000).to_bytes(8, "little")
    at = file + types.offset("luo_file", "fh")
    return broken(
        living, at, data, Effect.UNKNOWN, DAMAGED, owner=SESSION, also=UNSERIALIZED, before=UNSERIALIZED
    )


@breaks("live-lists-unread")
def symbols_that_the_image_lacks() -> Break:
    living = prepared()
    lines = living.kernel.finish()
    symbols = living.kernel.phys(int(lines["SYMBOL(kallsyms_num_syms)"], 16))
    return Break(
        living.handover,
        symbols,
        b"",
        Effect.UNKNOWN,
        "lists of sessions are not in the image",
        owner=SESSIONS_OWNER,
        phys=symbols,
        also=("state-not-serialized",),
        before=UNSERIALIZED,
        dropped=symbols // 4096 * 4096,
        vmcoreinfo=lines,
    )


@breaks("live-count-mismatch")
def a_counter_of_seven() -> Break:
    living = prepared()
    at, data = member(living, "outgoing.count"), (7).to_bytes(8, "little")
    return broken(
        living,
        at,
        data,
        Effect.UNKNOWN,
        DAMAGED,
        owner=SESSIONS_OWNER,
        also=UNSERIALIZED,
        before=UNSERIALIZED,
    )


@breaks("live-received-mismatch")
def blocks_that_are_not_there() -> Break:
    """A kernel that nobody has opened /dev/liveupdate in: what it received stands as the last kernel wrote it."""
    living = LivingKernel.of(DISK)
    living.lists.write()
    row = bytes(LUO_SESSION_SER.build({"name": b"old".ljust(64, b"\0"), "files": 0, "count": 0}))
    head = living.kernel.image.alloc_page()
    living.kernel.image.write(head, KHO_BLOCK_HEADER_SER.build(KhoBlockHeaderSer(0, 1)) + row)
    living.lists.set_top("incoming.block_set.head_pa", head)
    living.lists.set_top("incoming.block_set.nblocks", 1)
    living.lists.set_top("incoming.block_set.entry_size", LUO_SESSION_SER.sizeof())
    at, data = member(living, "incoming.block_set.nblocks"), b"\7"
    known = ("state-not-serialized", "sessions-received")
    return broken(
        living, at, data, Effect.UNKNOWN, DAMAGED, owner=SESSIONS_OWNER, phys=head, also=known, before=known
    )


@breaks("live-serialized-mismatch")
def a_list_with_another_session() -> Break:
    living = prepared(serialized=True)
    types = living.kernel.types
    at = living.lists.nodes["vm"] - types.offset("luo_session", "list") + types.offset("luo_session", "name")
    then = "reads what was serialized"
    return broken(living, at, b"vl", Effect.UNJUDGED, then, owner=SESSIONS_OWNER)
