"""Commands as values: filled in, quoted for a shell, and given in lines that a shell takes for one."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.advice import PLACEHOLDERS, Blank, Invocation, confirm, see
from khodump.output.fit import wrapped_command

BY_ADDRESS = confirm(
    see("lookup", Blank.PHYS, shows="shows the page"), see("subtrees", shows="shows the rest"), remark="More."
)
NAMED = Invocation(("a", "b"), (("--as", "kho-v4"),), (("--fdt", "0x1000"),))


def line(invocation: Invocation, name: str, *words: str | Blank) -> str:
    return invocation.line(see(name, *words, shows="").command)


def test_placeholders_stand_where_there_is_no_image():
    assert (
        str(BY_ADDRESS)
        == "khodump lookup IMAGE PHYS shows the page; or khodump subtrees IMAGE shows the rest. More."
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("lookup", "0x2000"), "khodump lookup a 0x2000 --image b --as kho-v4 --fdt 0x1000"),
        (("subtrees",), "khodump subtrees a b --as kho-v4 --fdt 0x1000"),
        (("scan",), "khodump scan a b --as kho-v4"),
        (("key", "0x7"), "khodump key 0x7"),
        (("owners", "--as", "kho-v1b"), "khodump owners a b --as kho-v1b --fdt 0x1000"),
    ],
)
def test_each_command_takes_what_names_its_memory(words, wanted):
    assert line(NAMED, *words) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("lookup", "0x2000"), "khodump lookup 0x2000 --live --as kho-v4 --in"),
        (("sessions",), "khodump sessions --live --as kho-v4 --in"),
        (("scan",), "khodump scan --live --as kho-v4"),
        (("key", "0x7"), "khodump key 0x7"),
    ],
)
def test_this_machine_is_named_by_an_option(words, wanted):
    options = Invocation((), (("--live",), ("--as", "kho-v4")), (("--in",),))
    assert line(options, *words) == wanted


def test_a_name_is_no_option():
    assert line(Invocation(("-x",)), "subtrees") == "khodump subtrees ./-x"


def test_the_first_way_is_given_of_which_all_is_known():
    assert BY_ADDRESS.chosen({Blank.PHYS: "0x2000"}, NAMED, is_broken=False) is not None
    look = BY_ADDRESS.chosen({}, NAMED, is_broken=False)
    assert look is not None
    assert look.command.name == "subtrees"
    assert look.shows == "shows the rest. More."
    assert BY_ADDRESS.chosen({}, NAMED, is_broken=True) is None


def test_a_program_without_a_command_gives_another():
    drgn = Invocation(program="%kho", commands=("lookup",))
    look = BY_ADDRESS.chosen({Blank.PHYS: "0x2000"}, drgn, is_broken=False)
    assert look is not None
    assert drgn.line(look.command) == "%kho lookup 0x2000"
    assert BY_ADDRESS.chosen({}, drgn, is_broken=False) is None


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_a_shell_takes_the_words_for_what_they_are(names):
    wanted = ["khodump", "subtrees", *(f"./{name}" if name.startswith("-") else name for name in names)]
    assert shlex.split(line(Invocation(tuple(names)), "subtrees")) == wanted


@given(
    st.lists(st.text(st.characters(blacklist_categories=["Cc", "Zl", "Zp"]), min_size=1), min_size=1),
    st.integers(1, 90),
)
def test_lines_that_were_cut_are_one_command(words, width):
    whole = shlex.join(words)
    lines = wrapped_command(whole, width)
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == words
    assert all(len(each) <= max(width, 8) or len(each.split()) <= 2 or "'" in each for each in lines)


def test_placeholders_are_of_no_image():
    assert line(PLACEHOLDERS, "lookup", Blank.ENTRY) == "khodump lookup IMAGE ENTRY"
