"""A map whose root FDT is lost, named by its first page."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.api import open_handover
from khodump.errors import NoHandoverError, UsageError
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.captures import CAPTURES, HISTORIC
from tests.transcript import run

BLOCKS = ((0x4000, 0), (0x40_0000, 9), (0x1_0000_0000, 4))
FORMS = {
    "radix": Description(preservations=BLOCKS),
    "radix 16K": Description(page_size=16384, preservations=((0x4000_0000_0000, 3),)),
    "radix 64K": Description(page_size=65536, preservations=((0x4000_0000_0000, 3),)),
    "shallow 16K": Description("kho-v3", page_size=16384, counts_marker=False, preservations=((0x4000, 0),)),
    "chain": Description("kho-v1", MapFormat.CHAIN, 4096, preservations=BLOCKS),
    "chain of small bitmaps": Description("kho-v1", MapFormat.CHAIN, 512, preservations=BLOCKS),
    "order table": Description("kho-v1", MapFormat.ORDER_TABLE, preservations=BLOCKS),
}


def without_fdt(description: Description) -> BuiltHandover:
    """A handover whose root FDT the image does not hold."""
    built = build_handover(description)
    built.image.drop(built.fdt_phys)
    return built


@pytest.mark.parametrize("name", FORMS)
def test_a_map_is_walked_without_its_root_fdt(name, tmp_path):
    built = without_fdt(FORMS[name])
    core = built.image.to_elf(tmp_path / "core", machine="EM_AARCH64")
    with pytest.raises(NoHandoverError):
        open_handover([core])
    with open_handover([core], root=built.tree.root) as handover:
        assert {tuple(block) for block in handover.preserved} == set(built.blocks)
        assert handover.page_size == built.geometry.page_size
        assert handover.subtrees == ()
        assert [finding.rule for finding in handover.all_findings] == ["fdt-lost"]


@pytest.mark.parametrize("name", [name for name in CAPTURES | HISTORIC if name != "fail-compat serialized"])
def test_captures_list_the_same_without_their_root_fdt(name):
    image = (CAPTURES | HISTORIC)[name].path
    with open_handover([image], fdt=(CAPTURES | HISTORIC)[name].fdt_phys) as whole:
        blocks, root = list(whole.preserved), whole.tracker.root
    with open_handover([image], root=root) as handover:
        assert list(handover.preserved) == blocks


def test_a_raw_file_is_put_at_its_place_by_the_map_alone(tmp_path):
    built = without_fdt(FORMS["radix"])
    raw = built.image.to_raw(tmp_path / "mem.img", end=1 << 30)
    with open_handover([raw], root=built.tree.root) as handover:
        assert {tuple(block) for block in handover.preserved} >= set(built.blocks)


@pytest.mark.parametrize(
    "command",
    [
        "inspect",
        "owners",
        "sessions",
        "subtrees",
        "tree",
        "map",
        "check",
        "lookup",
        "slim",
        "report",
        "extract",
    ],
)
def test_every_command_takes_it_and_says_what_is_lost(command, tmp_path):
    built = without_fdt(FORMS["radix"])
    core = built.image.to_elf(tmp_path / "core")
    more = {
        "lookup": ["0x4000"],
        "slim": ["-o", tmp_path / "slim.elf"],
        "report": ["-o", tmp_path / "report.html"],
        "extract": ["--range", f"{built.tree.root:#x}+4K", "-o", tmp_path / "out"],
    }
    ran = run(command, core, "--root", f"{built.tree.root:#x}", *more.get(command, []))
    assert ran.status in ({0, 4} if command in {"extract", "report"} else {1, 4}), ran.stderr
    if command not in {"extract", "report"}:
        assert "the root FDT is lost" in ran.stdout + ran.stderr
    if command == "check":
        assert "cannot be told" in ran.stdout


def test_a_slim_core_of_it_is_read_with_the_same_option(tmp_path):
    built = without_fdt(FORMS["radix 16K"])
    core, slim = built.image.to_elf(tmp_path / "core", machine="EM_AARCH64"), tmp_path / "slim.elf"
    ran = run("slim", core, "--root", f"{built.tree.root:#x}", "-o", slim)
    assert ran.status == 4
    assert f"with --root {built.tree.root:#x}" in ran.stderr
    with open_handover([slim], root=built.tree.root) as handover:
        assert {tuple(block) for block in handover.preserved} == set(built.blocks)


def test_what_is_no_map_is_refused_and_both_names_are_too_many(tmp_path):
    built = without_fdt(FORMS["radix"])
    core = built.image.to_elf(tmp_path / "core")
    leaf = built.tree.nodes[min(built.tree.nodes)]
    for address, why in ((built.fdt_phys, "not in the dump"), (leaf + 1, "reads as none")):
        ran = run("inspect", core, "--root", f"{address:#x}")
        assert (ran.status, ran.stdout) == (3, "")
        assert why in ran.stderr
    with pytest.raises(UsageError, match="both a root FDT and the root of a map"):
        open_handover([core], fdt=0x1000, root=0x1000)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, (1 << 64) - 1) | st.integers(0, 1 << 21).map(lambda page: page << 12))
def test_no_address_ends_in_anything_but_an_answer(tmp_path_factory, address):
    core = tmp_path_factory.getbasetemp() / "rootless-core"
    if not core.exists():
        without_fdt(FORMS["radix"]).image.to_elf(core)
    try:
        with open_handover([core], root=address) as handover:
            assert handover.all_findings
    except NoHandoverError:
        pass
