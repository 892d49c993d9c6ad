"""What the commands that list something return: rows, one file a command."""

from __future__ import annotations
