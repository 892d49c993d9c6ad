"""Everything that a decoder or a tracker of khodump can find wrong, declared once.

A problem is a class: its name, severity and title are declared with it, its fields are the numbers that were seen. So
a decoder cannot give a finding without the numbers that a rule of `check` reads from it; a test holds the rules and
this table to each other. A decoder of one's own declares its problems beside itself, in the same way: no rule knows
them, and every command shows them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Final, Self

from khodump.findings import Entry, Finding, Severity
from khodump.owner import Owner


@dataclass(frozen=True)
class Problem:
    """One kind of thing that can be wrong; an instance holds the numbers that were seen.

    Class attributes:
        name: the rule that its findings carry.
        severity: of its findings.
        title: what is wrong, for a list.
        unread: nothing is wrong with the data as far as it can be read: some of it is missing.
    """

    name: ClassVar[str]
    severity: ClassVar[Severity]
    title: ClassVar[str]
    unread: ClassVar[bool]

    def __init_subclass__(
        cls, *, name: str, title: str, severity: Severity = Severity.ERROR, unread: bool = False
    ) -> None:
        super().__init_subclass__()
        cls.name = name
        cls.title = title
        cls.severity = severity
        cls.unread = unread

    @property
    def evidence(self) -> dict[str, int]:
        """The numbers by name, without those that do not apply."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def finding(
        self, phys: int | None, message: str, owner: Owner | None = None, entry: Entry | None = None
    ) -> Finding:
        """The finding; its arguments are those of `Finding`."""
        return Finding(self.name, self.severity, phys, message, self.evidence, owner, self.unread, entry)

    @classmethod
    def of(cls, finding: Finding) -> Self | None:
        """The numbers of a finding of this kind; None when it lacks some, as one made by hand may."""
        try:
            return cls(**finding.evidence)
        except TypeError:
            return None


@dataclass(frozen=True)
class MapProblem(Problem, name="", title=""):
    """What can be seen of a place in a map; which of it there is depends on the kind of map.

    Attributes:
        value: the bad entry.
        level: of the page that the entry leads to; 0 is a leaf.
        prefix: the bits that all keys below that page share.
        slot: of the entry, in its page.
        slots: bad entries of the same page.
        parent: physical address of the page that holds the entry.
        phys_start: physical address from which on the bitmap counts (kho-v1).
    """

    value: int
    level: int | None = None
    prefix: int | None = None
    slot: int | None = None
    slots: int | None = None
    parent: int | None = None
    phys_start: int | None = None


class MapRootMissing(
    MapProblem, name="map-root-missing", title="the root FDT leads to no map, or to address 0"
):
    """The root pointer is 0."""


class MapPointerUnaligned(
    MapProblem, name="map-pointer-unaligned", title="a pointer of the map is not page-aligned"
):
    """Pages of the map are page-aligned."""


class MapPointerOutsideMemory(
    MapProblem, name="map-pointer-outside-memory", title="a pointer of the map leads above all memory"
):
    """There is nothing at that address."""


class MapNodeUnreadable(
    MapProblem, name="map-node-unreadable", title="a page of the map is not in the image", unread=True
):
    """The image does not hold the page."""


class MapNodeShared(MapProblem, name="map-node-shared", title="two pointers of the map lead to one page"):
    """A tree has one pointer to each page."""


@dataclass(frozen=True)
class MapKeyImpossible(
    MapProblem,
    name="map-key-impossible",
    title="a key has no order bit, is too wide, or stands for memory that no machine has",
):
    """An entry that leads to such keys; or `first` to `last` of a leaf, of which `keys` are impossible."""

    first: int | None = None
    last: int | None = None
    keys: int | None = None


class MapChunkCount(
    MapProblem, name="map-chunk-count", title="a chunk of kho-v1 counts more elements than it holds"
):
    """`value` is the count."""


class MapElementsRepeated(
    MapProblem, name="map-elements-repeated", title="two elements of kho-v1 stand for the same memory"
):
    """Each element has memory of its own."""


class MapElementsUnordered(
    MapProblem,
    name="map-elements-unordered",
    title="elements of kho-v1 do not ascend",
    severity=Severity.WARNING,
):
    """Every kernel writes them in ascending order."""


class MapOrderNotRestored(
    MapProblem,
    name="map-order-not-restored",
    title="the order table has an entry past its array",
    severity=Severity.WARNING,
):
    """`slot` is the order, `value` its table."""


class SubtreeIncomplete(
    Problem, name="subtree-incomplete", title="a node of the root FDT lacks its data or its size"
):
    """A property is not there, or has another length."""


class BlobUnreadable(
    Problem, name="blob-unreadable", title="a page that a user needs is not in the image", unread=True
):
    """The image does not hold it."""


@dataclass(frozen=True)
class BlobInvalid(Problem, name="blob-invalid", title="a blob or a file's state is damaged"):
    """`value` is the count that is wrong, where it is a count."""

    value: int | None = None


@dataclass(frozen=True)
class BlobIncompatible(
    Problem, name="blob-incompatible", title="a blob is of a version that the next kernel does not take"
):
    """`value` is the version, where it is a number."""

    value: int | None = None


@dataclass(frozen=True)
class BlobTooSmall(Problem, name="blob-too-small", title="a blob is smaller than what it holds"):
    """`value` bytes, where `need` are needed."""

    value: int
    need: int


@dataclass(frozen=True)
class ChainProblem(Problem, name="", title=""):
    """`value` is the address at which the chain goes on."""

    value: int


class ChainCycle(
    ChainProblem, name="chain-cycle", title="a chain of pages comes back to a page it has been at"
):
    """A page is in one place of one chain."""


@dataclass(frozen=True)
class ChainTooLong(
    ChainProblem,
    name="chain-too-long",
    title="a chain has more pages than the kernel takes, or than its contents need",
):
    """The kernel stops there.

    Attributes:
        blocks: how many a list of blocks has, where it ends not far behind.
    """

    blocks: int | None = None


class ChainPointerUnaligned(
    ChainProblem,
    name="chain-pointer-unaligned",
    title="a chain goes on at an address that begins no page",
):
    """Pages of chains are page-aligned."""


@dataclass(frozen=True)
class ListPageShared(
    Problem,
    name="list-page-shared",
    title="pages of lists are named again, by the same list or by others, and are not read again",
):
    """`count` pages are; `value` is the address of the first. Where they are states of files, those of `files` files."""

    value: int
    count: int
    files: int | None = None


@dataclass(frozen=True)
class BlockCountInvalid(
    Problem, name="block-count-invalid", title="a block counts no entries, or more than it holds"
):
    """`value` is the count."""

    value: int


@dataclass(frozen=True)
class VmallocCountMismatch(
    Problem,
    name="vmalloc-count-mismatch",
    title="an area's chain does not name as many pages as the area has",
):
    """`value` blocks are named, for `pages` pages."""

    value: int
    pages: int


@dataclass(frozen=True)
class VmallocInvalid(
    Problem, name="vmalloc-invalid", title="an area has flags or an order that no kernel writes"
):
    """`value` is the order."""

    value: int
    flags: int


@dataclass(frozen=True)
class VmallocBlockUnaligned(
    Problem, name="vmalloc-block-unaligned", title="a block of an area is not aligned to its size"
):
    """`value` is the first such address."""

    value: int


@dataclass(frozen=True)
class SessionFileCountMismatch(
    Problem,
    name="session-file-count-mismatch",
    title="a session says that it has another number of files than its list",
):
    """`value` is what it says, `found` what its list has."""

    value: int
    found: int


class SessionNameInvalid(Problem, name="session-name-invalid", title="the name of a session has no end"):
    """All of its 64 bytes are in use, and the last of them is a NUL in what a kernel writes."""


@dataclass(frozen=True)
class FlbListInvalid(
    Problem,
    name="flb-list-invalid",
    title="the list of FLBs has what no kernel writes",
    severity=Severity.WARNING,
):
    """`value` entries are counted, and `pages` pages."""

    value: int
    pages: int


@dataclass(frozen=True)
class MemfdFolioCount(
    Problem, name="memfd-folio-count", title="a memfd counts more folios than its list holds"
):
    """`value` is the count."""

    value: int


@dataclass(frozen=True)
class MemfdListUnread(
    Problem,
    name="memfd-list-unread",
    title="part of a memfd's list of folios is not in the image",
    unread=True,
):
    """`listed` entries can be read, of `value`."""

    value: int
    listed: int


@dataclass(frozen=True)
class MemfdFolioMissing(
    Problem,
    name="memfd-folio-missing",
    title="entries of a memfd's list of folios name no memory",
):
    """`count` entries, of `value`."""

    value: int
    count: int


@dataclass(frozen=True)
class ScratchWraps(
    Problem, name="scratch-wraps", title="a scratch region reaches past the end of the address space"
):
    """`value` is its address, `size` its bytes."""

    value: int
    size: int


@dataclass(frozen=True)
class FdtOdd(
    Problem,
    name="fdt-odd",
    title="the root FDT holds what no kernel writes, and libfdt takes it all the same",
):
    """A warning where nothing can be lost by it."""


@dataclass(frozen=True)
class FdtLost(
    Problem, name="fdt-lost", title="the root FDT is lost, and only the map was named", unread=True
):
    """Nothing tells of users."""


@dataclass(frozen=True)
class ReadingInDoubt(
    Problem, name="reading-in-doubt", title="the map does not bear out the way the image is read", unread=True
):
    """The whole reading, not the data.

    Attributes:
        bytes: preserved where a raw file has no memory.
    """

    bytes: int | None = None


class LiveListBroken(
    Problem,
    name="live-list-broken",
    title="a list of the running kernel's LUO loops, is shared, or leads nowhere",
):
    """What came before is known."""


class LiveObjectUnreadable(
    Problem,
    name="live-object-unreadable",
    title="an entry of a list of the running kernel's LUO cannot be read",
):
    """One session, file or file handler."""


class LiveListsUnread(
    Problem,
    name="live-lists-unread",
    title="what leads to the running kernel's lists of sessions cannot be read",
    unread=True,
):
    """Where LUO has not serialized, only these lists tell of its sessions."""


@dataclass(frozen=True)
class LiveCountMismatch(
    Problem,
    name="live-count-mismatch",
    title="a list of the running kernel's LUO has another number of entries than its counter",
    severity=Severity.WARNING,
):
    """`value` by the counter, `found` in the list."""

    value: int
    found: int


class LiveReceivedMismatch(
    Problem,
    name="live-received-mismatch",
    title="what a kernel received does not have the form or the number that it counts",
    severity=Severity.WARNING,
):
    """Sessions that nobody has opened /dev/liveupdate for."""


@dataclass(frozen=True)
class LiveSerializedMismatch(
    Problem,
    name="live-serialized-mismatch",
    title="what LUO serialized is not what the running kernel's lists have",
    severity=Severity.WARNING,
):
    """`value` sessions or files are in one alone, of `found` in both."""

    value: int
    found: int


#: All that the decoders and trackers of khodump can give.
PROBLEMS: Final[tuple[type[Problem], ...]] = (
    MapRootMissing,
    MapPointerUnaligned,
    MapPointerOutsideMemory,
    MapNodeUnreadable,
    MapNodeShared,
    MapKeyImpossible,
    MapChunkCount,
    MapElementsRepeated,
    MapElementsUnordered,
    MapOrderNotRestored,
    SubtreeIncomplete,
    BlobUnreadable,
    BlobInvalid,
    BlobIncompatible,
    BlobTooSmall,
    ChainCycle,
    ChainTooLong,
    ChainPointerUnaligned,
    ListPageShared,
    BlockCountInvalid,
    VmallocCountMismatch,
    VmallocInvalid,
    VmallocBlockUnaligned,
    SessionFileCountMismatch,
    SessionNameInvalid,
    FlbListInvalid,
    MemfdFolioCount,
    MemfdListUnread,
    MemfdFolioMissing,
    ScratchWraps,
    FdtOdd,
    FdtLost,
    ReadingInDoubt,
    LiveListBroken,
    LiveObjectUnreadable,
    LiveListsUnread,
    LiveCountMismatch,
    LiveReceivedMismatch,
    LiveSerializedMismatch,
)
