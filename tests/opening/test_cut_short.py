"""A root FDT that debugfs cut short is found whole on a page of its own map, without a search of the image."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.api import open_in
from khodump.columns.arrays import U64
from khodump.fdt import FdtNode, parse_fdt, read_fdt, root_values
from khodump.handover import Handover
from khodump.memory import Pages
from khodump.opening.candidates import DEFAULT_OPTIONS
from khodump.opening.cut_short import in_own_map, named_in
from tests.builders.fdt import build_fdt, u64
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.memory import MemoryImage, opened
from tests.builders.users import User
from tests.kernel.counting import CountingMemory

#: Pages of the image that nothing leads to.
BALLAST = 5000
FAR = 0x1000_0000


class Counted(CountingMemory):
    """Counts gathered pages as well; a search fails."""

    def gather(self, addresses: U64, size: int) -> Pages:
        self.read_pages.update(phys >> 12 for phys in addresses.tolist())
        return self._memory.gather(addresses, size)


@pytest.fixture
def built() -> BuiltHandover:
    """A handover in a large image, with a stale copy of its FDT in a page of no map."""
    subtrees: dict[str, bytes | User] = {"LUO": b"x" * 32, "memblock": b"y" * 64}
    built = build_handover(Description(preservations=((0x80_0000, 3), (0x90_0000, 0)), subtrees=subtrees))
    for number in range(BALLAST):
        built.image.write(FAR + number * 4096, b"ballast")
    built.image.write(FAR, built.fdt)
    return built


def cut(built: BuiltHandover, path: Path) -> Path:
    path.write_bytes(built.fdt[:150])
    return path


def open_counted(image: MemoryImage, fdt: Path) -> tuple[Handover, Counted]:
    with opened(image) as memory:
        counted = Counted(memory)
        return open_in(counted, fdt=fdt), counted


def test_only_the_map_and_its_single_pages_are_read(built, tmp_path):
    handover, counted = open_counted(built.image, cut(built, tmp_path / "fdt"))
    assert handover.fdt.phys == built.fdt_phys
    assert handover.fdt.cut == 150
    assert f"cut short: 150 of {len(built.fdt)} bytes" in str(handover.notes[0])
    assert len(counted.read_pages) < 40


def test_a_page_that_was_written_since_leads_to_the_same_map(built, tmp_path):
    tree = parse_fdt(built.fdt)
    newer = FdtNode("", tree.properties, (FdtNode("new", {"preserved-data": u64(0x1000)}), *tree.children))
    file = cut(built, tmp_path / "fdt")
    built.image.write(built.fdt_phys, build_fdt(newer))
    handover, _ = open_counted(built.image, file)
    assert handover.fdt.phys == built.fdt_phys
    assert "the page has changed since the file was read" in str(handover.notes[0])


def test_a_preserved_copy_that_differs_is_not_passed_over_in_silence(built, tmp_path):
    """A memfd may hold what somebody copied from debugfs, whole, before the kernel wrote to its own."""
    tree = parse_fdt(built.fdt)
    other = FdtNode("", tree.properties, (*tree.children, FdtNode("new", {"preserved-data": u64(0x1000)})))
    built.image.write(0x90_0000, build_fdt(other))
    handover, _ = open_counted(built.image, cut(built, tmp_path / "fdt"))
    assert "(1 other root FDTs of the same map lie in it" in str(handover.notes[0])


@pytest.mark.parametrize("compatible", ["kho-v1", "kho-v2", "kho-v3", "kho-v4"])
@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_of_every_version_and_page_size(compatible, page_size):
    description = Description(
        compatible=compatible,
        map_format=MapFormat.CHAIN if compatible == "kho-v1" else MapFormat.RADIX,
        page_size=page_size,
        counts_marker=compatible != "kho-v2",
        subtrees={"LUO": b"x" * 32, "memblock": b"y" * 64},
    )
    built = build_handover(description)
    with opened(built.image, machine="EM_AARCH64") as memory:
        (found, *_) = in_own_map(memory, built.fdt[:150], DEFAULT_OPTIONS)
    assert found.phys == built.fdt_phys


@given(st.integers(0, 400))
def test_what_is_left_of_the_root_node_is_read_and_no_more(length):
    built = build_handover(Description(subtrees={"LUO": b"", "memblock": b""}))
    values = [*read_fdt(built.fdt)[0].properties.values()]
    left = list(root_values(built.fdt[:length]))
    assert left == values[: len(left)]
    assert length < 120 or left == values


@given(st.data())
def test_damaged_beginnings_lead_nowhere_or_to_a_root_fdt(data):
    built = build_handover(Description(subtrees={"LUO": b"", "memblock": b""}))
    raw = bytearray(built.fdt[:150])
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with opened(built.image) as memory:
        for candidate in in_own_map(memory, bytes(raw), DEFAULT_OPTIONS):
            assert candidate.phys == built.fdt_phys


@pytest.mark.parametrize("data", [b"", b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xed" + b"\xff" * 60])
def test_too_little_names_nothing(data):
    assert named_in(data).roots == ()
