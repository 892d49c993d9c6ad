from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khodump.abi.btf import Kind
from khodump.kernel.btf import Btf, parse_btf
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.members import member_at, pointee
from khodump.kernel.objects import Record, struct_layout
from tests.builders.kernel.structs import STRUCTS
from tests.builders.kernel.types import (
    BOOL,
    CHAR,
    INT,
    LONG,
    PHYS,
    U64,
    UINT,
    Alias,
    Anonymous,
    Array,
    BtfWriter,
    Int,
    Nested,
    Pointer,
    Structs,
    Type,
    Types,
)


def parsed(data: bytes) -> Btf:
    btf = parse_btf(data)
    assert isinstance(btf, Btf)
    return btf


def written(structs: Structs, header_size: int = 24) -> tuple[Btf, Types]:
    types = Types(structs)
    return parsed(BtfWriter(types).build(header_size=header_size)), types


def raw_btf(*types: bytes, strings: bytes = b"\0s\0t\0m\0", layout: bytes = b"") -> Btf:
    """BTF of these very types; the strings are `s` at 1, `t` at 3 and `m` at 5."""
    body = b"".join(types)
    end = len(body) + len(strings)
    sizes = (0, len(body), len(body), len(strings), end, len(layout))
    header = struct.pack("<HBBIIIIIII", 0xEB9F, 1, 0, 32, *sizes)
    return parsed(header + body + strings + layout)


def entry(name: int, kind: int, vlen: int, value: int, *words: int) -> bytes:
    return struct.pack(f"<{3 + len(words)}I", name, kind << 24 | vlen, value, *words)


@pytest.mark.parametrize("header_size", [24, 32, 40])
def test_every_member_is_where_the_compiler_puts_it(header_size):
    btf, types = written(STRUCTS, header_size)
    for name, path in (
        ("luo_session_global", "outgoing.block_set.head_pa"),
        ("luo_session", "file_set.files_list"),
        ("luo_file", "token"),
        ("file", "f_path.dentry"),
        ("dentry", "d_name.name"),
    ):
        layout = struct_layout(btf, name, (path,))
        assert not isinstance(layout, WhyNot)
        assert layout.offset(path) == types.offset(name, path)


SCALARS: list[Type] = [
    CHAR,
    BOOL,
    INT,
    UINT,
    LONG,
    U64,
    PHYS,
    Pointer(),
    Array(CHAR, 7),
    Array(Array(INT, 2), 3),
]
SCALARS += [Int("unsigned int", 4, bits=bits) for bits in (1, 3, 31)]
SCALARS += [Int("int", 4, signed=True, bits=5)]


def members_of(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[tuple[Type, ...]]:
    return st.lists(inner, min_size=1, max_size=6).map(tuple)


@st.composite
def structures(draw: st.DrawFn) -> Structs:
    """Structs with scalars, bit fields, other structs, and anonymous structs and unions in each other."""
    counter = iter(range(1000))

    def named(types: tuple[Type, ...]) -> tuple[tuple[str, Type], ...]:
        return tuple(("" if isinstance(kind, Anonymous) else f"m{next(counter)}", kind) for kind in types)

    inner = named(draw(members_of(st.sampled_from(SCALARS))))
    scalars = st.sampled_from(SCALARS)
    nested = st.sampled_from([Nested("inner"), Alias(Nested("inner"), "alias"), Alias(Nested("inner"))])

    def anonymous(types: tuple[Type, ...], is_union: bool) -> Type:
        return Anonymous(named(types), is_union)

    level = st.builds(anonymous, members_of(scalars), st.booleans())
    deeper = st.builds(anonymous, members_of(st.one_of(scalars, level)), st.booleans())
    outer = named(draw(members_of(st.one_of(scalars, nested, level, deeper))))
    return {"outer": outer, "inner": inner}


def paths(types: Types, members: tuple[tuple[str, Type], ...]) -> list[str]:
    """All paths, through anonymous members and the named struct."""
    found: list[str] = []
    for name, kind in members:
        target = kind.of if isinstance(kind, Alias) else kind
        if isinstance(kind, Anonymous):
            found.extend(paths(types, kind.members))
        elif isinstance(target, Nested):
            found.extend(f"{name}.{inner}" for inner, _ in types.structs[target.name])
        else:
            found.append(name)
    return found


@given(structures(), st.data())
def test_members_by_path_are_those_of_the_compiler(structs, data):
    btf, types = written(structs)
    path = data.draw(st.sampled_from(paths(types, structs["outer"])))
    place = types.place("outer", path)
    layout = struct_layout(btf, "outer", (path,))
    assert not isinstance(layout, WhyNot)
    kind = place.type
    bits = kind.bits if isinstance(kind, Int) else 0
    signed = isinstance(kind, Int) and kind.signed
    width = bits or types.size_of(kind) * 8
    value = data.draw(
        st.integers(-(1 << width - 1), (1 << width - 1) - 1) if signed else st.integers(0, (1 << width) - 1)
    )
    packed = types.pack("outer", {path: value % (1 << width)})
    if not isinstance(kind, Array):
        assert Record(layout, 0, packed[: layout.extent]).number(path) == value
    else:
        assert layout.members[path].size == types.size_of(kind)


def test_what_is_missing_is_named():
    btf, _ = written(STRUCTS)
    lack = struct_layout(btf, "luo_session", ("name", "file_set.nothing"))
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NO_MEMBER
    assert "struct luo_session has no member file_set.nothing" in lack.message
    lack = struct_layout(btf, "nothing", ("name",))
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NO_TYPE


def test_a_struct_that_is_declared_but_not_defined_is_missing():
    btf = raw_btf(entry(1, Kind.FWD, 0, 0))
    assert isinstance(struct_layout(btf, "s", ("m",)), WhyNot)


def test_a_pointer_tells_what_it_leads_to():
    structs: Structs = {
        "s": (("page", Pointer("page")), ("any", Pointer()), ("number", INT)),
        "page": (("f", INT),),
    }
    btf, _ = written(structs)
    names = {}
    for path in ("page", "any", "number"):
        member = member_at(btf, btf.find("s", (Kind.STRUCT,))[0], path)
        assert not isinstance(member, WhyNot)
        names[path] = pointee(btf, member)
    assert names == {"page": b"page", "any": b"", "number": None}


INTEGER = entry(3, Kind.INT, 0, 4, 32)


def test_two_structs_of_a_name_must_agree():
    one = entry(1, Kind.STRUCT, 1, 8, 5, 1, 0)
    other = entry(1, Kind.STRUCT, 1, 8, 5, 1, 32)
    assert not isinstance(struct_layout(raw_btf(INTEGER, one, one), "s", ("m",)), WhyNot)
    lack = struct_layout(raw_btf(INTEGER, one, other), "s", ("m",))
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.AMBIGUOUS


def test_a_name_may_be_the_end_of_another():
    btf = raw_btf(INTEGER, entry(3, Kind.STRUCT, 1, 4, 7, 1, 0), strings=b"\0a_s\0m\0")
    assert btf.find("s", (Kind.STRUCT,)) == [2]
    assert btf.find("a_s", (Kind.STRUCT,)) == []


@pytest.mark.parametrize(
    "types",
    [
        pytest.param(
            [entry(3, Kind.TYPEDEF, 0, 1), entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)], id="a typedef of itself"
        ),
        pytest.param(
            [entry(3, Kind.CONST, 0, 2), entry(3, Kind.TYPEDEF, 0, 1), entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)],
            id="two of each other",
        ),
        pytest.param(
            [entry(3, Kind.ARRAY, 0, 0, 1, 1, 9), entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)],
            id="an array of itself",
        ),
        pytest.param([entry(1, Kind.STRUCT, 2, 4, 0, 1, 0, 0, 1, 0)], id="a struct in itself"),
        pytest.param(
            [entry(1, Kind.STRUCT, 1, 4, 0, 2, 0), entry(0, Kind.UNION, 1, 4, 0, 1, 0)],
            id="two in each other",
        ),
        pytest.param([entry(1, Kind.STRUCT, 1, 4, 5, 0x7FFF_FFFF, 0)], id="a type that is not there"),
        pytest.param([entry(1, Kind.STRUCT, 0xFF_FFFF, 4, 3, 1, 0)], id="more members than words"),
        pytest.param([entry(1, Kind.STRUCT, 1, 4, 0xFFFF_FFF0, 1, 0)], id="a name that is not there"),
        pytest.param(
            [entry(1, Kind.PTR, 0, 1), entry(1, Kind.STRUCT, 1, 4, 5, 3, 0), entry(0, Kind.FUNC, 0, 1)],
            id="a function",
        ),
    ],
)
def test_types_that_make_no_sense_have_no_member(types):
    assert isinstance(struct_layout(raw_btf(*types), "s", ("m",)), WhyNot)


def test_a_struct_too_large_to_be_one_is_not_read():
    types = [entry(3, Kind.ARRAY, 0, 0, 2, 2, 1 << 30), INTEGER, entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)]
    lack = struct_layout(raw_btf(*types), "s", ("m",))
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.DAMAGED


#: BTF_KIND_MAX of 7.3 is 19.
NEW_KIND = 25


def test_a_kind_that_nobody_knows_hides_what_follows():
    struct_ = entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)
    before = raw_btf(INTEGER, struct_, entry(0, NEW_KIND, 1, 0, 9, 9))
    after = raw_btf(INTEGER, entry(0, NEW_KIND, 1, 0, 9, 9), struct_)
    assert not isinstance(struct_layout(before, "s", ("m",)), WhyNot)
    assert isinstance(struct_layout(after, "s", ("m",)), WhyNot)


def test_a_kind_that_the_kernel_describes_is_stepped_over():
    """Headers of 7.3 may lead to a struct btf_layout for each kind: 4 bytes of its own, 8 for each element."""
    layout = bytes(4 * NEW_KIND) + bytes([4, 8, 0, 0])
    types = [INTEGER, entry(0, NEW_KIND, 2, 0, 9, 9, 9, 9, 9), entry(1, Kind.STRUCT, 1, 4, 5, 1, 0)]
    known = raw_btf(*types, layout=layout)
    assert not isinstance(struct_layout(known, "s", ("m",)), WhyNot)
    assert isinstance(struct_layout(raw_btf(*types), "s", ("m",)), WhyNot)


@pytest.mark.parametrize("size", [0, 10, 23])
def test_less_than_a_header_is_none(size):
    data = BtfWriter(Types(STRUCTS)).build()
    assert isinstance(parse_btf(data[:size]), WhyNot)


def test_other_bytes_are_none():
    lack = parse_btf(bytes(100))
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.NO_BTF


def test_sections_that_reach_over_the_end_are_damage():
    data = BtfWriter(Types(STRUCTS)).build()
    lack = parse_btf(data[:-1])
    assert isinstance(lack, WhyNot)
    assert lack.reason is Reason.DAMAGED


@given(st.data())
def test_damaged_btf_never_raises(data):
    raw = bytearray(BtfWriter(Types(STRUCTS)).build())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    btf = parse_btf(bytes(raw))
    if isinstance(btf, Btf):
        for name in STRUCTS:
            struct_layout(btf, name, ("list.next", "file_set.count"), ("fdt",))
