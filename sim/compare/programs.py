"""Programs as they prepare their memory on a host, against the simulation of them on that host's machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.machine import Machine
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import format_size
from sim.compare.host import UNDECIDED, Validation, disturbance, drift_in_words, tally, verdict, with_spread
from sim.fit.host import measured_cells
from sim.runs.experiment import run
from sim.search.advice import recommend

_LEAST_CELLS = 2  # that were not disturbed, to compare a recommendation among
WITHIN = 0.03  # of the least time measured: as good as the best


@dataclass(frozen=True)
class Recommendation:
    """The value of advice for one job: the recommended row, and the one measured to be best (of the cells)."""

    client: str
    pages: str
    recommended: pd.Series[Any]
    best: pd.Series[Any]
    slower: float  # by this share of the least time measured

    @property
    def as_good(self) -> bool:
        """Return whether the recommendation is the best or as good."""
        return self.slower <= WITHIN


def compare_programs(
    parts: Sequence[tuple[Scenario, pd.DataFrame]],
    machine: Machine,
    reference: tuple[Scenario, pd.DataFrame] | None = None,
) -> Validation:
    """Simulate runs of programs (a scenario and its measured runs for each) on a calibrated machine.

    `reference`: runs of `populate` measured in the same go: how far they are from the machine's prediction is the
    host's drift. `cells` has client, pages and threads_at_work (CPU time over time, nan if not known) as well. Raises
    CalibrationError if a case has no runs.
    """
    cells = pd.concat([_cells(scenario, runs, machine) for scenario, runs in parts], ignore_index=True)
    drift, doubt = None, disturbance(cells)
    if reference is not None:
        drift = float(-_cells(*reference, machine)["error_pct"].median())
        doubt = f"the host is {drift:+.0f} % off its calibration" if abs(drift) > 5 else doubt
    verdicts = [verdict(cell, doubt) for cell in cells.to_dict("records")]
    return Validation(cells.assign(verdict=[v for v, _ in verdicts], reason=[r for _, r in verdicts]), drift)


def choices(cells: pd.DataFrame) -> Iterator[Recommendation]:
    """Yield the value of the advice among the measured cells, for each program and kind of pages."""
    for (client, pages), own in cells.groupby(["client", "pages"], sort=False):
        table = own.rename(columns={"nthreads": "threads", "predicted_mean_s": "time_s"})  # a mean, as in advise
        if "unstable" in own:
            own = own[~own["unstable"].astype(bool)]  # a time that was disturbed is neither best nor worse
        if len(own) < _LEAST_CELLS:
            continue
        recommended, best = table.loc[recommend(table)], table.iloc[int(table["measured_s"].to_numpy().argmin())]
        yield Recommendation(
            str(client), str(pages), recommended, best, recommended["measured_s"] / best["measured_s"] - 1
        )


def _cells(scenario: Scenario, runs: pd.DataFrame, machine: Machine) -> pd.DataFrame:
    measured = measured_cells(scenario, runs)
    here = scenario.on(machine)
    simulated = run(here).runs.groupby("case")["time_s"]
    predicted = simulated.median().loc[measured["case"]].to_numpy(float)
    cases = [here.cases[number] for number in measured["case"]]
    own_runs = [runs[runs["case"] == number] for number in measured["case"]]
    return pd.DataFrame(
        {
            "name": [_name(case) for case in cases],
            "client": [case.task.client for case in cases],
            "pages": [_pages(case) for case in cases],
            "nthreads": [case.n_works for case in cases],
            "chunk_bytes": [case.chunk_bytes()[0] for case in cases],
            "size_bytes": [case.size_bytes for case in cases],
            "n_runs": [len(own) for own in own_runs],
            "n_unstable": [int((own["unstable"] != "").sum()) for own in own_runs],
            "measured_s": measured["time_s"],
            "measured_spread": measured["spread"],
            "predicted_s": predicted,
            "predicted_mean_s": simulated.mean().loc[measured["case"]].to_numpy(float),
            "predicted_spread": (simulated.std() / simulated.mean()).fillna(0.0).loc[measured["case"]].to_numpy(float),
            "error_pct": (predicted / measured["time_s"].to_numpy(float) - 1) * 100,
            "noise_pct": 100 * measured["stderr"],
            "threads_at_work": [float(np.median(own["cpu_s"] / own["time_s"])) for own in own_runs],
            "unstable": measured["unstable"],
        }
    )


def _pages(case: Case) -> str:
    size = format_size(case.task.unit_bytes(case.machine))
    return "transparent huge" if getattr(case.task, "thp", False) else size


def _name(case: Case) -> str:
    threads = f"{case.n_works} thread{'s' * (case.n_works > 1)}"
    return f"{case.task.client}, {_pages(case)} pages, {threads}, {format_size(case.chunk_bytes()[0])}"


def describe_programs(validation: Validation) -> str:
    """Return the comparison, and the value of advice, as a table and a few lines for a person."""
    cells = validation.cells
    rows = [
        {
            "program": cell["client"],
            "pages": cell["pages"],
            "threads": cell["nthreads"],
            "chunk": format_size(cell["chunk_bytes"]),
            "size": format_size(cell["size_bytes"]),
            "measured (ms)": with_spread(cell["measured_s"], cell["measured_spread"]),
            "at work": "" if math.isnan(cell["threads_at_work"]) else f"{cell['threads_at_work']:.1f}",
            "predicted (ms)": f"{cell['predicted_s'] * 1e3:.1f}",
            "error (%)": f"{cell['error_pct']:+.1f}",
            "verdict": f"{cell['verdict']} ({cell['reason']})" if cell["reason"] else cell["verdict"],
        }
        for cell in cells.to_dict("records")
    ]
    lines = [tabulate(rows, headers="keys", disable_numparse=True, stralign="right"), ""]
    lines.append(f"{tally(cells)} At work: threads that were, by the CPU time (median).")
    for client, own in cells.groupby("client", sort=False):
        errors = own["error_pct"].abs()
        decided = errors[own["verdict"] != UNDECIDED]
        if len(decided):
            lines.append(
                f"{client}: mean error {decided.mean():.1f} %, worst {decided.max():.1f} %; with the undecided ones "
                f"{errors.mean():.1f} %, {errors.max():.1f} %."
            )
    for client, own in cells.groupby("client", sort=False):
        few = int(own["unstable"].sum())
        if len(own) - few < _LEAST_CELLS:
            lines.append(
                f"{client}: what the recommendation is worth is not known, since {few} of {len(own)} "
                "cases have too few undisturbed runs. Measure for longer (--seconds), or when the host is quieter."
            )
    for choice in choices(cells):
        told = f"{choice.slower:.1%} slower" if choice.slower else "the same"
        lines.append(
            f"{choice.client}, {choice.pages} pages: recommended: {_policy(choice.recommended)}; measured best: "
            f"{_policy(choice.best)}: {told}."
        )
    unstable = int(cells["n_unstable"].sum())
    if unstable:
        lines.append(f"{unstable} of {int(cells['n_runs'].sum())} runs were marked unstable.")
    if validation.drift_pct is not None:
        lines.append(
            f"In our own page faults, measured beside them, the host is {drift_in_words(validation.drift_pct)}."
        )
    return "\n".join(lines)


def _policy(row: pd.Series[Any]) -> str:
    """Return in words how many threads there are, and the size of their chunks."""
    threads = f"{row['threads']} thread{'' if row['threads'] == 1 else 's'}"
    return f"{threads}, chunks of {format_size(row['chunk_bytes'])}"
