"""Inspect Linux Kexec HandOver (KHO) state in a memory image."""

from __future__ import annotations

__version__ = "0.1.0"
