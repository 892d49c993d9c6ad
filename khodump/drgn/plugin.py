"""drgn's plugin: `%kho` at its prompt.

drgn imports this whenever it starts, so nothing of khodump is imported before the command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drgn import Program, ProgramFlags
from drgn.commands import custom_command, parse_shell_command


def _may_be_a_kernel(program: Program) -> bool:
    """Any kernel, and any dump: one without VMCOREINFO is not known for a kernel's."""
    return bool(program.flags & ProgramFlags.IS_LINUX_KERNEL) or not program.flags & ProgramFlags.IS_LIVE


@custom_command(
    name="kho",
    description="inspect the Kexec HandOver state of this kernel",
    usage="**kho** (inspect | check | owners | sessions | lookup) [*option*...]",
    long_description="""
    What this kernel preserves for the next one: list it, check it, say whose
    it is. The commands and their options are those of khodump; %kho --help
    lists them. The handover is found through kho_out, or searched for if there
    is no debug information.
    """,
    parse=parse_shell_command,
    enabled=_may_be_a_kernel,
)
def kho(program: Program, name: str, args: Sequence[str], **_: Any) -> int:  # noqa: ANN401 - drgn's signature
    """Run one command of khodump on the program; returns its exit status.

    Raises:
        CommandError: it cannot be done; the text says why.
    """
    from khodump.drgn.commands import run

    return run(program, name, args)
