"""From what was asked for to one root FDT in a memory that is at its place: one file a step."""

from __future__ import annotations
