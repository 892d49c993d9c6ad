"""Any dump of any format, cut anywhere or without any of its pages: never a row more, and never a word less."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.memories.lime import AVML_MAGIC, MAGIC
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.cli.test_every_format import DUMPS, PAGE, listed, text_of
from tests.transcript import Run

BLOCKS = ((0x4000, 0), (0x40_0000, 9), *((0x60_0000 + at * PAGE, 0) for at in range(9)), (0x1_0000_0000, 4))
#: A raw file does not tell how many pages it should have; those that are not in it may never have been.
UNTOLD = ("raw", "raw parts")
#: Nor does a chain of ranges that ends where one does.
RANGE_HEADERS = (MAGIC, AVML_MAGIC)
LACKING = (
    "cut",
    "incomplete",
    "never finished",
    "ends inside",
    "no end mark",
    "damaged",
    "not in the dump",
    "are not read",
    "no handover",
)


def built_again() -> BuiltHandover:
    """A handover with its map in one place, and preserved memory below and above."""
    built = build_handover(Description(preservations=BLOCKS))
    built.image.write(0x4000, b"below")
    built.image.write(0x60_0000, b"above".ljust(9 * PAGE, b"."))
    return built


@cache
def whole(name: str) -> tuple[list[bytes], list[str]]:
    """The files of a dump, and the arguments that name them, with the folder they were in as {home}."""
    with TemporaryDirectory() as home:
        arguments = [str(each) for each in DUMPS[name](built_again(), Path(home))]
        paths = [path_of(each) for each in arguments if each != "--ranges"]
        return [path.read_bytes() for path in paths], [each.replace(home, "{home}") for each in arguments]


def path_of(argument: str) -> Path:
    return Path(argument.removeprefix("file://").partition("@")[0])


def written(name: str, home: Path, change: tuple[int, int] | None) -> list[str]:
    """The arguments that name this dump in `home`, where file `change[0]` has its first `change[1]` bytes alone."""
    files, arguments = whole(name)
    placed = [each.replace("{home}", str(home)) for each in arguments]
    paths = [path_of(each) for each in placed if each != "--ranges"]
    for number, (path, data) in enumerate(zip(paths, files, strict=True)):
        path.write_bytes(data[: change[1]] if change and change[0] == number else data)
    return placed


def rows(ran: Run) -> set[str]:
    return set(ran.stdout.splitlines()[1:])


ALL = set(text_of(built_again().blocks).splitlines()[1:])


@given(st.sampled_from(sorted(DUMPS)), st.data())
@settings(max_examples=250)
def test_a_dump_that_is_cut_lists_less_and_says_so(name, data):
    files, arguments = whole(name)
    images = len(files) - ("--ranges" in arguments)
    number = data.draw(st.integers(0, images - 1), label="file")
    size = data.draw(st.integers(1, len(files[number]) - 1), label="bytes that are left")
    with TemporaryDirectory() as home:
        ran = listed(*written(name, Path(home), (number, size)))
    assert rows(ran) <= ALL
    assert ran.status in (0, 2, 3, 4)
    assert (ran.status == 0) <= (rows(ran) == ALL)
    untold = (name in UNTOLD and size % PAGE == 0) or files[number][size:].startswith(RANGE_HEADERS)
    assert untold or ran.status == 2 or any(word in ran.stderr for word in LACKING)
    assert untold or "may not have used KHO" not in ran.stderr


@given(st.sampled_from(sorted(DUMPS.keys() - {"raw"})), st.data())  # zeros, there
@settings(max_examples=150)
def test_a_dump_that_lacks_some_pages_lists_less_and_says_so(name, data):
    built = built_again()
    pages = [at for low, high in built.image.ranges for at in range(low, high, PAGE)]
    first = data.draw(st.integers(0, len(pages) - 1), label="first page")
    count = data.draw(st.integers(1, len(pages) - 1), label="pages")
    for at in pages[first : first + count]:
        built.image.drop(at)
    if not built.image.ranges:
        return
    with TemporaryDirectory() as home:
        ran = listed(*DUMPS[name](built, Path(home)))
    assert rows(ran) <= ALL
    assert ran.status in (0, 3, 4)
    assert (ran.status == 0) <= (rows(ran) == ALL)
    assert ran.status != 3 or "no root FDT" in ran.stderr
    assert ran.status != 4 or "unreadable" in ran.stderr or "error:" in ran.stderr
