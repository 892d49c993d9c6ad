"""Images that change while they are read end in a message, not in the death of the interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Folio, Memfd
from tests.cli.test_every_format import DUMPS

#: Runs khodump, and waits a while after the image was opened, so that it can be changed.
CHILD = """
import select, sys
import khodump.memories, khodump.api
from khodump.cli import main
opening = khodump.api.open_memory
def watched(*arguments, **options):
    memory = opening(*arguments, **options)
    print("opened", file=sys.stderr, flush=True)
    select.select([sys.stdin], [], [], 5)
    return memory
khodump.api.open_memory = watched
main()
"""
COMMANDS = {
    "inspect": ("inspect", "IMAGE"),
    "inspect at": ("inspect", "IMAGE", "--fdt", "FDT", "--pages"),
    "scan": ("scan", "IMAGE"),
    "scan deep": ("scan", "IMAGE", "--deep"),
    "check": ("check", "IMAGE"),
    "slim": ("slim", "IMAGE", "--output", "OUT"),
    "extract": ("extract", "IMAGE", "--fdt", "FDT", "--memfd", "vm/1", "--output", "OUT"),
}
STATUSES = {0, 1, 2, 3, 4}


@pytest.fixture(scope="module")
def built():
    luo = Luo((Session("vm", (LuoFile(1, Memfd(tuple(Folio(page, b"x" * 4096) for page in range(64)))),)),))
    return build_handover(Description(subtrees={"LUO": luo}, preservations=((0x400_0000, 9),)))


def changed(line: tuple[str, ...], built, image: Path, change) -> subprocess.CompletedProcess[bytes]:
    """Run a command, and change the image once it is open; who changes it may be made to wait by a lease."""
    words = {"IMAGE": str(image), "FDT": hex(built.fdt_phys), "OUT": str(image.parent / "out")}
    command = [sys.executable, "-c", CHILD, *(words.get(word, word) for word in line)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stderr
        assert process.stdin
        assert b"opened" in process.stderr.readline()

        def act() -> None:
            change(image)
            assert process.stdin
            process.stdin.close()

        thread = threading.Thread(target=act)
        thread.start()
        assert process.stdout
        stdout, stderr = process.stdout.read(), process.stderr.read()
        status = process.wait(60)
        thread.join()
    return subprocess.CompletedProcess(command, status, stdout, stderr)


@pytest.mark.parametrize("size", [0, 300_000])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_raw_image_that_shrinks(name, size, built, tmp_path):
    image = built.image.to_raw(tmp_path / "image")
    ran = changed(COMMANDS[name], built, image, lambda path: os.truncate(path, size))
    assert ran.returncode in STATUSES, (
        f"killed by {signal.Signals(-ran.returncode).name}" if ran.returncode < 0 else ran
    )
    assert b"Traceback" not in ran.stderr
    assert ran.stderr.startswith(b"khodump: ")
    if size == 0:
        assert ran.returncode in (2, 3, 4), "nothing that is gone may be taken for there"
    assert not list(tmp_path.glob(".khodump-*"))


@pytest.mark.parametrize("form", ["ELF", "kdump zlib", "LiME", "AVML", "flattened ELF"])
def test_a_dump_that_shrinks(form, built, tmp_path):
    for name in ("inspect", "scan"):
        (image,) = (Path(str(path)) for path in DUMPS[form](built, tmp_path))
        half = image.stat().st_size // 3
        ran = changed(COMMANDS[name], built, image, lambda path, half=half: os.truncate(path, half))
        assert ran.returncode in STATUSES
        assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("name", ["inspect", "scan"])
def test_an_image_that_is_replaced_is_read_as_it_was_opened(name, built, tmp_path):
    image = built.image.to_raw(tmp_path / "image")

    def replace(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(b"another file")
        other.replace(path)

    ran = changed(COMMANDS[name], built, image, replace)
    assert ran.returncode == 0
    assert hex(built.fdt_phys).encode() in ran.stdout


def test_a_slim_image_is_not_made_of_an_image_that_changes(built, tmp_path):
    """What was a page of the handover when it was planned may be gone when it is written."""
    image = built.image.to_raw(tmp_path / "image")
    ran = changed(COMMANDS["slim"], built, image, lambda path: os.truncate(path, built.fdt_phys + 4096))
    assert ran.returncode in (2, 3, 4)
    if ran.returncode != 4:
        assert sorted(tmp_path.iterdir()) == [image]
