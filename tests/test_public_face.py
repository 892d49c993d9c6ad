"""What `import khodump` promises."""

from __future__ import annotations

import re
from pathlib import Path

import khodump
from khodump import errors
from tests.captures import SAMPLES

PROMISE = Path(__file__).parent.parent / "docs/python.md"
SOUND = SAMPLES / "captures/luo-memfd/serialized.elf"


def test_the_package_shows_what_it_promises_and_nothing_else():
    assert dir(khodump) == sorted(khodump.__all__)
    assert all(getattr(khodump, name) is not None for name in khodump.__all__)


def test_every_error_that_khodump_raises_is_exported():
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert raised <= set(khodump.__all__)


def test_the_documentation_promises_the_same_names():
    paragraph = PROMISE.read_text().partition("Promised are the names")[2].partition("\n\n")[0]
    names = set(re.findall(r"`(\w+)`", paragraph))
    assert names == set(khodump.__all__) - {"__version__"}


def test_check_says_what_the_rules_found():
    with khodump.open(SOUND) as handover:
        sound, older = khodump.check(handover), khodump.check(handover, next="7.1")
    assert not any(finding.severity is khodump.Severity.ERROR for finding in sound.findings)
    assert "would be refused" in older.verdict


def test_a_handover_is_one_line_and_equal_to_itself_alone():
    with khodump.open(SOUND) as handover, khodump.open(SOUND) as other:
        assert str(handover).startswith("<Handover kho-v4 at 0x4022c000 in ")
        assert handover != other
