"""All commands, for tests that hold for each of them."""

from __future__ import annotations

from typing import cast

from typer.main import get_command

from khodump.cli.application import app
from khodump.cli.help import Command, Group

GROUP = cast("Group", get_command(app))
COMMANDS = cast("dict[str, Command]", dict(GROUP.commands))
