"""Columns of numbers and what is done with them: arrays, runs of blocks, intervals, steps."""

from __future__ import annotations
