"""What a picture shows: every byte once, in the column where it is, however many runs there are."""

from __future__ import annotations

import numpy as np
import pytest

import khodump
from khodump.abi.kexec_handover import KhoScratch
from khodump.picture.axis import Canvas
from khodump.picture.picture import SEGMENTS, Picture, paint
from khodump.picture.pieces import Category
from khodump.picture.view import By, Scale, View
from tests.builders.dense import RUNS_A_LEAF, build_dense
from tests.builders.handover import Description, build_handover
from tests.captures import CAPTURES, HISTORIC

CANVAS = Canvas(columns=90, gap=2, islands=5)
EVERY = {**CAPTURES, **HISTORIC}
VIEWS = [View(by, scale) for by in By for scale in Scale]


def opened(name: str):
    return khodump.open(EVERY[name].path, version="kho-v4" if name.startswith("fail") else None)


def bytes_of(picture: Picture) -> list[float]:
    """Bytes in each lane, by its columns."""
    sizes: list[float] = (picture.cover * np.diff(picture.axis.edges).astype(float)).sum(axis=1).tolist()
    return sizes


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.by} {view.scale}")
def test_every_byte_of_a_capture_is_drawn_once(name, view):
    with opened(name) as handover:
        picture = paint(handover, view, CANVAS)
        sizes = [lane.size for lane in picture.lanes]
        assert bytes_of(picture) == pytest.approx(sizes)
        assert ((picture.cover >= 0) & (picture.cover <= 1)).all()
        found = picture.segments
        in_segments = [int(found.size[found.lane == lane].sum()) for lane in range(len(sizes))]
        assert in_segments == sizes
        kept = (Category.PRESERVED, Category.UNCLAIMED)
        preserved = sum(lane.size for lane in picture.lanes if lane.category in kept)
        assert preserved == handover.preserved.total_size
        assert len(found) <= SEGMENTS


def test_columns_hold_what_a_plain_count_gives():
    with opened("kho-test serialized") as handover:
        picture = paint(handover, View(), CANVAS)
        axis = picture.axis
        (lane,) = (row for row, lane in enumerate(picture.lanes) if lane.name.startswith("order 4 "))
        runs = [(phys, phys + (4096 << 4)) for phys, order in handover.preserved if order == 4]
        for cell, (low, high) in enumerate(zip(axis.edges.tolist(), axis.edges.tolist()[1:], strict=False)):
            covered = sum(max(min(high, end) - max(low, start), 0) for start, end in runs)
            assert picture.cover[lane, cell] == pytest.approx(covered / (high - low))


def test_a_range_shows_that_and_nothing_else():
    with opened("kho-test serialized") as handover:
        picture = paint(handover, View(start=0x2000000, end=0x2400001), CANVAS)
        assert (picture.axis.start, picture.axis.end) == (0x2000000, 0x2401000)
        assert picture.segments.start.min() >= 0x2000000
        assert bytes_of(picture) == pytest.approx([lane.size for lane in picture.lanes])
        assert [lane.name.split()[1] for lane in picture.lanes[1:]] == ["4", "5", "6", "7", "8", "10"]
        assert picture.segments.end.max() == 0x2401000
        empty = paint(handover, View(start=1 << 50, end=(1 << 50) + 1), CANVAS)
        assert len(empty.segments) == 0
        assert not empty.cover.any()
        assert empty.axis.end == (1 << 50) + 4096


def test_scratch_is_a_lane_of_its_own():
    regions = CAPTURES["luo-memfd serialized"].path.parent
    with khodump.open(CAPTURES["luo-memfd serialized"].path, scratch=[str(regions)]) as handover:
        lanes = paint(handover, View(), CANVAS).lanes
        assert handover.scratch
        assert isinstance(handover.scratch[0], KhoScratch)
        sizes = [lane.size for lane in lanes if lane.category is Category.SCRATCH]
        assert sizes == [sum(region.size for region in handover.scratch)]


def test_what_nobody_claims_is_told_apart(tmp_path):
    built = build_handover(Description(preservations=((0x8000_0000, 4),)))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        picture = paint(handover, View(by=By.OWNER), CANVAS)
        assert [lane.size for lane in picture.lanes if lane.category is Category.UNCLAIMED] == [0x1_0000]


def test_more_orders_than_any_kernel_has_share_a_lane(tmp_path):
    blocks = tuple(((1 << 50) + (1 << 45) * order, order) for order in range(30))
    with khodump.open(
        build_handover(Description(preservations=blocks)).image.to_raw(tmp_path / "mem")
    ) as handover:
        picture = paint(handover, View(), CANVAS)
        assert [lane.name for lane in picture.lanes][-2:] == ["orders 12 to 29", "map's own pages"]
        assert bytes_of(picture) == pytest.approx([lane.size for lane in picture.lanes])


def test_a_block_at_the_very_top_of_the_address_space_is_drawn(tmp_path):
    top = (1 << 64) - (2 << 20) * 2
    with khodump.open(
        build_handover(Description(preservations=((top, 9),))).image.to_raw(tmp_path / "mem")
    ) as handover:
        picture = paint(handover, View(scale=Scale.LINEAR), CANVAS)
        assert picture.axis.end == top + (2 << 20)
        assert picture.cover[:, -1].any()


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.by} {view.scale}")
def test_three_million_runs_make_no_larger_a_picture(tmp_path, view):
    built = build_dense(184)
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        assert handover.preserved.runs >= 184 * RUNS_A_LEAF > 3_000_000
        picture = paint(handover, view, CANVAS)
        assert len(picture.segments) <= SEGMENTS
        assert bytes_of(picture) == pytest.approx([lane.size for lane in picture.lanes])
        assert int(picture.segments.pieces.sum()) >= handover.preserved.runs
