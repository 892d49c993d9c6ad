"""Rules of the preserved-memory map: what the next kernel's walk meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from khodump.abi.kernels import WithoutMap
from khodump.abi.kexec_handover import PAGE_SIZES
from khodump.advice import Blank, Confirmation, confirm, see
from khodump.checking.case import Case, producer
from khodump.checking.log import (
    DISABLED,
    FAULT_ANY,
    FAULT_ARM64,
    FAULT_X86,
    NO_BITMAPS,
    NO_MAP,
    LogLine,
)
from khodump.checking.rule import Effect, Hit, Outcome, Rule
from khodump.columns.intervals import meet
from khodump.findings import Finding, Severity
from khodump.memory import RamEnd
from khodump.numbers import format_size
from khodump.opening.locate import FDT_OWNER
from khodump.problems import MapRootMissing
from khodump.tracker import MAP_OWNER
from khodump.trackers.bitmap_chain import BitmapChainTracker
from khodump.trackers.radix import RadixTracker

_WALK: Final = "__kho_radix_walk_tree() and kho_mem_retrieve(), kernel/liveupdate/kexec_handover.c"
_FAULTS: Final = {"x86_64": FAULT_X86, "aarch64": FAULT_ARM64}
_TWO_GIB: Final = 31
#: 1 << order in an int, pages of a block in kho_restore_page() of 7.2 and 7.3.
_ORDER_31: Final = 31
#: The release whose map is a radix tree, and whose lines speak of a map.
_RADIX: Final = (7, 1)
_WITHOUT_MAP: Final = {
    WithoutMap.REFUSES: (
        Effect.COLD_BOOT,
        "boots cold, as if nothing had been handed over, and reuses all memory",
    ),
    WithoutMap.FREES_SCRATCH_TWICE: (
        Effect.COLD_BOOT,
        "reuses all memory, and frees its scratch memory a second time, which corrupts the page allocator",
    ),
    WithoutMap.KEEPS_NOTHING: (
        Effect.OVERWRITTEN,
        "boots as if all had been handed over, and keeps none of it: users are led to memory that is given to others",
    ),
}


def _root_missing(case: Case) -> Iterator[Hit]:
    root = case.fdt
    if root is None or (case.handover is not None and not case.accepted):
        return
    prop = case.reader.prop
    if root.tree.u64(prop) is None:
        have = ", ".join(root.tree.properties) or "nothing"
        yield Hit(case.fdt_phys, f"the root FDT has no 8-byte {prop} (it has {have})", FDT_OWNER)


def _root_missing_outcome(case: Case, finding: Finding) -> Outcome:
    kernel = case.reader
    is_zero = MapRootMissing.of(finding) is not None  # of an address of 0, no kernel says anything
    missing = () if is_zero else (NO_BITMAPS.of() if kernel.number < _RADIX else NO_MAP.of(),)
    disabled = (DISABLED.of(),) if kernel.without_map is WithoutMap.REFUSES else ()
    effect, text = _WITHOUT_MAP[kernel.without_map]
    return Outcome(effect, text, (*missing, *disabled))


def _fault(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    """A pointer that leads nowhere; the walk of kho-v1 is inlined, so that no line of its oops is foretold."""
    if not isinstance(case.opened.tracker, RadixTracker):
        text = "follows the pointer unchecked and faults in kho_mem_deserialize(), early in boot"
        return Outcome(Effect.PANIC, text)
    line = _FAULTS.get(case.memory.platform.machine or "", FAULT_ANY)
    text = "follows the pointer unchecked and faults in __kho_radix_walk_tree(), early in boot"
    return Outcome(Effect.PANIC, text, (line.of(),))


def _impossible_keys(case: Case) -> Iterator[Hit]:
    extents, end = case.opened.preserved, case.memory.ram_end
    if end is None or not end.is_told:
        end = RamEnd.of_architecture()
    beyond = extents.take(extents.end > np.uint64(end.address))
    if beyond:
        first = int(beyond.phys[0])
        message = f"{len(beyond)} blocks lie where no RAM is, the first at {first:#x}: it ends at {end.address:#x}, {end.source}"
        yield Hit(first, message, MAP_OWNER, {"order": int(beyond.order[0]), "count": len(beyond)})


def _depth_16k(case: Case) -> Iterator[Hit]:
    tracker, extents = case.opened.tracker, case.opened.preserved
    if not isinstance(tracker, RadixTracker) or not tracker.geometry.order0_end:
        return
    lost = int(extents.count[extents.order == 0].sum())
    if lost:
        message = f"the tree has {tracker.depth} levels, too few for the order bit of its {lost} order-0 keys"
        yield Hit(tracker.root, message, MAP_OWNER, {"depth": tracker.geometry.depth, "count": lost})


def _empty_nodes(case: Case) -> Iterator[Hit]:
    nodes = case.opened.nodes
    if nodes.empties:
        first = int(nodes.phys[nodes.empty][0])
        message = f"{nodes.empties} of {len(nodes)} nodes hold nothing, the first at {first:#x}"
        yield Hit(first, message, MAP_OWNER, {"count": nodes.empties})


def _overlaps(case: Case) -> Iterator[Hit]:
    extents = case.opened.preserved
    rows = np.flatnonzero(extents.phys[1:] < np.maximum.accumulate(extents.end)[:-1]) + 1
    if len(rows):
        phys = int(extents.phys[rows[0]])
        orders = ", ".join(str(block.order) for block in extents.lookup(phys))
        message = (
            f"{len(rows)} runs overlap an earlier one, the first at {phys:#x} (preserved at orders {orders})"
        )
        yield Hit(phys, message, MAP_OWNER, {"count": len(rows)})
    start, end = case.opened.map_pages
    _, _, hit, _ = meet(start, end, case.kept.start, case.kept.end)
    hit = np.unique(hit)
    if len(hit):
        phys = int(start[hit[0]])
        message = f"{len(hit)} of the map's own pages lie in preserved blocks, the first at {phys:#x}"
        yield Hit(phys, message, MAP_OWNER, {"count": len(hit)})


def _shift_overflow(case: Case) -> Iterator[Hit]:
    kernels = [kernel for kernel in (producer(case.subject), case.reader) if not kernel.wide_blocks]
    tracker, extents = case.opened.tracker, case.opened.preserved
    large = extents.take(extents.order + tracker.page_shift >= _TWO_GIB)
    if kernels and large:
        order = int(large.order.max())
        size = format_size(1 << (tracker.page_shift + order))
        message = (
            f"{len(large)} blocks are of 2 GiB and more, up to {size} (order {order}); kernels before 7.2 compute "
            "their size in 32 bits"
        )
        yield Hit(int(large.phys[0]), message, MAP_OWNER, {"order": order, "count": len(large)})
    countless = extents.take(extents.order >= _ORDER_31)
    if countless and not kernels:
        message = f"{len(countless)} blocks are of order 31 and more; 7.2 and 7.3 count the pages of a block in 32 bits"
        seen = {"order": int(countless.order.max()), "count": len(countless), "pages": 1}
        yield Hit(int(countless.phys[0]), message, MAP_OWNER, seen)


def _shift_overflow_outcome(case: Case, finding: Finding) -> Outcome:  # noqa: ARG001 - as all
    if "pages" in finding.evidence:
        text = "reserves these blocks, and counts their pages in 32 bits where they are restored: nobody gets them back whole"
        return Outcome(Effect.UNJUDGED, text)
    return Outcome(Effect.OVERWRITTEN, "reserves a wrong size for these blocks, and reuses what is left out")


def _bitmap_size(case: Case) -> Iterator[Hit]:
    tracker = case.opened.tracker
    if not isinstance(tracker, BitmapChainTracker):
        return
    told, small = tracker.bitmap_size, tracker.bitmap_size.size not in PAGE_SIZES
    sizes = (
        format_size(told.size),
        "512 B" if case.reader.small_bitmaps else format_size(case.opened.page_size),
    )
    if small != case.reader.small_bitmaps:
        message = f"the bitmaps are of {sizes[0]} ({told.reason}), and kernels of {case.reader.release} read {sizes[1]}"
        yield Hit(tracker.root, message, MAP_OWNER, {"value": told.size})
    elif not told.certain:
        message = (
            f"whether the bitmaps are of {sizes[0]} is {told.reason}; --as kho-v1a or kho-v1b settles it"
        )
        yield Hit(tracker.root, message, MAP_OWNER, {"value": told.size}, Severity.INFO)


def _bitmap_size_outcome(case: Case, finding: Finding) -> Outcome:
    if finding.severity is Severity.INFO:
        return Outcome(Effect.NONE, "cannot tell either: both kinds have one compatible string")
    how = (
        "misses most preserved blocks"
        if case.reader.small_bitmaps
        else "keeps phantom blocks, and gives others away"
    )
    return Outcome(Effect.OVERWRITTEN, f"takes the string for its own, misreads every bitmap, and {how}")


_WAY: Final = see("lookup", Blank.PHYS, shows="names the slots that lead there, and what they hold")
_POINTER: Final = confirm(
    see("lookup", Blank.ENTRY, shows="shows what the slot holds, and the slots that lead to its table"), _WAY
)
_CHUNKS: Final = confirm(
    see("lookup", Blank.PHYS, shows="shows how that page of the map begins, and what leads there"),
    see("tree", shows="shows the pages of the map"),
)


def _pointer(
    name: str,
    title: str,
    then: Outcome | Callable[[Case, Finding], Outcome],
    log: tuple[LogLine, ...] = (),
    confirmation: Confirmation = _POINTER,
) -> Rule:
    """A rule of the map that its tracker watches over as it walks."""
    means = "The kernel checks no entry: whatever stands in a slot is followed."
    return Rule(name, Severity.ERROR, title, means, confirmation, _WALK, then, log=log)


RULES: Final = (
    Rule(
        "map-root-missing",
        Severity.ERROR,
        "the root FDT leads to no map, or to address 0",
        "It boots cold (7.0 and later). 6.19 boots cold, too, and frees its scratch memory twice; 6.16 to 6.18 keep "
        "nothing, and lead users to memory that is reused.",
        confirm(
            see("subtrees", "--dts", shows="prints the root FDT's properties"),
            see("lookup", Blank.ENTRY, shows="shows the address that the root FDT gives"),
            remark="A map address of 0 means that the handover was never finished.",
        ),
        "kho_get_mem_map_phys() and kho_populate(), kernel/liveupdate/kexec_handover.c; eda79a683a0a; kho_mem_deserialize() "
        "and kho_memory_init() of 6.16 to 6.19",
        _root_missing_outcome,
        log=(NO_MAP, DISABLED, NO_BITMAPS),
        needs=(),
        look=_root_missing,
    ),
    _pointer(
        "map-pointer-unaligned", "a pointer of the map is not page-aligned", _fault, (FAULT_X86, FAULT_ARM64)
    ),
    _pointer(
        "map-pointer-outside-memory",
        "a pointer of the map leads above all memory",
        _fault,
        (FAULT_X86, FAULT_ARM64),
    ),
    Rule(
        "map-node-unreadable",
        Severity.ERROR,
        "a page of the map is not in the image",
        "Nothing can be said of what lies below it: the dump may leave the page out though the machine has it.",
        confirm(
            _WAY, remark="Dump again with a lower dump level (makedumpfile -d), or with the pages of the map."
        ),
        "the image itself",
        Outcome(Effect.UNKNOWN, "sees what this image does not hold: what lies below that page is not known"),
    ),
    _pointer(
        "map-node-shared",
        "two pointers of the map lead to one page",
        Outcome(
            Effect.OVERWRITTEN, "walks the page once for each pointer, and keeps blocks that nobody preserved"
        ),
    ),
    Rule(
        "map-key-impossible",
        Severity.ERROR,
        "a key has no order bit, is too wide, or stands for memory that no machine has",
        "7.3 refuses to make such keys (ERANGE); a kernel that meets one reserves memory that does not exist.",
        confirm(
            see(
                "key",
                Blank.KEY,
                "--page-size",
                Blank.PAGE_SIZE,
                shows="decodes the key: its block, and why no kernel makes it",
            ),
            see(
                "lookup", Blank.ENTRY, shows="shows what the slot holds, and the slots that lead to its table"
            ),
            _WAY,
        ),
        "kho_radix_encode_key() and kho_radix_decode_key(), kernel/liveupdate/kexec_handover.c",
        Outcome(Effect.PANIC, "marks pages that do not exist as preserved, and faults on their struct page"),
        look=_impossible_keys,
    ),
    Rule(
        "map-chunk-count",
        Severity.ERROR,
        "a chunk of kho-v1 counts more elements than it holds",
        "It reads past the end of the chunk's page.",
        _CHUNKS,
        "kho_mem_deserialize(), kernel/kexec_handover.c of 6.16 to 7.0",
        Outcome(Effect.PANIC, "takes what follows the chunk's page for pointers, and follows them"),
    ),
    Rule(
        "map-elements-repeated",
        Severity.ERROR,
        "two elements of kho-v1 stand for the same memory",
        "It keeps what either of them says.",
        _CHUNKS,
        "kho_mem_serialize(), kernel/kexec_handover.c of 6.16 to 7.0",
        Outcome(Effect.OVERWRITTEN, "keeps what either of the two bitmaps says, one of which nobody wrote"),
    ),
    Rule(
        "map-elements-unordered",
        Severity.WARNING,
        "elements of kho-v1 do not ascend",
        "Nothing: it takes them in any order. Every kernel writes them in ascending order, so something else did.",
        _CHUNKS,
        "kho_mem_serialize(), kernel/kexec_handover.c of 6.16 to 7.0",
        Outcome(Effect.NONE, "takes the elements in any order"),
    ),
    Rule(
        "map-order-not-restored",
        Severity.WARNING,
        "the order table has an entry past its array",
        "The RFC's walker never visits it: those blocks are stored, and lost.",
        _CHUNKS,
        "20250917025019.1585041, patch 2/4",
        Outcome(Effect.OVERWRITTEN, "never visits that slot, and reuses the blocks below it"),
    ),
    Rule(
        "map-depth-16k",
        Severity.ERROR,
        "a 16 KiB tree is too shallow for its order-0 keys",
        "Kernels before 7.1-rc6 lose the order bit of order-0 keys, later ones look a level too deep: neither keeps them.",
        confirm(
            see(
                "lookup",
                Blank.FDT,
                shows="shows the way from level 3 down; a sound tree with 16 KiB pages begins at level 4",
            ),
            see("tree", shows="shows the levels of the tree"),
        ),
        "d64b0372760e",
        Outcome(
            Effect.OVERWRITTEN,
            "decodes every order-0 key as a huge block elsewhere, and reuses the pages meant",
        ),
        look=_depth_16k,
    ),
    Rule(
        "map-empty-nodes",
        Severity.INFO,
        "nodes of the map hold nothing",
        "Nothing: unpreserving clears bits and leaves the nodes linked, by design.",
        confirm(_WAY, remark="khodump tree counts empty nodes."),
        "review of 2026-01-13: freeing empty nodes was declined",
        Outcome(Effect.NONE, "walks over them"),
        look=_empty_nodes,
    ),
    Rule(
        "preserved-overlap",
        Severity.ERROR,
        "preserved blocks overlap each other, or the map's own pages",
        "The kernel does not notice one page under two orders; restoring one block then breaks the other.",
        confirm(see("lookup", Blank.PHYS, shows="names all blocks that hold the page, and what else it is")),
        "kho_radix_add_page(), kernel/liveupdate/kexec_handover.c, which keeps a set of keys",
        Outcome(
            Effect.OVERWRITTEN,
            "initialises the same pages twice, with two orders, and restoring one breaks the other",
        ),
        look=_overlaps,
    ),
    Rule(
        "order-shift-overflow",
        Severity.ERROR,
        "blocks are larger than the kernel can compute in 32 bits, where it does so",
        "Before 7.2 the size sign-extends at 2 GiB and wraps above, so that the reservation is wrong. 7.2 and 7.3 reserve the "
        "right size, and still count pages as an int: for blocks of order 31 and more it overflows.",
        confirm(
            see("lookup", Blank.PHYS, shows="shows the order of the block, and where it ends"),
            remark="7.2 and later have the fix, and stable releases before may.",
        ),
        "3a0b8fa2eb36 (pushed 2026-07-29): u64 sz in kho_preserved_memory_reserve(), and 1 << order in "
        "kho_restore_page(), kernel/liveupdate/kexec_handover.c",
        _shift_overflow_outcome,
        look=_shift_overflow,
    ),
    Rule(
        "v1-bitmap-size",
        Severity.ERROR,
        "kho-v1's bitmaps are of another size than the next kernel reads",
        "One string stands for bitmaps of 512 bytes (6.16, 6.17) and of a page (6.18 on, and 6.17 stable).",
        confirm(
            see(
                "owners",
                "--as",
                Blank.OTHER_VERSION,
                shows="shows, for the other reading, how much is preserved that nobody claims, and claimed that is not preserved",
            ),
        ),
        "a2fff99f92da, 20251021000852.2924827-3",
        _bitmap_size_outcome,
        look=_bitmap_size,
    ),
)
