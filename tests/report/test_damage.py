"""Whatever a map says, it is drawn: trees without circles, pictures that are bounded and well-formed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import khodump
from khodump.picture.blocks import canvas_of, draw_blocks
from khodump.picture.branches import draw_tree
from khodump.picture.picture import paint
from khodump.picture.scene import CANVAS
from khodump.picture.svg import draw_svg
from khodump.picture.view import By, Scale, View
from khodump.tables.nodetree import NO_PARENT, node_tree
from khodump.tables.tree import Branches, listing, tree
from tests.builders.handover import build_handover
from tests.cli.test_every_format import SET
from tests.cli.test_inspect import GEOMETRIES
from tests.picture.test_svg import LIMIT, parsed
from tests.tables.test_nodetree import check_shape
from tests.trackers.damage import damaged

NAMES = ["4K kho-v3", "16K kho-v3, depth 4", "64K kho-v4", "4K kho-v1a", "16K kho-v1b", "4K order table"]
BLOCKS = tuple((phys, order) for phys, order in SET if phys % (1 << 16 + order) == 0)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(data=st.data(), phys=st.sampled_from([0, 0x4000_0000, 1 << 45, (1 << 64) - 1]))
def test_a_damaged_map_is_drawn(tmp_path_factory, name, data, phys):
    built = build_handover(replace(GEOMETRIES[name], preservations=BLOCKS))
    nodes = sorted(built.map_nodes)
    size = built.geometry.page_size
    excluded = data.draw(damaged(built.image, nodes, 512 if "v1a" in name else size))
    core = built.image.to_elf(tmp_path_factory.mktemp("damaged") / "core", excluded=excluded)
    with khodump.open(core, fdt=built.fdt_phys, page_size=size) as handover:
        found = node_tree(handover)
        check_shape(found)
        assert int(found.preservations[found.parent == NO_PARENT].sum()) == len(handover.preserved)
        for branches in (Branches(), Branches(phys=phys), Branches(depth=2), Branches(level=0)):
            assert len(list(draw_tree(listing(handover, branches)))) <= 400
            rows = sum(len(block[0]) for block in tree(handover, branches).rows.blocks)
            assert rows == len(listing(handover, branches).rows)
        for view in (View(), View(By.OWNER, Scale.LINEAR), View(By.OWNER, start=phys)):
            text = draw_svg(paint(handover, view, CANVAS))
            assert len(text.encode()) < LIMIT
            parsed(text)
            picture = paint(handover, view, canvas_of(80, view.by))
            assert ((picture.cover >= 0) & (picture.cover <= 1)).all()
            assert max(map(len, draw_blocks(picture, 80))) <= 80
