"""Tests of khodump.subtrees."""

from __future__ import annotations
