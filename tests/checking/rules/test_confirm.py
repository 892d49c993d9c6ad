"""The command by which `check` lets a finding be confirmed runs as it is printed, and shows what it promises."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from khodump.checking.rules import RULES
from tests.builders.handover import BuiltHandover
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession
from tests.builders.memfd import Folio, Memfd
from tests.captures import CAPTURES, HISTORIC
from tests.checking.rules import blobs, chain, claims, fdt, map, memfd, scratch  # noqa: A004, F401 - they fill BREAKS
from tests.checking.rules import luo as luo_rules  # noqa: F401 - as above
from tests.checking.rules.breaking import BREAKS, Asked, Break, handed_over, luo
from tests.transcript import run

#: What the output has of a finding: `{}` are columns of check, and `value` is what the bad entry holds.
HELD = ("value {value}", "{entry}")
PREFIX = ("holds {seen}",)
SHOWN: dict[str, tuple[str, ...]] = {
    "fdt-invalid": PREFIX,
    "fdt-incompatible": ("/dts-v1/;", "preserved-memory-map"),
    "fdt-truncated": ("345 ",),
    "fdt-odd": ("/dts-v1/;", "fdt-odd"),
    "fdt-lost": ("root FDTs found: 0",),
    "reading-in-doubt": ("state not preserved", "is not set"),
    "map-root-missing": ("/dts-v1/;", "compatible"),
    "map-pointer-unaligned": HELD,
    "map-pointer-outside-memory": HELD,
    "map-node-unreadable": ("holds {phys}", "bytes not in the dump", "map's own page"),
    "map-node-shared": HELD,
    "map-key-impossible": (),  # see IMPOSSIBLE
    "map-chunk-count": (*PREFIX, "map's own page"),
    "map-elements-repeated": (*PREFIX, "map's own page"),
    "map-elements-unordered": (*PREFIX, "map's own page"),
    "map-order-not-restored": (*PREFIX, "map's own page"),
    "map-depth-16k": ("level 3: slot", "state preserved"),
    "map-empty-nodes": ("map's own page", "value 0x0", "holds {phys}"),
    "preserved-overlap": ("state preserved", "order 0"),
    "order-shift-overflow": ("preserved order ", "{phys}"),
    "v1-bitmap-size": ("claimed by nobody", "claimed but not preserved"),
    "scratch-overlap": ("state preserved, scratch",),
    "scratch-misaligned": ("scratch", "{phys}"),
    "scratch-wraps": ("scratch-wraps", "{phys} -"),
    "subtree-incomplete": ("{owner} {{",),
    "blob-not-preserved": ("state not preserved", "is not set", "claimed by {owner}"),
    "blob-unreadable": ("bytes not in the dump", "node {owner}, at {phys}"),
    "blob-invalid": PREFIX,
    "blob-incompatible": ("{owner}",),
    "blob-too-small": ("blob-size",),
    "chain-cycle": HELD,
    "chain-too-long": HELD,
    "chain-pointer-unaligned": HELD,
    "list-page-shared": PREFIX,
    "block-count-invalid": HELD,
    "vmalloc-count-mismatch": PREFIX,
    "vmalloc-invalid": HELD,
    "vmalloc-block-unaligned": PREFIX,
    "state-not-serialized": ("not serialized yet",),
    "session-file-count-mismatch": ("session-file-count-mismatch", "vm"),
    "file-handler-unknown": ("memfd-v3",),
    "session-name-invalid": ("1 sessions",),
    "session-name-repeated": ("2 sessions",),
    "token-repeated": ("2 files",),
    "flb-list-invalid": PREFIX,
    "memfd-folio-count": HELD,
    "memfd-list-unread": ("bytes not in the dump", "claimed by {owner}/folio array"),
    "memfd-folio-missing": ("value 0x0", "owner {owner}/folio array"),
    "memfd-folio-overlap": (*HELD, "owner {owner}/folio array"),
    "memfd-size-mismatch": ("KiB",),
    "memfd-seals-unknown": ("0x40",),
    "memfd-folio-flags": (*HELD, "owner {owner}/folio array"),
    "claim-not-preserved": ("state not preserved", "claimed by {owner}: ", "is not set"),
    "claimed-twice": ("claimed by", "{owner}: "),
    "unclaimed": ("state preserved", "{phys}"),
    "stale-incoming": ("root FDTs found: 2",),
}
#: By the message of the finding.
IMPOSSIBLE = {"order bit": "no order bit", "wider": "value", "no RAM": "0x10000000000000"}
KNOWN_STATUSES = {0, 3, 4}
CASES = [pytest.param(name, build, id=f"{name}: {build.__name__}") for name, build in BREAKS]


class Confirmed(NamedTuple):
    """What a confirming command wrote: lines with single spaces; a line of its own for each that goes on."""

    row: dict[str, Any]
    text: str
    status: int


def options_of(broken: Break, directory: Path) -> list[str | Path]:
    """How a person names the handover of this case."""
    by_file = directory / "kho.dtb"
    named: dict[Asked, list[str | Path]] = {
        Asked.BY_ADDRESS: ["--fdt", hex(broken.built.fdt_phys)],
        Asked.BY_FILE: ["--fdt", by_file],
        Asked.BY_SEARCH: [],
        Asked.AS_LOST: ["--root", hex(broken.built.tree.root)],
    }
    return named[broken.asked]


def row_of(name: str, *arguments: str | Path) -> dict[str, Any]:
    """The row of this rule in what check prints."""
    said = json.loads(run("check", *arguments, "--format", "json").stdout)
    (row,) = [row for row in said["findings"] if row["rule"] == name]
    return dict(row)


def carried_out(row: dict[str, Any]) -> Confirmed:
    """The command that a row gives, as a shell takes it apart."""
    program, *words = shlex.split(row["confirm"])
    if program == "khodump":
        ran = run(*words)
        return Confirmed(row, " ".join(f"{ran.stdout}\n{ran.stderr}".split()), ran.status)
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)
    return Confirmed(row, " ".join(done.stdout.split()), done.returncode)


def confirmed(name: str, broken: Break, directory: Path) -> Confirmed:
    """The image of a case, what check says of it, and the command it gives, carried out."""
    assert not broken.options
    with broken.opened(directory, broken=True):
        pass  # it has written the image
    next_kernel = [] if broken.kernel is None else ["--next", broken.kernel.release]
    return carried_out(row_of(name, directory / "core", *options_of(broken, directory), *next_kernel))


def words_of(row: dict[str, Any]) -> dict[str, str]:
    """The columns of a row, as lookup writes them."""
    stands = row["stands"] or ""
    return {
        "phys": f"{row['phys'] or 0:#x}",
        "seen": row["seen"] or "?",
        "owner": row["owner"] or "?",
        "entry": stands.partition(", at ")[2].partition(",")[0].partition(";")[0] or "?",
        "value": stands.partition("which holds ")[2].partition(";")[0] or "?",
    }


@pytest.mark.parametrize(("name", "build"), CASES)
def test_the_command_runs_and_shows_what_was_found(name, build, tmp_path):
    shown = confirmed(name, build(), tmp_path)
    assert shown.status in KNOWN_STATUSES
    words = words_of(shown.row)
    for promised in SHOWN[name]:
        assert promised.format(**words) in shown.text
    if name == "map-key-impossible":
        (told,) = [text for clue, text in IMPOSSIBLE.items() if clue in shown.row["message"]]
        assert told in shown.text
    assert shown.row["shows"]
    assert not {"IMAGE", "PHYS", "ENTRY", "NAME"} & set(shlex.split(shown.row["confirm"]))


DISK = Memfd((Folio(0, b"disk", 1), Folio(2, b"end")))


def to_be_handed_over(kernel: LivingKernel) -> None:
    kernel.lists.write(outgoing=[kernel.prepared(1)])


def received(kernel: LivingKernel) -> None:
    kernel.lists.write(incoming=[BuiltSession("old", kernel.receive(DISK))])


def refused(kernel: LivingKernel) -> None:
    (file,) = kernel.receive(DISK)
    kernel.lists.write(incoming=[BuiltSession("old", (BuiltFile(file.token, file.data, -22),))])


def miscounted(kernel: LivingKernel) -> None:
    to_be_handed_over(kernel)
    kernel.lists.set_top("outgoing.count", 7)


def broken_list(kernel: LivingKernel) -> None:
    to_be_handed_over(kernel)
    node = kernel.lists.nodes["vm"]
    kernel.kernel.poke(node, (node + 8).to_bytes(8, "little"))


def a_handler_that_is_nowhere(kernel: LivingKernel) -> None:
    to_be_handed_over(kernel)
    types = kernel.kernel.types
    file = kernel.lists.nodes["vm", 1] - types.offset("luo_file", "list")
    kernel.kernel.poke(file + types.offset("luo_file", "fh"), (8).to_bytes(8, "little"))


def symbols_that_are_nowhere(kernel: LivingKernel) -> None:
    to_be_handed_over(kernel)
    kernel.kernel.told["SYMBOL(kallsyms_names)"] = "1000"


def another_list(kernel: LivingKernel) -> None:
    kernel.lists.write(outgoing=[BuiltSession("other")])


#: Rules of running kernels: what they are shown on, and what the confirming command shows.
LIVE: dict[str, tuple[Callable[[LivingKernel], None], tuple[str, ...]]] = {
    "sessions-in-lists": (to_be_handed_over, ("outgoing", "vm 0x1")),
    "sessions-received": (received, ("incoming", "old 0x1")),
    "files-not-retrieved": (received, ("incoming no", "old 0x1")),
    "files-failed": (refused, ("old 0x1", "1 files failed to be retrieved")),
    "live-list-broken": (broken_list, ("live-list-broken",)),
    "live-object-unreadable": (a_handler_that_is_nowhere, ("live-object-unreadable",)),
    "live-lists-unread": (symbols_that_are_nowhere, ("live-lists-unread", "the kernel's table of symbols")),
    "live-count-mismatch": (miscounted, ("live-count-mismatch",)),
    "live-serialized-mismatch": (another_list, ("live-serialized-mismatch", "vm 0x1")),
}
#: Not shown: no builder writes a whole handover of a kernel that never opened /dev/liveupdate (test_luo_received.py
#: builds its lists alone). Its command is that of the other rules of these lists.
NOT_BUILT = {"live-received-mismatch"}


@pytest.mark.parametrize("name", LIVE)
def test_the_command_runs_on_a_running_kernel(name, tmp_path):
    change, promises = LIVE[name]
    kernel = LivingKernel.of(DISK, serialized=change is another_list)
    change(kernel)
    lines = kernel.kernel.finish()
    machine = kernel.kernel.machine.elf_machine
    core = kernel.kernel.image.to_elf(tmp_path / "core", machine=machine, vmcoreinfo=lines)
    said = json.loads(run("check", core, "--format", "json").stdout)["findings"]
    rows = [row for row in said if row["rule"] == name]
    shown = carried_out(rows[0])
    assert shown.status in KNOWN_STATUSES
    for promised in promises:
        assert promised in shown.text


def test_every_rule_is_in_the_tables():
    assert {*SHOWN, *LIVE, *NOT_BUILT} == {rule.name for rule in RULES}


@pytest.mark.parametrize("name", CAPTURES | HISTORIC)
def test_the_commands_for_real_captures_run(name):
    said = json.loads(run("check", (CAPTURES | HISTORIC)[name].path, "--format", "json").stdout)
    for row in said["findings"]:
        assert carried_out(row).status in KNOWN_STATUSES


def in_parts(built: BuiltHandover, directory: Path) -> list[str]:
    """The image as two raw files, each at its address, with names that a shell would take apart."""
    data = built.image.to_raw(directory / "whole").read_bytes()
    half = len(data) // 2 // 4096 * 4096
    names = ["the first; half", "it's the rest"]
    parts = [directory / name for name in names]
    parts[0].write_bytes(data[:half])
    parts[1].write_bytes(data[half:])
    return [f"{parts[0]}@0", f"{parts[1]}@{half:#x}"]


def test_what_named_the_image_is_in_the_command(tmp_path):
    """Several files, FILE@BASE, a version and a page size, and scratch from debugfs' files."""
    broken = claims.part_of_a_region()
    broken.built.image.write(broken.at, broken.data)
    named = [
        *in_parts(broken.built, tmp_path),
        *("--as", "kho-v4", "--page-size", "4K", "--fdt", hex(broken.built.fdt_phys)),
    ]
    shown = carried_out(row_of("claim-not-preserved", *named))
    assert shown.status == 0
    assert "state not preserved" in shown.text
    words = shlex.split(shown.row["confirm"])
    assert words[:4] == ["khodump", "lookup", named[0], "0x202000"]
    assert ["--image", named[1]] == words[4:6]
    assert set(named[2:]) <= set(words)


def test_a_name_of_a_session_is_quoted_and_typed_back(tmp_path):
    odd = 'a b"$(touch x)\n\\'
    built = handed_over({"LUO": luo(7, name=odd)})
    built.image.write(built.places["LUO/sessions/0/files/entries"][0], b"memfd-v9")
    core = built.image.to_elf(tmp_path / "core", machine="EM_X86_64")
    row = row_of("file-handler-unknown", core)
    assert odd in shlex.split(row["confirm"])
    assert "memfd-v9" in carried_out(row).text
    lines = run("check", core, "--format", "tsv").stdout.splitlines()
    pasted = next(iter(csv.DictReader(lines, delimiter="\t")))
    assert "memfd-v9" in carried_out(pasted).text


def test_without_an_image_there_are_placeholders():
    said = run("check", "--explain", "claim-not-preserved").stdout
    assert "khodump lookup IMAGE PHYS says" in said
