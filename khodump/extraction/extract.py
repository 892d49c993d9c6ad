"""`khodump extract`: rebuild what was preserved.

Each `plan_...()` plans one extraction, and `extract()` carries it out. Nothing is written that the image does not say,
unless a byte is given to fill in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

import numpy as np

from khodump.abi import memblock as memblock_abi
from khodump.abi.layout import dtype_of
from khodump.abi.luo import NODE_NAME as LUO_NODE
from khodump.abi.memfd import MEMFD_LUO_FOLIO_SER
from khodump.abi.vmalloc import KHO_VMALLOC
from khodump.advice import CHECK, FORCE_PLACEMENT, Advice, Command, Parameter
from khodump.columns.extents import Extents
from khodump.errors import KhodumpError, UsageError, choice
from khodump.extraction.copying import Progress, Sink, copy
from khodump.extraction.folios import lay_out
from khodump.extraction.losses import Losses, find_losses
from khodump.extraction.plan import Plan, Runs
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.kernel import FileState
from khodump.luo_sessions import FoundFile, FoundSession, choose_session, find_sessions
from khodump.memory import Hole, PhysicalMemory, Presence
from khodump.names import meant
from khodump.numbers import format_size
from khodump.opening.doubt import IN_DOUBT
from khodump.opening.running import Role
from khodump.owner import Owner, quoted
from khodump.placement import Placement
from khodump.rounding import ceil_div
from khodump.subtree import Context, Subtree
from khodump.subtrees.luo_state import Luo, file_owner
from khodump.subtrees.memblock import ReserveMem
from khodump.subtrees.memfd import Memfd
from khodump.subtrees.vmalloc import VmallocArea, open_vmalloc

_SMALL: Final = 1 << 30
#: MAX_LFS_FILESIZE of the kernel: what a loff_t can tell. No file of any kernel was larger.
_LARGEST_FILE: Final = (1 << 63) - 1
_ENTRY_SIZE: Final = dtype_of(MEMFD_LUO_FOLIO_SER).itemsize
_FILL: Final = Parameter("fill", "--fill", literal="0")
_FILL_BYTE: Final = Parameter("fill", "--fill-byte")
_LIMIT: Final = Parameter("limit", "--max-size")
_RANGE: Final = Parameter("phys", "--range")


class UnreadableError(KhodumpError):
    """What leads to the data is damaged, or not in the image."""

    def __init__(self, message: str, hint: str | Advice | None = None) -> None:
        where = Advice.of(CHECK, " says what is damaged, and where")
        super().__init__(message, hint=hint or where)


class MissingError(KhodumpError):
    """Some of the data is not in the image.

    Attributes:
        losses: what is missing; as far as it was read, where only reading shows it.
    """

    def __init__(self, losses: Losses, placement: Placement | None = None) -> None:
        super().__init__(
            f"{format_size(losses.size)} of {losses.plan.what} are missing", hint=_remedy(losses, placement)
        )
        self.losses = losses


def _remedy(losses: Losses, placement: Placement | None) -> Advice:
    """How to get at what is missing. What the image holds at a place in doubt is not to be filled in."""
    fill = Advice.of(_FILL, " puts zeros there, ", _FILL_BYTE, " another byte")
    if placement is None or not losses.is_any(Presence.UNPLACED):
        return fill
    settled = Advice.of(placement.remedy, "; ", FORCE_PLACEMENT, " reads all as it is")
    return settled if losses.is_all(Presence.UNPLACED) else Advice.of(settled, "; ", fill)


def extract(
    memory: PhysicalMemory,
    plan: Plan,
    output: Callable[[int], AbstractContextManager[Sink]],
    *,
    fill: int | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Losses:
    """Carry out a plan.

    Args:
        memory: the image.
        plan: what to extract.
        output: opens the output, given the bytes that will be written to it beside holes; called only when nothing
            speaks against that, and left with the exception when something turns up later.
        fill: byte for what is missing.
        limit: bytes that the output may have; see `refuse_larger()`.
        progress: see `Progress`.

    Returns:
        What was filled in.

    Raises:
        UsageError: the output would be larger than makes sense, or cannot be opened.
        MissingError: something is missing, and there is no `fill`.
        ImageError: the operating system failed to read the image.
        OSError: the output cannot be written.
    """
    refuse_larger(memory, plan, limit)
    losses = find_losses(memory, plan)
    if losses and fill is None:
        raise MissingError(losses, memory.placement)
    room = plan.size if fill else plan.data_size - plan.size_of(losses.runs)
    with output(room) as sink:
        losses = copy(memory, plan, sink, fill=fill, progress=progress)
        if losses and fill is None:
            raise MissingError(losses, memory.placement)
    return losses


def refuse_larger(memory: PhysicalMemory, plan: Plan, limit: int | None = None) -> None:
    """Refuse a plan whose size makes no sense.

    Holes cost nothing to claim, so a size is no evidence of itself. What was preserved fitted into the machine's memory:
    KHO fills the holes of a memfd before it preserves it. So nothing is larger than the memory that the image holds.

    Args:
        memory: the image.
        plan: what would be extracted.
        limit: bytes that are allowed; by default as many as the image holds, at least 1 GiB.

    Raises:
        UsageError: it is larger.
    """
    if plan.size > _LARGEST_FILE:
        raise UsageError(
            f"{plan.what} claims {plan.size} bytes ({format_size(plan.size)}), and no file has more than {_LARGEST_FILE}: "
            "the size is damaged, or mistyped",
            hint=Advice.of(
                CHECK, " says what is damaged; ", _RANGE.taking("ADDR+SIZE"), " takes some of the memory"
            ),
        )
    allowed = max(_memory_size(memory), _SMALL) if limit is None else limit
    if plan.size > allowed:
        why = "as much as the image holds" if limit is None and allowed > _SMALL else "the limit"
        raise UsageError(
            f"{plan.what} claims {plan.size} bytes ({format_size(plan.size)}), more than {format_size(allowed)}: {why}",
            hint=Advice.of(_LIMIT.of(plan.size), " allows it"),
        )


def doubts_of(handover: Handover, plan: Plan) -> tuple[str, ...]:
    """Why what is extracted may not be what was preserved: in itself, or as all of the image may be misread."""
    findings = [
        finding.message
        for finding in handover.told(handover.all_findings)
        if finding.rule == IN_DOUBT or plan.is_in_doubt([finding])
    ]
    return tuple(dict.fromkeys([*plan.misgivings, *findings]))


def plan_memfd(handover: Handover, session: str, token: int) -> Plan:
    """Plan the file that a session of LUO knows by a token.

    Raises:
        UsageError: there is no such session or file, or its handler is unknown.
        UnreadableError: its state cannot be read.
    """
    found = find_sessions(handover)
    session = meant(session, (each.name for each in found))
    plan = plan_found(handover, session, _file(handover, found, session, token))
    several = sorted({each.list for each in found if each.name == session})
    if len(several) > 1:
        plan = replace(plan, warnings=(*plan.warnings, _several(handover, session, several)))
    return plan


def plan_found(handover: Handover, session: str, chosen: FoundFile) -> Plan:
    """Plan a file of this session that was found.

    Raises:
        UsageError: its handler is unknown.
        UnreadableError: its state cannot be read, or was freed.
    """
    file, token = chosen.file, chosen.file.token
    what = f"memfd {token:#x} of session {quoted(session)}"
    _refuse_retrieved(chosen, what)
    if file.state is None:
        if file.handler.startswith("memfd-"):
            raise _unreadable(handover, LUO_NODE, f"the state of {what}, at {file.data:#x}, cannot be read")
        raise UsageError(
            f"file {token:#x} of session {quoted(session)} is no memfd: its handler is {quoted(file.handler)}",
            hint=Advice.of(
                Command("subtrees"),
                " shows what is known of it; ",
                _RANGE.taking(f"{file.data:#x}+4K"),
                " takes the page of its state",
            ),
        )
    plan = _memfd(handover, file.state, what, chosen.orders)
    return replace(plan, owner=file_owner(session, token, file.handler))


def _refuse_retrieved(chosen: FoundFile, what: str) -> None:
    """Raise for a file whose state was freed, so that what it leads to now may be anybody's."""
    live = chosen.live
    if live is None or live.data is not None or live.state is FileState.PRESERVED:
        return
    if live.state is FileState.RETRIEVED:
        raise UnreadableError(
            f"{what} was retrieved: the kernel has freed the state that listed its folios, and it is not decoded",
            "its contents are in the page cache of the process that retrieved it, which khodump does not read",
        )
    raise UnreadableError(
        f"{what} could not be retrieved (errno {live.error}): the kernel may have freed the state that listed its "
        "folios, and it is not decoded",
        "the kernel's log says what failed; its folios may still be where the last kernel's image has them",
    )


def _several(handover: Handover, session: str, lists: Sequence[str]) -> str:
    """The note on a session whose name is in several lists."""
    own = "was received" if handover.role is Role.INCOMING else "is to be handed over"
    return (
        f"session {quoted(session)} is in several lists ({', '.join(lists)}): took the one that {own}; "
        "--fdt with the other handover's root FDT takes the other"
    )


def plan_reserve_mem(handover: Handover, name: str) -> Plan:
    """Plan a region that `reserve_mem=` set aside.

    Raises:
        UsageError: there is none of that name.
        UnreadableError: the list of regions cannot be read.
    """
    subtree = _subtree(handover, memblock_abi.NODE_NAME, "reserve_mem")
    content = subtree.decoded.content
    regions = content if isinstance(content, tuple) else ()
    named: dict[str, ReserveMem] = {}
    for each in regions:
        if isinstance(each, ReserveMem):
            named.setdefault(each.name, each)
    name = meant(name, named)
    if name not in named:
        raise _unlisted(subtree, f"reserve_mem region {quoted(name)}", choice("regions", list(named), name))
    region = named[name]
    plan = plan_range(handover, region.start, region.size, f"reserve_mem {quoted(name)}")
    return replace(plan, owner=Owner(memblock_abi.NODE_NAME))


def plan_blob(handover: Handover, node: str) -> Plan:
    """Plan the blob that a node of the root FDT leads to.

    Raises:
        UsageError: there is no such node.
        UnreadableError: its blob cannot be read.
    """
    subtree = _subtree(handover, node, "blob")
    if subtree.blob is None:
        message = _first_finding(subtree) or f"the blob of node {quoted(node)} cannot be read"
        raise _unreadable(handover, node, message)
    plan = plan_range(handover, subtree.blob.phys, subtree.blob.size, f"blob {quoted(node)}")
    return replace(plan, owner=Owner(subtree.name))


def plan_range(handover: Handover, phys: int, size: int, what: str | None = None) -> Plan:
    """Plan `size` bytes from physical byte address `phys`.

    Raises:
        UsageError: they reach past the end of the address space.
    """
    what = what or f"range {phys:#x}+{size:#x}"
    if phys + size > 1 << 64:
        raise UsageError(
            f"{what} reaches past the end of the address space", hint="write ADDR+SIZE, such as 0x40000000+2M"
        )
    page_size = handover.page_size
    first, end = phys // page_size, ceil_div(phys + size, page_size)
    runs = Runs.of_rows([(first, 0, end - first)]) if size else Runs.none()
    return Plan(what, page_size, size, runs, skip=phys % page_size)


def plan_vmalloc(handover: Handover, phys: int) -> Plan:
    """Plan the area of the struct kho_vmalloc at physical byte address `phys`.

    Raises:
        UsageError: no kernel writes what is there.
        UnreadableError: it is not in the image.
    """
    what = f"vmalloc area {phys:#x}"
    context = Context(handover.memory, handover.page_size)
    data = handover.memory.read(phys, KHO_VMALLOC.size)
    if isinstance(data, Hole):
        raise UnreadableError(context.unreadable(data, f"the descriptor of {what}").message)
    area = open_vmalloc(context, data, what)
    broken = tuple(finding.message for finding in area.findings)
    if any(finding.rule == "vmalloc-invalid" for finding in area.findings):
        raise UsageError(
            broken[0], hint="ADDR is that of a struct kho_vmalloc, which leads to its first chunk"
        )
    doubt = "unknown: the chain of chunks does not lead there" if broken else None
    runs = _blocks(area, area.descriptor.total_pages)
    size = area.descriptor.total_pages * handover.page_size
    parts = (len(area.blocks), "block")
    return Plan(what, handover.page_size, size, runs, parts=parts, doubt=doubt, misgivings=broken)


def _blocks(area: VmallocArea, pages: int) -> Runs:
    """The first pages of an area, as runs."""
    each = 1 << area.descriptor.order
    blocks = area.blocks[: ceil_div(pages, each)]
    page = np.arange(len(blocks), dtype=np.uint64) * np.uint64(each)
    count = np.minimum(np.uint64(each), np.uint64(pages) - page)
    return Runs(blocks // np.uint64(area.context.page_size), page, count).joined()


def _memfd(handover: Handover, memfd: Memfd, what: str, preserved: Extents) -> Plan:
    pages = ceil_div(memfd.size, handover.page_size)
    if memfd.nr_folios * _ENTRY_SIZE > max(_memory_size(handover.memory), _SMALL):
        raise UnreadableError(
            f"{what} claims {memfd.nr_folios} folios: the list of them alone is larger than all memory of the image"
        )
    layout = lay_out(memfd, preserved, pages)
    broken = tuple(finding.message for finding in memfd.findings if finding.severity is Severity.ERROR)
    plan = Plan(
        what,
        handover.page_size,
        memfd.size,
        layout.runs,
        parts=(layout.folios, "folio"),
        warnings=layout.oddities(),
        misgivings=(*broken, *layout.misgivings()),
    )
    if layout.unread or broken:
        return replace(plan, doubt="unknown: that part of the list of folios cannot be read")
    if layout.nameless:
        return replace(plan, doubt="unknown: the list of folios has entries that name no memory")
    return plan


def _file(handover: Handover, found: Sequence[FoundSession], session: str, token: int) -> FoundFile:
    chosen = choose_session(handover, found, session)
    if chosen is None:
        raise _no_session(handover, found, session)
    for file in chosen.files:
        if file.file.token == token:
            return file
    tokens = [f"{file.file.token:#x}" for file in chosen.files]
    raise UsageError(
        f"session {quoted(session)} has no file {token:#x}", hint=choice("files", tokens, f"{token:#x}")
    )


def _no_session(handover: Handover, found: Sequence[FoundSession], session: str) -> KhodumpError:
    """The error for a session that no list has."""
    names = [each.name for each in found]
    missing, hint = f"session {quoted(session)}", choice("sessions", names, session)
    if found and handover.live_luo is not None:
        lack = next((finding.message for finding in handover.live_luo.findings), None)
        if lack is not None:
            return UnreadableError(f"no {missing} is listed, but part of the lists could not be read: {lack}")
        return UsageError(f"there is no {missing}", hint=hint)
    subtree = _subtree(handover, LUO_NODE, "memfd")
    luo = subtree.decoded.content
    if not isinstance(luo, Luo):
        message = _first_finding(subtree) or "the state of LUO cannot be read"
        return _unreadable(handover, LUO_NODE, message)
    if not luo.is_serialized:
        return UsageError(
            "LUO has no sessions written down in this image",
            hint="only the reboot into the next kernel writes them, if there are any: take the image there",
        )
    return _unlisted(subtree, missing, hint)


def _subtree(handover: Handover, node: str, wanted: str) -> Subtree:
    names = [subtree.name for subtree in handover.subtrees]
    node = meant(node, names)
    for subtree in handover.subtrees:
        if subtree.name == node:
            return subtree
    raise UsageError(
        f"there is no {wanted}: the root FDT has no node {quoted(node)}", hint=choice("nodes", names, node)
    )


def _unreadable(handover: Handover, node: str, message: str) -> UnreadableError:
    """The error for what leads to the data, which this node's user wrote; or why it is not to be had any more."""
    users = [subtree for subtree in handover.subtrees if subtree.name == node]
    if not handover.gone_of(users) or handover.successor is None:
        return UnreadableError(message)
    told = f"what node {quoted(node)} leads to is not to be had: {handover.successor.message}"
    return UnreadableError(told, Advice.of(Command("subtrees"), " shows what is left of the handover"))


def _unlisted(subtree: Subtree, what: str, hint: str) -> KhodumpError:
    """The error for something that its user does not list: there is none, unless part of the list could not be read."""
    lack = _first_finding(subtree)
    if lack is None:
        return UsageError(f"there is no {what}", hint=hint)
    return UnreadableError(f"no {what} is listed, but part of the list could not be read: {lack}")


def _first_finding(subtree: Subtree) -> str | None:
    return next((finding.message for finding in subtree.decoded.findings), None)


def _memory_size(memory: PhysicalMemory) -> int:
    """Bytes that the image holds."""
    return sum(end - start for start, end, presence in memory.ranges if presence is Presence.PRESENT)
