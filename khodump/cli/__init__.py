"""The command line: one file a command.

Nothing is imported here but what ends a run, so that an interrupt ends it from its first moment on.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of the `khodump` script."""
    _leave_when_interrupted()
    from khodump.cli import interrupts
    from khodump.cli.application import run

    interrupts.leave_tidily()
    try:
        run()
    finally:
        interrupts.finish()


def _leave_when_interrupted() -> None:
    """Let signals end a run that has done nothing yet: Python's own handler would print a traceback."""
    import os
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda _, __: os._exit(130))
