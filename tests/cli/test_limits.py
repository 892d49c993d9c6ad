"""Commands under a limit of memory: an image made to swell fits, and one that is too large ends in a message."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.dense import build_dense
from tests.builders.fdt import u64
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Luo, Session
from tests.fuzz.test_swell import one_state

COMMANDS = [
    ("owners",),
    ("check",),
    ("sessions",),
    ("report", "-o", "OUT"),
    ("lookup", "0x40000000"),
    ("inspect", "--owners"),
    ("map", "--by", "owner"),
]
#: Address space in bytes; Python with numpy alone takes about 200 MiB of it.
ROOMY, TIGHT = 1500 << 20, 300 << 20


def limited(size: int, command: str, image: Path, *options: str) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    arguments = [sys.executable, "-m", "khodump", command, str(image), *options]
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        arguments,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize(("command", "options"), [(name, options) for name, *options in COMMANDS])
def test_630_files_that_share_a_page_named_511_times(command, options, tmp_path):
    built = build_handover(Description(subtrees={"LUO": Luo((Session("vm"),))}))
    built.image.write(built.blobs["LUO"] + 16, u64(one_state(built.image, 630)))
    core = built.image.to_elf(tmp_path / "core")
    out = str(tmp_path / "out.html")
    ran = limited(ROOMY, command, core, *(out if option == "OUT" else option for option in options))
    assert ran.returncode in (1, 4), ran.stderr
    assert "Traceback" not in ran.stderr
    assert "list-page-shared" in ran.stderr + ran.stdout
    if command == "check":
        assert "630 files will fail to restore" in ran.stderr


@pytest.mark.parametrize("command", ["check", "owners", "map"])
def test_more_than_there_is_room_for_is_a_message(command, tmp_path):
    core = build_dense(200).image.to_elf(tmp_path / "core")
    ran = limited(TIGHT, command, core)
    assert ran.returncode == 2
    assert "there is not enough memory for this" in ran.stderr
    assert "Traceback" not in ran.stderr
