"""`check` of real kernels' handovers, of what is left of one, and how its findings are put together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from khodump.abi.kernels import kernel_named
from khodump.abi.kexec_handover import PROP_PRESERVED_MEMORY_MAP, PROP_PRESERVED_PAGE_RADIX_TREE
from khodump.api import open_leniently
from khodump.checking.case import producer
from khodump.checking.checkup import Checkup, Diagnosis, _bygone, examine
from khodump.checking.rule import Effect, Outcome
from khodump.checking.rules import RULES
from khodump.errors import NoHandoverError, UsageError
from khodump.fdt import FdtNode
from khodump.findings import Finding, Severity
from khodump.memory import Platform
from khodump.opening.locate import RootFdt
from khodump.opening.mapless import MaplessRoot
from khodump.opening.succession import STALE_INCOMING
from khodump.tables.check import explain
from tests.builders.boot import machine_tree
from tests.builders.fdt import u64
from tests.builders.handover import Description, build_handover
from tests.builders.memfd import Memfd, folios_of
from tests.captures import CAPTURES, HISTORIC
from tests.checking.rules import chain
from tests.checking.rules.breaking import handed_over, in_fdt, luo, pointer_in_fdt, slot_of
from tests.fuzz.memory import memory_of
from tests.transcript import run

EVERY = CAPTURES | HISTORIC
AS = {"fail-compat serialized": ["--as", "kho-v4"]}
INFOS = {
    "luo-memfd pre": ["state-not-serialized"],
    "luo-memfd next-out": ["state-not-serialized"],
    "kho-test serialized": ["state-not-serialized"],
    "fail-compat next-out": ["state-not-serialized"],
    "successor": ["state-not-serialized"],
    "v1a": ["map-empty-nodes", "unclaimed"],
    "v1b": ["map-empty-nodes", "unclaimed"],
    "rfc1": ["map-empty-nodes", "unclaimed"],
}
ACCEPTED = "This handover would be accepted by {} kernels; nothing was found against it."


def checked(path, kernel=None, **options) -> Checkup:
    with open_leniently(path, **options) as suspect:
        return examine(suspect, kernel)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in AS])
@pytest.mark.parametrize("named", [False, True])
def test_nothing_is_wrong_with_a_real_handover(name, named):
    capture = EVERY[name]
    checkup = checked(capture.path, fdt=capture.fdt_phys if named else None)
    assert [diagnosis.finding.rule for diagnosis in checkup.diagnoses] == INFOS.get(name, [])
    assert not checkup.reaches(Severity.WARNING)
    assert checkup.verdict == ACCEPTED.format("kho-v1" if name in HISTORIC else "kho-v4")
    waiting = ["unclaimed"] if "state-not-serialized" in INFOS.get(name, []) else []
    assert [rule for rule, _ in checkup.not_run] == ["scratch-overlap", "scratch-misaligned", *waiting]
    assert all(("leave --fdt out" in why) == named for rule, why in checkup.not_run if "scratch" in rule)


@pytest.mark.parametrize("name", ["luo-memfd serialized", "luo-memfd pre", "kho-test serialized"])
def test_scratch_regions_of_real_kernels_are_sound(name):
    path = CAPTURES[name].path
    checkup = checked(path, scratch=[path.parent])
    assert [rule for rule, _ in checkup.not_run if rule != "unclaimed"] == []
    assert not checkup.reaches(Severity.WARNING)


def test_a_real_kernel_refused_the_one_with_another_string():
    """The log lines are those that this capture's successor printed."""
    capture = CAPTURES["fail-compat serialized"]
    checkup = checked(capture.path)
    ((finding, outcome, seen),) = (
        (diagnosis.finding, diagnosis.outcome, diagnosis.seen) for diagnosis in checkup.diagnoses
    )
    assert (finding.rule, finding.severity) == ("fdt-incompatible", Severity.ERROR)
    assert (finding.phys, str(finding.owner)) == (0x51F000, "KHO/root FDT")
    assert tuple(map(str, outcome.log)) == (
        "KHO: setup: handover FDT (0x51f000) is incompatible with 'kho-v4': 1",
        "KHO: disabling KHO revival",
    )
    assert outcome.text == "boots cold, as if nothing had been handed over, and reuses all memory"
    assert seen is not None
    assert seen.startswith(b"\xd0\x0d\xfe\xed")
    assert "would be refused by kho-v4 kernels, which boot cold and reuse all memory" in checkup.verdict


@pytest.mark.parametrize("build", [chain.root_is_0_for_6_18, chain.no_property_for_6_18])
def test_kernels_before_6_19_take_a_handover_without_a_map(build, tmp_path):
    verdict = build().examined(tmp_path, broken=True).verdict
    assert (
        verdict
        == "This handover would be accepted by kho-v1 kernels; memory that is counted on will be reused."
    )


@pytest.mark.parametrize("name", EVERY)
def test_the_slim_form_of_a_capture_answers_the_same(name, tmp_path):
    slim = tmp_path / "slim.elf"
    assert run("slim", EVERY[name].path, "--output", slim, *AS.get(name, [])).status == 0
    before, after = (checked(path, fdt=EVERY[name].fdt_phys) for path in (EVERY[name].path, slim))
    assert without_places(after) == without_places(before)


def without_places(checkup: Checkup) -> Checkup:
    """Without where in its file each entry stands, which differs from file to file."""
    return replace(checkup, diagnoses=tuple(replace(each, stands=None) for each in checkup.diagnoses))


@pytest.mark.parametrize(("file", "rules"), [("kho-out.dtb", []), ("kho-out.debugfs.dtb", ["fdt-truncated"])])
def test_the_fdt_may_come_from_a_file(file, rules):
    """debugfs cuts it short, which is no news to the next kernel; its page is found in the image."""
    path = CAPTURES["luo-memfd serialized"].path
    checkup = checked(path, fdt=path.parent / file)
    assert [diagnosis.finding.rule for diagnosis in checkup.diagnoses] == rules
    assert not checkup.reaches(Severity.WARNING)
    assert checkup.verdict == ACCEPTED.format("kho-v4")


@pytest.mark.parametrize(
    ("kernel", "rules"),
    [
        ("kho-v4", []),
        ("7.3.4", []),
        ("7.2", []),
        ("7.1", ["fdt-incompatible"]),
        ("kho-v1", ["fdt-incompatible"]),
    ],
)
def test_the_next_kernel_may_be_another(kernel, rules):
    checkup = checked(CAPTURES["luo-memfd serialized"].path, kernel_named(kernel))
    assert [diagnosis.finding.rule for diagnosis in checkup.diagnoses] == rules


def test_one_string_stands_for_several_kernels():
    """kho-v1 is that of 6.16 to 7.0, which do not read it alike."""
    capture = HISTORIC["v1b"]
    assert [d.finding.rule for d in checked(capture.path, kernel_named("6.18")).diagnoses] == INFOS["v1b"]
    rules = [d.finding.rule for d in checked(capture.path, kernel_named("6.17")).diagnoses]
    assert rules == ["v1-bitmap-size", *INFOS["v1b"]]


def test_the_gravest_comes_first_and_decides_the_verdict(tmp_path):
    built = handed_over({"LUO": luo(Memfd(folios_of({0: b""}), 1 << 20), Memfd(seals=1 << 9))})
    built.image.write(built.blobs["kexec-metadata"], u64(9)[:4])
    path = built.image.to_raw(tmp_path / "mem.img")
    checkup = checked(path, fdt=built.fdt_phys)
    assert {d.finding.rule for d in checkup.diagnoses} == {
        "blob-incompatible",
        "memfd-size-mismatch",
        "memfd-seals-unknown",
    }
    assert checkup.verdict.endswith("accepted by kho-v4 kernels; 2 files will fail to restore.")
    built.image.write(built.places["LUO/sessions"][0], u64(built.places["LUO/sessions"][0]))
    checkup = checked(built.image.to_raw(path), fdt=built.fdt_phys)
    assert (
        "would be accepted by kho-v4 kernels, and would panic them: the list of LUO's sessions"
        in checkup.verdict
    )
    at = pointer_in_fdt(built, built.tree.root)
    built.image.write(at, u64(0))
    checkup = checked(built.image.to_raw(path), fdt=built.fdt_phys)
    assert "would be refused by kho-v4 kernels" in checkup.verdict


def test_what_lacks_its_ground_is_not_run_and_says_why(tmp_path):
    built = handed_over()
    built.image.write(slot_of(built, 0x20_0000, 1), u64(1))
    checkup = checked(built.image.to_raw(tmp_path / "mem.img"), fdt=built.fdt_phys)
    why = dict(checkup.not_run)
    assert {"claim-not-preserved", "claimed-twice", "blob-not-preserved", "unclaimed"} <= set(why)
    assert "part of the map could not be walked" in why["unclaimed"]
    assert checkup.ran + len(why) == len(RULES)


def test_of_an_fdt_that_leads_nowhere_only_the_fdt_is_looked_at(tmp_path):
    built = handed_over()
    built.image.write(built.fdt_phys, bytes(4))
    checkup = checked(built.image.to_raw(tmp_path / "mem.img"), fdt=built.fdt_phys)
    assert [d.finding.rule for d in checkup.diagnoses] == ["fdt-invalid"]
    assert {why for _, why in checkup.not_run} == {"the root FDT leads to no map"}


def test_whether_a_kernel_can_follow_what_khodump_cannot_is_not_said(tmp_path):
    """libfdt looks at no more than the header before it asks for a property."""
    built = handed_over()
    structure = int.from_bytes(built.image.read(built.fdt_phys + 8, 4), "big")
    built.image.write(built.fdt_phys + structure, b"\0\0\0\7")
    checkup = checked(built.image.to_raw(tmp_path / "mem.img"), fdt=built.fdt_phys)
    assert checkup.verdict.startswith(
        "Whether this handover would be accepted by kho-v4 kernels cannot be told: "
    )


def test_another_device_tree_is_no_handover(tmp_path):
    dtb = tmp_path / "machine.dtb"
    dtb.write_bytes(machine_tree(None, None))
    with pytest.raises(NoHandoverError):
        checked(CAPTURES["kho-test serialized"].path, fdt=dtb)


def test_two_defects_are_two_findings(tmp_path):
    """A string that no kernel takes, and no map besides."""
    built = handed_over()
    built.image.write(in_fdt(built, b"kho-v4\0") + 5, b"9")
    built.image.write(in_fdt(built, b"preserved-memory-map\0"), b"q")
    checkup = checked(built.image.to_raw(tmp_path / "mem.img"), fdt=built.fdt_phys)
    assert [d.finding.rule for d in checkup.diagnoses] == ["fdt-incompatible", "map-root-missing"]


def test_any_version_of_16k_can_be_told(tmp_path):
    shallow = Description(
        page_size=16384, compatible="kho-v3", counts_marker=False, release="7.1.0", metadata_start=4 << 20
    )
    built = build_handover(shallow)
    path = built.image.to_elf(tmp_path / "core", machine="EM_AARCH64")
    assert [d.finding.rule for d in checked(path).diagnoses] == ["map-depth-16k"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_explains_itself(rule):
    rows = explain(rule.name).rows
    cells = {column.name: cell[0] for column, cell in zip(rows.columns, next(iter(rows.blocks)), strict=True)}
    assert cells["rule"] == rule.name
    assert all(cells[name] for name in ("finds", "for the next kernel", "how to confirm", "source"))


@pytest.mark.parametrize(
    ("name", "near"),
    [("fdt-incompatble", "fdt-incompatible"), ("claim", "claim-not-preserved"), ("memfd", "memfd-")],
)
def test_a_rule_that_is_not_there_has_neighbours(name, near):
    with pytest.raises(UsageError) as error:
        explain(name)
    assert near in (error.value.hint or "")


def test_a_kernel_refuses_another_ones_string_though_that_is_known(tmp_path):
    built = build_handover(Description(compatible="kho-v3", release="7.3.4"))
    rules = [
        diagnosis.finding.rule for diagnosis in checked(built.image.to_elf(tmp_path / "a.elf")).diagnoses
    ]
    assert rules == ["fdt-incompatible"]
    built = build_handover(Description(compatible="kho-v3", release="6.12.0-vendor"))
    assert checked(built.image.to_elf(tmp_path / "b.elf")).diagnoses == ()


def test_a_kernel_of_a_merge_window_takes_its_own_handover(tmp_path):
    """kho-v2 was made by kernels that still called themselves by the release before, and wrote no kexec-metadata."""
    built = build_handover(Description(compatible="kho-v2", kexec_count=None))
    said = {"OSRELEASE": "7.0.0-12345-gc0ffee123456", "PAGESIZE": "4096"}
    path = built.image.to_elf(tmp_path / "core", machine="EM_X86_64", vmcoreinfo=said)
    checkup = checked(path)
    assert checkup.diagnoses == ()
    assert checkup.verdict == ACCEPTED.format("kho-v2")
    rules = [diagnosis.finding.rule for diagnosis in checked(path, kernel_named("7.0")).diagnoses]
    assert rules == ["fdt-incompatible"]


@pytest.mark.parametrize(
    ("prop", "refused"), [(PROP_PRESERVED_PAGE_RADIX_TREE, False), (PROP_PRESERVED_MEMORY_MAP, True)]
)
def test_a_posted_version_is_its_own_makers(prop, refused):
    """The radix tree was posted as kho-v2 on 6.18-rc; a 6.18 that says so with the map of a release is damaged."""
    tree = FdtNode("", {"compatible": b"kho-v2\0", prop: u64(0x1000)})
    memory = memory_of(b"", [])
    memory.platform = Platform("x86_64", {"OSRELEASE": "6.18.0-rc1"})
    root = RootFdt(tree, b"", None, "of a test")
    made_by = producer(MaplessRoot(memory, None, b"", root, NoHandoverError("none", hint="none")))
    assert made_by.release == "6.18"
    assert (made_by.root != "kho-v2") == refused


@pytest.mark.parametrize(("name", "stays"), [(STALE_INCOMING, True), ("map-pointer-unaligned", False)])
def test_of_a_bygone_handover_only_that_it_is_bygone_is_held_against_anybody(name, stays):
    finding = Finding(name, Severity.ERROR, 0x1000, "it is wrong")
    diagnosis = Diagnosis(
        finding, Outcome(Effect.COLD_BOOT, "boots cold"), None, None, RULES[0].confirm, {}, is_of_broken=False
    )
    told = _bygone(diagnosis)
    assert (told == diagnosis) is stays
    assert (told.finding.severity is Severity.INFO, told.outcome.effect is Effect.NONE) == (
        not stays,
        not stays,
    )
