"""What looks odd and is as it should be gives no error and no warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from khodump.abi.layout import dtype_of
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER, MEMFD_LUO_SER, PFN_BITS, MemfdLuoSer, Seals
from khodump.api import open_leniently
from khodump.checking.checkup import examine
from khodump.findings import Severity
from tests.builders.boot import Entry, kho_data, write_boot_params, write_scratch
from tests.builders.chains import Writer, write_vmalloc
from tests.builders.handover import BuiltHandover, Description, MapFormat, build_handover
from tests.builders.luo import Flb, Luo, LuoFile, Session
from tests.builders.memfd import KEPT, Folio, Memfd, MemfdFormat, folios_of
from tests.builders.users import KhoTest, Memblock, ReserveMem, User
from tests.checking.rules.breaking import LOGS, MEMFD, luo
from tests.extraction.test_slim import SECRET, dirty_allocator

FULL_CHUNK = 511
FIRST_PAGE = 1 << 36


class FullChunk(Memfd):
    """A memfd of single pages, whose list takes as many pages as one chunk names."""

    def write(self, writer: Writer) -> int:
        """See `Memfd`."""
        count = FULL_CHUNK * 4096 // MEMFD_LUO_FOLIO_SER.sizeof()
        index = np.arange(count, dtype=np.uint64)
        entries = np.zeros(count, dtype_of(MEMFD_LUO_FOLIO_SER))
        entries["folio"] = np.uint64(KEPT << PFN_BITS) | (np.uint64(FIRST_PAGE >> 12) + index)
        entries["index"] = index
        writer.blocks += [(FIRST_PAGE + (page << 12), 0) for page in range(count)]
        array = write_vmalloc(writer.at("folios"), entries.tobytes())
        assert len(writer.places[writer.at("folios/chunks").path]) == 2
        return writer.preserve(MEMFD_LUO_SER.build(MemfdLuoSer(0, count << 12, 0, 0, count, array)))


def files(*memfds: Memfd) -> dict[str, bytes | User]:
    return {"LUO": luo(*memfds)}


def old(version: str, form: MemfdFormat, **more: Any) -> Description:
    """An older kernel with luo-v1."""
    memfd = Memfd(folios_of({0: b"a", 3: b"b"}), size=4096, format=form)
    users: dict[str, bytes | User] = {
        "memblock": LOGS,
        "LUO": Luo((Session("vm", (LuoFile(0, memfd),)), Session("none")), (Flb("flb", 0xFEED),), version=1),
        "kho_test": KhoTest((0, 2), inline=False),
    }
    known = {"release": "7.1.3"} if version == "kho-v3" else {"kexec_count": None}
    return Description(subtrees=users, compatible=version, **known, **more)


V1 = MemfdFormat.V1
CHAIN: dict[str, Any] = {"map_format": MapFormat.CHAIN}
TWICE = (Session("a", (LuoFile(7, MEMFD),)), Session("b", (LuoFile(7, MEMFD),)))
ENDS = Luo((Session("vm", (LuoFile(0, MEMFD), LuoFile((1 << 64) - 1, MEMFD))),))

#: Each handover, and the rules of severity info that it may give.
LEGITIMATE: dict[str, tuple[Description, set[str]]] = {
    "nothing but itself": (Description(), set()),
    "an empty leaf": (Description(empties=((0x8000_0000, 9), (0x4000_0000, 0))), {"map-empty-nodes"}),
    "an empty chunk after a full one": (Description(subtrees=files(FullChunk())), set()),
    "a folio past the end of its file": (Description(subtrees=files(Memfd(folios_of({0: b"", 9: b""}), 1))), set()),
    "a huge folio that ends past its file": (Description(subtrees=files(Memfd((Folio(0, b"", 9),), 5))), set()),
    "a zero-length memfd": (Description(subtrees=files(Memfd())), set()),
    "a position past the end": (Description(subtrees=files(Memfd((Folio(0),), pos=1 << 40))), set()),
    "all seals": (Description(subtrees=files(Memfd((Folio(0),), seals=sum(Seals)))), set()),
    "a list of large blocks": (Description(subtrees=files(Memfd((Folio(0),), array_order=3))), set()),
    "FLB data that is no address": (
        Description(subtrees={"LUO": Luo(flbs=(Flb("liveupdate-test-flb-v0", 0xFEEDF00DCAFEBEE0),))}),
        {"state-not-serialized"},
    ),
    "a region within a page": (
        Description(subtrees={"memblock": Memblock((ReserveMem("tiny", 0x5000_0800, 64),))}),
        set(),
    ),
    "a session without files": (Description(subtrees=files()), set()),
    "hostile names": (
        Description(subtrees={"LUO": Luo((Session('a"/b\\\n'), Session(b"half \xc3"), Session("ü" * 31)))}),
        set(),
    ),
    "before serialization": (
        Description(subtrees={"LUO": Luo(TWICE, (Flb("flb"),), serialized=False)}),
        {"state-not-serialized"},
    ),
    "no session and no FLB": (Description(subtrees={"LUO": Luo()}), {"state-not-serialized"}),
    "tokens of two sessions": (Description(subtrees={"LUO": Luo(TWICE)}), set()),
    "the first and the last token": (Description(subtrees={"LUO": ENDS}), set()),
    "an order above MAX_PAGE_ORDER": (
        Description(subtrees={"memblock": Memblock((ReserveMem("big", 1 << 33, 3 << 31),))}),
        set(),
    ),
    "1 GiB for a kernel before 7.2": (
        Description(subtrees={"memblock": Memblock((ReserveMem("big", 1 << 30, 1 << 30),))}, compatible="kho-v3", release="7.1.0"),
        set(),
    ),
    "2 GiB of 7.2, which has the fix": (
        Description(subtrees={"memblock": Memblock((ReserveMem("big", 2 << 30, 2 << 30),))}, release="7.2.6"),
        set(),
    ),
    "a user that nobody knows": (Description(subtrees={"hwpoison": bytes(32)}), set()),
    "what is preserved by nobody": (Description(preservations=((1 << 32, 4),)), {"unclaimed"}),
    "16K": (Description(page_size=16384, subtrees=files(MEMFD)), set()),
    "16K of 7.1": (Description(page_size=16384, compatible="kho-v3", release="7.1.9"), set()),
    "64K": (Description(page_size=65536, subtrees=files(MEMFD)), set()),
    "kho-v3": (old("kho-v3", V1), set()),
    "kho-v3, newer memfds": (old("kho-v3", MemfdFormat.V2), set()),
    "kho-v2": (old("kho-v2", V1), set()),
    "kho-v2, posted": (old("kho-v2", MemfdFormat.DRAFT, map_format=MapFormat.POSTED_RADIX), set()),
    "kho-v1": (old("kho-v1", V1, **CHAIN), {"v1-bitmap-size"}),
    "kho-v1, small bitmaps": (
        Description(
            compatible="kho-v1", subtrees={"memblock": LOGS, "kho_test": KhoTest((0, 3), inline=True)},
            bitmap_size=512, kexec_count=None, **CHAIN,
        ),
        set(),
    ),
    "kho-v1, posted": (old("kho-v1", MemfdFormat.DRAFT, map_format=MapFormat.ORDER_TABLE), set()),
    "6.19, without FLBs": (
        Description(
            compatible="kho-v1", subtrees={"LUO": Luo((Session("vm"),), None, version=1)}, kexec_count=None, **CHAIN
        ),
        {"v1-bitmap-size"},
    ),
}  # fmt: skip


def findings(built: BuiltHandover, directory, *, by_search: bool = False) -> dict[str, Severity]:
    """What `check` finds, by rule."""
    machine = "EM_X86_64" if built.geometry.page_size == 4096 else "EM_AARCH64"
    path = built.image.to_elf(directory / "core", machine=machine)
    with open_leniently(path, fdt=None if by_search else built.fdt_phys) as suspect:
        checkup = examine(suspect)
        return {diagnosis.finding.rule: diagnosis.finding.severity for diagnosis in checkup.diagnoses}


def only_infos(found: dict[str, Severity], rules: set[str]) -> bool:
    return set(found) <= rules and set(found.values()) <= {Severity.INFO}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_it_is_as_it_should_be(name, tmp_path):
    description, infos = LEGITIMATE[name]
    found = findings(build_handover(description), tmp_path)
    assert only_infos(found, infos), found


@pytest.mark.parametrize("name", LEGITIMATE)
def test_stale_bytes_past_what_is_valid_make_no_difference(name, tmp_path, monkeypatch):
    """Pages come from the allocator as they were left."""
    description, _ = LEGITIMATE[name]
    clean = findings(build_handover(description), tmp_path)
    with dirty_allocator(monkeypatch):
        built = build_handover(description)
    assert SECRET in built.image.read(built.fdt_phys, 4096)
    assert findings(built, tmp_path) == clean


def absent(built: BuiltHandover) -> None:
    """Leave out of the image whatever is preserved but describes nothing, as a metadata-only core does."""
    for path, places in built.places.items():
        if path.endswith("/contents"):
            for phys in filter(None, places):
                built.image.drop(phys)


@pytest.mark.parametrize(
    "name", ["tokens of two sessions", "64K", "kho-v3", "a huge folio that ends past its file"]
)
def test_a_core_without_the_preserved_pages_says_the_same(name, tmp_path):
    description, _ = LEGITIMATE[name]
    whole = findings(build_handover(description), tmp_path)
    built = build_handover(description)
    absent(built)
    assert findings(built, tmp_path) == whole


SCRATCH: dict[str, tuple[int, int]] = {
    "nothing": (0, 0),
    "nothing, somewhere": (0x20_0800, 0),
    "aligned": (1 << 30, 4 << 20),
}


def scratch_before(built: BuiltHandover, *regions: tuple[int, int]) -> BuiltHandover:
    """The handover, with a boot protocol that tells of these scratch regions."""
    size = write_scratch(built.image, 0x9F000, regions)
    write_boot_params(built.image, 0x90000, [Entry(0x94000, kho_data(built.fdt_phys, 0x9F000, size))])
    return built


@pytest.mark.parametrize("name", SCRATCH)
def test_scratch_regions_are_as_they_should_be(name, tmp_path):
    built = scratch_before(
        build_handover(Description(subtrees={"memblock": LOGS})), (1 << 36, 1 << 24), SCRATCH[name]
    )
    assert findings(built, tmp_path, by_search=True) == {}


def test_a_pageblock_is_enough_before_7_3(tmp_path):
    region = (1 << 30, 2 << 20)
    built = scratch_before(build_handover(Description(release="7.2.1")), region)
    assert findings(built, tmp_path, by_search=True) == {}
    built = scratch_before(build_handover(Description(release="7.3.1")), region)
    assert findings(built, tmp_path, by_search=True) == {"scratch-misaligned": Severity.ERROR}
