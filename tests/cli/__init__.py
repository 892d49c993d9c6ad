"""Tests of khodump.cli."""

from __future__ import annotations
