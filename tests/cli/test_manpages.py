"""man/ is what the commands say: `UPDATE_DOCS=1 pytest tests/cli/test_manpages.py` writes it anew."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import pytest

from khodump.checking.rules import RULES
from khodump.cli.command import Status
from khodump.cli.manpages import main, man_pages
from tests.commands import COMMANDS, GROUP
from tests.transcript import ROOT, run

HOME = ROOT / "man"
PAGES = man_pages()


def plain(page: str) -> str:
    """Without what is there for troff."""
    for escape, char in {r"\-": "-", r"\(aq": "'", r"\fB": "", r"\fR": "", r"\e": "\\", r"\&": ""}.items():
        page = page.replace(escape, char)
    return page


def test_the_pages_are_kept():
    if os.environ.get("UPDATE_DOCS"):
        shutil.rmtree(HOME, ignore_errors=True)
        main(str(HOME))
    assert {path.name: path.read_text(encoding="ascii") for path in HOME.iterdir()} == PAGES


def test_every_command_has_a_page_and_is_in_the_first():
    assert PAGES.keys() == {"khodump.1", *(f"khodump-{name}.1" for name in COMMANDS)}
    for name in COMMANDS:
        assert f"khodump-{name}(1)" in plain(PAGES["khodump.1"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_example_is_in_help_and_on_the_page(name):
    page, helped = plain(PAGES[f"khodump-{name}.1"]), run(name, "--help").stdout
    for param in COMMANDS[name].params:
        for option in param.opts if param.param_type_name == "option" else ():
            assert option in page, option
            assert option in helped, option
    assert "-h, --help" in page
    for example in COMMANDS[name].examples:
        assert f"    khodump {example.line}\n" in page


def test_every_rule_is_on_its_page_in_the_list_and_in_the_docs():
    page, docs = plain(PAGES["khodump-check.1"]), (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    listed = run("check", "--list").stdout
    for rule in RULES:
        assert f".TP\n{rule.name} ({rule.severity})\n" in page
        assert rule.name in listed
        assert f"\n## {rule.name}\n" in docs


def test_every_status_is_on_every_page_and_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for status in Status:
        assert f"| {status.value} | {status.meaning} |" in readme
        for page in PAGES.values():
            assert f".TP\n{status.value}\n{status.meaning}\n" in plain(page)


def test_pages_are_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["shared-data"]["man"] == "share/man/man1"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_troff_has_nothing_to_complain_about():
    files = sorted(HOME.iterdir())
    ended = subprocess.run(["groff", "-man", "-ww", "-z", *files], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", HOME / "khodump.1"], capture_output=True, text=True, check=True
    )
    for task in GROUP.tasks():
        assert task in re.sub(".\b", "", shown.stdout)  # bold is struck twice
