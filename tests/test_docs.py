"""What README and docs show is what happens: `UPDATE_DOCS=1 pytest tests/test_docs.py` writes the outputs anew."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex

import pytest
import typer.main

from khodump.analysis.rules import RULES
from khodump.cli import app
from tests.transcript import PROMPT, ROOT, commands, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def screen(block: str) -> str:
    """A console block as it looks now; prompts of other programs, and a blank line before a prompt, stay."""
    prompts = re.findall(r"(?:^\n)?^\$ .*\n", block, re.MULTILINE)
    return "".join(
        prompt + (run(*shlex.split(prompt.strip().removeprefix(PROMPT))).screen if PROMPT in prompt else "")
        for prompt in prompts
    )


def printed(code: str) -> str:
    for module in re.findall(r"^import (drgn|duckdb)$", code, re.MULTILINE):
        pytest.importorskip(module)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        exec(compile(code, "README", "exec"), {})  # noqa: S102 - our own page
    return stdout.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_output_is_real(page):
    text = page.read_text(encoding="utf-8")
    now = CONSOLE.sub(lambda block: screen(block[0]), text)
    now = PYTHON.sub(lambda block: f"```python\n{block[1]}```\n\n```text\n{printed(block[1])}```", now)
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(now, encoding="utf-8")
    assert now == text


def checks_page() -> str:
    """docs/checks.md, from the table of rules."""
    lines = [
        "# What `khodump check` looks for\n",
        "Every rule, in the order in which a kernel would meet what it looks at. This page is made from the rules themselves",
        "(`UPDATE_DOCS=1 pytest tests/test_docs.py`); `khodump check --explain RULE` prints the same.\n",
        "| rule | severity | finds |\n| --- | --- | --- |",
        *(f"| [`{rule.name}`](#{rule.name}) | {rule.severity} | {rule.title} |" for rule in RULES),
    ]
    for rule in RULES:
        lines += [f"\n## {rule.name}\n", f"{rule.title[0].upper()}{rule.title[1:]} ({rule.severity}).\n"]
        lines += [
            f"- For the next kernel: {rule.means}",
            f"- How to confirm: {rule.confirm}",
            f"- Source: {rule.source}",
        ]
        lines += (
            ["- It prints:\n\n  ```text", *(f"  {line}" for line in rule.log), "  ```"] if rule.log else []
        )
    return "\n".join(lines) + "\n"


def test_the_page_of_checks_is_made_from_the_rules():
    page = ROOT / "docs" / "checks.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(checks_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == checks_page()


def test_the_demo_shown_is_the_demo_made():
    recipe = re.findall(r"@\$\(BIN\)/khodump (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    blocks = CONSOLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert recipe
    assert list(commands(blocks[1])) == recipe


def test_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]  # a group
        assert f"khodump {name} " in readme, name
