"""What the kernel's struct file says of an open file: include/linux/fs.h, include/linux/dcache.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from khodump.kernel.btf import Btf
from khodump.kernel.lack import WhyNot
from khodump.kernel.objects import StructLayout, read_record, struct_layout
from khodump.kernel.virtual import VirtualMemory

#: NAME_MAX, and the NUL.
_LONGEST_NAME: Final = 256


class OpenFile(NamedTuple):
    """An open file; None for what could not be read.

    Attributes:
        name: of its dentry; of a memfd `memfd:` and what user space called it.
        size: bytes, of its inode.
    """

    name: str | None
    size: int | None


@dataclass(frozen=True)
class OpenFiles:
    """How to read those of one kernel; None for structures that it does not describe."""

    memory: VirtualMemory
    file: StructLayout | None
    dentry: StructLayout | None
    inode: StructLayout | None

    @classmethod
    def of(cls, memory: VirtualMemory, btf: Btf) -> OpenFiles:
        """By the kernel's own description."""
        return cls(
            memory,
            _known(struct_layout(btf, "file", ("f_path.dentry", "f_inode"))),
            _known(struct_layout(btf, "dentry", ("d_name.name",))),
            _known(struct_layout(btf, "inode", ("i_size",))),
        )

    def at(self, va: int) -> OpenFile:
        """The one that a pointer leads to."""
        file = read_record(self.memory, self.file, va) if self.file and va else None
        if file is None or isinstance(file, WhyNot):
            return OpenFile(None, None)
        return OpenFile(self._name(file.number("f_path.dentry")), self._size(file.number("f_inode")))

    def _name(self, va: int) -> str | None:
        dentry = read_record(self.memory, self.dentry, va) if self.dentry and va else None
        if dentry is None or isinstance(dentry, WhyNot):
            return None
        raw = self.memory.string_at(dentry.number("d_name.name"), _LONGEST_NAME)
        return None if isinstance(raw, WhyNot) else raw.decode("utf-8", "surrogateescape")

    def _size(self, va: int) -> int | None:
        inode = read_record(self.memory, self.inode, va) if self.inode and va else None
        return None if inode is None or isinstance(inode, WhyNot) else inode.number("i_size")


def _known(layout: StructLayout | WhyNot) -> StructLayout | None:
    return None if isinstance(layout, WhyNot) else layout
