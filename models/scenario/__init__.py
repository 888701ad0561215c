"""A scenario: its cases, its random streams, the keys of its file and the checks that refuse values."""

from models.scenario.scenario import DEFAULT_VERSION, Scenario, build_scenario, load_scenario

__all__ = ["DEFAULT_VERSION", "Scenario", "build_scenario", "load_scenario"]
