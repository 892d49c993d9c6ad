"""LUO's sessions, against what user space said it preserved, and in every version that LUO had."""

from __future__ import annotations

import json

import pytest

import khodump
from khodump.subtrees.kho_test import KhoTest
from tests.builders.handover import Description, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import Memfd, MemfdFormat, folios_of
from tests.captures import CAPTURES, SAMPLES
from tests.transcript import run

LUO_MEMFD = SAMPLES / "captures" / "luo-memfd"


def said_by_user_space():
    """Sessions in order, and (session, token) -> (size, seals, position)."""
    names, files = [], {}
    for line in (LUO_MEMFD / "userspace-luo.tsv").read_text(encoding="utf-8").splitlines():
        kind, name, *rest = line.split("\t")
        if kind == "session":
            names.append(name)
        elif kind == "memfd":
            token, size, seals, pos = rest[:4]
            files[name, int(token, 16)] = (int(size), int(seals, 16), int(pos))
    return names, files


def test_every_session_is_what_user_space_said():
    names, files = said_by_user_space()
    with khodump.open(LUO_MEMFD / "serialized.elf") as handover:
        luo = handover.luo
    assert luo
    assert sorted(session.name for session in luo.sessions) == sorted(names)
    found = {
        (session.name, file.token): (file.state.size, file.state.seals, file.state.pos)
        for session in luo.sessions
        for file in session.files
        if file.state
    }
    assert found == files
    assert len(found) == 110


def test_json_holds_every_file():
    names, files = said_by_user_space()
    told = json.loads(run("sessions", LUO_MEMFD / "serialized.elf", "--format", "json").stdout)
    rows = told["files"]
    assert {row["session"] for row in rows} == set(names)
    assert {(row["session"], row["token"]): row["size"] for row in rows if row["token"] is not None} == {
        key: size for key, (size, _, _) in files.items()
    }
    assert [flb["data"] for flb in told["flbs"]] == [0xFEEDF00DCAFEBEE0 + i for i in range(3)]
    assert told["findings"] == []


def test_a_session_or_a_token_alone():
    ran = run(
        "sessions", LUO_MEMFD / "serialized.elf", "--session", "vm-beta", "--file", "0x7", "--format", "tsv"
    )
    assert [line.split("\t")[:4] for line in ran.stdout.splitlines()[1:]] == [
        ["vm-beta", "0x7", "memfd-v2", "262144"]
    ]


@pytest.mark.parametrize("name", ["luo-memfd pre", "luo-memfd next-out", "kho-test serialized"])
def test_before_serialization_nothing_is_missed(name):
    ran = run("sessions", CAPTURES[name].path)
    assert ran.status == 0
    assert "not serialized" in ran.stderr
    assert "error" not in ran.stderr


def test_the_modules_folios_are_those_it_recorded():
    with khodump.open(CAPTURES["kho-test serialized"].path) as handover:
        (test,) = (s.decoded.content for s in handover.subtrees if s.name == "kho_test")
    assert isinstance(test, KhoTest)
    lines = (SAMPLES / "captures/kho-test/folios.tsv").read_text().splitlines()
    recorded = [(int(phys, 16), int(order)) for phys, order in (line.split("\t") for line in lines)]
    assert list(zip(test.phys.tolist(), test.order.tolist(), strict=True)) == recorded


PAGES = {0: b"first", 3: b"fourth", 700: b"last"}


def memfd(format_: MemfdFormat, **what) -> Memfd:
    return Memfd(folios=folios_of(PAGES), format=format_, **what)


VERSIONS = [1, 2, 3, 4, 5]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_every_version_of_luo_gives_the_same(version, page_size, tmp_path):
    files = tuple(LuoFile(token, memfd(MemfdFormat.V2, pos=token)) for token in range(70))
    described = Luo(
        version=version,
        liveupdate_number=3,
        sessions=(Session(b"many", files), Session(b"none", ()), Session('日本"\\'.encode(), files[:1])),
        flbs=(Flb("flb", 7, 2),),
    )
    built = build_handover(Description(page_size=page_size, subtrees={"LUO": described}))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        luo = handover.luo
        assert luo
        assert (luo.version, luo.number, luo.is_serialized) == (f"luo-v{version}", 3, True)
        assert [(session.name, len(session.files)) for session in luo.sessions] == [
            ("many", 70),
            ("none", 0),
            ('日本"\\', 1),
        ]
        assert [file.token for file in luo.sessions[0].files] == list(range(70))
        assert [(flb.name, flb.data, flb.count) for flb in luo.flbs] == [("flb", 7, 2)]
        assert [finding for subtree in handover.subtrees for finding in subtree.decoded.findings] == []


@pytest.mark.parametrize("format_", MemfdFormat)
def test_every_version_of_memfd_gives_the_same_folios(format_, tmp_path):
    described = Luo(sessions=(Session(b"s", (LuoFile(1, memfd(format_, pos=9)),)),))
    built = build_handover(Description(subtrees={"LUO": described}))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        luo = handover.luo
        assert luo
        state = luo.sessions[0].files[0].state
        assert state
        assert state.pos == 9
        (batch,) = state.folios()
        assert batch.index.tolist() == list(PAGES)
        assert batch.missing == 0
        for phys, content in zip(batch.phys.tolist(), PAGES.values(), strict=True):
            assert handover.memory.read(phys, len(content)) == content


def test_an_unknown_handler_is_shown_and_not_followed(tmp_path):
    described = Luo(sessions=(Session(b"s", (LuoFile(5, 0x1234, compatible="vfio-pci-v1"),)),))
    built = build_handover(Description(subtrees={"LUO": described}))
    ran = run("sessions", built.image.to_raw(tmp_path / "mem.img"), "--format", "tsv")
    assert ran.status == 0
    assert "s\t0x5\tvfio-pci-v1" in ran.stdout
    assert "\t0x1234\t" in ran.stdout


def test_json_has_an_empty_list_where_the_flb_header_counts_none(tmp_path):
    built = build_handover(Description(subtrees={"LUO": Luo(sessions=(Session(b"vm"),))}))
    told = json.loads(run("sessions", built.image.to_elf(tmp_path / "core"), "--format", "json").stdout)
    assert told["flbs"] == []
