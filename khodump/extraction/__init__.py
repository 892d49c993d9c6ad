"""Rebuilding what was preserved: planned as runs of pages, compared with what the image holds, and copied."""
