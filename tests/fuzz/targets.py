"""What is run on a mutant of a part of khodump, and what must hold of every one.

A target takes bytes: a file, or a program that damages a seed's memory (`tests.fuzz.mutators`). It raises
`AssertionError` when khodump gives a wrong answer; anything else that it raises is a crash. So the same functions are
driven by blind mutation, by hypothesis and by atheris.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np

from khodump.abi.bootparam import SETUP_DATA_OFFSET
from khodump.errors import FdtError, KhodumpError
from khodump.fdt import FdtNode, check_header, parse_fdt, read_fdt
from khodump.memories import elf, lime
from khodump.memories.avml import AvmlFile
from khodump.memories.file import ByteSource
from khodump.memories.flattened import FlattenedFile
from khodump.memories.kdump import KdumpMemory
from khodump.memories.segments import SegmentedMemory
from khodump.memory import Hole, PhysicalMemory, Platform, Presence, Range, vmcoreinfo_lines
from khodump.opening.boot import in_devicetree, in_setup_data
from khodump.opening.locate import LandmarkKind, landmarks
from khodump.subtree import Context
from khodump.subtrees import open_subtrees
from khodump.subtrees.luo_state import Luo
from khodump.tracker import Tracker
from khodump.trackers import map_root, open_tracker
from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.order_table import OrderTableTracker
from khodump.trackers.radix import RadixTracker
from tests import oracle, oracle_historic
from tests.builders.boot import machine_tree
from tests.builders.elf import ElfSegment, build_elf
from tests.builders.flattened import flat_stream, flatten
from tests.builders.kdump import FLAGS, build_kdump
from tests.builders.lime import build_avml, build_lime
from tests.captures import SAMPLES
from tests.fuzz import plain, seeds
from tests.fuzz.memory import PAGE, BytesSource, Watched, memory_of
from tests.fuzz.mutators import EDGES, damaged, execute, programs


@dataclass(frozen=True)
class Target:
    """Something to fuzz.

    Attributes:
        name: of it.
        check: runs it on one input.
        corpus: inputs to begin with.
        mutate: another input from a random source and one of the corpus.
        heaviest: bytes that an input may have under atheris.
    """

    name: str
    check: Callable[[bytes], None]
    corpus: Callable[[], Sequence[bytes]]
    mutate: Callable[[Random, bytes, Sequence[bytes]], bytes] = damaged
    heaviest: int = 1 << 14

    def mutant(self, seed: int, number: int) -> bytes:
        """The mutant of that number."""
        rng = Random(f"{seed}/{self.name}/{number}")  # noqa: S311 - repeatable, not secret
        corpus = cached_corpus(self)
        return self.mutate(rng, rng.choice(corpus), corpus)


@cache
def cached_corpus(target: Target) -> tuple[bytes, ...]:
    """The corpus of a target, made once."""
    return tuple(target.corpus())


# Files.


def _check_fdt(data: bytes) -> None:
    """A tree that is taken has the very properties that its bytes spell out."""
    assert -10 <= check_header(data) <= 0
    try:
        tree = parse_fdt(data)
    except FdtError:
        return
    assert check_header(data) == 0, "libfdt would refuse what khodump takes"
    told = list(_properties("", tree))
    assert sorted(told) == sorted(plain.fdt_properties(data))
    in_devicetree(read_fdt(data), "fuzz")


def _properties(path: str, node: FdtNode) -> Iterator[tuple[str, str, bytes]]:
    yield from ((path, name, value) for name, value in node.properties.items())
    for child in node.children:
        yield from _properties(f"{path}/{child.name}", child)


def _check_elf(data: bytes) -> None:
    source = BytesSource(data)
    try:
        table, platform = elf.segments(source, assume_zero=False)
    except KhodumpError:
        return
    memory = SegmentedMemory([source], table, description="mutant", platform=platform)
    _check_rows(memory, plain.elf_rows(data), data)


def _check_lime(data: bytes) -> None:
    source = BytesSource(data)
    try:
        if lime.first_header(source).version == lime.COMPRESSED:
            return
        table, _ = lime.segments(source)
    except KhodumpError:
        return
    memory = SegmentedMemory([source], table, description="mutant", platform=Platform())
    rows = plain.lime_rows(data)
    if rows is None or any(span.presence is Presence.DAMAGED for span in memory.ranges):
        _check_memory(memory)  # it lost bytes, nobody knows where: tests/memories/test_lime_losses.py
    else:
        _check_rows(memory, rows, data)


def _check_rows(memory: PhysicalMemory, rows: list[plain.Row], data: bytes) -> None:
    """The memory says what the rows say, byte by byte at all places where something begins or ends."""
    _check_memory(memory)
    edges = {edge for row in rows[:64] for edge in row[:2]}
    for edge in sorted(edges)[:64]:
        for at in (edge - 1, edge, edge + 1):
            if 0 <= at < (1 << 64) - 1:
                found = memory.read(at, 1)
                told = found.presence if isinstance(found, Hole) else found[0]
                assert told == plain.byte_at(rows, data, at), f"the byte at {at:#x}"


def _check_memory(memory: PhysicalMemory) -> None:
    """Its ranges are in order; pages and single reads agree; nothing reads what it does not speak of."""
    ranges = memory.ranges
    assert all(span.start < span.end for span in ranges)
    assert all(low.end <= high.start for low, high in pairwise(ranges))
    assert all(span.end <= memory.end for span in ranges)
    wanted = {edge // PAGE + step for span in ranges[:8] for edge in span[:2] for step in (-1, 0, 1)}
    pfns = np.array(sorted(pfn for pfn in wanted if 0 <= pfn < 1 << 52), np.uint64)
    found = memory.gather(pfns * np.uint64(PAGE), PAGE)
    for row, pfn in enumerate(pfns.tolist()):
        read = memory.read(pfn * PAGE, PAGE)
        if isinstance(read, Hole):
            assert found.presence[row] != Presence.PRESENT, f"page {pfn:#x}: gather() has what read() has not"
        else:
            assert found.presence[row] == Presence.PRESENT, f"page {pfn:#x}: read() has what gather() has not"
            assert found.data[row].tobytes() == read
    for span in list(_some(memory.populated(), 4)):
        assert span.start < span.end


def _some(items: Iterator[Range], count: int) -> Iterator[Range]:
    return (item for _, item in zip(range(count), items, strict=False))


def _check_kdump(data: bytes) -> None:
    try:
        memory = KdumpMemory([BytesSource(data)], description="mutant")
    except KhodumpError:
        return
    if memory.end > 1 << 33:
        return  # its bitmaps would have to be in the file; the ranges below would take a while
    _check_memory(memory)
    (split,) = struct.unpack_from("<i", data, _block_size(data) + 12)
    for pfn in range(min(memory.end // _block_size(data), 12) if not split else 0):
        told = plain.kdump_page(data, pfn)
        found = memory.read(pfn * _block_size(data), _block_size(data))
        assert told is None or told == (found.presence if isinstance(found, Hole) else found), (
            f"page {pfn:#x}"
        )


def _block_size(data: bytes) -> int:
    return int(struct.unpack_from("<I", data, 428)[0])


def _check_flattened(data: bytes) -> None:
    try:
        file = FlattenedFile(BytesSource(data))
    except KhodumpError:
        return
    told = plain.flat_bytes(data)
    places = [0, 4095, 4096, file.size - 1, file.size, *(edge for edge in EDGES if edge < 1 << 62)]
    for at in places:
        if at >= 0:
            _check_source(file, at, told)
    _check_source(file, max(file.size - 5000, 0), told, 6000)


def _check_source(
    file: FlattenedFile, at: int, told: tuple[dict[int, int], int] | None, size: int = 9
) -> None:
    got = file.read(at, size)
    if told is None:
        return
    written, end = told
    assert file.size == end
    for place, byte in enumerate(got, at):
        assert byte == written.get(place, 0), f"the byte at {place:#x}"
        assert file.is_whole or place in written
    missing = at + len(got)
    if len(got) < size and missing < end:
        assert missing not in written, f"the byte at {missing:#x} is there"


def _check_avml(data: bytes) -> None:
    try:
        file = AvmlFile(BytesSource(data))
    except KhodumpError:
        return
    source: ByteSource = file
    memory = SegmentedMemory([source], file.segments, description="mutant", platform=Platform())
    _check_memory(memory)


def _check_text(data: bytes) -> None:
    for key, value in vmcoreinfo_lines(data).items():
        assert "=" not in key
        assert "\n" not in value


# Memories.


def _damaged_seed(names: Sequence[str], program: bytes) -> tuple[seeds.Seed, Watched]:
    """The seed that a program chooses by its first byte, and its memory after the rest of the program."""
    chosen = seeds.seed(names[(program or b"\0")[0] % len(names)])
    data = bytearray(chosen.data)
    lost = execute(program[1:], data, chosen.pages)
    memory = memory_of(data, [phys for phys, _ in chosen.pages], lost, chosen.machine)
    return chosen, Watched(memory)


@cache
def _trackers(names: tuple[str, ...]) -> dict[str, Callable[[PhysicalMemory], Tracker]]:
    """How to open the map of each seed, whatever its root FDT says after damage."""
    return {name: _opener(name) for name in names}


def _opener(name: str) -> Callable[[PhysicalMemory], Tracker]:
    chosen = seeds.seed(name)
    memory = memory_of(bytearray(chosen.data), [phys for phys, _ in chosen.pages], machine=chosen.machine)
    head = memory.read(chosen.fdt_phys, PAGE)
    assert isinstance(head, bytes)
    tracker = open_tracker(
        memory, parse_fdt(head), fdt_phys=chosen.fdt_phys, page_size=chosen.page_size
    ).tracker
    root, size = tracker.root, 1 << tracker.page_shift
    if isinstance(tracker, RadixTracker):
        geometry = tracker.geometry
        return lambda memory: RadixTracker(memory, root, geometry)
    if isinstance(tracker, BitmapChainTracker):
        bitmap = tracker.bitmap_size.size
        return lambda memory: BitmapChainTracker(memory, root, size, bitmap)
    return lambda memory: OrderTableTracker(memory, root, size)


def walked_plainly(memory: PhysicalMemory, tracker: Tracker) -> oracle.Walked:
    """The map as the plain walker reads it."""
    size = 1 << tracker.page_shift
    if isinstance(tracker, RadixTracker):
        geometry = tracker.geometry
        return oracle.walk(memory, tracker.root, size, geometry.depth, geometry.order0_end)
    if isinstance(tracker, BitmapChainTracker):
        return oracle_historic.walk_chain(memory, tracker.root, size, tracker.bitmap_size.size)
    return oracle_historic.walk_order_table(memory, tracker.root, size)


def check_tracker(memory: Watched, tracker: Tracker) -> None:
    """The fast walk and the plain one agree, what could not be read is counted, and no page is read more than it should."""
    memory.touched.clear()
    memory.bytes_read = 0
    walk = tracker.walk()
    found = [(block.phys, block.order) for batch in walk for block in batch]
    nodes = walk.nodes
    assert memory.bytes_read <= (len(nodes) + 4) * (1 << tracker.page_shift), "pages are read more than once"
    expected = walked_plainly(memory, tracker)
    assert found == expected.blocks, "the fast walker and the plain one list different blocks"
    assert nodes.phys.tolist() == expected.nodes, "they visit different pages"
    assert (not walk.findings) is expected.sound, "damage without a finding, or a finding without damage"
    lost = sum(
        isinstance(memory.read(phys, tracker.leaf_size if not level else 1 << tracker.page_shift), Hole)
        for phys, level in zip(nodes.phys.tolist(), nodes.level.tolist(), strict=True)
    )
    assert sum(nodes.missing().values()) == lost, "pages that cannot be read are not counted"
    for phys, order in (*found[:3], *found[-1:]):
        assert tracker.holds(phys, order) is not False, (
            f"it lists {phys:#x} at order {order}, but does not hold it"
        )
    tracker.trace(0, 0)
    tracker.holds((1 << 63) - (1 << 63) % PAGE, 3)
    tracker.sound()


def _map_check(names: tuple[str, ...]) -> Callable[[bytes], None]:
    def check(program: bytes) -> None:
        chosen, memory = _damaged_seed(names, program)
        check_tracker(memory, _trackers(names)[chosen.name](memory))

    return check


def _check_users(program: bytes) -> None:
    """Every user of KHO is decoded, and what it claims and keeps is worked out, in reads bounded by what there is."""
    chosen, memory = _damaged_seed(seeds.USERS, program)
    head = memory.read(chosen.fdt_phys, PAGE)
    try:
        tree = parse_fdt(b"" if isinstance(head, Hole) else head)
    except FdtError:
        tree = _sound_tree(chosen.name)
    for subtree in open_subtrees(Context(memory, chosen.page_size), tree):
        for claim in subtree.claims(chosen.page_size):
            assert len(claim.start) == len(claim.size)
        for keep in subtree.decoded.keeps():
            assert len(keep.start) == len(keep.length)
        for fact in subtree.decoded.facts:
            assert isinstance(fact.value, int | str | bool | None)
        content = subtree.decoded.content
        if isinstance(content, Luo):
            for file in (file for session in content.sessions for file in session.files if file.state):
                listed = (
                    sum(len(batch.phys) + batch.missing for batch in file.state.folios()) if file.state else 0
                )
                assert listed <= (file.state.nr_folios if file.state else 0)
    assert memory.bytes_read <= 64 * len(chosen.data) + (1 << 20), "it reads more than the image is worth"


@cache
def _sound_tree(name: str) -> FdtNode:
    chosen = seeds.seed(name)
    at = dict(chosen.pages)[chosen.fdt_phys]
    return parse_fdt(chosen.data[at : at + PAGE])


def _check_root(program: bytes) -> None:
    """The root FDT, wherever it leads, and the boot protocol's list."""
    chosen, memory = _damaged_seed((*seeds.RADIX, *seeds.CHAINS, *seeds.ORDER_TABLES), program)
    for mark in landmarks(memory, deep=True):
        if mark.kind is LandmarkKind.BOOT_PARAMS:
            assert len(list(in_setup_data(memory, mark.phys))) <= 256
    memory.read(SETUP_DATA_OFFSET, 8)
    head = memory.read(chosen.fdt_phys, PAGE)
    try:
        tree = parse_fdt(b"" if isinstance(head, Hole) else head)
        map_root(tree)
        choice = open_tracker(memory, tree, fdt_phys=chosen.fdt_phys)
    except KhodumpError:
        return
    assert choice.reason
    check_tracker(memory, choice.tracker)


def _program(rng: Random, _: bytes, __: Sequence[bytes]) -> bytes:
    return bytes([rng.randrange(256)]) + programs(rng)


def _programs() -> list[bytes]:
    rng = Random(0)  # noqa: S311 - repeatable
    return [bytes([number]) + programs(rng) for number in range(16)]


# Corpora.


def _fdts() -> list[bytes]:
    found = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.dtb"))]
    for name in seeds.DESCRIPTIONS:
        handover = seeds.built(name)
        found += [handover.fdt, *(handover.image.read(phys, PAGE) for phys in handover.blobs.values())]
    return [*found, machine_tree((0x1000, 0x1000), (0x2000, 32))]


def _two_pages() -> dict[int, bytes]:
    return {0x1000: b"one".ljust(PAGE), 0x2000: bytes(PAGE), 0x8000: bytes(range(256)) * 16}


def _elves() -> list[bytes]:
    segments = [ElfSegment(phys, data) for phys, data in _two_pages().items()]
    segments += [ElfSegment(0x4000, b"x" * 100, PAGE), ElfSegment(0x1800, b"overlap" * 300)]
    lines = {"OSRELEASE": "7.3", "PAGESIZE": "4096"}
    return [
        build_elf(segments),
        build_elf(segments, qemu=True),
        build_elf(segments, vmcoreinfo=lines),
        build_elf([]),
    ]


def _kdumps() -> list[bytes]:
    pages, note = _two_pages(), b"OSRELEASE=7.3\nPAGESIZE=4096\n"
    found = [build_kdump(pages, codec=codec, excluded=[0x3000], vmcoreinfo=note) for codec in sorted(FLAGS)]
    found += [build_kdump(pages, version=version) for version in (1, 2, 5)]
    return [*found, build_kdump(pages, window=(2, 9)), build_kdump(pages, one_bitmap=True)]


def _streams() -> list[bytes]:
    dump = bytes(range(256)) * 24
    return [
        flatten(dump, record=512),
        flat_stream([(100, b"later"), (0, b"first"), (102, b"over")]),
        flat_stream([(0, b"cut"), (9000, b"far")], end=False),
    ]


def _texts() -> list[bytes]:
    return [b"OSRELEASE=7.3\nPAGESIZE=4096\nSYMBOL(x)=ffffffff81000000\n", b"a=b=c\n\n=\n\0after"]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("fdt", _check_fdt, _fdts, heaviest=4096),
        Target("elf", _check_elf, _elves),
        Target("kdump", _check_kdump, _kdumps, heaviest=1 << 15),
        Target("flattened", _check_flattened, _streams),
        Target("lime", _check_lime, lambda: [build_lime(_two_pages()), build_lime({0: b"y" * PAGE})]),
        Target("avml", _check_avml, lambda: [build_avml(_two_pages()), build_avml(_two_pages(), PAGE)]),
        Target("vmcoreinfo", _check_text, _texts, heaviest=512),
        Target("radix", _map_check(seeds.RADIX), _programs, _program, 1024),
        Target("chain", _map_check(seeds.CHAINS), _programs, _program, 1024),
        Target("order table", _map_check(seeds.ORDER_TABLES), _programs, _program, 1024),
        Target("users", _check_users, _programs, _program, 1024),
        Target("root", _check_root, _programs, _program, 1024),
    )
}
