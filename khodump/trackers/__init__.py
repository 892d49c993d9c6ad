"""One file per preserved-memory tracker, and the table by which the root FDT picks one."""

from __future__ import annotations
