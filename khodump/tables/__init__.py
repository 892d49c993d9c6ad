"""What the commands return: rows, one file a command."""

from __future__ import annotations
