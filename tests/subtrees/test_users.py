"""Users whose blobs are not what they should be: a finding, and whatever can still be read."""

from __future__ import annotations

import numpy as np
import pytest

import khodump
from khodump.subtree import Decoded
from khodump.subtrees.kexec_metadata import KexecMetadata
from khodump.subtrees.kho_test import KhoTest as DecodedTest
from khodump.subtrees.luo_state import Luo as DecodedLuo
from khodump.subtrees.memblock import ReserveMem as Region
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.builders.users import KhoTest, Memblock, ReserveMem, User


def decoded(built: BuiltHandover, name: str, tmp_path) -> Decoded:
    with khodump.open(built.image.to_raw(tmp_path / "mem.img"), fdt=built.fdt_phys) as handover:
        (subtree,) = (subtree for subtree in handover.subtrees if subtree.name == name)
        return subtree.decoded


def rules(found: Decoded) -> list[str]:
    return [finding.rule for finding in found.findings]


REGIONS = (ReserveMem("trace", 0x4000_0000, 0x30_0000), ReserveMem("tiny", 0x5000_0800, 64))


def test_reserve_mem_lists_even_what_is_smaller_than_a_page(tmp_path):
    found = decoded(
        build_handover(Description(subtrees={"memblock": Memblock(REGIONS)})), "memblock", tmp_path
    )
    assert found.content == tuple(Region(region.name, region.start, region.size) for region in REGIONS)
    assert [str(claims.owner) for claims in found.claims()] == ['memblock/reserve_mem "trace"']
    assert found.findings == ()


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("orders", [(), (3,), (0, 5), (1, 2, 3)])
def test_kho_test_in_both_forms(inline, orders, tmp_path):
    """Two folios of the inline form have the length of a struct kho_vmalloc."""
    built = build_handover(Description(subtrees={"kho_test": KhoTest(orders, inline=inline)}))
    found = decoded(built, "kho_test", tmp_path)
    assert found.findings == ()
    assert isinstance(found.content, DecodedTest)
    assert found.content.phys.tolist() == built.places.get("kho_test/folios", [])
    assert found.content.order.tolist() == list(orders)


DAMAGE = {
    ("memblock", "damaged"): (b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xee", "blob-invalid"),
    ("memblock", "other"): (b"memblock-v1", b"memblock-v2", "blob-incompatible"),
    ("memblock", "region"): (b"reserve-mem-v1", b"reserve-mem-v9", "blob-invalid"),
    ("kho_test", "damaged"): (b"\xd0\x0d\xfe\xed", b"\xd0\x0d\xfe\xee", "blob-invalid"),
    ("kho_test", "magic"): (b"!OHK", b"?OHK", "blob-incompatible"),
    ("kexec-metadata", "version"): (b"\1\0\0\0" + b"7.3.4", b"\2\0\0\0" + b"7.3.4", "blob-incompatible"),
    ("LUO", "version"): (b"luo-v5", b"luo-v6", "blob-incompatible"),
}


@pytest.mark.parametrize(("name", "what"), DAMAGE)
def test_a_blob_that_is_not_what_it_should_be(name, what, tmp_path):
    users: dict[str, bytes | User] = {"memblock": Memblock(REGIONS), "kho_test": KhoTest((0,)), "LUO": Luo()}
    built = build_handover(Description(subtrees=users))
    good, bad, rule = DAMAGE[name, what]
    page = built.image.read(built.blobs[name], 4096)
    assert page.count(good) >= 1
    built.image.write(built.blobs[name], page.replace(good, bad))
    assert rule in rules(decoded(built, name, tmp_path))
    built.image.write(built.blobs[name], page)
    assert rules(decoded(built, name, tmp_path)) == []


@pytest.mark.parametrize("name", ["LUO", "kexec-metadata"])
def test_a_blob_that_is_too_small(name, tmp_path):
    built = build_handover(Description(subtrees={"LUO": Luo()}))
    at = built.fdt.index(u64({"LUO": 32, "kexec-metadata": 73}[name]))
    built.image.write(built.fdt_phys + at, u64(20))
    assert rules(decoded(built, name, tmp_path)) == ["blob-too-small"]


def test_the_producer_is_told(tmp_path):
    built = build_handover(Description(release="7.2.13-custom", kexec_count=4))
    assert decoded(built, "kexec-metadata", tmp_path).content == KexecMetadata("7.2.13-custom", 4)


@pytest.mark.parametrize("count", [0, 3])
def test_a_session_whose_count_is_not_that_of_its_list(count, tmp_path):
    files = tuple(LuoFile(token, 0, compatible="other-v1") for token in range(2))
    built = build_handover(Description(subtrees={"LUO": Luo((Session("s", files),))}))
    built.image.write(built.places["LUO/sessions/entries"][0] + 72, u64(count))
    found = decoded(built, "LUO", tmp_path)
    assert rules(found) == ["session-file-count-mismatch"]
    assert isinstance(found.content, DecodedLuo)
    assert len(found.content.sessions[0].files) == 2


def test_a_memfd_that_counts_more_folios_than_its_array_holds(tmp_path):
    memfd = Memfd(folios_of({0: b"a", 1: b"b"}))
    built = build_handover(Description(subtrees={"LUO": Luo((Session("s", (LuoFile(0, memfd),)),))}))
    built.image.write(built.places["LUO/sessions/0/files/0"][0] + 24, u64(1 << 60))
    found = decoded(built, "LUO", tmp_path)
    assert rules(found) == ["memfd-folio-count"]
    assert isinstance(found.content, DecodedLuo)
    state = found.content.sessions[0].files[0].state
    assert state
    assert state.nr_folios == 256  # one page of entries


def test_folios_beyond_all_memory_are_left_out(tmp_path):
    memfd = Memfd(folios_of({0: b"a", 1: b"b"}))
    users = {"LUO": Luo((Session("s", (LuoFile(0, memfd),)),))}
    built = build_handover(Description(page_size=65536, subtrees=users))
    built.image.write(built.places["LUO/sessions/0/files/0/folios/entries"][0], u64((1 << 51) | 5))
    with khodump.open(built.image.to_raw(tmp_path / "mem.img")) as handover:
        (luo,) = (subtree.decoded.content for subtree in handover.subtrees if subtree.name == "LUO")
        assert isinstance(luo, DecodedLuo)
        state = luo.sessions[0].files[0].state
        assert state
        (batch,) = state.folios()
    np.testing.assert_array_equal(batch.index, [1])
