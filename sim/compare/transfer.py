"""The transfer study: each published table predicted with no row of it, from other knowledge.

A figure that was fitted to the table falls back on other tables of the machine, on machines of its kind, or on priors
(models.files.without says in which order). No cell is fitted then, so all count, but those that contradict others of
their table. This measures the error that a user gets for a job and a machine that nobody has published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from tabulate import tabulate

from models.files.without import DEFAULT, Fallback, MachineWithout, machine_without
from models.measured.measurements import Measurements, known_tables, load_measurements
from sim.compare.published import TableResult, compare_measurements

MEDIAN_BAR_PCT, WORST_BAR_PCT, ORDER_BAR = 15.0, 40.0, 0.9
# What is fitted to a table but is of no machine: the work itself, and other work beside it, which no other table tells.
_OF_THE_WORK = ("task.", "background.")
_REPLICATIONS = 3  # of a case at most: the errors here are larger than the spread of its runs


@dataclass(frozen=True)
class Transfer:
    """A table predicted without itself. `fallbacks` by machine are the figures that were replaced."""

    result: TableResult
    fallbacks: Mapping[str, tuple[Fallback, ...]]


def transfer(
    names: Sequence[str] = (), *, jobs: int = 1, on_table: Callable[[str], object] | None = None
) -> list[Transfer]:
    """Predict published tables of these names, by default all that can be, each without any of its rows.

    Raises ValueError for an unknown name.

    >>> transfer(["deferred_init_ktask_v2"])[0].result.mean_error_pct < 40
    True
    """
    found = []
    for name in known_tables(names):
        if on_table is not None:
            on_table(name)
        one = _transfer(name, jobs)
        if one is not None:
            found.append(one)
    return found


def is_of_the_work(measured: Measurements) -> bool:
    """Return whether a table's fitted figures belong to the work, not to a machine. No other table has them then."""
    return any(figure.startswith(_OF_THE_WORK) for figure in measured.parameters)


def _transfer(name: str, jobs: int) -> Transfer | None:
    used: dict[str, MachineWithout] = {}

    def without(machine: str) -> MachineWithout:
        return used.setdefault(machine, machine_without(machine, frozenset([name])))

    measured = load_measurements(name, lambda machine: without(machine).machine)
    if measured.scenario is None or is_of_the_work(measured):
        return None
    cases = []
    for case in measured.scenario.cases:
        changed = {key: value for key, value in without(case.machine.name).kernel.items() if hasattr(case.kernel, key)}
        kernel = case.kernel.model_copy(update=changed) if changed else case.kernel
        cases.append(replace(case, kernel=kernel, replications=min(case.replications, _REPLICATIONS)))
    blind = replace(
        measured, rows=measured.rows.assign(fitted=False), scenario=replace(measured.scenario, cases=tuple(cases))
    )
    fallbacks = {machine: each.fallbacks for machine, each in used.items() if each.fallbacks}
    return Transfer(compare_measurements(blind, jobs), fallbacks)


def transfer_summary(found: Sequence[Transfer]) -> pd.DataFrame:
    """Return a row for each table: cells, errors in per cent, and pairs of thread counts in the wrong order."""
    rows = []
    for each in found:
        result = each.result
        wrong, pairs = result.misranked
        rows.append(
            {
                "table": result.measured.name,
                "client": result.measured.scenario.cases[0].task.client if result.measured.scenario else "",
                "cells": len(result.predicted),
                "fallbacks": sum(len(fallbacks) for fallbacks in each.fallbacks.values()),
                "mean_error_pct": result.mean_error_pct,
                "worst_error_pct": result.worst_error_pct,
                "misranked": wrong,
                "ranked": pairs,
            }
        )
    return pd.DataFrame(rows)


def describe_transfer(found: Sequence[Transfer], *, style: str = "simple") -> str:
    """Return the study for people, in a style of tabulate: tables, and how they stand to the bars."""
    table = transfer_summary(found)
    if not len(table):
        return "No table can be predicted without itself."
    shown = [
        (
            row["table"],
            row["client"],
            row["cells"],
            row["fallbacks"],
            f"{row['mean_error_pct']:.1f}",
            f"{row['worst_error_pct']:.1f}",
            f"{row['misranked']} of {row['ranked']}" if row["ranked"] else "",
        )
        for row in table.to_dict("records")
    ]
    heads = ["table", "client", "cells", "figures replaced", "mean (%)", "worst (%)", "misordered"]
    return f"{tabulate(shown, headers=heads, tablefmt=style, disable_numparse=True)}\n\n{verdict(table)}"


def verdict(table: pd.DataFrame) -> str:
    """Return in a sentence how a summary stands to the bars."""
    means = table["mean_error_pct"]
    wrong, pairs = int(table["misranked"].sum()), int(table["ranked"].sum())
    right = 1.0 - wrong / pairs if pairs else 1.0
    met = _met(means.median() <= MEDIAN_BAR_PCT), _met(means.max() <= WORST_BAR_PCT), _met(right >= ORDER_BAR)
    return (
        f"{len(table)} table{'s' * (len(table) != 1)}, {int(table['cells'].sum())} cells, none fitted: the median of "
        f"the tables' mean errors is {means.median():.1f} % ({met[0]}: {MEDIAN_BAR_PCT:g} %), the worst "
        f"{means.max():.1f} % ({met[1]}: {WORST_BAR_PCT:g} %); {right:.0%} of {pairs} pairs of thread counts are in "
        f"the right order ({met[2]}: {ORDER_BAR:.0%})."
    )


def _met(is_met: bool) -> str:
    return "within the bar" if is_met else "the bar is missed"


def words_of_fallback(fallback: Fallback) -> str:
    """Return the replacement of a figure, and the reason."""
    if fallback.value is None:
        return f"`{fallback.figure}` {DEFAULT}"
    value = fallback.value
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}: {item:g}" for key, item in value.items())
    return f"`{fallback.figure}` {value} ({fallback.source})"
