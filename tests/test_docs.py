"""What README and docs show is what happens: `UPDATE_DOCS=1 pytest tests/test_docs.py` writes the outputs anew."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
from collections.abc import Iterator

import pytest

from khodump.abi.kernels import KERNELS
from khodump.advice import told
from khodump.checking.rules import RULES
from khodump.memories.formats import FORMATS as IMAGE_FORMATS
from khodump.opening.searched import Reason
from khodump.trackers import FORMATS as MAP_FORMATS
from tests.commands import COMMANDS, GROUP
from tests.transcript import PROMPT, ROOT, commands, run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
#: Code that prints nothing stands alone.
PYTHON = re.compile(r"```python\n(.*?)```(\n\n```text\n.*?```)?", re.DOTALL)
SHELL = re.compile(r"(?<=```sh\n).*?(?=```)", re.DOTALL)
#: What ends a command in a shell.
ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&", "2>"}


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
        exec(compile(code, "README", "exec", dont_inherit=True), {"__name__": "__main__"})  # noqa: S102 - our own page
    return stdout.getvalue()


def shown(code: str) -> str:
    """A block of Python and what it prints."""
    output = printed(code)
    return f"```python\n{code}```" + (f"\n\n```text\n{output}```" if output else "")


def shell_commands(text: str) -> Iterator[list[str]]:
    """The arguments of every khodump that the sh blocks of a page run."""
    for block in SHELL.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            while "khodump" in words:
                words = words[words.index("khodump") + 1 :]
                yield list(itertools.takewhile(lambda word: word not in ENDS, words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_commands_can_be_parsed(page):
    for words in shell_commands(page.read_text(encoding="utf-8")):
        name, *arguments = words or ["--version"]
        if name.startswith("-"):
            assert name in {option for param in GROUP.params for option in param.opts}, words
        else:
            COMMANDS[name].make_context(name, arguments)  # raises for what it does not know


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_output_is_real(page):
    text = page.read_text(encoding="utf-8")
    now = CONSOLE.sub(lambda block: screen(block[0]), text)
    now = PYTHON.sub(lambda block: shown(block[1]), now)
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


def lacks_section() -> list[str]:
    """The part of docs/formats.md on images that are not whole, from the reasons that a search gives."""
    return [
        "\n## Images that are not whole\n",
        "That a dump is cut short, or says of itself that it is incomplete, is said on stderr by every command, once, and the",
        "status says whether the answer suffers. Where no root FDT is found, khodump says what was not searched, in bytes and",
        "share, with the lowest address, the largest lack first. That the kernel may not have used KHO is said only when all was",
        "searched. Holes of a sparse file count as searched: they read as zeros.\n",
        "| not searched because it is | next |\n| --- | --- |",
        *(f"| {reason.value} | {told(reason.advice)} |" for reason in Reason),
        "\nA raw file does not tell how long it should be, nor a LiME or AVML dump that ends exactly where one of its ranges does.",
    ]


#: What the table does not say.
IMAGE_DOUBTS = """
A file that bears no mark of these is raw. `FILE@BASE` makes any file raw, whatever it begins with.

### What an image leaves open, and how it is taken

- **A device tree at the start** of a file that goes on for a page or more behind the tree's own `totalsize` is the
  beginning of a machine's RAM, as QEMU and some firmware put it there: the file is raw. Otherwise it is a `.dtb`.
- **A header without bytes.** AVML 0.17.0 writes one for a block (16 MiB) that is all zero, compressed or not: zeros.
  A file that ends behind such a header, and has no other, may have been cut short there: the block is truncated. In
  the LiME form it must be longer than 1 MiB, or another be: LiME can have lost all pages of a smaller range.
- **Blocks that are left out.** Every other AVML leaves out blocks that are all zero. Nothing tells them from holes in
  the machine's memory, so they are absent. With `--assume-zero` the gap behind a block of 16 MiB is taken for zeros if
  it is a multiple of 16 MiB long. A hole of the machine that is, too, then reads as zeros; no kernel keeps anything
  there. A gap behind a shorter block ends a range, and stays absent; so do zeros at the start or the end of a range.
- **A LiME range that lost pages.** The header behind it comes too early by some pages (up to 1 MiB is looked at), or
  the file ends so early. What lies behind the loss is shifted, and nothing tells where it is: all of the range counts
  as damaged, and a warning says where its bytes begin. If you know where the loss is, place
  what is left by hand, with `FILE[OFFSET+SIZE]@BASE`.
- **Several images in one argument**, as crash takes them (`A@0x0,B@0x100000`), are refused with a hint: an address
  without 0x is hex to crash, and decimal here."""


def formats_page() -> str:
    """docs/formats.md, from what `khodump formats` and the table of trackers say."""
    images = [
        f"| {known.name} | {'yes' if known.is_read else 'no'} | {known.extra or ''} | {known.hint.format(path='FILE')} |"
        for known in IMAGE_FORMATS
    ]
    maps = [f"| `{known.version}` | `{known.prop}` | {known.kernels} |" for known in MAP_FORMATS]
    kernels = [
        f"| {kernel.release} | `{kernel.root}` | {f'`{kernel.luo}`' if kernel.luo else ''} | {', '.join(f'`{each}`' for each in kernel.files)} |"
        for kernel in KERNELS
    ]
    return (
        "\n".join(
            [
                "# What khodump reads\n",
                "This page is made from khodump's own tables (`UPDATE_DOCS=1 pytest tests/test_docs.py`). `khodump formats` says the",
                "same, and which extras are installed.\n",
                "## Images\n",
                "Recognised by their content, whatever the file is called. An extra is a part of khodump that installs further",
                "packages: `pip install 'khodump[all]'`.\n",
                "| format | read | extra | otherwise |\n| --- | --- | --- | --- |",
                *images,
                IMAGE_DOUBTS,
                *lacks_section(),
                "\n## Maps of preserved memory\n",
                "The compatible string of the root FDT and the property that is there decide together. `--as` takes the first column.\n",
                "| version | property | kernels |\n| --- | --- | --- |",
                *maps,
                "\n## What kernels take\n",
                "A kernel boots cold on any root but its own. `khodump check --next` takes the first two columns.\n",
                "| kernel | root | LUO | files |\n| --- | --- | --- | --- |",
                *kernels,
            ]
        )
        + "\n"
    )


def test_the_page_of_formats_is_made_from_the_tables():
    page = ROOT / "docs" / "formats.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(formats_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == formats_page()


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
    for name in COMMANDS:
        assert f"khodump {name} " in readme, name
