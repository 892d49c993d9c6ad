"""Tests of khodump.output."""

from __future__ import annotations
