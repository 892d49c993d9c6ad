"""The reader against the vectors of the formats' description, and against what real kernels walked."""

from __future__ import annotations

from pathlib import Path

import pytest

from .read import elf, handover, radix, tables
from .read.dialects import DIALECTS, named
from .read.handover import Circumstances
from .read.maps import Block

CAPTURES = Path(__file__).parents[2] / "samples" / "captures"

# page shift, phys, order, key, slots from the top down, bit of the leaf
VECTORS = [
    (12, 0x1234000, 0, 0x10000000001234, [2, 0, 0, 0, 0], 4660),
    (12, 0x100000000, 9, 0x80000000800, [0, 2, 0, 0, 0], 2048),
    (12, 0x40000000, 18, 0x400000001, [0, 0, 2, 0, 0], 1),
    (14, 0x48D0000, 0, 0x4000000001234, [1, 0, 0, 0], 4660),
    (14, 0x100000000, 9, 0x20000000200, [0, 4, 0, 0], 512),
    (16, 0x12340000, 0, 0x1000000001234, [8, 0, 0], 4660),
    (16, 0x100000000, 9, 0x8000000080, [0, 128, 0], 128),
]


@pytest.mark.parametrize(("shift", "phys", "order", "key", "slots", "bit"), VECTORS)
def test_keys(shift, phys, order, key, slots, bit):
    assert radix.encode(phys, order, shift) == key
    assert radix.decode(key, shift) == Block(phys, order)
    rest = key >> (shift + 3)
    way = [rest >> (level * (shift - 3)) & (1 << (shift - 3)) - 1 for level in reversed(range(len(slots)))]
    assert way == slots
    assert key & (1 << (shift + 3)) - 1 == bit


def test_a_bare_number_read_as_a_key_is_a_block_that_cannot_be():
    """Two examples of what order-0 pages look like in the shallow tree."""
    assert radix.decode(0x48D0000 >> 14, 14) == Block(0x2340000000000000, 38)
    assert radix.decode(0x100000000 >> 14, 14) == Block(0, 32)


def test_depths():
    assert [named("kho-v4").depth(shift) for shift in (12, 14, 16)] == [6, 5, 4]
    assert [named("kho-v2").depth(shift) for shift in (12, 14, 16)] == [6, 4, 4]
    assert [named("kho-v1-posted").depth(shift) for shift in (12, 14, 16)] == [6, 5, 4]


def test_levels_of_order_tables():
    levels = [(12, 0, 6), (12, 9, 5), (14, 0, 4), (16, 0, 4)]
    assert [tables.levels(shift, order) for shift, order, _ in levels] == [count for _, _, count in levels]


CAPTURED = [
    ("luo-memfd/serialized.elf", "luo-memfd/truth.tsv", 0x4022C000, "kho-v4"),
    ("luo-memfd/pre.elf", "luo-memfd/truth.tsv", 0x4022C000, "kho-v4"),
    ("luo-memfd/next-out.elf", "luo-memfd/truth-next-out.tsv", 0xF0D000, "kho-v4"),
    ("kho-test/serialized.elf", "kho-test/truth.tsv", 0x4CD000, "kho-v4"),
    ("fail-compat/serialized.elf", "fail-compat/truth.tsv", 0x51F000, "kho-v4"),
    ("fail-compat/next-out.elf", "fail-compat/truth-next-out.tsv", 0x515000, "kho-v4"),
    ("historic/v1a-small.elf", "historic/v1a-small.truth.tsv", 0x14BDF0000, "kho-v1a"),
    ("historic/v1b-618-small.elf", "historic/v1b-618-small.truth.tsv", 0x148FB0000, "kho-v1b"),
    ("historic/rfc1-small.elf", "historic/rfc1-small.truth.tsv", 0x14F968000, "kho-v1-tables"),
]


def truth(name: str) -> list[Block]:
    lines = (CAPTURES / name).read_text().splitlines()
    return [Block(int(phys, 16), int(order)) for phys, order in (line.split("\t") for line in lines)]


def answer(name: str, fdt_at: int, dialect: str) -> handover.Answer:
    return handover.read(elf.read(CAPTURES / name), fdt_at, Circumstances(named(dialect), 12, 1 << 40))


@pytest.mark.parametrize(("image", "walked", "fdt_at", "dialect"), CAPTURED)
def test_what_the_kernel_walked(image, walked, fdt_at, dialect):
    """The same blocks in the same order as the kernel's own walk."""
    assert answer(image, fdt_at, dialect).preserved.blocks == truth(walked)


@pytest.mark.parametrize("folder", ["luo-memfd", "kho-test"])
def test_the_pages_of_the_map(folder):
    """The pages that the kernel's own walk went through."""
    image, _, fdt_at, dialect = next(row for row in CAPTURED if row[0] == f"{folder}/serialized.elf")
    nodes = (CAPTURES / folder / "truth-nodes.tsv").read_text().split()
    assert set(answer(image, fdt_at, dialect).preserved.pages) == {int(node, 16) for node in nodes}


def test_every_page_of_a_real_handover_has_an_owner():
    """All that is claimed is preserved, and nothing is preserved that nobody claims."""
    for image in ("luo-memfd/serialized.elf", "kho-test/serialized.elf"):
        _, _, fdt_at, dialect = next(row for row in CAPTURED if row[0] == image)
        read = answer(image, fdt_at, dialect)
        preserved = {
            (phys >> 12) + page for phys, order in read.preserved.blocks for page in range(1 << order)
        }
        claimed = set().union(*(read.claims.pages(owner) for owner in read.claims.ranges))
        assert claimed == preserved


def test_what_user_space_preserved():
    """Sessions, tokens, sizes, seals and positions, from the program that made them."""
    lines = (CAPTURES / "luo-memfd/userspace-luo.tsv").read_text().splitlines()
    made = [line.split("\t") for line in lines]
    luo = answer("luo-memfd/serialized.elf", 0x4022C000, "kho-v4").luo
    assert luo
    assert [session.name for session in luo.sessions] == [row[1] for row in made if row[0] == "session"]
    expected = [(row[1], *(int(word, 0) for word in row[2:6])) for row in made if row[0] == "memfd"]
    read = [
        (session.name, file.token, file.memfd.size, file.memfd.seals, file.memfd.position)
        for session in luo.sessions
        for file in session.files
        if file.memfd
    ]
    assert read == expected


def test_the_folios_of_the_test_module():
    lines = (CAPTURES / "kho-test/folios.tsv").read_text().splitlines()
    folios = [Block(int(phys, 16), int(order)) for phys, order in (line.split("\t") for line in lines)]
    test = answer("kho-test/serialized.elf", 0x4CD000, "kho-v4").test
    assert test
    assert test.folios == folios


def test_dialects_have_names_of_their_own():
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
