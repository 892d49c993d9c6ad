"""A terminal of its own for a khodump that runs as a process."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

KHODUMP = [sys.executable, "-m", "khodump"]


def on_a_terminal(
    *arguments: str | Path,
    columns: int = 80,
    keys: bytes = b"",
    stdout: int | None = None,
    **environment: str,
) -> str:
    """What khodump writes to a terminal; its lines end as they do in a file.

    Args:
        arguments: of the command.
        columns: how wide the window is.
        keys: what is typed.
        stdout: a descriptor that takes stdout instead.
        environment: variables; there is no pager unless one says so.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "PAGER", "LESS"}
    }
    process = subprocess.Popen(
        [*KHODUMP, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=env | {"KHODUMP_PAGER": "cat", "NO_COLOR": "1"} | environment,
    )
    os.close(theirs)
    os.write(ours, keys)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # Linux ends a terminal so
        pass
    os.close(ours)
    process.wait(60)
    return written.decode().replace("\r\n", "\n")
