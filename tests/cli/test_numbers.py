"""Values that are no numbers, in every option of every command that takes one: a usage error that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.handover import Description, build_handover
from tests.commands import COMMANDS
from tests.transcript import run

#: How options show that they take numbers, and what such a number stands in.
_SHAPES = {
    "N": "{}",
    "SIZE": "{}",
    "ADDR": "{}",
    "ADDR...": "{}",
    "BYTE": "{}",
    "KEY": "{}",
    "TOKEN": "{}",
    "START-END": "0-{}",
    "ADDR+SIZE": "0+{}",
    "SESSION/TOKEN": "vm/{}",
    "FILE|0xPHYS": "0x{}",
}
_NO_NUMBERS = {
    "FILE",
    "IMAGE",
    "IMAGE...",
    "IMAGE [NEW]",
    "OLD",
    "NEW",
    "VERSION",
    "KERNEL",
    "NAME",
    "NODE",
    "RULE",
}
_OTHERS = {
    "diff": ("IMAGE",),
    "extract": ("--blob", "x"),
    "lookup": ("0",),
    "report": ("--output", "out"),
    "slim": ("--output", "out"),
}
_BAD = [
    "9223372036854775808" * 2,
    "-1",
    "9" * 5000,
    "0x" + "f" * 5000,
    "",
    "garbage",
    "1.5",
    "\N{ARABIC-INDIC DIGIT ONE}",
]
TAKING = [
    (name, param.opts[0], getattr(param, "metavar", None) or "")
    for name, command in COMMANDS.items()
    for param in command.params
    if (getattr(param, "metavar", None) or "") in _SHAPES
]


def test_every_kind_of_value_is_known():
    metavars = {getattr(param, "metavar", None) for each in COMMANDS.values() for param in each.params}
    assert metavars - {None} == _SHAPES.keys() | _NO_NUMBERS


def test_no_number_is_left_to_the_parser_of_options():
    """Which takes neither 0x10 nor 4K, and has other bounds."""
    kinds = {param.type.name for each in COMMANDS.values() for param in each.params}
    assert not kinds & {"integer", "integer range", "float", "float range"}


@pytest.mark.parametrize("bad", _BAD, ids=lambda text: text[:24] or "empty")
@pytest.mark.parametrize(("name", "option", "metavar"), TAKING)
def test_what_is_no_number_is_a_usage_error(name, option, metavar, bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = build_handover(Description(subtrees={"x": b"blob"})).image.to_elf(Path("image"))
    value = _SHAPES[metavar].format(bad)
    others = [str(image) if each == "IMAGE" else each for each in _OTHERS.get(name, ())]
    if option in ("addresses", "key"):
        words = [name, *([image] if name == "lookup" else []), "--", value]
    elif name == "key":
        words = [name, *(["0"] if option == "--page-size" else []), f"{option}={value}"]
        words += [
            f"{other}=0"
            for other in ("--phys", "--order")
            if option in ("--phys", "--order") and other != option
        ]
    else:
        words = [name, image, *others, f"{option}={value}"]
        words = [
            word
            for word in words
            if option not in ("--memfd", "--range", "--vmalloc") or word not in ("--blob", "x")
        ]
    ran = run(*words)
    assert ran.status in (2, 3) if metavar == "FILE|0xPHYS" else ran.status == 2
    assert "Traceback" not in ran.stderr
    lines = ran.stderr.splitlines()
    assert len(lines) <= 2
    assert max(map(len, lines)) < 300
    said = {"addresses": "ADDR", "key": "KEY"}.get(option, option)
    assert said in ran.stderr


@pytest.mark.parametrize("content", [b"9" * 5000, b"0x1000 " + b"9" * 5000, b"-1", b"\0" * 4096, b"\xff\xfe"])
def test_a_file_of_scratch_regions_without_numbers(content, tmp_path):
    image = build_handover(Description()).image.to_elf(tmp_path / "image")
    (tmp_path / "scratch_phys").write_bytes(content)
    (tmp_path / "scratch_len").write_bytes(content)
    ran = run("inspect", image, "--scratch", tmp_path)
    assert ran.status == 2
    assert "is no list of addresses" in ran.stderr
    assert max(map(len, ran.stderr.splitlines())) < 400


def test_a_file_of_scratch_regions_without_end():
    ran = run("inspect", "samples/synthetic/mem.img", "--scratch", "/dev/zero", "--scratch", "/dev/zero")
    assert ran.status == 2
    assert "more than 1 MiB" in ran.stderr


def test_orders_may_be_written_as_other_numbers():
    decimal, hexadecimal = (
        run("inspect", "samples/synthetic/mem.img", "--order", text) for text in ("9", "0x9")
    )
    assert decimal == hexadecimal
    assert decimal.status == 0
