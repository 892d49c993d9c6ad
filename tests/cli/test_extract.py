from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, PFN_BITS
from khodump.extraction import copying
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import KEPT, Folio, Memfd
from tests.captures import CAPTURES
from tests.transcript import run

IMAGE = CAPTURES["luo-memfd serialized"].path
HOME = IMAGE.parent
ENTRIES = "LUO/sessions/0/files/0/folios/entries"
CONTENTS = "LUO/sessions/0/files/0/contents"
KHODUMP = [sys.executable, "-m", "khodump"]
SHA256 = [line.split("\t") for line in (HOME / "memfd-sha256.tsv").read_text().splitlines()]
#: (session, token, size) of the memfds whose pages the capture does not hold.
ABSENT = [
    (session, token, int(size))
    for kind, session, token, size, *_ in (
        line.split("\t") for line in (HOME / "userspace-luo.tsv").read_text().splitlines() if "\t0x" in line
    )
    if kind == "memfd" and int(size) and [session, token] not in [row[1:] for row in SHA256]
]


def built_image(directory, *sessions: Session):
    built = build_handover(Description(subtrees={"LUO": Luo(sessions)}))
    return built.image.to_elf(directory / "core")


def memfd(name: str | bytes, data: bytes = b"content") -> Session:
    return Session(name, (LuoFile(1, Memfd((Folio(0, data),), len(data))),))


@pytest.mark.parametrize(("sha256", "session", "token"), SHA256)
def test_the_content_is_what_the_guest_saw(sha256, session, token, tmp_path):
    path = tmp_path / "out"
    ran = run("extract", IMAGE, "--memfd", f"{session}/{int(token, 16)}", "-o", path)
    assert (ran.status, ran.stdout) == (0, "")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert ran.stderr.splitlines()[-1].endswith("0 B of holes, nothing missing")
    piped = subprocess.run(
        [*KHODUMP, "extract", IMAGE, "-q", "--memfd", f"{session}/{token}"], capture_output=True, check=True
    )
    assert (hashlib.sha256(piped.stdout).hexdigest(), piped.stderr) == (sha256, b"")


def test_nothing_is_written_of_a_file_whose_pages_are_missing(tmp_path):
    assert len(ABSENT) > 100
    for session, token, _ in ABSENT[:: len(ABSENT) // 12]:
        ran = run("extract", IMAGE, "--memfd", f"{session}/{token}", "-o", tmp_path / "out")
        assert ran.status == 4
        assert "not in the dump" in ran.stderr
        assert (
            ran.stderr.splitlines()[-1].strip() == "hint: --fill puts zeros there, --fill-byte another byte"
        )
        assert list(tmp_path.iterdir()) == []
        assert run("extract", IMAGE, "--memfd", f"{session}/{token}").stdout == ""


@pytest.mark.parametrize(("option", "byte"), [(("--fill",), 0), (("--fill-byte", "0xA5"), 0xA5)])
def test_filling_gives_the_right_size(option, byte, tmp_path):
    for session, token, size in ABSENT[:: len(ABSENT) // 6]:
        path = tmp_path / "out"
        ran = run("extract", IMAGE, "--memfd", f"{session}/{token}", "-o", path, "--force", *option)
        assert ran.status == 4
        assert "missing and filled" in ran.stderr
        assert path.read_bytes() == bytes([byte]) * size
        assert byte or not path.stat().st_blocks


def test_missing_stretches_are_cut_unless_verbose():
    short, full = (run("extract", IMAGE, "--memfd", "vm-alpha/1", *extra).stderr for extra in ([], ["-v"]))
    assert "more missing stretches: -v shows all" in short
    assert (short.count("missing: 0x"), "more missing" in full) == (10, False)
    assert full.count("missing: 0x") > 1000
    assert len(run("extract", IMAGE, "--memfd", "vm-alpha/1", "-q").stderr.splitlines()) == 2


NAMES = ["a/b/c", "q\"uo'te", "naïve/ü", "../../etc/passwd", "/abs", "x\x1b[31m", "new\nline", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_session_may_have_any_name_and_none_is_a_path(name, tmp_path, monkeypatch):
    image = built_image(tmp_path, memfd("decoy", b"wrong"), memfd(name))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    ran = run("extract", image, "--memfd", f"{name}/0x1")
    assert (ran.status, ran.stdout) == (0, "content")
    assert "\x1b" not in ran.stderr
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_name_that_is_no_text_can_be_named(tmp_path):
    image = built_image(tmp_path, memfd(b"half \xc3"))
    command = [*map(os.fsencode, [*KHODUMP, "extract", image, "--memfd"]), b"half \xc3/1"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"content"


def test_a_file_is_not_overwritten_unless_told(tmp_path):
    image = built_image(tmp_path, memfd("vm"))
    path, link = tmp_path / "out", tmp_path / "link"
    path.write_bytes(b"precious")
    link.symlink_to(path)
    for name in (path, link):
        ran = run("extract", image, "--memfd", "vm/1", "-o", name)
        assert ran.status == 2
        assert "--force replaces it" in ran.stderr
        assert path.read_bytes() == b"precious"
    assert run("extract", image, "--memfd", "vm/1", "-o", link, "--force").status == 0
    assert (path.read_bytes(), link.is_symlink()) == (b"content", True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_a_plain_file_that_is_no_input_is_replaced(tmp_path):
    image = built_image(tmp_path, memfd("vm"))
    before = image.read_bytes()
    for target in (tmp_path, image, tmp_path / "none" / "out"):
        ran = run("extract", image, "--memfd", "vm/1", "-o", target, "--force")
        assert (ran.status, ran.stdout) == (2, "")
    assert image.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [image]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_left_of_a_copy_that_did_not_end(error, tmp_path, monkeypatch):
    image = built_image(tmp_path, memfd("vm"))

    def fail(_self, _batch):
        assert len(list(tmp_path.iterdir())) == 2
        raise error

    monkeypatch.setattr(copying._Writer, "write", fail)
    monkeypatch.setattr("khodump.cli.command._silence_stdout", lambda: None)
    ran = run("extract", image, "--memfd", "vm/1", "-o", tmp_path / "out")
    assert ran.status == (130 if error is KeyboardInterrupt else 2)
    assert list(tmp_path.iterdir()) == [image]


def test_a_name_that_was_taken_meanwhile_is_kept(tmp_path, monkeypatch):
    image = built_image(tmp_path, memfd("vm"))
    path = tmp_path / "out"
    finish = copying._Writer.finish
    monkeypatch.setattr(copying._Writer, "finish", lambda self: (path.write_bytes(b"mine"), finish(self))[1])
    assert run("extract", image, "--memfd", "vm/1", "-o", path).status == 2
    assert path.read_bytes() == b"mine"
    assert sorted(tmp_path.iterdir()) == [image, path]


def test_an_interrupt_ends_a_stream(tmp_path):
    """A hole of nearly 1 TiB takes long enough to be interrupted in the middle."""
    luo = Luo((Session("vm", (LuoFile(1, Memfd((Folio(0),), 1 << 40)),)),))
    image = build_handover(Description(subtrees={"LUO": luo})).image.to_elf(tmp_path / "core")
    command = [*KHODUMP, "extract", str(image), "--memfd", "vm/1", "--max-size", "1T"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(1 << 20)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == b"khodump: interrupted"


def test_a_size_that_is_a_lie_is_no_file(tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, Memfd((Folio(0, b"a"),), 1 << 62)),)),))
    image = build_handover(Description(subtrees={"LUO": luo})).image.to_elf(tmp_path / "core")
    ran = run("extract", image, "--memfd", "vm/1", "-o", tmp_path / "out")
    assert ran.status == 2
    assert "hint: --max-size 4611686018427387904 allows it" in ran.stderr
    assert list(tmp_path.iterdir()) == [image]
    ran = run("extract", image, "--memfd", "vm/1", "--max-size", "4T", "-o", tmp_path / "out")
    assert (ran.status, list(tmp_path.iterdir())) == (2, [image])


def test_a_size_that_no_file_can_have_is_an_error_even_where_the_limit_allows_it(tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, Memfd((Folio(0, b"a"),), 1 << 63)),)),))
    image = build_handover(Description(subtrees={"LUO": luo})).image.to_elf(tmp_path / "core")
    limits: list[list[str | int]] = [[], ["--max-size", 1 << 63, "--fill"]]
    for limit in limits:
        ran = run("extract", image, "--memfd", "vm/1", "-o", tmp_path / "out", *limit)
        assert (ran.status, list(tmp_path.iterdir())) == (2, [image])
        assert "no file has more than 9223372036854775807: the size is damaged" in ran.stderr


def unpreserved(built: BuiltHandover) -> None:
    stray = {"folio": 0x40000 | KEPT << PFN_BITS, "index": 0}
    built.image.write(built.places[ENTRIES][0], MEMFD_LUO_FOLIO_SER.build(stray))
    built.image.write(0x40000 << 12, b"?" * 4096)


def claimed_twice(built: BuiltHandover) -> None:
    again = {"folio": built.places[CONTENTS][1] >> 12 | KEPT << PFN_BITS, "index": 0}
    built.image.write(built.places[ENTRIES][1], MEMFD_LUO_FOLIO_SER.build(again))


def counts_more(built: BuiltHandover) -> None:
    (state,) = built.places["LUO/sessions/0/files/0"]
    count = built.image.read(state + 24, 8)
    assert int.from_bytes(count, "little") == 2
    built.image.write(state + 24, (1 << 20).to_bytes(8, "little"))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (unpreserved, "1 folios are not in the preserved map"),
        (claimed_twice, "1 pages are claimed by several folios"),
        (counts_more, "counts 1048576 folios, but its array holds"),
    ],
)
def test_doubt_is_told_even_quietly_and_is_no_success(damage, why, tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, Memfd((Folio(0, b"a"), Folio(1, b"b")))),)),))
    built = build_handover(Description(subtrees={"LUO": luo}))
    damage(built)
    image = built.image.to_elf(tmp_path / "core")
    ran = run("extract", image, "-q", "--memfd", "vm/1", "-o", tmp_path / "out")
    assert ran.status == 4
    assert 'memfd 0x1 of session "vm" may not be what was preserved' in ran.stderr
    assert why in ran.stderr


def test_what_is_in_doubt_in_a_raw_file_is_not_to_be_filled_in(tmp_path):
    raw = build_handover(Description()).image.to_raw(tmp_path / "mem.img", end=5 << 30)
    ran = run("extract", raw, "-q", "--range", "0x120000000+4K", "-o", tmp_path / "out")
    assert ran.status == 4
    hint = ran.stderr.splitlines()[-1]
    assert "--ranges with the machine's /proc/iomem" in hint
    assert "--force-placement" in hint
    assert "--fill" not in hint


def test_what_no_disk_can_hold_is_not_begun(tmp_path):
    luo = Luo((Session("vm", (LuoFile(1, Memfd((Folio(0, b"a"),), 1 << 55)),)),))
    image = build_handover(Description(subtrees={"LUO": luo})).image.to_elf(tmp_path / "core")
    options = ("--max-size", 1 << 60, "--fill-byte", 1)
    ran = run("extract", image, "--range", f"0x100000000+{1 << 55}", "-o", tmp_path / "out", *options)
    assert ran.status == 2
    assert "takes 32 PiB, and there is room for" in ran.stderr
    assert list(tmp_path.iterdir()) == [image]


def test_a_terminal_gets_no_binary():
    master, slave = os.openpty()
    command = [*KHODUMP, "extract", str(IMAGE), "--memfd", "vm-beta/0"]
    ended = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, text=True, check=False)
    os.close(slave)
    os.close(master)
    assert ended.returncode == 2
    assert "the output would go to this terminal" in ended.stderr
