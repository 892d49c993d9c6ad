"""Every command, run in this process on whole images that were damaged, and what must hold of each run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import khodump
from khodump.errors import KhodumpError
from khodump.memories import open_memory
from khodump.memory import Presence
from tests.fuzz import seeds
from tests.fuzz.mutators import PAGE, damaged, execute, programs
from tests.fuzz.targets import Target, walked_plainly
from tests.transcript import Run, run

STATUSES: Final = frozenset({0, 1, 2, 3, 4, 130})
FORMATS: Final = ("table", "json", "jsonl", "csv", "tsv")
#: What must never reach a terminal: controls but for line ends (and tabs in tsv), bidi overrides, line separators.
_FORBIDDEN: Final = (
    {chr(code) for code in (*range(32), *range(0x7F, 0xA0))} - {"\n"}
    | {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0x200E, 0x200F)}
)  # fmt: skip
_ROWS: Final = ("inspect", "IMAGE", "--pages", "--format", "tsv")


class Image(NamedTuple):
    """A file to damage: its bytes, and the (address, offset) of the pages that stand in it as they are."""

    name: str
    data: bytes
    pages: tuple[tuple[int, int], ...]
    fdt_phys: int


@cache
def images() -> tuple[Image, ...]:
    """All seeds."""
    found = []
    with TemporaryDirectory() as directory:
        for number, (name, data) in enumerate(seeds.files()):
            path = Path(directory) / str(number)
            path.write_bytes(data)
            found.append(_image(name, data, path))
    return tuple(found)


def _image(name: str, data: bytes, path: Path) -> Image:
    with open_memory([path]) as memory:
        spans = [span for span in memory.ranges if span.presence is Presence.PRESENT]
        places = ((at, memory.locate(at)) for span in spans for at in range(span.start, span.end, PAGE))
        pages = tuple((at, place[1]) for at, place in places if place and place[1] + PAGE <= len(data))
    try:
        with khodump.open(path) as handover:
            return Image(name, data, pages, handover.fdt.phys or 0)
    except KhodumpError:
        return Image(name, data, pages, 0)


def recipe(rng: Random, _: bytes, __: Sequence[bytes]) -> bytes:
    """Which image to damage, and how: a number, and a program or the seed of another way."""
    head = bytes([rng.randrange(256), rng.randrange(256)])
    return head + (programs(rng) if head[1] % 3 else rng.randbytes(8))


def cook(dish: bytes) -> tuple[Image, bytes]:
    """The seed that a recipe is about, and the file that it makes."""
    chosen = images()[dish[0] % len(images())]
    if dish[1] % 3 and chosen.pages:
        data = bytearray(chosen.data)
        places = dict(chosen.pages)
        for phys in execute(dish[2:], data, chosen.pages):
            data[places[phys] : places[phys] + PAGE] = bytes(PAGE)
        return chosen, bytes(data)
    rng = Random(dish[2:])  # noqa: S311 - repeatable
    return chosen, damaged(rng, chosen.data, [image.data for image in images()[-6:]])


def command_lines(image: Image, rng: Random) -> Iterator[tuple[str, ...]]:
    """Every command that reads an image, with some of its options; IMAGE and OUT stand for files."""
    fdt = rng.choice(((), (), ("--fdt", hex(image.fdt_phys))))
    option = rng.choice(
        ((), (), (), ("--assume-zero",), ("--page-size", "16K"), ("--page-size", "64K"), ("--as", "kho-v4"),
         ("--as", "kho-v3"), ("--as", "kho-v1a"), ("--as", "kho-v1"))
    )  # fmt: skip
    named = rng.choice(
        (("--memfd", "vm/7"), ("--memfd", "vm-beta/0x7"), ("--blob", "LUO"), ("--blob", "kho_test"),
         ("--reserve-mem", "trace"), ("--range", f"{image.fdt_phys:#x}+0x2100"), ("--vmalloc", hex(image.fdt_phys)))
    )  # fmt: skip
    address = rng.choice((image.fdt_phys, rng.getrandbits(33), rng.getrandbits(64)))
    lines: tuple[tuple[str, ...], ...] = (
        _ROWS,
        ("inspect", "IMAGE"),
        ("inspect", "IMAGE", "--owners"),
        ("inspect", "IMAGE", "--sort", "walk", "--pages"),
        ("check", "IMAGE", *rng.choice(((), ("--next", "kho-v3"), ("--next", "6.17")))),
        ("owners", "IMAGE"),
        ("sessions", "IMAGE"),
        ("subtrees", "IMAGE", *rng.choice(((), ("--dts",)))),
        ("lookup", "IMAGE", hex(address), "0x1000"),
        ("tree", "IMAGE", *rng.choice(((), ("--path", hex(address)), ("--level", "0")))),
        ("map", "IMAGE", *rng.choice(((), ("--by", "owner"), ("--scale", "linear"), ("--ascii",)))),
        ("report", "IMAGE", "--output", "OUT"),
        ("slim", "IMAGE", "--output", "OUT", *rng.choice(((), ("--keep-unknown",)))),
        ("extract", "IMAGE", *named, "--output", "OUT", *rng.choice(((), ("--fill",)))),
    )
    for line in lines:
        plain = line is _ROWS or "--dts" in line or line[0] in ("extract", "map", "report")
        format_ = () if plain else ("--format", rng.choice(FORMATS))
        yield (*line, *format_, *fdt, *option)
    yield (
        "diff",
        "ORIGINAL",
        "IMAGE",
        "--format",
        rng.choice(FORMATS),
        *rng.choice(((), ("--owners",), ("--pages",))),
    )
    yield "scan", "IMAGE", "--format", rng.choice(FORMATS), *rng.choice(((), ("--deep",)))


def check(dish: bytes) -> None:
    """Run every command on the image that a recipe makes."""
    image, data = cook(dish.ljust(2, b"\0"))
    rng = Random(dish)  # noqa: S311 - repeatable
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108 - a scratch directory
        directory = Path(name)
        path, out = directory / "image", directory / "out"
        path.write_bytes(data)
        original = directory / "original"
        original.write_bytes(image.data)
        for line in command_lines(image, rng):
            arguments = [
                {"IMAGE": str(path), "ORIGINAL": str(original), "OUT": str(out)}.get(word, word)
                for word in line
            ]
            ran = run(*arguments)
            check_run(line, ran)
            left = {path.name for path in directory.iterdir()}
            written = {"out"} if "OUT" in line and ran.status in (0, 4) else set()
            assert left <= {"image", "original", *written}, (
                f"{line[0]} leaves {sorted(left)} behind, and ends with {ran.status}"
            )
            if line[: len(_ROWS)] == _ROWS:
                _check_listing(path, line, ran)
            out.unlink(missing_ok=True)
        assert path.read_bytes() == data, "the image was written to"


def check_run(line: Sequence[str], ran: Run) -> None:
    """A documented status, output that parses, and nothing in it that acts on a terminal."""
    shown = " ".join(line)
    assert ran.status in STATUSES, f"{shown}: status {ran.status}"
    assert ran.status not in (2, 3) or ran.stderr.startswith("khodump: "), (
        f"{shown}: no word about status {ran.status}"
    )
    format_ = line[line.index("--format") + 1] if "--format" in line else ""
    allowed = {"\t"} if format_ == "tsv" or "--dts" in line else set()
    for text in (ran.stdout, ran.stderr):
        found = (set(text) & _FORBIDDEN) - allowed
        assert not found, f"{shown}: writes {sorted(found)!r}"
        assert not any("\ud800" <= char <= "\udfff" for char in text), f"{shown}: writes a lone surrogate"
    if format_:
        _check_format(shown, format_, ran)


def _check_format(shown: str, format_: str, ran: Run) -> None:
    """The output is what its name says, or there is none because there is no handover."""
    text = ran.stdout
    if not text:
        assert format_ == "jsonl" or ran.status in (2, 3), f"{shown}: no output, and status {ran.status}"
        return
    if format_ == "json":
        json.loads(text)
    elif format_ == "jsonl":
        assert all(isinstance(json.loads(row), dict) for row in text.splitlines())
    elif format_ in ("csv", "tsv"):
        rows = (
            list(csv.reader(io.StringIO(text)))
            if format_ == "csv"
            else [row.split("\t") for row in text.split("\n")[:-1]]
        )
        assert len({len(row) for row in rows}) == 1, f"{shown}: rows of several lengths"
        cells = [cell for row in rows[1:] for cell in row]
        assert format_ == "tsv" or not any(cell.startswith(("=", "+", "-", "@")) for cell in cells), (
            f"{shown}: a formula"
        )


def _check_listing(path: Path, line: Sequence[str], ran: Run) -> None:
    """It lists what the plain walker finds from the same root, and its status tells whether that is all."""
    words = [word for word in line[len(_ROWS) :] if word != "--assume-zero"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    fdt = options.get("--fdt")
    sizes = {"16K": 16384, "64K": 65536}
    try:
        handover = khodump.open(
            path,
            fdt=int(fdt, 16) if fdt else None,
            version=options.get("--as"),
            page_size=sizes.get(options.get("--page-size", "")),
            assume_zero="--assume-zero" in line,
        )
    except KhodumpError:
        assert ran.status in (2, 3)
        return
    with handover:
        expected = walked_plainly(handover.memory, handover.tracker)
    rows = [row.split("\t") for row in ran.stdout.splitlines()[1:]]
    listed = sorted((int(phys, 16), int(order)) for phys, order in rows)  # runs of several orders may overlap
    assert listed == sorted(expected.blocks), "it lists other blocks"
    assert (ran.status == 0) or not expected.sound or ran.status == 4
    assert f"of {len(expected.nodes)} nodes" in ran.stderr, "the summary counts other pages"


TARGET: Final = Target("commands", check, lambda: [b"\0\0"], recipe, 1024)
