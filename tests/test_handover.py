"""The Python API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import khodump
from khodump.errors import ImageError, UsageError
from khodump.memory import Presence
from tests.builders.handover import Description, build_handover
from tests.captures import CAPTURES, SAMPLES

CAPTURE = CAPTURES["kho-test serialized"]


def test_everything_is_reached_from_one_call():
    with khodump.open(CAPTURE.path, fdt=SAMPLES / "captures/kho-test/kho-out.dtb") as handover:
        preserved = handover.preserved
        assert set(preserved) == set(CAPTURE.blocks())
        assert len(preserved) == len(CAPTURE.blocks())
        assert sum(total.count for total in preserved.totals()) == len(preserved)
        phys, order = max(CAPTURE.blocks(), key=lambda block: block[1])
        assert preserved.lookup(phys + 12345) == (khodump.Preservation(phys, order),)
        assert preserved.lookup(0x10) == ()
        assert set(handover.nodes.phys.tolist()) == CAPTURE.nodes()
        assert handover.findings == ()
        assert (handover.version, handover.page_size) == ("kho-v4", 4096)
        assert handover.metadata
        assert handover.metadata.release.startswith("7.3.4")


def test_one_path_several_paths_and_bases_are_images(tmp_path):
    built = build_handover(Description(preservations=((0x4000_0000, 0),)))
    start, end = built.image.ranges[0][0], built.image.ranges[-1][1]
    parts = built.image.to_raw_parts(tmp_path, [(start, end - 8192), (end - 8192, end)])
    whole = built.image.to_raw(tmp_path / "whole.img")
    for images in (str(whole), whole, [whole], parts):
        with khodump.open(images) as handover:
            assert set(handover.preserved) == built.blocks


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"page_size": 8192}, UsageError),
        ({"version": "kho-v9"}, UsageError),
        ({"fdt": "no-such-file"}, ImageError),
        ({"fdt": 0x1000}, khodump.NoHandoverError),
    ],
)
def test_a_bad_request_raises_and_leaves_nothing_open(arguments, error):
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(error) as raised:
        khodump.open(CAPTURE.path, **arguments)
    assert isinstance(raised.value, khodump.KhodumpError)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_a_forced_page_size_is_obeyed_even_when_wrong():
    with khodump.open(CAPTURE.path, fdt=CAPTURE.fdt_phys, page_size=65536) as handover:
        assert handover.page_size == 65536
        assert set(handover.preserved) != set(CAPTURE.blocks())
        assert handover.findings


def test_an_ambiguous_geometry_is_settled_by_the_fdts_own_page(tmp_path):
    """Only the root is there: every page size reads it as well as any other, until the FDT's page is found."""
    built = build_handover(Description(page_size=16384))
    image = built.image.to_raw(tmp_path / "mem.img")
    dtb = tmp_path / "kho.dtb"
    dtb.write_bytes(built.fdt)
    with khodump.open(image, fdt=dtb) as handover:
        assert handover.page_size == 16384
        assert handover.notes == ()


def test_a_guess_is_called_a_guess(tmp_path):
    built = build_handover(Description())
    root = built.tree.root
    image = built.image.to_elf(tmp_path / "core", machine="EM_AARCH64", excluded=[(root, root + 4096)])
    dtb = tmp_path / "kho.dtb"
    dtb.write_bytes(built.fdt)
    with khodump.open(image, fdt=dtb) as handover:
        assert str(handover.notes[-1]).startswith("how to read the map is a guess")
        assert handover.nodes.missing() == {Presence.EXCLUDED: 1}


def test_importing_khodump_imports_nothing_heavy():
    heavy = "sorted({'numpy', 'construct', 'rich', 'elftools', 'tabulate'} & set(sys.modules))"
    code = f"import sys, khodump, khodump.cli; print({heavy})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_unknown_attributes_stay_unknown():
    with pytest.raises(AttributeError, match="no attribute 'close'"):
        khodump.close  # noqa: B018 - the access is the test
    assert all(getattr(khodump, name) is not None for name in khodump.__all__)
