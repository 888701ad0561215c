"""The doubt about figures that nobody has measured on a machine: which they are, and a case with each of them off."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.machine import Machine
from models.memory.figures import ClearFigures, Costs
from models.scenario.case import Case
from models.text.units import Rate

_UNSURE = 0.3  # by which a rate that is not measured may be off, either way, where its source doesn't say
# Likewise the costs of a page, all together: the root mean square of the errors of published tables, each predicted
# without any row of it, is 25 to 30 % (tests.validation.own_error).
_UNSURE_COSTS = 0.3
_OF_A_RATE = "gigantic_factor"  # the cost that is a share of a rate
_NOT_MEASURED = re.compile(r"\bnot measured\b|^(an )?(assumption|estimate)\b", re.IGNORECASE)
_WITHIN = re.compile(r"\bwithin (\d+) ?%")


@dataclass(frozen=True)
class Doubt:
    """A figure that nobody has measured on a machine: its words, and its standard deviation as a share of it."""

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
    unknown, own = _unknown_costs(case), _own_costs(case)
    if unknown:
        which = "the costs" if unknown == own else "some costs"
        found["costs"] = Doubt(f"{which} of {case.task.client}", _UNSURE_COSTS)
    return found


def _own_costs(case: Case) -> set[str]:
    """Return the costs of a case's client, without those that follow the rate of clearing."""
    costs: Costs = getattr(case.task, "costs", Costs())
    return set(type(costs).model_fields) - set(ClearFigures.model_fields)


def _unknown_costs(case: Case) -> set[str]:
    return _own_costs(case) - _measured_costs(case.machine, case.task.client)


def _measured_costs(machine: Machine, client: str) -> set[str]:
    given = {f"pages.{name}": name for name in machine.pages}
    given |= {f"clients.{client}.{name}": name for name in machine.clients.get(client, {})}
    return {name for path, name in given.items() if not _NOT_MEASURED.search(machine.sources.get(path, ""))}


def _is_rate(costs: Costs, name: str) -> bool:
    """Return whether a greater value of a cost is a shorter time."""
    return Rate.__metadata__[0] in type(costs).model_fields[name].metadata or name == _OF_A_RATE  # type: ignore[attr-defined]


def varied(case: Case, doubts: Mapping[str, Doubt]) -> dict[tuple[str, int], Case]:
    """Return the case with each doubtful figure lower (0) and higher (1), one at a time, with its related figures.

    It is off by one standard deviation. Costs are higher where they take longer: rates among them are lower then.
    """
    found = {}
    for name, side in itertools.product(doubts, (0, 1)):
        factor = (1.0 + doubts[name].share) ** (1 if side else -1)
        machine, rates = case.machine, case.machine.rates
        if name == "costs":
            costs, unknown = case.task.costs_on(machine), _unknown_costs(case)
            scaled = {
                key: value / factor if _is_rate(costs, key) else value * factor
                for key, value in costs
                if isinstance(value, (int, float)) and not isinstance(value, bool) and key in unknown
            }
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
