from __future__ import annotations

import shutil
import string as letters
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyfdt import pyfdt

from khodump.errors import FdtError, FdtTruncatedError
from khodump.fdt import (
    FDT_HEADER,
    MAGIC,
    Fdt,
    FdtHeader,
    FdtNode,
    check_header,
    parse_fdt,
    read_fdt,
    total_size,
)
from tests.builders.fdt import build_fdt, string, u64
from tests.captures import CAPTURES, SAMPLES

DTC = shutil.which("dtc")
FDTGET = shutil.which("fdtget")
NAMES = st.text(letters.ascii_letters + letters.digits + "-_,.+", min_size=1, max_size=12)

#: Payloads that look like something else than bytes, or like nothing.
TRAPS = [
    b"",
    b"\0",
    b"\0\0",
    b"\0\0\0\0",
    b"a\0",
    b"a\0\0",
    b"a\0b\0",
    b"\0a\0",
    b"abc",
    b"abcd",
    b"abc\0",
    b"\xff",
    b"\x80\x81\x82",
    b"\xff\xfe\xfd\xfc",
    u64(0x123456000),
    u64(0x0041424344454647),  # seven letters and a NUL
    u64(0),
    u64((1 << 64) - 1),
    (0x00303132).to_bytes(4, "little"),
    b"kho-v4\0",
]


UNNAMED = st.just("")


@st.composite
def nodes(draw, depth=3, name=UNNAMED):
    """A tree whose nodes do not name anything twice."""
    names = draw(st.lists(NAMES, max_size=5, unique=True))
    split = draw(st.integers(0, len(names)))
    values = st.one_of(st.binary(max_size=24), st.sampled_from(TRAPS))
    properties = {key: draw(values) for key in names[:split]}
    below = names[split:] if depth else []
    return FdtNode(draw(name), properties, tuple(draw(nodes(depth - 1, st.just(child))) for child in below))


SMALL = FdtNode(
    "",
    {"compatible": string("kho-v4"), "preserved-memory-map": u64(0x4CC000)},
    (FdtNode("LUO", {"blob-size": u64(32), "preserved-data": u64(0xCD1000)}), FdtNode("memblock")),
)
BLOB = build_fdt(SMALL)
HEADER = FDT_HEADER.parse(BLOB)


@given(nodes())
def test_pyfdt_finds_the_same_nodes_and_names(tree):
    """An outside reader, of names in ASCII alone; it guesses the types of values, so that these are not compared."""

    def names(node: Any) -> tuple[set[str], list[Any]]:
        below = [item for item in node if isinstance(item, pyfdt.FdtNode)]
        own = {item.get_name() for item in node if not isinstance(item, pyfdt.FdtNode | pyfdt.FdtNop)}
        return own, [(item.get_name(), names(item)) for item in below]

    def expected(node: FdtNode) -> tuple[set[str], list[Any]]:
        return set(node.properties), [(child.name, expected(child)) for child in node.children]

    blob = build_fdt(tree)
    root = pyfdt.FdtBlobParse(BytesIO(blob)).to_fdt().get_rootnode()
    assert names(root) == expected(parse_fdt(blob))


@given(nodes())
def test_a_tree_comes_back_from_its_bytes(tree):
    blob = build_fdt(tree)
    assert parse_fdt(blob) == tree
    assert parse_fdt(blob + b"stale bytes behind it") == tree
    assert parse_fdt(build_fdt(tree, pack_to=65536)) == tree
    assert total_size(blob) == len(blob)


@pytest.mark.parametrize("value", TRAPS)
def test_payloads_come_back_whatever_they_look_like(value):
    tree = FdtNode("", {"payload": value})
    assert parse_fdt(build_fdt(tree)) == tree


@given(st.binary(max_size=40))
def test_any_payload_comes_back(value):
    tree = FdtNode("", {"payload": value})
    assert parse_fdt(build_fdt(tree)) == tree


def test_accessors_give_none_for_what_is_not_there_or_not_of_that_kind():
    assert SMALL.string("compatible") == "kho-v4"
    assert SMALL.u64("preserved-memory-map") == 0x4CC000
    luo = SMALL.child("LUO")
    assert luo is not None
    assert luo.u64("blob-size") == 32
    assert SMALL.child("compatible") is None
    node = FdtNode("", {"list": b"a\0b\0", "open": b"a", "high": b"\xff\0", "short": bytes(4), "none": b""})
    assert [node.string(name) for name in ("list", "open", "high", "none", "missing")] == [None] * 5
    assert [node.u64(name) for name in ("short", "none", "missing")] == [None] * 3


def test_the_builder_writes_what_the_kernel_writes():
    """The root FDT of a capture, rebuilt, differs in nothing but the order of its strings."""
    blob = (SAMPLES / "captures" / "kho-test" / "kho-out.dtb").read_bytes()
    built = build_fdt(parse_fdt(blob))
    assert len(built) == len(blob)
    assert FDT_HEADER.parse(built) == FDT_HEADER.parse(blob)
    strings = HEADER.off_mem_rsvmap + 16, FDT_HEADER.parse(blob).off_dt_strings
    assert sorted(built[strings[1] :].split(b"\0")) == sorted(blob[strings[1] :].split(b"\0"))


@pytest.mark.parametrize(
    "path", sorted(SAMPLES.glob("**/*.dtb")), ids=lambda path: str(path.relative_to(SAMPLES))
)
def test_real_trees(path):
    data = path.read_bytes()
    if "debugfs" in path.name:  # debugfs gives fewer bytes than the tree has
        with pytest.raises(FdtTruncatedError, match=f"{len(data)} of {total_size(data)} bytes"):
            parse_fdt(data)
    else:
        assert (parse_fdt(data).string("compatible") or "").startswith("kho-v")


def test_the_captures_hold_trees_to_parse():
    assert len(list(SAMPLES.glob("**/*.dtb"))) > 4
    assert all(capture.path.exists() for capture in CAPTURES.values())


@pytest.mark.skipif(DTC is None, reason="dtc, the oracle, is not installed")
@given(nodes())
@example(SMALL)
def test_dtc_reads_the_same_tree(tree):
    blob = build_fdt(tree)
    # dtc writes its own reading of the blob back as a blob; ours of that must be the same tree.
    command = [str(DTC), "-q", "-f", "-I", "dtb", "-O", "dtb"]
    done = subprocess.run(command, input=blob, capture_output=True, check=True)
    assert parse_fdt(done.stdout) == parse_fdt(blob) == tree


def structure(body: bytes, strings: bytes = b"p\0") -> bytes:
    """A blob with this structure block, whatever it holds."""
    at = FDT_HEADER.size + 16
    header = replace(
        HEADER,
        totalsize=at + len(body) + len(strings),
        off_dt_strings=at + len(body),
        size_dt_struct=len(body),
        size_dt_strings=len(strings),
    )
    return FDT_HEADER.build(header) + bytes(16) + body + strings


def u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


BEGIN, END_NODE, PROP, NOP, END = (u32(tag) for tag in (1, 2, 3, 4, 9))
ROOT = BEGIN + u32(0)
CHILD = BEGIN + b"n\0\0\0"


def test_the_smallest_tree_and_nops_are_accepted():
    assert parse_fdt(structure(ROOT + END_NODE + END)) == FdtNode("")
    body = NOP + ROOT + NOP + PROP + u32(0, 0) + NOP + CHILD + NOP + END_NODE + NOP + END_NODE + NOP + END
    assert parse_fdt(structure(body)) == FdtNode("", {"p": b""}, (FdtNode("n"),))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no end tag"),
        (ROOT + END_NODE, "no end tag"),
        (END, "no root node"),
        (ROOT + END, "1 nodes open"),
        (ROOT + END_NODE + END + NOP, "before its structure block does"),
        (ROOT + END_NODE + ROOT + END_NODE + END, "a second or a named root"),
        (CHILD + END_NODE + END, "a second or a named root"),
        (ROOT + ROOT + END_NODE + END_NODE + END, "a node without a name"),
        (ROOT + END_NODE + END_NODE + END, "outside any node"),
        (PROP + u32(0, 0) + ROOT + END_NODE + END, "outside any node"),
        (ROOT + (PROP + u32(0, 0)) * 2 + END_NODE + END, "stands twice"),
        (ROOT + (CHILD + END_NODE) * 2 + END_NODE + END, "stands twice"),
        (ROOT + u32(7) + END_NODE + END, "unknown tag 0x7"),
        (ROOT + u32(0) + END_NODE + END, "unknown tag 0x0"),
        (ROOT + PROP + u32(0), "cut off"),
        (ROOT + PROP + u32(0xFFFFFFF0, 0) + END_NODE + END, "past the end of the structure block"),
        (ROOT + PROP + u32(9, 0) + END_NODE + END, "past the end of the structure block"),
        (ROOT + PROP + u32(0, 2) + END_NODE + END, "outside the strings block"),
        (ROOT + PROP + u32(0, 1) + END_NODE + END, "has no name"),
        (ROOT + BEGIN + b"abcd", "has no end"),
        (ROOT + CHILD + END_NODE + PROP + u32(0, 0) + END_NODE + END, "stands behind a child"),
        (ROOT + CHILD * 64 + END_NODE * 65 + END, "nested deeper than 64"),
    ],
)
def test_a_bad_structure_block_is_refused(body, problem):
    with pytest.raises(FdtError, match=problem):
        parse_fdt(structure(body))


def test_a_name_of_a_property_and_a_node_at_once_is_refused():
    tree = FdtNode("", {"n": b""}, (FdtNode("n"),))
    with pytest.raises(FdtError, match="stands twice"):
        parse_fdt(build_fdt(tree))


@pytest.mark.parametrize(
    "name", [b"\x07", b"a/b", b"/", b"\xe4", b"\xff\xfe", "größe".encode(), b"a b", b"a@1"]
)
def test_a_node_may_have_any_name_that_libfdt_writes(name):
    """fdt_begin_node() looks at nothing but the NUL."""
    text = name.decode("utf-8", "surrogateescape")
    tree = FdtNode("", {}, (FdtNode(text, {"size": b"\x01"}), FdtNode("next")))
    assert parse_fdt(build_fdt(tree)) == tree


def test_the_work_grows_with_the_names_alone():
    tree = FdtNode("", {}, tuple(FdtNode(f"{number:x}") for number in range(1 << 16)))
    assert parse_fdt(build_fdt(tree), max_size=2 << 20) == tree


def test_a_string_that_does_not_end_is_refused():
    with pytest.raises(FdtError, match="no end"):
        parse_fdt(structure(ROOT + PROP + u32(0, 0) + END_NODE + END, strings=b"pq"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"magic": 0xEDFE0DD0}, "no FDT magic"),
        ({"version": 18}, "version 18"),
        ({"version": 16}, "version 16"),
        ({"last_comp_version": 17}, "compatible to 17"),
        ({"totalsize": 39}, "totalsize 39"),
        ({"totalsize": 65537}, "totalsize 65537"),
        ({"off_mem_rsvmap": 36}, "memory reservation block"),
        ({"off_mem_rsvmap": 44}, "memory reservation block"),
        ({"off_mem_rsvmap": 65528}, "memory reservation block"),
        ({"off_dt_struct": 58}, "structure block"),
        ({"off_dt_struct": 0}, "structure block"),
        ({"size_dt_struct": 65536}, "structure block"),
        ({"off_dt_strings": 0xFFFFFFFF}, "strings block"),
        ({"size_dt_strings": 65536}, "strings block"),
    ],
)
def test_a_bad_header_is_refused(change, problem):
    header: FdtHeader = replace(HEADER, **change)
    blob = FDT_HEADER.build(header) + BLOB[FDT_HEADER.size :]
    with pytest.raises(FdtError, match=problem):
        parse_fdt(blob.ljust(65536, b"\0"))


def test_reservations_without_an_end_are_refused():
    blob = BLOB[: HEADER.off_mem_rsvmap] + b"\1" * (len(BLOB) - HEADER.off_mem_rsvmap)
    with pytest.raises(FdtError, match="reservation block has no end"):
        parse_fdt(blob)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_too_short_for_a_magic(size):
    with pytest.raises(FdtError, match="no FDT magic"):
        parse_fdt(MAGIC[:size])


@pytest.mark.parametrize("size", [4, 39, 40, len(BLOB) - 1])
def test_truncation_is_told_from_damage(size):
    with pytest.raises(FdtTruncatedError, match=str(size)):
        parse_fdt(BLOB[:size])


def test_total_size_of_what_is_no_tree():
    assert total_size(b"") is None
    assert total_size(BLOB[:39]) is None
    assert total_size(b"\0" + BLOB[1:]) is None


def mutated(draw: Callable[[st.SearchStrategy[int]], int], blob: bytes) -> bytes:
    data = bytearray(blob)
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(len(data) - 8, len(data)))])


@given(st.data())
def test_nothing_but_an_fdt_error_escapes_damaged_input(data):
    blob = mutated(data.draw, BLOB)
    try:
        tree = parse_fdt(blob)
    except FdtError:
        return
    # What is accepted means the same to anybody who follows the format: writing it again changes nothing.
    assert parse_fdt(build_fdt(tree)) == tree


def test_a_flipped_bit_is_refused_or_seen():
    """Only what the format says means nothing may change unseen."""
    # Names and payloads that need no padding, but for the root's empty name.
    tree = FdtNode("", {"compatible": string("kho-v10")}, (FdtNode("LUO", {"blob-size": u64(32)}),))
    blob = build_fdt(tree)
    reservations, boot_cpu, root_padding = range(16, 20), range(28, 32), range(61, 64)
    unseen = set()
    for at in range(len(blob)):
        for bit in range(8):
            try:
                parsed = parse_fdt(blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :])
            except FdtError:
                continue
            if parsed == tree:
                unseen.add(at)
    assert unseen <= {*reservations, *boot_cpu, *root_padding}
    assert unseen >= {*boot_cpu, *root_padding}


@given(st.binary(max_size=200))
def test_nothing_but_an_fdt_error_escapes_noise(noise):
    body = noise[: len(noise) // 4 * 4]
    for blob in (noise, MAGIC + noise, structure(body)):
        try:
            tree = parse_fdt(blob)
        except FdtError:
            continue
        assert parse_fdt(build_fdt(tree)) == tree


def odd(body: bytes, strings: bytes = b"p\0q\0") -> Fdt:
    """What is found in a structure block."""
    return read_fdt(structure(body, strings))


P1, P2 = PROP + u32(4, 0) + b"one\0", PROP + u32(4, 0) + b"two\0"
Q = PROP + u32(4, 2) + b"q\0\0\0"
N = FdtNode("n")


@pytest.mark.parametrize(
    ("body", "found", "oddity"),
    [
        (ROOT + P1 + P2 + END_NODE + END, FdtNode("", {"p": b"one\0"}), "stands twice"),
        (ROOT + (CHILD + P1 + END_NODE + CHILD + P2 + END_NODE) + END_NODE + END, None, "stands twice"),
        (ROOT + CHILD + END_NODE + P1 + END_NODE + END, FdtNode("", {}, (N,)), "stands behind a child"),
        (ROOT + P1 + u32(7) + Q + END_NODE + END, FdtNode("", {"p": b"one\0"}), "unknown tag 0x7"),
        (ROOT + P1 + CHILD + Q, None, "no end tag"),
        (
            ROOT + PROP + u32(4, 99) + b"lost" + P1 + END_NODE + END,
            FdtNode("", {"p": b"one\0"}),
            "outside the str",
        ),
        (CHILD + P1 + END_NODE + END, FdtNode("", {"p": b"one\0"}), "a second or a named root"),
        (
            ROOT + P1 + END_NODE + CHILD + END_NODE + END,
            FdtNode("", {"p": b"one\0"}),
            "a second or a named root",
        ),
        (ROOT + P1 + END_NODE + END + NOP, FdtNode("", {"p": b"one\0"}), "before its structure block does"),
    ],
)
def test_what_libfdt_finds_is_found_and_the_rest_is_told(body, found, oddity):
    tree, oddities = odd(body)
    assert any(oddity in each.text for each in oddities)
    if found is not None:
        assert tree == found
    else:
        assert [child.name for child in tree.children] == ["n"]
        assert tree.children[0].properties in ({"p": b"one\0"}, {"q": b"q\0\0\0"})


@pytest.mark.parametrize(
    "change", [{"version": 19}, {"version": 16}, {"last_comp_version": 17}, {"totalsize": 70000}]
)
def test_headers_that_libfdt_takes_are_taken(change):
    blob = (FDT_HEADER.build(replace(HEADER, **change)) + BLOB[FDT_HEADER.size :]).ljust(65536, b"\0")
    assert check_header(blob) == 0
    assert read_fdt(blob).root == SMALL
    assert len(read_fdt(blob).oddities) == 1


@given(st.data())
def test_a_header_that_libfdt_refuses_is_refused(data):
    blob = mutated(data.draw, BLOB)
    try:
        found = read_fdt(blob)
    except FdtError:
        return
    assert check_header(blob) == 0
    assert found.oddities or parse_fdt(blob) == found.root


@pytest.mark.skipif(FDTGET is None, reason="fdtget, libfdt's own reader, is not installed")
@given(data=st.data())
def test_the_roots_properties_are_those_that_libfdt_finds(data, tmp_path_factory):
    blob = mutated(data.draw, BLOB).ljust(len(BLOB), b"\0")
    path = tmp_path_factory.mktemp("fdt") / "blob"
    path.write_bytes(blob)
    command = [str(FDTGET), "-t", "bx", str(path), "/", "preserved-memory-map"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=10)
    libfdt = bytes(int(byte, 16) for byte in done.stdout.split()) if not done.returncode else None
    try:
        ours = read_fdt(blob).root.properties.get("preserved-memory-map")
    except FdtError:
        ours = None
    # A kernel asks fdt_check_header() first (kho_populate() of 7.3); fdtget does not, and looks up where that refuses.
    assert ours == (libfdt if check_header(blob) == 0 else None)
