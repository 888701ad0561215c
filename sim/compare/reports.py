"""The simulation against public reports: the factor by which each is missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from models.measured.reports import Report, ReportCases, load_reports
from sim.runs.experiment import run


@dataclass(frozen=True)
class ReportResult:
    """Predicted times of a report's cells, in seconds."""

    report: Report
    predicted_s: tuple[float, ...]

    @property
    def factors(self) -> tuple[float, ...]:
        """Return predicted over told, for each cell."""
        return tuple(
            predicted / cell.time_s for predicted, cell in zip(self.predicted_s, self.report.cells, strict=True)
        )

    @property
    def worst(self) -> float:
        """Return the factor that is farthest from 1."""
        return max(self.factors, key=lambda factor: abs(math.log(factor)))

    @property
    def is_within(self) -> bool:
        """Return whether all cells are within the report's bar."""
        return abs(math.log(self.worst)) <= math.log(self.report.bar)


def compare_reports(jobs: int = 1) -> list[ReportResult]:
    """Predict every report.

    >>> all(result.predicted_s for result in compare_reports())
    True
    """
    return [_compare(each, jobs) for each in load_reports()]


def _compare(each: ReportCases, jobs: int) -> ReportResult:
    runs = run(each.scenario, jobs=jobs).runs
    means = runs.groupby("case")["time_s"].mean()
    return ReportResult(each.report, tuple(float(means.loc[i]) for i in range(len(each.report.cells))))


def describe_reports(results: Sequence[ReportResult], *, style: str = "simple") -> str:
    """Return the reports as a table: told and predicted seconds, the factor, and whether it is within its bar."""
    rows = []
    for result in results:
        report = result.report
        for cell, predicted, factor in zip(report.cells, result.predicted_s, result.factors, strict=True):
            within = abs(math.log(factor)) <= math.log(report.bar)
            told = ", ".join(f"{at.rpartition('.')[2]} {value}" for at, value in cell.values.items())
            seen = " (seen)" if report.seen is not None else ""
            machine = "known" if report.known else "guessed"
            rows.append(
                (report.name + seen, machine, told, f"{cell.time_s:.3g}", f"{predicted:.3g}", f"{factor:.2f}",
                 "yes" if within else "no")
            )  # fmt: skip
    heads = ["report", "machine", "case", "told (s)", "predicted (s)", "factor", "within its bar"]
    return tabulate(rows, headers=heads, tablefmt=style, disable_numparse=True)
