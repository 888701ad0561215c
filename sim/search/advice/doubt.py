"""The doubt about figures that nobody has measured on a machine: which they are, and a case with each of them off."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.machine import Machine
from models.memory.figures import ClearFigures, Costs
from models.scenario.case import Case

_UNSURE = 0.3  # by which a rate that is not measured may be off, either way, where its source doesn't say
_UNSURE_COSTS = 0.5  # likewise the costs of a page: their priors are known within a factor of two
_NOT_MEASURED = re.compile(r"\bnot measured\b|^(an )?assumption\b", re.IGNORECASE)
_WITHIN = re.compile(r"\bwithin (\d+) ?%")


@dataclass(frozen=True)
class Doubt:
    """A figure that nobody has measured on a machine: its words, and the share by which it may be off either way."""

    words: str
    share: float


def doubts_of(case: Case) -> dict[str, Doubt]:
    """Return the figures that are not measured on a case's machine, by the paths to change.

    A source that says "not measured" may say how far off the figure may be: "within 50%", as those of families do
    (`models.files.families`).
    """
    found = {}
    for name, words in (("clear_rate", "the rate of clearing"), ("memory_bandwidth", "the memory bandwidth")):
        source = case.machine.sources.get(f"rates.{name}", "")
        if _NOT_MEASURED.search(source):
            within = _WITHIN.search(source)
            found[name] = Doubt(words, _UNSURE if within is None else int(within[1]) / 100)
    costs: Costs = getattr(case.task, "costs", Costs())
    own = set(type(costs).model_fields) - set(ClearFigures.model_fields)  # those follow the rate of clearing
    if found and own and not own & _measured_costs(case.machine, case.task.client):
        found["costs"] = Doubt(f"the costs of {case.task.client}", _UNSURE_COSTS)
    return found


def _measured_costs(machine: Machine, client: str) -> set[str]:
    given = {f"pages.{name}": name for name in machine.pages}
    given |= {f"clients.{client}.{name}": name for name in machine.clients.get(client, {})}
    return {name for path, name in given.items() if not _NOT_MEASURED.search(machine.sources.get(path, ""))}


def varied(case: Case, doubts: Mapping[str, Doubt]) -> dict[tuple[str, int], Case]:
    """Return the case with each doubtful figure lower (0) and higher (1), one at a time, with its related figures."""
    found = {}
    for name, side in itertools.product(doubts, (0, 1)):
        factor = 1.0 + doubts[name].share if side else 1.0 - min(0.9, doubts[name].share)
        machine, rates = case.machine, case.machine.rates
        if name == "costs":
            costs, clearing = case.task.costs_on(machine), ClearFigures.model_fields
            scaled = {key: value * factor for key, value in costs if isinstance(value, float) and key not in clearing}
            task = case.task.model_copy(update={"costs": costs.model_copy(update=scaled)})
            found[name, side] = replace(case, task=task)
            continue
        changes: tuple[str, ...]
        if name == "clear_rate":
            changes = ("clear_bytes_per_s", "serial_clear_bytes_per_s")
        else:
            machine = machine.with_memory_rates(factor)
            changes = ("cache_bytes_per_s",)
        given = {key: value * factor for key in changes if (value := getattr(rates, key)) is not None}
        found[name, side] = replace(case, machine=replace(machine, rates=replace(machine.rates, **given)))
    return found
