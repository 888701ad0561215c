"""A scenario: its cases, its random streams, the keys of its file and the checks that refuse values.

A process that only makes runs needs `models.scenario.case`, and not what reads files: that is imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.scenario.scenario import DEFAULT_VERSION, Scenario, build_scenario, load_scenario

__all__ = ["DEFAULT_VERSION", "Scenario", "build_scenario", "load_scenario"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("models.scenario.scenario"), name)
