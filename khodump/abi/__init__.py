"""Layouts and constants of the KHO ABI, one file per kernel header, named as the kernel names them."""

from __future__ import annotations
