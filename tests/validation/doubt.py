"""How often the interval of an advice holds: starts that were published, each on a machine known without their table.

A machine begins as it is known without any row of the table (models.files.without); the figures that fall back on
other machines are not measured on it. An advice tells where 9 of 10 starts end. A row counts as held if its time is in
the interval of its own threads. `python -m tests.validation.doubt` writes the section of VALIDATION.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.files.without import machine_without
from models.machine import Machine
from models.measured.measurements import load_measurements, tables_with_cases
from models.scenario.case import Case
from sim.compare.transfer import is_of_the_work
from sim.runs.executors import local
from sim.search.advice.doubt import doubts_of
from sim.search.advice.runs import Runs
from sim.search.advice.search import candidates_of
from tests.published.guide import GUIDE

_MOST_ROWS = 12  # of each machine of a table, drawn at random


def blind(machine: str, table: str) -> Machine:
    """Return a machine without a table. What falls back on other machines is called not measured."""
    without = machine_without(machine, frozenset([table]))
    told = {each.figure: f"not measured: {each.source}" for each in without.fallbacks if each.value is not None}
    sources = {name: told.get(name, source) for name, source in without.machine.sources.items()}
    return replace(without.machine, sources=sources)


def starts(name: str) -> Iterator[tuple[Case, float]]:
    """Yield the published starts of a table, each with its time."""
    measured = load_measurements(name, lambda machine: blind(machine, name))
    if measured.scenario is None or is_of_the_work(measured):
        return
    rows, cases = measured.rows, measured.scenario.cases
    for machine in dict.fromkeys(case.machine.name for case in cases):
        kernel = machine_without(machine, frozenset([name])).kernel
        own = [i for i, case in enumerate(cases) if case.machine.name == machine and not rows["doubtful"][i]]
        for i in sorted(np.random.default_rng(1).permutation(own)[:_MOST_ROWS]):
            changed = {key: value for key, value in kernel.items() if hasattr(cases[i].kernel, key)}
            changed_kernel = cases[i].kernel.model_copy(update=changed) if changed else cases[i].kernel
            yield replace(cases[i], kernel=changed_kernel), float(rows["time_s"][i])


def study(names: tuple[str, ...] = (), jobs: int = 1) -> pd.DataFrame:
    """Return the starts of tables, by default of all, with the interval of an advice for each."""
    found = []
    with local(jobs) as executor:
        runs = Runs(executor, None)
        for name in names or tables_with_cases():
            for case, time_s in starts(name):
                unsure = doubts_of(case)
                (candidate,) = candidates_of([case], runs, unsure)
                row = candidate.row()
                found.append({"table": name, "measured_s": time_s, "unsure": ", ".join(unsure), **row})
            print(name, len(found), flush=True)
    cells = pd.DataFrame(found)
    inside = (cells["measured_s"] >= cells["low_s"]) & (cells["measured_s"] <= cells["high_s"])
    return cells.assign(inside=inside)


def doubt_section(cells: pd.DataFrame) -> str:
    """Return how often intervals hold, by table and in all, as Markdown."""
    rows = [
        {
            "table": name,
            "starts": len(own),
            "in doubt": own["unsure"].mode()[0] or "nothing",
            "interval holds": f"{100 * own['inside'].mean():.0f} %",
            "median width": f"factor {np.exp(np.log(own['high_s'] / own['low_s']).median() / 2):.2f}",
            "median error": f"{100 * (own['time_s'] / own['measured_s'] - 1).abs().median():.0f} %",
        }
        for name, own in [*cells.groupby("table"), ("**all**", cells.assign(unsure=""))]
    ]
    rows[-1]["in doubt"] = ""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Write the section of VALIDATION.md."""
    from tests.validation.study import write_section

    write_section(GUIDE, "doubt", doubt_section(study(tuple(sys.argv[1:]))))


if __name__ == "__main__":
    main()
