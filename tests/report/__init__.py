"""Tests of khodump.analysis."""

from __future__ import annotations
