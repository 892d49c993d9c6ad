"""What was weighed while the image was searched is kept only where nothing that is learned since could change it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import khodump
from khodump.api import open_leniently
from khodump.errors import UnknownVersionError
from khodump.handover import Handover
from khodump.opening.candidates import survey
from khodump.tracker import Tracker
from khodump.trackers import open_tracker
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.captures import CAPTURES, HISTORIC

BLOCKS = tuple((0x4000_0000 + number * 0x30_0000, 0) for number in range(40))
#: Maps that must be told apart by what is in them, for nothing else in an ELF core without VMCOREINFO does.
KINDS = {
    "4K": Description(preservations=BLOCKS),
    "16K": Description(page_size=16384, preservations=BLOCKS),
    "shallow": Description(compatible="kho-v3", page_size=16384, counts_marker=False, preservations=BLOCKS),
}


def reading(tracker: Tracker) -> tuple[str, str, int]:
    return tracker.shape, tracker.reading, tracker.root


def hold_to_a_second_choice(handover: Handover) -> None:
    """What is kept is what would be chosen now, when it is known where RAM ends."""
    fdt = handover.fdt
    again = open_tracker(handover.memory, fdt.tree, fdt_phys=fdt.phys, version=handover.version)
    assert reading(handover.tracker) == reading(again.tracker)
    assert (handover.geometry_reason, handover.is_guess) == (again.reason, not again.certain)


@pytest.mark.parametrize("capture", (CAPTURES | HISTORIC).values(), ids=CAPTURES | HISTORIC)
def test_the_map_of_a_real_kernel_would_be_read_the_same_again(capture):
    with open_leniently(capture.path) as handover:
        assert isinstance(handover, Handover)
        hold_to_a_second_choice(handover)


def damaged(built: BuiltHandover, chance: random.Random) -> None:
    """Some slots of the map lead anywhere: into the image, between its pages, far outside."""
    nodes = sorted(built.map_nodes)
    for _ in range(chance.randint(1, 6)):
        value = chance.choice([0, chance.choice(nodes), 1 << 47, chance.getrandbits(64), 0x7000])
        slot = chance.choice(nodes) + 8 * chance.randrange(512)
        built.image.write(slot, value.to_bytes(8, "little"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_map_would_be_read_the_same_again(kind, seed, tmp_path):
    built = build_handover(KINDS[kind])
    damaged(built, random.Random(seed))  # noqa: S311 - no secret
    with open_leniently(built.image.to_elf(tmp_path / "core", machine="EM_AARCH64")) as handover:
        if isinstance(handover, Handover):
            hold_to_a_second_choice(handover)


def test_only_what_the_fdts_own_page_bears_out_is_settled(tmp_path):
    built = build_handover(KINDS["4K"])
    with khodump.open(built.image.to_elf(tmp_path / "core")) as handover:
        (candidate,) = survey(handover.memory).candidates
    assert candidate.settled is candidate.choice is not None
    assert replace(candidate, own_page_preserved=False).settled is None
    assert replace(candidate, own_page_preserved=None).settled is None
    assert replace(candidate, unknown_version=True).settled is None


def test_a_cut_file_does_not_lead_round_an_unknown_version(tmp_path):
    built = build_handover(Description(compatible="kho-v9"))
    cut = tmp_path / "fdt"
    cut.write_bytes(built.fdt[:150])
    with pytest.raises(UnknownVersionError):
        khodump.open(built.image.to_elf(tmp_path / "core"), fdt=cut)
