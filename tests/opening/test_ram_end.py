"""Where RAM ends: what tells it, what is believed, and what follows for a pointer that leads above the image."""

from __future__ import annotations

import pytest

import khodump
from khodump.api import open_leniently
from khodump.checking.checkup import examine
from khodump.layouts import RamMap
from khodump.memory import RamEnd
from khodump.opening.ram_end import find_ram_end, reaching
from tests.builders.boot import write_boot_params
from tests.builders.fdt import u64
from tests.builders.handover import Description, build_handover
from tests.builders.kdump import build_kdump
from tests.builders.memory import MemoryImage, opened

GIB = 1 << 30
E820_AT = 0x9_0000
FAR = (0x4000_0000, 0)


def handed_over(blocks=(FAR,)):
    return build_handover(Description(preservations=tuple(blocks)))


def lost_leaf(where: int):
    """A handover of which one pointer leads to `where`, which is not in the image."""
    built = handed_over()
    leaf = next(node for (level, prefix), node in built.tree.nodes.items() if level == 0 and prefix & 0xFFFF)
    for node in built.tree.nodes.values():
        page = built.image.read(node, 4096)
        if u64(leaf) in page:
            built.image.write(node, page.replace(u64(leaf), u64(where)))
    return built


def rules(path) -> set[str]:
    with khodump.open(path) as handover:
        return {finding.rule for finding in handover.findings}


def test_the_end_of_an_image_is_not_the_end_of_ram(tmp_path):
    image = lost_leaf(64 * GIB).image.to_elf(tmp_path / "core", machine="EM_X86_64")
    assert rules(image) == {"map-node-unreadable"}
    with open_leniently(image) as suspect:
        verdict = examine(suspect).verdict
    assert verdict.endswith("part of it could not be read.")


def test_an_e820_table_tells_where_ram_ends(tmp_path):
    built = lost_leaf(64 * GIB)
    write_boot_params(built.image, E820_AT, e820=((0, 32 * GIB, 1),))
    image = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    with khodump.open(image) as handover:
        (finding,) = handover.findings
        assert handover.memory.ram_end == RamEnd(
            32 * GIB, f"as the e820 table of the boot_params at {E820_AT:#x} says", is_told=True
        )
    assert finding.rule == "map-pointer-outside-memory"
    assert "RAM ends at 0x800000000, as the e820 table" in finding.message


def test_below_the_end_that_e820_tells_a_page_is_just_not_there(tmp_path):
    built = lost_leaf(16 * GIB)
    write_boot_params(built.image, E820_AT, e820=((0, 32 * GIB, 1),))
    assert rules(built.image.to_elf(tmp_path / "core")) == {"map-node-unreadable"}


def test_an_address_far_above_all_else_is_evidence_and_is_said(tmp_path):
    image = lost_leaf(1 << 46).image.to_elf(tmp_path / "core", machine="EM_X86_64")
    with khodump.open(image) as handover:
        (finding,) = handover.findings
    assert finding.rule == "map-pointer-outside-memory"
    assert "all else that the image and the handover name ends at" in finding.message


def test_what_is_preserved_up_there_makes_it_possible(tmp_path):
    built = handed_over((FAR, (1 << 46, 0)))
    with khodump.open(built.image.to_elf(tmp_path / "core", machine="EM_X86_64")) as handover:
        before = handover.memory.ram_end
        assert handover.preserved
        after = handover.memory.ram_end
        assert before
        assert after
        assert after.address > before.address


@pytest.mark.parametrize("ends", [1 * GIB, 2 * GIB])
def test_a_page_preserved_where_no_ram_is_is_a_finding(tmp_path, ends):
    built = handed_over((FAR, (1 << 50, 0)))
    write_boot_params(built.image, E820_AT, e820=((0, ends + GIB, 1),))
    with open_leniently(built.image.to_elf(tmp_path / "core", machine="EM_X86_64")) as suspect:
        found = [each.finding for each in examine(suspect).diagnoses if each.finding.severity == "error"]
    assert [finding.rule for finding in found] == ["map-key-impossible"]
    assert found[0].phys == 1 << 50
    assert "where no RAM is" in found[0].message


@pytest.mark.parametrize(("phys", "accused"), [(3 * GIB - 4096, False), (3 * GIB, True)])
def test_the_last_page_of_ram_is_in_it_and_the_next_is_not(tmp_path, phys, accused):
    built = handed_over((FAR, (phys, 0)))
    write_boot_params(built.image, E820_AT, e820=((0, 3 * GIB, 1),))
    with open_leniently(built.image.to_elf(tmp_path / "core", machine="EM_X86_64")) as suspect:
        found = [each for each in examine(suspect).diagnoses if each.finding.rule == "map-key-impossible"]
    assert bool(found) is accused


def test_without_such_a_word_it_is_none(tmp_path):
    with open_leniently(handed_over((FAR, (1 << 50, 0))).image.to_elf(tmp_path / "core")) as suspect:
        assert not [each for each in examine(suspect).diagnoses if each.finding.rule == "map-key-impossible"]


def test_another_machines_words_are_not_believed():
    """The image of a host holds its guests' boot_params, and more memory than they tell of."""
    image = MemoryImage()
    image.write(8 * GIB, b"the host has this")
    guest = RamMap(((0, 4 * GIB),), (), "a guest's table")
    host = RamMap(((0, 16 * GIB),), (), "the host's table")
    with opened(image) as memory:
        assert not find_ram_end(memory, [guest], []).is_told
        assert find_ram_end(memory, [guest, host], []).address == 16 * GIB


@pytest.mark.parametrize(("bits", "end"), [("40", 1 << 40), ("52", 1 << 45), ("4", 1 << 45), ("99", 1 << 45)])
def test_the_bits_of_a_kernels_addresses_bound_ram_where_they_make_sense(bits, end):
    image = MemoryImage()
    image.write(0, b"low")
    with opened(image, vmcoreinfo={"NUMBER(MAX_PHYSMEM_BITS)": bits}) as memory:
        found = find_ram_end(memory, [], [])
    assert (found.address, found.is_told) == (end, False)


def test_firmware_below_4_gib_contradicts_no_table():
    image = MemoryImage()
    image.write(0xFFFC_0000, b"a ROM, which QEMU dumps")
    with opened(image) as memory:
        assert find_ram_end(memory, [RamMap(((0, 2 * GIB),), (), "a table")], []).address == 2 * GIB


def test_a_kdump_tells_itself(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(build_kdump({0x10_0000: bytes(4096)}))
    with khodump.memories.open_memory([path]) as memory:
        assert memory.ram_end is not None
        assert memory.ram_end.is_told
        assert memory.ram_end.address == memory.end


def test_what_was_told_is_not_reached_beyond():
    told = RamEnd(GIB, "as somebody says", is_told=True)
    assert reaching(told, 1 << 50) == told
    assert reaching(None, GIB) is None
    guessed = RamEnd.far_above(GIB)
    assert reaching(guessed, GIB) == guessed
    assert reaching(guessed, 1 << 46) == RamEnd.of_architecture()


@pytest.mark.parametrize(("told", "accused"), [(1 << 31, False), (1 << 29, True)])
def test_the_machines_own_words_may_know_of_more_than_a_dumps_header(tmp_path, told, accused):
    """makedumpfile counts max_mapnr to the end of the core that it read; a core that was reduced ends too early."""
    built = handed_over((FAR,))
    write_boot_params(built.image, E820_AT, e820=((0, told, 1),))
    spans = built.image.ranges
    pages = {
        at: built.image.read(at, 4096)
        for start, end in spans
        for at in range(start // 4096 * 4096, end, 4096)
    }
    path = tmp_path / "dump"
    path.write_bytes(build_kdump(pages))
    with open_leniently(path) as suspect:
        rules_fired = {each.finding.rule for each in examine(suspect).diagnoses}
    assert ("map-key-impossible" in rules_fired) is accused
