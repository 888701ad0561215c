"""The options of commands that use this host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def host_options(command: F) -> F:
    """Add the options for the use of a host."""
    for option in (
        click.option("--allow-hugepage-pool", is_flag=True, help="As root: grow the pool of huge pages meanwhile."),
        click.option("--memory-share", type=click.FloatRange(0.01, 0.9), default=0.5, show_default=True,
                     help="The most of the available memory that may be used."),
        click.option("--method", help="How memory is cleared; default the best possible (`ktask-sim host`)."),
    ):  # fmt: skip
        command = option(command)
    return command


HOST_OPTIONS = ("method", "memory_share", "allow_hugepage_pool")
