"""Copies of the tree, to change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from tests.transcript import ROOT

#: What nobody changes, and takes room.
_LINKED: Final = ("samples", "benchmarks")


def copy_tree(home: Path) -> None:
    """The whole tree below `home`; what is hidden, and what can be made, is left out."""
    for each in ROOT.iterdir():
        if each.name in _LINKED:
            (home / each.name).symlink_to(each)
        elif each.is_dir() and not each.name.startswith("."):
            shutil.copytree(each, home / each.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif each.is_file():
            shutil.copy(each, home)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment in which Python takes the copy, and not the tree."""
    return dict(os.environ, PYTHONPATH=str(home), **variables)
