"""The machine that khodump runs on, in fake /proc, /sys and debugfs: what leads to its handover, and why nothing does."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

import khodump.api
import khodump.opening.running
from khodump.abi.bootparam import KHO_DATA, KhoData
from khodump.abi.kexec_handover import KHO_SCRATCH, KhoScratch
from khodump.api import open_live_handover
from khodump.errors import ImageError, KhodumpError, NoHandoverError
from khodump.kernel import open_kernel
from khodump.memories.live import LivePaths, open_live
from khodump.memories.refusal import RefusalPaths
from khodump.opening.running import Role
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.kernel.kernel import BuiltKernel
from tests.builders.kernel.living import LivingKernel
from tests.builders.luo import Luo
from tests.builders.memfd import Folio, Memfd
from tests.builders.memory import MemoryImage
from tests.builders.users import Memblock
from tests.transcript import run

RAM_END = 0x4100_0000


def machine(home: Path) -> LivePaths:
    """A machine that shows nothing but where its RAM is."""
    (home / "iomem").write_text(f"00001000-{RAM_END - 1:08x} : System RAM\n")
    (home / "debug").mkdir()
    return LivePaths(
        kcore=home / "kcore",
        mem=home / "mem",
        iomem=home / "iomem",
        kho=home / "debug" / "kho",
        cmdline=home / "cmdline",
        vmcoreinfo=home / "vmcoreinfo",
        setup_data=home / "setup_data",
        devicetree=home / "fdt",
        kallsyms=home / "kallsyms",
        refusals=RefusalPaths(home / "lockdown", home / "status"),
    )


@pytest.fixture
def paths(tmp_path) -> LivePaths:
    return machine(tmp_path)


def with_memory(paths: LivePaths, image: MemoryImage) -> LivePaths:
    """With /dev/mem, and no /proc/kcore."""
    with paths.mem.open("wb") as mem:
        mem.truncate(RAM_END)
        for start, end in image.ranges:
            os.pwrite(mem.fileno(), image.read(start, end - start), start)
    return paths


def with_debugfs(paths: LivePaths, **files: bytes) -> LivePaths:
    for name, data in files.items():
        path = paths.kho / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return paths


@pytest.fixture
def built() -> BuiltHandover:
    return build_handover(Description(subtrees={"LUO": Luo(), "memblock": Memblock()}))


DISK = Memfd((Folio(0, b"disk", 1),))


def told_by_sys(paths: LivePaths, kernel: BuiltKernel) -> LivePaths:
    """With VMCOREINFO where /sys/kernel/vmcoreinfo leads, in memory."""
    text = "".join(f"{key}={value}\n" for key, value in kernel.finish().items()).encode()
    sizes = (11, len(text), 0)
    note = b"".join(size.to_bytes(4, "little") for size in sizes) + b"VMCOREINFO\0\0" + text
    phys = kernel.image.alloc_page(-(-len(note) // 4096) * 4096)
    kernel.image.write(phys, note)
    paths.vmcoreinfo.write_text(f"{phys:#x} {len(note):x}\n")
    return with_memory(paths, kernel.image)


def open_out(paths: LivePaths) -> khodump.handover.Handover:
    return open_live_handover(paths=paths, page_size=4096)


def test_without_kcore_the_kernel_is_asked_through_vmcoreinfo_in_sys(paths):
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    told_by_sys(paths, living.kernel)
    with open_out(paths) as handover:
        assert handover.fdt.phys == living.handover.fdt_phys
        assert handover.role is Role.OUTGOING
        assert [session.live.name for session in handover.own_live_sessions] == ["vm"]
        assert handover.fdt.source == "the kernel's kho_out.fdt"


def test_the_kernel_is_opened_once(paths, monkeypatch):
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    told_by_sys(paths, living.kernel)
    opened = []

    def counted(*arguments: object, **options: object) -> object:
        opened.append(arguments)
        return open_kernel(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(khodump.opening.running, "open_kernel", counted)
    with open_out(paths) as handover:
        assert handover.own_live_sessions
    assert len(opened) == 1


@pytest.fixture
def tableless(paths: LivePaths) -> LivePaths:
    """A machine whose VMCOREINFO does not lead to the table of symbols; the kernel shows them in /proc/kallsyms."""
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    tables = ("names", "num_syms", "token_table", "token_index", "offsets")
    living.kernel.told |= {f"SYMBOL(kallsyms_{table})": None for table in tables}
    told_by_sys(paths, living.kernel)
    rows = (f"{va:016x} d {name}\n" for name, va in living.kernel.symbols.items())
    paths.kallsyms.write_text("".join(rows))
    return paths


def test_proc_kallsyms_leads_to_the_kernel_where_its_memory_does_not(tableless):
    with open_out(tableless) as handover:
        assert handover.fdt.source == "the kernel's kho_out.fdt"
        assert [session.live.name for session in handover.own_live_sessions] == ["vm"]


def test_without_proc_kallsyms_the_memory_is_searched_and_both_are_named(tableless):
    tableless.kallsyms.unlink()
    with open_out(tableless) as handover:
        assert handover.fdt.source == "found by searching the image"
        said = next(note for note in map(str, handover.notes) if "nor does" in note)
    assert "VMCOREINFO does not lead to the kernel's symbols" in said
    assert f"cannot read the kernel's symbols from {tableless.kallsyms}" in said


def test_slim_keeps_nothing_of_a_kernel_whose_symbols_are_not_in_memory(tableless, monkeypatch, tmp_path):
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: tableless)
    out = tmp_path / "out.elf"
    ran = run("slim", "--live", "--output", out)
    assert ran.status == 0, ran.stderr
    assert run("inspect", out).status == 0


def test_a_successor_without_out_fdt_finds_what_it_prepares_by_itself(paths):
    living = LivingKernel.of(DISK)
    living.lists.write()
    with_debugfs(told_by_sys(paths, living.kernel), out__scratch_phys=b"", in__fdt=living.handover.fdt)
    with open_out(paths) as handover:
        assert handover.fdt.phys == living.handover.fdt_phys


def test_a_successor_whose_kernel_cannot_be_asked_is_searched_and_that_is_said(paths, built):
    with_debugfs(with_memory(paths, built.image), out__scratch_phys=b"", in__fdt=built.fdt)
    with open_out(paths) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert any(
            "as in kernels that were themselves booted through KHO" in str(note) for note in handover.notes
        )


def test_the_scratch_files_of_debugfs_are_used(paths, built):
    with_memory(paths, built.image)
    with_debugfs(paths, out__fdt=built.fdt, out__scratch_phys=b"0x10000000\n", out__scratch_len=b"0x800000\n")
    with open_out(paths) as handover:
        assert handover.scratch == (KhoScratch(0x1000_0000, 0x80_0000),)


def test_setup_data_of_sys_leads_to_what_was_received_and_to_scratch(paths, built):
    table = built.image.alloc_page()
    built.image.write(table, KHO_SCRATCH.build(KhoScratch(0x1000_0000, 0x80_0000)))
    with_memory(paths, built.image)
    for number, kind in (("0", 9), ("1", 10)):
        entry = paths.setup_data / number
        entry.mkdir(parents=True)
        (entry / "type").write_text(f"{kind:#x}\n")
        (entry / "data").write_bytes(KHO_DATA.build(KhoData(built.fdt_phys, 4096, table, KHO_SCRATCH.size)))
    with open_live_handover(incoming=True, page_size=4096, paths=paths) as handover:
        assert handover.fdt.phys == built.fdt_phys
        assert handover.scratch == (KhoScratch(0x1000_0000, 0x80_0000),)
        assert any("setup_data/1 names" in str(note) for note in handover.notes)


@pytest.mark.parametrize("incoming", [False, True])
def test_a_kernel_whose_variable_is_0_has_none(paths, incoming):
    living = LivingKernel.of(DISK)
    living.lists.write()
    if not incoming:
        place = living.kernel.symbols["kho_out"] + living.kernel.types.offset("kho_out", "fdt")
        living.kernel.poke(place, bytes(8))
    told_by_sys(paths, living.kernel)
    with pytest.raises(NoHandoverError, match="kho_in.fdt_phys is 0" if incoming else "kho_out.fdt is 0"):
        open_live_handover(incoming=incoming, page_size=4096, paths=paths)


def no_handover(paths: LivePaths, *, incoming: bool = False) -> str:
    """What is said, as one text."""
    with pytest.raises(KhodumpError) as caught:
        open_live_handover(incoming=incoming, page_size=4096, paths=paths)
    return f"{caught.value} {caught.value.hint}"


EMPTY = MemoryImage()
EMPTY.write(0x10_0000, bytes(4096))


def test_each_lack_of_debugfs_has_its_own_sentence(paths):
    with_memory(paths, EMPTY)
    assert "debugfs is not mounted: mount -t debugfs none" in no_handover(paths, incoming=True)
    (paths.kho.parent / "x86").mkdir()
    assert "no CONFIG_KEXEC_HANDOVER_DEBUGFS" in no_handover(paths, incoming=True)
    (paths.kho / "out").mkdir(parents=True)
    assert "this kernel has no such handover" in no_handover(paths, incoming=True)


@pytest.mark.parametrize(("cmdline", "off"), [("quiet kho=off", True), ("kho=off kho=on", False)])
def test_kho_off_is_told_from_the_command_line(paths, cmdline, off):
    paths.cmdline.write_text(f"{cmdline}\n")
    (paths.kho.parent / "x86").mkdir()
    said = no_handover(with_memory(paths, EMPTY))
    assert ("booted with kho=off: it hands nothing over" in said) is off


@pytest.mark.parametrize(
    ("number", "lockdown", "capabilities", "said"),
    [
        (errno.EACCES, "none", "ffffffffffffffff", "its mode does not let this user read it"),
        (errno.EPERM, "confidentiality", "ffffffffffffffff", "locked down (confidentiality)"),
        (errno.EPERM, "none", "00000000a80425fb", "has not the capability CAP_SYS_RAWIO"),
        (errno.EPERM, "none", "ffffffffffffffff", "does not permit it, and does not tell why"),
    ],
)
def test_each_refusal_has_its_own_sentence(paths, monkeypatch, number, lockdown, capabilities, said):
    paths.refusals.lockdown.write_text(f"[{lockdown}]\n")
    paths.refusals.status.write_text(f"Name:\tpython\nCapEff:\t{capabilities}\n")
    opener = os.open

    def refused(path: object, *rest: int) -> int:
        if str(path) in (str(paths.kcore), str(paths.mem)):
            raise OSError(number, os.strerror(number))
        return opener(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(ImageError) as caught:
        open_live(paths)
    assert said in str(caught.value)
    assert caught.value.hint


COMMANDS = (
    ["inspect"],
    ["owners"],
    ["sessions"],
    ["subtrees"],
    ["tree"],
    ["check"],
    ["lookup", "0x1000"],
    ["map"],
    ["extract", "--memfd", "vm/0x1", "--output", "-"],
)


@pytest.fixture
def live(paths: LivePaths, monkeypatch) -> LivePaths:
    living = LivingKernel.of(DISK)
    living.lists.write(outgoing=[living.prepared(1)])
    told_by_sys(paths, living.kernel)
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: paths)
    return paths


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_takes_the_machine(live, command):
    assert live.mem.exists()
    ran = run(command[0], "--live", *command[1:])
    assert ran.status == 0, ran.stderr
    assert "kho_out.fdt" in ran.stderr


def test_scan_takes_the_machine_and_what_sys_tells(paths, built, monkeypatch):
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: with_memory(paths, built.image))
    entry = paths.setup_data / "1"
    entry.mkdir(parents=True)
    (entry / "type").write_text("0xa\n")
    (entry / "data").write_bytes(KHO_DATA.build(KhoData(built.fdt_phys, 4096, 0, 0)))
    ran = run("scan", "--live", "--page-size", "4K", "--format", "json")
    assert ran.status == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [row["phys"] for row in told["candidates"]] == [built.fdt_phys]
    assert [row["told_by"] for row in told["boot_protocol"]] == [str(entry)]


@pytest.fixture
def earlier(live: LivePaths, tmp_path: Path) -> Path:
    """An image of the same machine."""
    path = tmp_path / "earlier.elf"
    ran = run("slim", "--live", "--page-size", "4K", "--output", path)
    assert ran.status == 0, ran.stderr
    assert live.mem.exists()
    return path


def test_diff_takes_the_machine_for_its_new_side(earlier):
    ran = run("diff", earlier, "--live", "--page-size-new", "4K")
    assert ran.status == 0, (ran.stdout, ran.stderr)
    assert "new: took the root FDT" in ran.stderr


def test_diff_compares_what_the_kernel_received_with_what_it_prepares(paths, built, monkeypatch):
    with_memory(paths, built.image)
    with_debugfs(paths, out__fdt=built.fdt, in__fdt=built.fdt)
    monkeypatch.setattr(khodump.api, "LivePaths", lambda: paths)
    ran = run("diff", "--live", "--page-size-old", "4K", "--page-size-new", "4K")
    assert ran.status == 0, (ran.stdout, ran.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "b", "--live"], "--live stands for NEW"),
        (["a", "b", "--in"], "--in goes with OLD and --live"),
        (["--live", "--in"], "--in goes with OLD and --live"),
        (["a"], "two memory images are needed"),
        ([], "two memory images are needed"),
        (["a", "--live", "--fdt-new", "0x1000"], "new: --live names this machine's memory and FDT itself"),
        (["--live", "--fdt-old", "0x1000"], "old: --live names this machine's memory and FDT itself"),
    ],
)
def test_diff_refuses_what_does_not_name_two(words, said):
    ran = run("diff", *words)
    assert ran.status == 2
    assert said in ran.stderr


@pytest.mark.parametrize(("command", "suffix"), [("slim", "elf"), ("report", "html")])
def test_what_writes_a_file_takes_the_machine(live, tmp_path, command, suffix):
    assert live.mem.exists()
    out = tmp_path / f"out.{suffix}"
    assert run(command, "--live", "--output", out).status in {0, 4}
    assert out.stat().st_size > 0


def test_what_describes_an_image_does_not_go_with_the_machine(live):
    assert live.mem.exists()
    for options in (["--fdt", "0x1000"], ["vmcore"], ["--scratch", "x"]):
        assert run("owners", "--live", *options).status == 2
    assert "--in goes with --live" in run("owners", "vmcore", "--in").stderr
    assert "no memory image named" in run("owners").stderr
