"""Man pages, from the same declarations as `--help`: `python -m khodump.cli.manpages DIRECTORY` writes them.

`man/` holds them as they are installed; the tests hold it to what is written here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from typer import Context
from typer.main import get_command

from khodump import __version__
from khodump.cli.application import app
from khodump.cli.command import Status
from khodump.cli.help import Command, Group, one_line, param_record
from khodump.cli.pager import ENVIRONMENT as PAGERS

if TYPE_CHECKING:
    from khodump.checking.rule import Rule

_ENVIRONMENT: Final = {
    **PAGERS,
    "NO_COLOR": "If set to anything, no colours unless --color asks for them.",
}
_ABOUT: Final = """\
Linux can replace its own kernel under running virtual machines: kexec into the next kernel, with memory handed over by
Kexec HandOver (KHO). khodump reads a memory image of such a machine: it finds the root FDT, follows the map of preserved
memory, decodes what the users of KHO left, and says what is wrong with it.

Data goes to standard output; notes, warnings and a summary go to standard error. Numbers may be decimal or 0x..., and may
carry K, M, G or T."""
#: What troff would take for its own.
_SPECIAL: Final = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}


def man_pages() -> dict[str, str]:
    """The text of every page, by file name."""
    group = cast("Group", get_command(app))
    context = Context(group, info_name="khodump", **group.context_settings)
    pages = {"khodump.1": _main_page(group, context)}
    for name, command in group.commands.items():
        pages[f"khodump-{name}.1"] = _page(
            cast("Command", command), Context(command, context, info_name=name)
        )
    return pages


def _main_page(group: Group, context: Context) -> str:
    lines = [*_begin("khodump", group.help or ""), *_synopsis(group, context), ".SH DESCRIPTION"]
    lines += _paragraphs(_ABOUT)
    lines += [".SH COMMANDS"]
    for task, commands in group.tasks().items():
        lines += [f".SS {_escaped(task)}"]
        for command in commands:
            lines += [
                ".TP",
                rf"\fBkhodump\-{_escaped(command.name or '')}\fR(1)",
                _escaped(one_line(command)),
            ]
    records = (param_record(param, context) for param in group.get_params(context))
    lines += _options("OPTIONS", [record for record in records if record])
    pages = [rf"\fBkhodump\-{_escaped(name)}\fR(1)" for name in group.commands]
    return "\n".join([*lines, *_end(pages)]) + "\n"


def _page(command: Command, context: Context) -> str:
    name = command.name or ""
    lines = [*_begin(f"khodump-{name}", one_line(command)), *_synopsis(command, context)]
    lines += [".SH DESCRIPTION", *_paragraphs(cleandoc(command.help or ""))]
    for heading, records in command.sections(context).items():
        lines += _options(heading, records)
    if name == "check":
        lines += _rules()
    if command.examples:
        lines += [".SH EXAMPLES"]
        for example in command.examples:
            lines += [
                ".PP",
                _escaped(f"{example.shows}:"),
                ".PP",
                ".EX",
                f"    khodump {_escaped(example.line)}",
                ".EE",
            ]
    return "\n".join([*lines, *_end([r"\fBkhodump\fR(1)"])]) + "\n"


def _begin(name: str, what: str) -> list[str]:
    return [
        f'.TH {_escaped(name.upper())} 1 "" "khodump {__version__}" "khodump manual"',
        ".nh",
        ".SH NAME",
        rf"{_escaped(name)} \- {_escaped(what[:1].lower() + what[1:].rstrip('.'))}",
    ]


def _synopsis(command: Command | Group, context: Context) -> list[str]:
    pieces = " ".join(command.collect_usage_pieces(context))
    return [".SH SYNOPSIS", rf"\fB{_escaped(context.command_path)}\fR {_escaped(pieces)}"]


def _options(heading: str, records: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {_escaped(heading.upper())}"
    for name, text in records:
        yield from (".TP", rf"\fB{_escaped(name)}\fR", _escaped(text))


def _rules() -> Iterator[str]:
    from khodump.checking.rules import RULES

    rules: Iterable[Rule] = RULES
    yield from (".SH RULES", "What is looked for, in the order in which a kernel would meet it.")
    for rule in rules:
        yield from (
            ".TP",
            rf"\fB{_escaped(rule.name)}\fR ({rule.severity})",
            _escaped(f"{rule.title[0].upper()}{rule.title[1:]}."),
        )


def _end(see_also: Iterable[str]) -> list[str]:
    lines = [".SH EXIT STATUS"]
    for status in Status:
        lines += [".TP", rf"\fB{status.value}\fR", _escaped(status.meaning)]
    lines += [".SH ENVIRONMENT"]
    for name, text in _ENVIRONMENT.items():
        lines += [".TP", rf"\fB{_escaped(name)}\fR", _escaped(text)]
    return [*lines, ".SH SEE ALSO", ", ".join([*see_also, r"\fBcrash\fR(8)", r"\fBmakedumpfile\fR(8)"])]


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield from map(_escaped, paragraph.splitlines())


def _escaped(text: str) -> str:
    """`text` so that troff prints it as it is."""
    safe = "".join(
        _SPECIAL.get(char) or (char if char.isascii() else rf"\[u{ord(char):04X}]") for char in text
    )
    return rf"\&{safe}" if safe.startswith(".") else safe


def main(directory: str) -> None:
    """Write all pages into a directory."""
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    for name, text in man_pages().items():
        (home / name).write_text(text, encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
