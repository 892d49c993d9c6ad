"""What an image lacks is never held against the kernel that wrote the handover, and never passed over in silence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from khodump.api import open_suspect
from khodump.checking.checkup import examine
from khodump.checking.rule import Effect
from khodump.errors import KhodumpError
from khodump.handover import Handover
from khodump.kernel import WhyNot
from tests.captures import CAPTURES, HISTORIC
from tests.kernel.moments import MOMENTS
from tests.lacking import lacking
from tests.transcript import run

EVERY = CAPTURES | HISTORIC
#: What stands between a command and its options; each answers with rows.
COMMANDS = {
    "inspect": [],
    "owners": [],
    "sessions": [],
    "subtrees": [],
    "tree": [],
    "map": [],
    "lookup": ["0x40000000"],
}
#: Variants that each command is tried on.
MOST = 8
#: Variants of each moment, which are large: all of them take minutes. KHODUMP_EVERY_VARIANT=1 tries all.
MOST_OF_A_MOMENT = None if os.environ.get("KHODUMP_EVERY_VARIANT") else 12


def worst(path) -> Effect | None:
    """The worst that is foretold of the handover in this image; None where none is found in it."""
    try:
        with open_suspect(path) as suspect:
            outcomes = [diagnosis.outcome.effect for diagnosis in examine(suspect).diagnoses]
    except KhodumpError:
        return None
    return max(outcomes, default=Effect.NONE)


def accusations(whole: Path, image: Path, most: int | None) -> list[str]:
    """What the image may lack so that a worse is foretold than of the whole one; `image` is written for each."""
    allowed = max(worst(whole) or Effect.NONE, Effect.UNKNOWN)
    found: list[str] = []
    for what, make in lacking(whole.read_bytes(), most):
        image.write_bytes(make())
        foretold = worst(image)
        if foretold is not None and foretold > allowed:
            found.append(f"{what}: {foretold.name}")
    return found


@pytest.mark.parametrize("name", EVERY)
def test_what_an_image_lacks_accuses_nobody(name, tmp_path):
    """Each segment dropped in turn, all from each on, and cut at 20 places."""
    assert accusations(EVERY[name].path, tmp_path / "core", None) == []


@pytest.mark.parametrize("name", MOMENTS)
def test_what_an_image_of_a_running_kernel_lacks_accuses_nobody(name, moments, tmp_path):
    assert accusations(moments[name].image, tmp_path / "core", MOST_OF_A_MOMENT) == []


def test_scratch_regions_of_a_running_kernel_are_not_lost_in_silence(moments, tmp_path):
    """A note says why they are not known, wherever its variables still lead to a root FDT."""
    whole, image = moments["outgoing"].image, tmp_path / "core"
    lost = 0
    for what, make in lacking(whole.read_bytes(), 24):
        image.write_bytes(make())
        try:
            with open_suspect(image) as suspect:
                if isinstance(suspect, Handover) and suspect.scratch is None:
                    running = suspect.running
                    told = running is not None and not isinstance(running.places, WhyNot)
                    assert told == any(
                        "scratch regions are not known" in str(note) for note in suspect.notes
                    ), what
                    lost += told
        except KhodumpError:
            continue
    assert lost


def answer(command, image):
    """The status of a command, and its rows."""
    options = COMMANDS[command]
    ran = run(command, image, *options, "--format", "json", "-q")
    told = json.loads(ran.stdout) if ran.stdout else {}
    rows = {name: value for name, value in told.items() if isinstance(value, list) and name != "findings"}
    return ran.status, {name: [row for row in value if not is_of_image(row)] for name, value in rows.items()}


def is_of_image(row):
    """Whether a row is about what the image holds, or how the map is read, which says itself that it is a guess."""
    return row.get("category") in ("image", "missing") or row.get("what") == "preserved memory"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["luo-memfd serialized", "kho-test serialized", "successor", "v1a"])
def test_no_command_is_silent_about_what_lacks(name, command, tmp_path):
    whole = EVERY[name].path
    _, rows = answer(command, whole)
    for what, make in lacking(whole.read_bytes(), MOST):
        image = tmp_path / "core"
        image.write_bytes(make())
        status, fewer = answer(command, image)
        assert status or fewer == rows, what
