"""The doubt about figures that nobody has measured on a machine: which they are, and a case with each of them off."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

from models.memory.figures import ClearFigures, Costs
from models.scenario.case import Case

UNSURE = 0.3  # by which a figure that is not measured may be off, either way
SIDES = (1 - UNSURE, 1 + UNSURE)  # of it
_SOURCES = ("not measured", "an assumption", "assumption")


def unsure_figures(case: Case) -> dict[str, str]:
    """Return the figures that are not measured on a case's machine, in words, by the paths to change."""
    sources = case.machine.sources
    figures = {
        name: words
        for name, words in (("clear_rate", "the rate of clearing"), ("memory_bandwidth", "the memory bandwidth"))
        if sources.get(f"rates.{name}", "").lower().startswith(_SOURCES)
    }
    costs: Costs = getattr(case.task, "costs", Costs())
    own = set(type(costs).model_fields) - set(ClearFigures.model_fields)  # those follow the rate of clearing
    if figures and own and not own & {*case.machine.pages, *case.machine.clients.get(case.task.client, {})}:
        figures["costs"] = f"the costs of {case.task.client}"
    return figures


def varied(case: Case, unsure: Iterable[str]) -> dict[tuple[str, float], Case]:
    """Return the case with each unsure figure lower and higher, one at a time. Related figures move in proportion."""
    found = {}
    for name, factor in itertools.product(unsure, SIDES):
        machine, rates = case.machine, case.machine.rates
        if name == "costs":
            costs, clearing = case.task.costs_on(machine), ClearFigures.model_fields
            scaled = {key: value * factor for key, value in costs if isinstance(value, float) and key not in clearing}
            task = case.task.model_copy(update={"costs": costs.model_copy(update=scaled)})
            found[name, factor] = replace(case, task=task)
            continue
        if name == "clear_rate":
            changes = ("clear_bytes_per_s", "serial_clear_bytes_per_s")
        else:
            changes = ("memory_bytes_per_s", "cache_bytes_per_s")
        given = {key: value * factor for key in changes if (value := getattr(rates, key)) is not None}
        found[name, factor] = replace(case, machine=replace(machine, rates=replace(rates, **given)))
    return found
