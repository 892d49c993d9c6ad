"""From an image to the kernel in it: VMCOREINFO, address space, symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from khodump.kernel import arm64, x86_64
from khodump.kernel.addresses import AddressSpace
from khodump.kernel.kallsyms import Symbols, contradiction, read_kallsyms
from khodump.kernel.kernel import Kernel
from khodump.kernel.lack import Reason, WhyNot
from khodump.kernel.physical import PhysicalPages
from khodump.kernel.proc_kallsyms import read_proc_kallsyms
from khodump.kernel.virtual import VirtualMemory
from khodump.kernel.vmcoreinfo import Vmcoreinfo
from khodump.memory import PhysicalMemory


def open_kernel(
    memory: PhysicalMemory,
    *,
    proc_kallsyms: Path | None = None,
    vmcoreinfo: Mapping[str, str] | None = None,
) -> Kernel | WhyNot:
    """The kernel whose memory this is, if it can be asked about its handover.

    Args:
        memory: of any format; what is needed of it is read, it is not searched.
        proc_kallsyms: /proc/kallsyms of this very kernel, for where the table in its memory cannot be read.
        vmcoreinfo: the lines of VMCOREINFO from elsewhere; by default those that came with the image.
    """
    info = Vmcoreinfo(memory.platform.vmcoreinfo if vmcoreinfo is None else vmcoreinfo)
    if not info.lines:
        return WhyNot(
            Reason.NO_VMCOREINFO, "the image has no VMCOREINFO, which would lead to the kernel's symbols"
        )
    if info.page_size is None:
        return WhyNot(
            Reason.NO_VMCOREINFO, "VMCOREINFO does not tell the page size, or none that kernels with KHO have"
        )
    space = _address_space(info, PhysicalPages(memory, info.page_size))
    if isinstance(space, WhyNot):
        return space
    known = _symbols(info, VirtualMemory(space), proc_kallsyms)
    if isinstance(known, WhyNot):
        return known
    kernel = _located(Kernel(info, VirtualMemory(space), known, info.page_size), space)
    return kernel if isinstance(kernel, WhyNot) else _asked(kernel)


def _symbols(info: Vmcoreinfo, memory: VirtualMemory, proc_kallsyms: Path | None) -> Symbols | WhyNot:
    """The symbols of the table in memory; else those that the kernel itself shows, if VMCOREINFO confirms them."""
    own = read_kallsyms(info, memory)
    if not isinstance(own, WhyNot) or proc_kallsyms is None:
        return own
    shown = read_proc_kallsyms(proc_kallsyms)
    lack = shown if isinstance(shown, WhyNot) else contradiction(info, shown)
    if lack is not None:
        return replace(own, message=f"{own.message}; nor does {proc_kallsyms} help: {lack.message}")
    return shown


def _address_space(info: Vmcoreinfo, pages: PhysicalPages) -> AddressSpace | WhyNot:
    """By what only one architecture tells, rather than by the image's header, which some tools get wrong."""
    if info.number("kimage_voffset") is not None:
        return arm64.address_space(info, pages)
    if info.number("phys_base") is not None:
        return x86_64.address_space(info, pages)
    message = (
        "VMCOREINFO is of an architecture whose addresses khodump cannot translate: it reads x86-64 and arm64"
    )
    return WhyNot(Reason.UNKNOWN_MACHINE, message)


def _located(kernel: Kernel, space: AddressSpace) -> Kernel | WhyNot:
    """The kernel with what its own symbols add: where its image ends, and where its map of all memory begins."""
    first = kernel.info.symbol("_stext")
    disputed = None if first is None else space.disputed(first)
    if disputed is not None:
        return disputed
    text, end = kernel.symbol("_text"), kernel.symbol("_end")
    if not isinstance(text, WhyNot) and not isinstance(end, WhyNot):
        space = space.bounded(text, end)
    page_offset = kernel.variable("page_offset_base", 8)
    if space.direct is None and not isinstance(page_offset, WhyNot):
        direct = x86_64.direct_map(kernel.info, page_offset, space.pages.memory.end)
        space = replace(space, direct=direct)
    return replace(kernel, memory=VirtualMemory(space))


def _asked(kernel: Kernel) -> Kernel | WhyNot:
    """The kernel, if its symbols name the variables of KHO."""
    kho_out = kernel.symbol("kho_out")
    if not isinstance(kho_out, WhyNot):
        return kernel
    if kho_out.reason is not Reason.NO_SYMBOL:
        return kho_out
    has_code = not isinstance(kernel.symbol("kho_init"), WhyNot)
    names_data = not isinstance(kernel.symbol("init_uts_ns"), WhyNot)
    if not names_data:
        also = "" if has_code else "; nor is kho_init among them, as in a kernel without KHO"
        message = f"this kernel's symbols do not name its data (it has no CONFIG_KALLSYMS_ALL){also}"
        return WhyNot(Reason.NO_DATA_SYMBOLS, message)
    if has_code:
        return WhyNot(Reason.NO_SYMBOL, "this kernel has KHO (kho_init), but no variable kho_out")
    message = "this kernel was built without KHO: among its symbols are neither kho_out nor kho_init"
    return WhyNot(Reason.NO_KHO, message)
