"""The lines that kernels print when they meet a broken handover: as text for people, as patterns for a real log.

A line is written once, with the kernel's own format. Its prefix is that of the file that prints it:

- kernel/liveupdate/kexec_handover*.c (kernel/kexec_handover.c before 6.19) define pr_fmt as "KHO: ".
- All other files of kernel/liveupdate/ print KBUILD_MODNAME, and are linked into one object, `luo-y` of its Makefile: so
  luo_core.c, luo_session.c, luo_file.c, luo_flb.c and kho_block.c all print "luo: ". That Makefile has had `luo-y` since
  LUO was merged (6.19); who saw consoles of 7.2.13 and 7.3.4 noted it, and the log in samples/logs shows it.
- mm/memfd_luo.c and lib/test_kho.c are objects of their own, and print "memfd_luo: " and "test_kho: ".
- panic() puts no module's name before its text, but "Kernel panic - not syncing: ".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Errno(IntEnum):
    """Linux's numbers of the errors that users of KHO see; the host's own may be others."""

    ENOENT = 2
    EIO = 5
    EEXIST = 17
    EINVAL = 22
    EFBIG = 27
    EOPNOTSUPP = 95


#: A value of a line, in place of a conversion of its format; None where it is not known.
Value = int | str | Errno | None

_CONVERSION: Final = re.compile(r"%(?P<kind>pe|(?:#?(?:ll|l|z|h)?[dux])|(?:\.\*)?s)")
#: What any value of a conversion looks like, by the last letter of the conversion.
_ANY: Final = {"e": "-[0-9A-Z]+", "d": "-?[0-9]+", "u": "[0-9]+", "x": "[0-9a-f]+", "s": ".*"}
_SPECIAL: Final = re.compile(r"[\\.\[\]{}()*+?^$|]")
#: printk writes what is not ASCII, or a control character, as \xNN to some consoles, and as it is to others.
_FOREIGN: Final = re.compile(r"[^ -~]+")


@dataclass(frozen=True)
class LogLine:
    """A line that kernels print.

    Attributes:
        prefix: what stands before the format, as the console shows it.
        format: the kernel's own.
    """

    prefix: str
    format: str

    def __str__(self) -> str:
        return self.prefix + self.format

    def of(self, *values: Value) -> Printed:
        """The line with these values.

        Raises:
            ValueError: the format takes more or fewer.
        """
        if len(values) != len(_CONVERSION.findall(self.format)):
            raise ValueError(f"{self.format!r} does not take {len(values)} values")
        return Printed(self, values)

    @property
    def pattern(self) -> str:
        """What finds the line, whatever its values are: a regular expression for `grep -E`, and for `re`."""
        return self.of(*[None] * len(_CONVERSION.findall(self.format))).pattern


@dataclass(frozen=True)
class Printed:
    """A line with its values."""

    line: LogLine
    values: tuple[Value, ...]

    def __str__(self) -> str:
        """The line as a kernel without CONFIG_SYMBOLIC_ERRNAME prints it: errors are numbers."""
        parts = [between if kind is None else _text(kind, value) for between, kind, value in self._parts()]
        return self.line.prefix + "".join(parts)

    @property
    def pattern(self) -> str:
        """What finds this line in a log: a regular expression for `grep -E`, and for `re`."""
        parts = [
            _literal(between) if kind is None else _pattern(kind, value)
            for between, kind, value in self._parts()
        ]
        return _literal(self.line.prefix) + "".join(parts)

    def _parts(self) -> Iterator[tuple[str, str | None, Value]]:
        """The format, cut at its conversions: text, or the conversion's kind and its value."""
        at = 0
        for match, value in zip(_CONVERSION.finditer(self.line.format), self.values, strict=True):
            yield self.line.format[at : match.start()], None, None
            yield "", match["kind"], value
            at = match.end()
        yield self.line.format[at:], None, None


def _text(kind: str, value: Value) -> str:
    if value is None:
        return "?"
    if kind == "pe":
        return f"-{int(value)}"
    if isinstance(value, int) and kind.endswith("x"):
        return f"{value:#x}" if "#" in kind else f"{value:x}"
    return str(value)


def _pattern(kind: str, value: Value) -> str:
    if value is None:
        return _ANY[kind[-1]]
    if isinstance(value, Errno):  # with CONFIG_SYMBOLIC_ERRNAME, and without
        return f"-({value.value}|{value.name})"
    return _literal(_text(kind, value))


def _literal(text: str) -> str:
    """What finds this text; of what a console may show otherwise, whatever it shows."""
    pieces = (_SPECIAL.sub(r"\\\g<0>", piece) for piece in _FOREIGN.split(text))
    return ".*".join(pieces)


_KHO: Final = "KHO: "
_LUO: Final = "luo: "
_MEMFD: Final = "memfd_luo: "
_PANIC: Final = "Kernel panic - not syncing: "

FDT_INVALID: Final = LogLine(_KHO, "setup: handover FDT (0x%llx) is invalid: %d")
FDT_INCOMPATIBLE: Final = LogLine(_KHO, "setup: handover FDT (0x%llx) is incompatible with '%s': %d")
DISABLED: Final = LogLine(_KHO, "disabling KHO revival")
#: kho_get_mem_map_phys() of 7.1 and later, which says nothing of an address of 0; 7.1 and 7.2 have another text in a
#: second test, which is never reached.
NO_MAP: Final = LogLine(_KHO, "failed to get preserved memory map")
#: kho_mem_deserialize() of 6.16 to 6.19 and kho_get_mem_map_phys() of 7.0, which say nothing of an address of 0, either.
NO_BITMAPS: Final = LogLine(_KHO, "failed to get preserved memory bitmaps")
BROKEN_SUBNODE: Final = LogLine(_KHO, "broken KHO subnode '%s': missing or invalid blob-size property")
#: Where a pointer of the map faults, as an oops names it on x86-64, on arm64, and on either. The compiler may add a
#: suffix (.isra.0) to the function's name.
FAULT_X86: Final = LogLine("RIP: 0010:", "__kho_radix_walk_tree")
FAULT_ARM64: Final = LogLine("pc : ", "__kho_radix_walk_tree")
FAULT_ANY: Final = LogLine("", "__kho_radix_walk_tree")

#: luo_restore_fail() is panic() since LUO was merged; earlier postings went on without live update.
LUO_PANIC: Final = LogLine(
    _PANIC, "The incoming tree failed to initialize properly [%pe], disabling live update"
)
LUO_INCOMPATIBLE: Final = LogLine(_LUO, "LUO state is incompatible with '%s'")
#: 6.19 to 7.1, whose state is an FDT.
LUO_FDT_INCOMPATIBLE: Final = LogLine(_LUO, "FDT '%s' is incompatible with '%s' [%d]")
LUO_TOO_SMALL: Final = LogLine(_LUO, "LUO state is too small (%zu < %zu)")
BLOCK_SET_CORRUPTED: Final = LogLine(_LUO, "Block set is corrupted")
BLOCK_COUNT: Final = LogLine(_LUO, "Block contains invalid entry count: %llu")
FILE_COUNT: Final = LogLine(_LUO, "File count mismatch: expected %llu, found %llu")
NO_HANDLER: Final = LogLine(_LUO, "No registered handler for compatible '%.*s'")
FILES_FAILED: Final = LogLine(_LUO, "Failed to deserialize files for session [%s] %pe")
SESSION_FAILED: Final = LogLine(_LUO, "Failed to insert session [%s] %pe")

MEMFD_NO_FOLIO: Final = LogLine(_MEMFD, "Unable to restore folio at physical address: %llx")
MEMFD_SEALS: Final = LogLine(_MEMFD, "failed to add seals: %pe")
MEMFD_PAGE_CACHE: Final = LogLine(_MEMFD, "shmem: failed to add to page cache folio index %ld: %pe")
TEST_FAILED: Final = LogLine("test_kho: ", "KHO restore failed")
