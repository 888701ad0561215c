"""How well the simulation predicts measured runs: error for each case, the noise of both sides, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.machine import Machine
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import format_size
from sim.fit.host import measured_cells
from sim.runs.experiment import run

AGREES, DIFFERS, UNDECIDED = "agrees", "does not agree", "undecided"
TOLERANCE = 0.05
# Beyond this the measured runs of a case are too far apart, or the host too far from what it was, to tell anything.
_MOST_SPREAD = 0.15
_MOST_DRIFT = 0.05
_MOST_MISFIT_PCT = 10.0  # of the calibration's own cases around that drift, in the mean
_MOST_UNSTABLE = 1 / 3  # of the calibration's cases
_MOST_DISTURBED = 0.5  # of the runs


@dataclass(frozen=True)
class Validation:
    """Measured against predicted times on this host, case by case (`validate`).

    ``cells`` has nthreads, chunk_bytes, size_bytes, background, measured_s (median of stable runs), measured_spread and
    predicted_spread (standard deviation over runs, as a share), predicted_s, error_pct, noise_pct (standard error of
    the measured median, in per cent of it), verdict and reason. ``drift_pct`` is how far the cases of the calibration
    are from the machine's file, measured in the same go, or None if they were not measured.

    Example:
        >>> validation.cells[["nthreads", "error_pct", "verdict"]]  # doctest: +SKIP
    """

    cells: pd.DataFrame
    drift_pct: float | None

    @property
    def mean_error_pct(self) -> float:
        """Return the mean absolute error over the cases that are not undecided, or nan if there is none."""
        decided = self.cells[self.cells["verdict"] != UNDECIDED]
        return float(decided["error_pct"].abs().mean())

    @property
    def worst_error_pct(self) -> float:
        """Return the greatest absolute error over the cases that are not undecided, or nan if there is none."""
        decided = self.cells[self.cells["verdict"] != UNDECIDED]
        return float(decided["error_pct"].abs().max())

    @property
    def noise_pct(self) -> float:
        """Return the root mean square, over the decided cases, of the standard error of the measured median."""
        decided = self.cells[self.cells["verdict"] != UNDECIDED]
        return math.sqrt(float(np.mean(decided["noise_pct"] ** 2))) if len(decided) else math.nan

    @property
    def model_error_pct(self) -> float:
        """Return the root mean square of the errors of the decided cases, less the part of the host's noise."""
        decided = self.cells[self.cells["verdict"] != UNDECIDED]
        if not len(decided):
            return math.nan
        return math.sqrt(max(0.0, float(np.mean(decided["error_pct"] ** 2)) - self.noise_pct**2))

    @property
    def exit_status(self) -> int:
        """0 if all cases agree, 1 if one does not, 2 if none disagrees but one is undecided."""
        verdicts = set(self.cells["verdict"])
        return 1 if DIFFERS in verdicts else 2 if UNDECIDED in verdicts else 0


def validate(
    scenario: Scenario,
    runs: pd.DataFrame,
    machine: Machine,
    reference: tuple[Scenario, pd.DataFrame] | None = None,
) -> Validation:
    """Simulate a scenario on a calibrated machine, and compare with its measured runs on the host.

    Args:
        scenario: The cases that were run.
        runs: Their runs (`real.run(...).runs`).
        machine: The calibrated machine.
        reference: The calibration's cases and their runs, measured in the same go. How far they are from the machine's
        own
            prediction is the host's drift since it was calibrated.

    Returns:
        A row for each case, with a verdict.

    Raises:
        CalibrationError: A case has no runs.

    Example:
        >>> validation = validate(scenario, real.run(real.plan(scenario)).runs, machine)  # doctest: +SKIP
        >>> validation.mean_error_pct  # doctest: +SKIP
        1.3
    """
    cells = _compare(scenario, runs, machine)
    drift, doubt = None, disturbance(cells)
    if reference is not None:
        known = _compare(*reference, machine)
        drift = float(-known["error_pct"].median())  # the host is slower now: positive
        if abs(drift) > 100 * _MOST_DRIFT:
            doubt = f"the host is {drift:+.0f} % off its calibration's own cases"
        elif (misfit := float((known["error_pct"] - known["error_pct"].median()).abs().mean())) > _MOST_MISFIT_PCT:
            doubt = f"the calibration itself does not fit: its own cases are {misfit:.0f} % off"
        elif known["unstable"].mean() > _MOST_UNSTABLE:
            doubt = "the host was unstable in the calibration's own cases"
    verdicts = [verdict(cell, doubt) for cell in cells.to_dict("records")]
    return Validation(
        cells.assign(verdict=[verdict for verdict, _ in verdicts], reason=[reason for _, reason in verdicts]), drift
    )


def disturbance(cells: pd.DataFrame) -> str:
    """Return why the host can't be trusted by its runs, or '' if it can."""
    unstable = int(cells["n_unstable"].sum())
    return "most runs were disturbed" if unstable > _MOST_DISTURBED * cells["n_runs"].sum() else ""


def _compare(scenario: Scenario, runs: pd.DataFrame, machine: Machine) -> pd.DataFrame:
    measured = measured_cells(scenario, runs)
    here = scenario.on(machine).with_worker_costs()
    simulated = run(here).runs.groupby("case")["time_s"]
    predicted = simulated.median().loc[measured["case"]].to_numpy(float)
    spread = (simulated.std() / simulated.mean()).fillna(0.0).loc[measured["case"]].to_numpy(float)
    return pd.DataFrame(
        {
            **_identity([here.cases[number] for number in measured["case"]]),
            "n_runs": [int((runs["case"] == number).sum()) for number in measured["case"]],
            "n_unstable": [
                int((runs[runs["case"] == number].get("unstable", pd.Series(dtype=str)) != "").sum())
                for number in measured["case"]
            ],
            "measured_s": measured["time_s"],
            "measured_spread": measured["spread"],
            "predicted_s": predicted,
            "predicted_spread": spread,
            "error_pct": (predicted / measured["time_s"].to_numpy(float) - 1) * 100,
            "noise_pct": 100 * measured["stderr"],
            "unstable": measured["unstable"],
        }
    )


def _identity(cases: Sequence[Case]) -> dict[str, list[object]]:
    """Return the columns that identify a case."""
    return {
        "nthreads": [case.n_works for case in cases],
        "chunk_bytes": [case.chunk_bytes()[0] for case in cases],
        "task_bytes": [case.clearing.page_size for case in cases],
        "size_bytes": [case.clearing.size for case in cases],
        "background": [beside(case) for case in cases],
    }


def beside(case: Case) -> str:
    """Return the loads that run beside a case, in a word, or "none" if there are none."""
    return " and ".join(load.load for load in case.background.values()) or "none"


def verdict(cell: Mapping[Hashable, Any], doubt: str) -> tuple[str, str]:
    """Return the verdict for a case, and why. `doubt` has the reason if the host can't be trusted."""
    error, spread = abs(cell["error_pct"]), cell["measured_spread"]
    if cell["unstable"]:
        return UNDECIDED, "too few stable runs"
    if spread > _MOST_SPREAD:
        return UNDECIDED, f"runs scatter by {spread:.0%}"
    if error <= 100 * TOLERANCE:
        return AGREES, f"within {TOLERANCE:.0%}"
    if error <= 100 * spread:
        return AGREES, f"within the measured spread, {spread:.0%}"
    return (UNDECIDED, doubt) if doubt else (DIFFERS, "")


def tally(cells: pd.DataFrame) -> str:
    """Return how many cases agree, do not, and are undecided, in words."""
    count = {word: int((cells["verdict"] == word).sum()) for word in (AGREES, DIFFERS, UNDECIDED)}
    return (
        f"{len(cells)} cases, none used in the fit: {count[AGREES]} agree, {count[DIFFERS]} do not, "
        f"{count[UNDECIDED]} undecided. ± is one standard deviation over the runs of a case."
    )


def describe_validation(validation: Validation) -> str:
    """Return the comparison with this host as a table and a few lines for a person.

    Args:
        validation: A comparison (`validate`).

    Returns:
        Lines of text, the verdict among them.

    Example:
        >>> print(describe_validation(validation))  # doctest: +SKIP
    """
    cells = validation.cells
    rows = [
        {
            "threads": cell["nthreads"],
            "chunk": format_size(cell["chunk_bytes"]),
            "task": format_size(cell["task_bytes"]),
            "size": format_size(cell["size_bytes"]),
            "background": cell["background"],
            "measured (ms)": with_spread(cell["measured_s"], cell["measured_spread"]),
            "predicted (ms)": with_spread(cell["predicted_s"], cell["predicted_spread"]),
            "error (%)": f"{cell['error_pct']:+.1f}",
            "verdict": f"{cell['verdict']} ({cell['reason']})" if cell["reason"] else cell["verdict"],
        }
        for cell in cells.to_dict("records")
    ]
    lines = [tabulate(rows, headers="keys", disable_numparse=True, stralign="right"), "", tally(cells)]
    if not math.isnan(validation.mean_error_pct):
        lines += [
            f"Mean error {validation.mean_error_pct:.1f} %, worst {validation.worst_error_pct:.1f} %.",
            f"Root mean square: {validation.model_error_pct:.1f} % of the model, beside {validation.noise_pct:.1f} % "
            "that the noise of the host leaves in the measured medians.",
        ]
    unstable = int(cells["n_unstable"].sum())
    if unstable:
        lines.append(f"{unstable} of {int(cells['n_runs'].sum())} runs were marked unstable.")
    if validation.drift_pct is not None:
        lines.append(
            f"In the calibration's own cases the host is {drift_in_words(validation.drift_pct)} than the machine."
        )
    return "\n".join(lines)


def drift_in_words(drift_pct: float) -> str:
    """Return in words how much slower a host has become."""
    return f"{abs(drift_pct):.1f} % {'slower' if drift_pct >= 0.0 else 'faster'}"


def with_spread(time_s: float, spread: float) -> str:
    """Return a time and its spread, given as a share, in milliseconds."""
    return f"{time_s * 1e3:.1f} ± {time_s * spread * 1e3:.1f}"
