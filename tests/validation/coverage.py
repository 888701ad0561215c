"""How often the intervals of a fit hold: each published table fitted on random thirds of its rows, the rest predicted.

A table is fitted for each of its machines, which begins as it is known without any row of the table
(models.files.without), with the figures that a user gets by default. `python -m tests.validation.coverage` writes the
section of VALIDATION.md; it takes some minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.files.without import machine_without
from models.measured.measurements import Measurements, load_measurements, tables_with_cases
from sim.compare.transfer import is_of_the_work
from sim.fit.table import figures_of, fit_table
from tests.validation.own_error import learnt

SPLITS = 6  # random thirds of each machine's rows
_LEAST_ROWS = 4
_LARGEST_GIB = 200  # of tables in which pages are cleared one by one: larger jobs take a minute a fit


def parts(name: str) -> Iterator[Measurements]:
    """Yield the rows of each machine of a table that has enough, as it is known without the table."""
    measured = load_measurements(name, lambda machine: machine_without(machine, frozenset([name])).machine)
    if measured.scenario is None or is_of_the_work(measured):
        return
    rows, cases = measured.rows, measured.scenario.cases
    for machine in dict.fromkeys(case.machine.name for case in cases):
        chosen = [
            i
            for i, case in enumerate(cases)
            if case.machine.name == machine
            and not rows["doubtful"][i]
            and not (case.task.client == "clear_gigantic_page" and rows["size_gib"][i] > _LARGEST_GIB)
        ]
        if len(chosen) < _LEAST_ROWS:
            continue
        own = tuple(replace(cases[i], machine=cases[chosen[0]].machine, replications=1) for i in chosen)
        scenario = replace(measured.scenario, cases=own)
        yield replace(measured, rows=rows.loc[chosen].reset_index(drop=True), scenario=scenario)


def fits(measured: Measurements, splits: int = SPLITS) -> Iterator[pd.DataFrame]:
    """Yield the predicted rows of fits on random thirds, at least two rows, with seeds that are always the same."""
    n = len(measured.rows)
    for seed in range(splits):
        fitted = np.zeros(n, bool)
        fitted[np.random.default_rng(seed).permutation(n)[: max(2, n // 3)]] = True
        part = replace(measured, rows=measured.rows.assign(fitted=fitted, held_out=~fitted))
        median, spread = learnt(measured.name)
        found = fit_table(part, figures_of(part), model_error=median, model_error_spread=spread)
        cells = found.cells[~fitted].assign(table=measured.name, split=seed, model_error=found.model_error)
        yield cells


def section(cells: pd.DataFrame) -> str:
    """Return how often intervals hold, by table and in all, as Markdown."""
    groups = [*cells.groupby("table"), ("**all**", cells)]
    rows = [
        {
            "table": name,
            "fits": own.groupby("table")["split"].nunique().sum(),
            "predicted": len(own),
            "95 % holds": f"{100 * inside(own, 'low_s', 'high_s').mean():.0f} %",
            "50 % holds": f"{100 * inside(own, 'low50_s', 'high50_s').mean():.0f} %",
            "median width of 95 %": f"factor {np.exp(np.log(own['high_s'] / own['low_s']).median() / 2):.2f}",
            "median error": f"{own['error_pct'].abs().median():.1f} %",
        }
        for name, own in groups
    ]
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def inside(cells: pd.DataFrame, low: str, high: str) -> pd.Series[bool]:
    """Return which measured times are within an interval."""
    return (cells["time_s"] >= cells[low]) & (cells["time_s"] <= cells[high])


def study(names: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return the predicted rows of all fits of tables, by default all."""
    found = []
    for name in names or tables_with_cases():
        for part in parts(name):
            splits = 1 if part.scenario and part.scenario.cases[0].task.client == "clear_gigantic_page" else SPLITS
            for cells in fits(part, splits):
                found.append(cells)
                print(name, len(cells), int(inside(cells, "low_s", "high_s").sum()), flush=True)
    return pd.concat(found, ignore_index=True)


def main() -> None:
    """Write the section of VALIDATION.md."""
    from tests.validation.study import GUIDE, write_section

    write_section(GUIDE, "coverage", section(study(tuple(sys.argv[1:]))))


if __name__ == "__main__":
    main()
