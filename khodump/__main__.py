"""`python -m khodump`."""

from __future__ import annotations

from khodump.cli import main

main()
