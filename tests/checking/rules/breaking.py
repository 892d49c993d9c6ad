"""What breaks a rule: a handover that is sound, and the few bytes that make it break that rule and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from khodump.abi.kernels import Kernel
from khodump.api import open_leniently
from khodump.checking.checkup import Checkup, examine
from khodump.checking.rule import Effect
from khodump.handover import Handover
from khodump.opening.mapless import MaplessRoot
from khodump.owner import Owner
from khodump.tracker import MAP_OWNER
from tests.builders.fdt import u64
from tests.builders.handover import BuiltHandover, Description, build_handover
from tests.builders.luo import Luo, LuoFile, Session
from tests.builders.memfd import Memfd, folios_of
from tests.builders.users import Memblock, ReserveMem, User

DISABLED = "KHO: disabling KHO revival"
PANIC = (
    "Kernel panic - not syncing: The incoming tree failed to initialize properly [-22], disabling live update"
)
FDT_OWNER = "KHO/root FDT"
FILE = 'LUO/session "vm"/file 0x1 (memfd)'
SESSION_FAILS = "luo: Failed to deserialize files for session [vm] -22"


class Asked(Enum):
    """How the root FDT is named."""

    BY_ADDRESS = "--fdt 0xPHYS"
    BY_FILE = "--fdt FILE, which the patch is for; the image does not hold it"
    BY_SEARCH = "not at all"
    AS_LOST = "--root ADDR of the map; the image does not hold it"


@dataclass(frozen=True)
class Break:
    """A sound handover, and what breaks one rule.

    Attributes:
        built: the sound one.
        at: physical address of what is changed.
        data: what it is changed to.
        effect: what the next kernel does then.
        then: part of the sentence that says so.
        owner: of the finding.
        phys: of the finding; None where there is none.
        log: all lines that the next kernel prints.
        also: rules of severity info that speak of the same bytes from their own side.
        before: rules of severity info that fire in the sound one.
        kernel: the next one; by default one like that which made the handover.
        asked: how the root FDT is named.
        options: of open_leniently().
        dropped: physical address of a page that the broken one's image does not hold.
        vmcoreinfo: lines that lead to a running kernel in the image, where there is one.
    """

    built: BuiltHandover
    at: int
    data: bytes
    effect: Effect
    then: str
    owner: Owner | str | None = MAP_OWNER
    phys: int | None = None
    log: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    kernel: Kernel | None = None
    asked: Asked = Asked.BY_ADDRESS
    options: dict[str, Any] = field(default_factory=dict)
    dropped: int | None = None
    vmcoreinfo: dict[str, str] | None = None

    @contextmanager
    def opened(self, directory: Path, *, broken: bool) -> Iterator[Handover | MaplessRoot]:
        """The handover as khodump reads it, sound or broken."""
        image, before = self.built.image, self.built.image.read(self.at, len(self.data))
        root = self.built.tree.root if broken and self.asked is Asked.AS_LOST else None
        by_address = self.asked is Asked.BY_ADDRESS or (self.asked is Asked.AS_LOST and not broken)
        fdt: Path | int | None = self.built.fdt_phys if by_address else None
        assert before != self.data or self.dropped is not None
        if broken:
            image.write(self.at, self.data)
        page, lost = self.dropped, b""
        if broken and page is not None:
            lost = image.read(page, self.built.geometry.page_size)
            image.drop(page)
        if self.asked is Asked.BY_FILE:
            fdt = directory / "kho.dtb"
            fdt.write_bytes(image.read(self.built.fdt_phys, len(self.built.fdt)))
            image.drop(self.built.fdt_phys)
        machine = "EM_X86_64" if self.built.geometry.page_size == 4096 else "EM_AARCH64"
        told: dict[str, Any] = {} if self.vmcoreinfo is None else {"vmcoreinfo": self.vmcoreinfo}
        path = image.to_elf(directory / "core", machine=machine, **told)
        if self.asked is Asked.BY_FILE:
            image.write(self.built.fdt_phys, self.built.fdt)
        image.write(self.at, before)
        if lost and page is not None:
            image.write(page, lost)
        with open_leniently(path, fdt=fdt, root=root, **self.options) as suspect:
            yield suspect

    def examined(self, directory: Path, *, broken: bool) -> Checkup:
        """What the rules say."""
        with self.opened(directory, broken=broken) as suspect:
            return examine(suspect, self.kernel)


BREAKS: list[tuple[str, Callable[[], Break]]] = []


def breaks(rule: str) -> Callable[[Callable[[], Break]], Callable[[], Break]]:
    """Enter a function into the table of what breaks this rule."""

    def enter(function: Callable[[], Break]) -> Callable[[], Break]:
        BREAKS.append((rule, function))
        return function

    return enter


LOGS = Memblock((ReserveMem("logs", 0x20_0000, 0x3000),))  # blocks of order 1 and 0
MEMFD = Memfd(folios_of({0: b"a", 1: b"b"}))


def luo(*files: Memfd | int, name: str = "vm", more: Sequence[Session] = ()) -> Luo:
    """A session with these files, of tokens 1, 2, ..."""
    return Luo((Session(name, tuple(LuoFile(token, file) for token, file in enumerate(files, 1))), *more))


def handed_over(users: dict[str, bytes | User] | None = None, **what: Any) -> BuiltHandover:
    """A handover of these users, by default of a reserve_mem region and a session with one memfd."""
    users = {"memblock": LOGS, "LUO": luo(MEMFD)} if users is None else users
    return build_handover(Description(subtrees=users, **what))


def flipped(built: BuiltHandover, at: int, bit: int) -> tuple[int, bytes]:
    """The byte at `at` plus the byte that `bit` (counted from there) is in, with that bit the other way."""
    at, bit = at + bit // 8, bit % 8
    return at, bytes([built.image.read(at, 1)[0] ^ 1 << bit])


def bit_of(built: BuiltHandover, phys: int, order: int) -> tuple[int, bytes]:
    """The byte of the leaf that says whether a block is preserved, with that bit the other way."""
    key = built.geometry.encode(phys, order)
    leaf = built.tree.nodes[0, key >> built.geometry.key_shift(0)]
    return flipped(built, leaf, built.geometry.path(key)[1])


def slot_of(built: BuiltHandover, phys: int, order: int, level: int = 1) -> int:
    """The address of the slot, of the table at this level, on the way to a block."""
    key = built.geometry.encode(phys, order)
    table = built.tree.nodes[level, key >> built.geometry.key_shift(level)]
    return table + 8 * built.geometry.path(key)[0][-level]


def leaf_of(built: BuiltHandover, phys: int, order: int) -> int:
    """The address of the leaf that a block is in."""
    return built.tree.nodes[0, built.geometry.encode(phys, order) >> built.geometry.key_shift(0)]


def in_fdt(built: BuiltHandover, what: bytes) -> int:
    """The address of these bytes, which are once in the root FDT."""
    assert built.fdt.count(what) == 1
    return built.fdt_phys + built.fdt.index(what)


def pointer_in_fdt(built: BuiltHandover, value: int) -> int:
    """The address of this u64 in the root FDT."""
    return in_fdt(built, u64(value))
