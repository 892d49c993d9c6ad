"""What holds for every command with --output: no input is harmed, nothing is replaced unasked, files are whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders.handover import Description, build_handover
from tests.commands import COMMANDS
from tests.transcript import run

#: Commands that write, with their arguments behind the image.
WRITING = {
    "check": (),
    "diff": ("IMAGE",),
    "extract": ("--blob", "x"),
    "inspect": (),
    "lookup": ("0x1000",),
    "map": (),
    "owners": (),
    "report": (),
    "scan": (),
    "sessions": (),
    "slim": (),
    "subtrees": (),
    "tree": (),
}
WITHOUT_IMAGE = {"formats": (), "key": ("0x10000000000103",)}
each_command = pytest.mark.parametrize("name", WRITING)


@pytest.fixture
def image(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    # Named as a picture, too, for map.
    return build_handover(Description(subtrees={"x": b"blob"})).image.to_elf(tmp_path / "in" / "image.svg")


def written(name: str, image: Path | str, output: Path | str, *options: Path | str):
    extra = [image if each == "IMAGE" else each for each in WRITING[name]]
    return run(name, image, *extra, "--output", output, *options)


def test_every_command_that_writes_is_here_and_has_force():
    having = {
        name for name, each in COMMANDS.items() if any("--output" in param.opts for param in each.params)
    }
    assert having == WRITING.keys() | WITHOUT_IMAGE.keys()
    for name in having:
        assert any("--force" in param.opts for param in COMMANDS[name].params), name


def spoken(road: str, image: Path, tmp_path: Path) -> tuple[Path | str, Path | str]:
    """An image and an output, named so that they are the same file."""
    other = tmp_path / "other.svg"
    if road == "hard link":
        other.hardlink_to(image)
    elif road == "symbolic link":
        other.symlink_to(image)
    elif road == "URL":
        return f"file://{image}", image
    elif road == "chained URL":
        return f"simplecache::file://{image}", image
    elif road == "base":
        return f"{image}@0x1000", image
    elif road == "spelling":
        return image, f"{image.parent}/../{image.parent.name}/./{image.name}"
    return image, other


@each_command
@pytest.mark.parametrize("road", ["hard link", "symbolic link", "URL", "chained URL", "base", "spelling"])
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_no_road_leads_over_the_image(name, road, force, image, tmp_path):
    before = image.read_bytes()
    source, output = spoken(road, image, tmp_path)
    ran = written(name, source, output, *force)
    assert ran.status == 2
    assert "is read by this command" in ran.stderr
    assert image.read_bytes() == before
    assert (image.stat().st_ino, list(image.parent.iterdir())) == (Path(output).stat().st_ino, [image])


@pytest.fixture
def on_terminal(monkeypatch):
    """Stdout says that it is a terminal, and behaves as before."""
    wrapper = "typer.testing._NamedTextIOWrapper.isatty"
    monkeypatch.setattr(wrapper, lambda stream: stream.name == "<stdout>")


FORMATTED = [name for name in WRITING if any("--format" in param.opts for param in COMMANDS[name].params)]


def test_most_commands_have_a_format():
    assert {"inspect", "map", "slim"} < set(FORMATTED)


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize("name", FORMATTED)
def test_on_a_terminal_a_binary_format_is_written_whole_or_nothing_is(name, image, tmp_path):
    """Where the file takes the rows it is whole; else nothing is written, and the hint is none that was followed."""
    output = tmp_path / "out.svg"
    ran = written(name, image, output, "--format", "parquet")
    assert ran.status in (0, 1, 2), ran.stderr
    if ran.status == 2:
        assert not output.exists()
        assert "stdout is a terminal" in ran.stderr
        assert "-o" not in ran.stderr
    else:
        assert output.read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize("name", FORMATTED)
@pytest.mark.parametrize("format_", ["parquet", "nonsense"])
def test_a_format_that_cannot_be_written_leaves_no_file(name, format_, image, tmp_path, monkeypatch):
    def no_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("khodump.extras.import_module", no_module)
    ran = written(name, image, tmp_path / "out.svg", "--format", format_)
    assert (ran.status, ran.stdout) == (2, "")
    assert not (tmp_path / "out.svg").exists()


@each_command
def test_no_mount_leads_over_the_image(name, image, tmp_path):
    other = tmp_path / "mounted"
    other.mkdir()
    if subprocess.run(["mount", "--bind", image.parent, other], capture_output=True, check=False).returncode:
        pytest.skip("bind mounts take the rights to mount")
    try:
        before = image.read_bytes()
        assert written(name, image, other / image.name, "--force").status == 2
        assert image.read_bytes() == before
    finally:
        subprocess.run(["umount", other], check=True)


@each_command
def test_no_other_input_is_replaced(name, image, tmp_path):
    """Whatever option takes a file or an image: it may be named as the output, and is never written."""
    kept = tmp_path / "kept.svg"
    kept.write_bytes(b"mine")
    for param in COMMANDS[name].params:
        metavar = getattr(param, "metavar", None) or ""
        if "--output" in param.opts or not metavar.startswith(("FILE", "IMAGE")) or param.opts[0][:2] != "--":
            continue
        ran = written(name, image, kept, "--force", param.opts[0], kept)
        assert (ran.status, kept.read_bytes()) == (2, b"mine"), param.opts[0]
        assert "is read by this command" in ran.stderr, param.opts[0]


@each_command
def test_the_files_of_a_directory_of_scratch_regions_are_kept(name, image, tmp_path):
    option = next((param.opts[0] for param in COMMANDS[name].params if "--scratch" in param.opts[0]), None)
    if option is None:
        assert name == "scan"
        return
    for file in ("scratch_phys", "scratch_len"):
        (tmp_path / file).write_text("0x1000\n")
    ran = written(name, image, tmp_path / "scratch_len", "--force", option, tmp_path)
    assert (ran.status, (tmp_path / "scratch_len").read_text()) == (2, "0x1000\n")


@each_command
def test_nothing_is_replaced_unasked(name, image, tmp_path):
    output = tmp_path / "out.svg"
    output.write_bytes(b"mine")
    ran = written(name, image, output)
    assert (ran.status, output.read_bytes()) == (2, b"mine")
    assert "--force replaces it" in ran.stderr
    assert written(name, image, output, "--force").status in (0, 1)
    assert output.read_bytes() != b"mine"
    assert sorted(tmp_path.iterdir()) == [image.parent, output]


@pytest.mark.parametrize("name", WITHOUT_IMAGE)
def test_nothing_is_replaced_by_commands_without_an_image(name, tmp_path):
    output = tmp_path / "out"
    output.write_bytes(b"mine")
    assert run(name, *WITHOUT_IMAGE[name], "--output", output).status == 2
    assert output.read_bytes() == b"mine"
    assert run(name, *WITHOUT_IMAGE[name], "--output", output, "--force").status == 0
    assert output.read_bytes() != b"mine"


@each_command
@pytest.mark.parametrize(
    ("where", "why"),
    [
        (".", "it is a directory"),
        ("", "names no file"),
        ("none/", "names no file"),
        ("none/out.svg", "there is no directory"),
        ("out.svg/out.svg", "Not a directory"),
        ("x" * 300 + ".svg", "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    name, where, why, image, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.svg").write_bytes(b"mine")
    ran = written(name, image, where, "--force")
    assert (ran.status, ran.stdout) == (2, "")
    assert why in ran.stderr or (name == "map" and "names no kind of picture" in ran.stderr)
    assert "took the root FDT" not in ran.stderr
    assert "hint: " in ran.stderr


@pytest.mark.parametrize("name", ["inspect", "extract", "report", "slim"])
@pytest.mark.parametrize("how", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "pipe"])
def test_streams_take_the_bytes(name, how, image, tmp_path):
    extra = [str(image) if each == "IMAGE" else each for each in WRITING[name]]
    command = [sys.executable, "-m", "khodump", name, str(image), *extra]
    if how == "pipe":
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            subprocess.run([*command, "-o", tmp_path / "pipe"], capture_output=True, check=False)
            streamed = reader.communicate()[0]
    else:
        streamed = subprocess.run([*command, "-o", how], capture_output=True, check=False).stdout
    whole = tmp_path / "whole"
    subprocess.run([*command, "-o", whole], capture_output=True, check=False)
    assert streamed == whole.read_bytes() != b""


def test_memory_devices_are_refused(image, monkeypatch):
    """Held with /dev/null in the place of /dev/mem, which may not be there, or may be."""
    monkeypatch.setattr("khodump.output.files._MEMORY_DEVICES", (Path(os.devnull).stat().st_rdev,))
    ran = written("inspect", image, os.devnull, "--force")
    assert (ran.status, "this machine's memory" in ran.stderr) == (2, True)


def test_stdout_that_is_the_image_is_refused(image):
    before = image.read_bytes()
    with image.open("ab") as stdout:
        ran = subprocess.run(
            [sys.executable, "-m", "khodump", "inspect", image],
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ran.returncode, image.read_bytes()) == (2, before)
    assert b"which this command reads" in ran.stderr


def test_rows_are_as_readable_as_other_files_and_memory_is_not(image, tmp_path):
    before = os.umask(0o027)
    try:
        written("inspect", image, tmp_path / "rows")
        written("extract", image, tmp_path / "bytes")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("rows", "bytes")] == [0o640, 0o600]


def test_a_full_disk_leaves_nothing(image, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("khodump.output.files.os.fsync", full)
    monkeypatch.setattr("khodump.cli.command._silence_stdout", lambda: None)
    ran = written("inspect", image, tmp_path / "rows")
    assert (ran.status, list(tmp_path.iterdir())) == (2, [image.parent])
    assert "No space left on device" in ran.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU]
)
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_whole_new_one(number, image, tmp_path):
    """Moments from the start of Python on to after the end of the run."""
    output = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "khodump",
        "inspect",
        str(image),
        "-f",
        "json",
        "-o",
        str(output),
        "--force",
    ]
    began = time.monotonic()
    subprocess.run(command, capture_output=True, check=True)
    took, whole = time.monotonic() - began, output.read_bytes()
    rng = random.Random(number)  # noqa: S311 - moments, no secrets
    for _ in range(8):
        output.write_bytes(b"old")
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            time.sleep(rng.random() * took * 1.1)
            process.send_signal(number)
            process.communicate(timeout=60)
        assert output.read_bytes() in (b"old", whole)
        assert sorted(tmp_path.iterdir()) == [image.parent, output]
