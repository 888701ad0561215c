"""How wide a table may be: as the terminal that it goes to, unless it may be wide."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def wide_option(command: F) -> F:
    """Add --wide to a command."""
    return click.option("--wide", is_flag=True, help="All columns, also where they don't fit the terminal.")(command)


def table_width(wide: bool) -> int | None:
    """Return the width of the terminal that stdout is, or None where a table may have any."""
    return None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns
