"""No image swells: what decoders and rules make of a handover is bounded by the bytes of it that they look at.

Whatever its pointers say: pages that are named by many are read for the first two of them, and the rest is counted.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import khodump
from khodump.abi.luo import LUO_FILE_SER, LUO_SESSION_SER
from khodump.abi.memfd import COMPATIBLE_V2
from khodump.checking.checkup import examine
from khodump.handover import Handover
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Memfd, MemfdFormat, folios_of
from tests.builders.memory import MemoryImage
from tests.builders.users import KhoTest, Memblock, ReserveMem, User
from tests.fuzz.memory import PAGE, Watched

_MB = 1 << 20
#: Bytes that may be allocated for each byte of the pages that are looked at, and besides.
FACTOR, BASE = 32, 4 * _MB


class Cost(NamedTuple):
    """What reading all of a handover took: pages that were looked at, and the most that was allocated at a time."""

    pages: int
    peak: int

    @property
    def is_bounded(self) -> bool:
        """Whether the image does not swell."""
        return self.peak <= BASE + FACTOR * self.pages * PAGE


def read_all(handover: Handover) -> None:
    """Have every decoder read all there is, and every rule look at it."""
    assert handover.ownership.owners is not None
    for subtree in handover.subtrees:
        for _ in subtree.decoded.keeps():
            pass
    examine(handover)


def cost_of(image: MemoryImage, fdt_phys: int) -> Cost:
    with TemporaryDirectory() as folder:
        path = image.to_elf(Path(folder) / "core")
        with khodump.open(path, fdt=fdt_phys) as opened:
            watched = Watched(opened.memory)
            handover = replace(opened, memory=watched)
            assert len(handover.preserved)  # the map has bounds of its own
            tracemalloc.start()
            try:
                read_all(handover)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    return Cost(len(watched.touched), peak)


def memfd(folios: int = 3, order: int = 0) -> Memfd:
    return Memfd(folios_of(dict.fromkeys(range(folios), b"x")), array_order=order)


@cache
def warmed() -> None:
    """Import and cache what is not to be counted."""
    built = build_handover(Description(subtrees={"LUO": Luo((Session("vm", (LuoFile(1, memfd()),)),))}))
    cost_of(built.image, built.fdt_phys)


@pytest.fixture(autouse=True)
def _warm() -> None:
    warmed()


# Bombs: each is built for a number of those who name the same page.


def chain_of(image: MemoryImage, slots: list[int], total: int) -> bytes:
    """The struct kho_vmalloc of an area with one chunk, of these blocks."""
    chunk = image.alloc_page()
    image.write(chunk, struct.pack(f"<{len(slots) + 1}Q", 0, *slots))
    return struct.pack("<QIHH", chunk, total, 1, 0)


def state_of(image: MemoryImage, descriptor: bytes, folios: int) -> int:
    """The address of the state of a memfd whose list that is."""
    state = image.alloc_page()
    image.write(state, struct.pack("<QQIIQ", 0, folios * PAGE, 0, 0, folios) + descriptor)
    return state


def folio_list(image: MemoryImage) -> int:
    """A page of entries, no two of which are neighbours."""
    page = image.alloc_page()
    entries = np.zeros((PAGE // 16, 2), "<u8")
    entries[:, 0] = (1 << 20) + 2 * np.arange(PAGE // 16)
    entries[:, 1] = np.arange(PAGE // 16)
    image.write(page, entries.tobytes())
    return page


def files_of(image: MemoryImage, states: list[int]) -> int:
    """The list of memfds of these states."""
    room = (PAGE - 16) // LUO_FILE_SER.sizeof()
    groups = [states[at : at + room] for at in range(0, len(states), room)]
    blocks = [image.alloc_page() for _ in groups]
    for number, (block, group) in enumerate(zip(blocks, groups, strict=True)):
        following = blocks[number + 1] if number + 1 < len(blocks) else 0
        rows = [
            LUO_FILE_SER.build(
                {"compatible": COMPATIBLE_V2.encode().ljust(48, b"\0"), "data": state, "token": at}
            )
            for at, state in enumerate(group, number * room)
        ]
        image.write(block, struct.pack("<QQ", following, len(rows)) + b"".join(rows))
    return blocks[0]


def sessions_of(image: MemoryImage, heads: list[int], count: int) -> int:
    """The list of sessions with these lists of files."""
    room = (PAGE - 16) // LUO_SESSION_SER.sizeof()
    groups = [heads[at : at + room] for at in range(0, len(heads), room)]
    blocks = [image.alloc_page() for _ in groups]
    for number, (block, group) in enumerate(zip(blocks, groups, strict=True)):
        following = blocks[number + 1] if number + 1 < len(blocks) else 0
        rows = [
            LUO_SESSION_SER.build(
                {
                    "name": (b"%d" % (number * room + at)).ljust(64, b"\0"),
                    "files": head,
                    "count": count,
                }
            )
            for at, head in enumerate(group)
        ]
        image.write(block, struct.pack("<QQ", following, len(rows)) + b"".join(rows))
    return blocks[0]


def one_state(image: MemoryImage, count: int) -> int:
    """Files of one state, whose list is one page that is named 511 times."""
    state = state_of(image, chain_of(image, [folio_list(image)] * 511, 511), 511 * 256)
    return sessions_of(image, [files_of(image, [state] * count)], count)


def one_page_in_one_chain(image: MemoryImage, count: int) -> int:
    """Chunks of one chain, all of whose slots name one page."""
    page = folio_list(image)
    chunks = [image.alloc_page() for _ in range(count)]
    for chunk, following in zip(chunks, [*chunks[1:], 0], strict=True):
        image.write(chunk, struct.pack("<512Q", following, *[page] * 511))
    descriptor = struct.pack("<QIHH", chunks[0], 511 * count, 1, 0)
    return sessions_of(image, [files_of(image, [state_of(image, descriptor, 511 * 256 * count)])], 1)


def one_chain(image: MemoryImage, count: int) -> int:
    """Files with states of their own, and one honest list."""
    descriptor = chain_of(image, [folio_list(image) for _ in range(100)], 100)
    states = [state_of(image, descriptor, 100 * 256) for _ in range(count)]
    return sessions_of(image, [files_of(image, states)], count)


def one_list(image: MemoryImage, count: int) -> int:
    """Files with states and chains of their own, whose chains all name the same pages."""
    pages = [folio_list(image) for _ in range(100)]
    states = [state_of(image, chain_of(image, pages, 100), 100 * 256) for _ in range(count)]
    return sessions_of(image, [files_of(image, states)], count)


def one_list_of_files(image: MemoryImage, count: int) -> int:
    """Sessions that share one list of files, which share one state."""
    state = state_of(image, chain_of(image, [folio_list(image)], 1), 256)
    return sessions_of(image, [files_of(image, [state] * 600)] * count, 600)


BOMBS = [one_state, one_page_in_one_chain, one_chain, one_list, one_list_of_files]


def bombed(bomb: Callable[[MemoryImage, int], int], count: int) -> Cost:
    built = build_handover(Description(subtrees={"LUO": Luo((Session("vm"),))}))
    sessions = bomb(built.image, count)
    built.image.write(built.blobs["LUO"] + 16, struct.pack("<Q", sessions))
    return cost_of(built.image, built.fdt_phys)


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
@pytest.mark.parametrize("count", [30, 200])
def test_a_bomb_costs_what_its_pages_hold(bomb, count):
    cost = bombed(bomb, count)
    assert cost.is_bounded, cost


# And any other: sound handovers of all users, some of whose pointers lead to other pages than they should.


def sound(version: int, form: MemfdFormat) -> BuiltHandover:
    files = tuple(LuoFile(number, replace(memfd(300, number % 2), format=form)) for number in range(4))
    luo = Luo(tuple(Session(f"vm-{number}", files) for number in range(3)), (Flb("flb", 1),), version=version)
    users: dict[str, bytes | User] = {
        "LUO": luo,
        "kho_test": KhoTest(tuple(number % 3 for number in range(700))),
        "memblock": Memblock(tuple(ReserveMem(f"r{n}", (1 + n) << 30, 1 << 20) for n in range(4))),
    }
    return build_handover(Description(subtrees=users))


@cache
def pointers(version: int, form: MemfdFormat) -> tuple[BuiltHandover, tuple[int, ...], tuple[int, ...]]:
    """A handover, where pointers to the pages of lists stand in it, and those pages."""
    built = sound(version, form)
    listed = {
        at - at % PAGE
        for path, addresses in built.places.items()
        for at in addresses
        if not path.endswith("contents") and at
    }
    words = {page: np.frombuffer(built.image.read(page, PAGE), "<u8") for page in listed}
    targets = np.array(sorted(listed), np.uint64)
    slots = [
        page + 8 * int(at) for page, row in words.items() for at in np.flatnonzero(np.isin(row, targets))
    ]
    return built, tuple(sorted(slots)), tuple(targets.tolist())


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_pointers_say_is_bounded(data):
    version = data.draw(st.sampled_from([1, 3, 4, 5]), "version")
    form = data.draw(st.sampled_from(list(MemfdFormat)), "form")
    built, slots, pages = pointers(version, form)
    image = MemoryImage()
    image._pages = {at: bytearray(page) for at, page in built.image._pages.items()}
    for _ in range(data.draw(st.integers(1, 4), "changes")):
        target = data.draw(st.sampled_from(pages), "target")
        if data.draw(st.booleans(), "a whole page"):
            image.write(data.draw(st.sampled_from(pages), "page"), struct.pack("<Q", target) * (PAGE // 8))
        else:
            first = data.draw(st.integers(0, len(slots) - 1), "first")
            for slot in slots[first : first + data.draw(st.integers(1, 64), "slots")]:
                image.write(slot, struct.pack("<Q", target))
    cost = cost_of(image, built.fdt_phys)
    assert cost.is_bounded, cost
