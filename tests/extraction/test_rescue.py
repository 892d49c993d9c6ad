"""A dump that makedumpfile -d 31 made of a failed live update: what can still be rescued from it, and by which command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from khodump.api import open_in
from khodump.checking.checkup import examine
from khodump.memories import open_memory
from tests.builders.kdump import build_kdump
from tests.builders.kernel.living import LivingKernel
from tests.builders.kernel.luo_lists import BuiltFile, BuiltSession
from tests.builders.memfd import Folio, Memfd
from tests.transcript import run

PAGE = 4096
OLD = Memfd((Folio(0, b"disk", 1), Folio(2, b"end")))
NEW = Memfd((Folio(0, b"of this kernel"),))
WANTED = b"disk".ljust(2 * PAGE, b"\0") + b"end".ljust(PAGE, b"\0")


def written(living: LivingKernel, path: Path) -> Path:
    """What -d 31 keeps: all but the page cache, which folios of open files are, and those of received ones are not yet."""
    lines = living.kernel.finish()
    image = living.kernel.image
    pages = {
        at: image.read(at, PAGE)
        for start, end in image.ranges
        for at in range(start // PAGE * PAGE, end, PAGE)
    }
    cached = [at for at, data in pages.items() if data.startswith(b"of this kernel")]
    assert cached
    for at in cached:
        del pages[at]
    text = "".join(f"{key}={value}\n" for key, value in lines.items()).encode()
    path.write_bytes(build_kdump(pages, excluded=cached, vmcoreinfo=text))
    return path


@pytest.fixture
def dump(tmp_path) -> Path:
    """A successor that retrieved one session of two, prepared a third, and then panicked."""
    living = LivingKernel.of(NEW)
    (old, other) = living.receive(OLD, OLD)
    taken = BuiltSession("taken", (BuiltFile(1, other.data, status=1),), retrieved=True)
    waiting = BuiltSession("waiting", (old,))
    living.lists.write(incoming=[taken, waiting], outgoing=[living.prepared(1)])
    return written(living, tmp_path / "vmcore")


@contextmanager
def told(dump: Path) -> Iterator[dict[str, str]]:
    with open_memory([dump]) as memory, open_in(memory) as handover:
        yield {each.finding.rule: each.finding.message for each in examine(handover).diagnoses}


def test_check_says_which_sessions_are_left_and_how_to_rescue_them(dump, tmp_path):
    with told(dump) as messages:
        assert (
            'retrieved ("taken"); files are still to be retrieved of 1 ("waiting")'
            in messages["sessions-received"]
        )
        command = 'khodump extract --memfd "waiting/0x1"'
        assert command in messages["files-not-retrieved"]
        assert "1 files wholly" in messages["files-not-retrieved"]
    out = tmp_path / "disk.img"
    assert run("extract", dump, "--memfd", "waiting/0x1", "--output", out).status == 0
    assert out.read_bytes() == WANTED


@pytest.mark.parametrize(("file", "why"), [("taken/0x1", "was retrieved"), ("vm/0x1", "are missing")])
def test_what_cannot_be_rescued_is_refused_with_the_reason(dump, tmp_path, file, why):
    ran = run("extract", dump, "--memfd", file, "--output", tmp_path / "disk.img")
    assert ran.status == 4
    assert why in ran.stderr
    assert not (tmp_path / "disk.img").exists()


def test_sessions_and_owners_say_how_much_of_the_contents_is_not_there(dump):
    """One page of the session to be handed over was page cache; of what was received all is there."""
    assert "4 KiB of the 16 KiB in their folios are not in the image" in run("sessions", dump).stderr
    shown = run("owners", dump)
    assert "not in the image               4 KiB" in shown.stdout
    assert "not in the image" not in run("sessions", dump, "--session", "waiting").stderr


def test_a_report_says_how_much_of_the_contents_is_not_there(dump, tmp_path):
    path = tmp_path / "report.html"
    assert run("report", dump, "--output", path).status in {0, 4}
    sections = path.read_text().split("<section ")
    of = {section[4 : section.index('"', 4)]: section for section in sections[1:]}
    told = "4 KiB of the 16 KiB in their folios are not in the image"
    assert told in of["sessions"]
    assert told in of["unread"]
    assert re.search(r"4 KiB of the \d+ KiB that are preserved are not in the image", of["unread"])
    assert "not in the image" in of["preserved"]
