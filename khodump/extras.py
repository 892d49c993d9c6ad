"""Optional libraries: imported when something needs one, and named when it is not there."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from khodump.errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """The optional `module`.

    Args:
        module: its import name.
        extra: the extra of khodump that installs it.
        purpose: what needs it, as the beginning of a sentence.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the Python module {module}, which is not installed",
            hint=f"pip install 'khodump[{extra}]'",
        ) from error


def is_installed(module: str) -> bool:
    """Whether `require(module)` would find it."""
    return find_spec(module) is not None


def require_arrow(purpose: str) -> ModuleType:
    """PyArrow, for `purpose` (the beginning of a sentence).

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("pyarrow", extra="arrow", purpose=purpose)
