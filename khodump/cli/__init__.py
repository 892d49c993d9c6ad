"""The command line: one file a command.

Nothing is imported here but what ends a run, so that an interrupt ends it from its first moment on.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of the `khodump` script."""
    from khodump.cli import interrupts

    interrupts.leave_quietly()
    from khodump.cli.application import run

    interrupts.leave_tidily()
    try:
        run()
    finally:
        interrupts.finish()
