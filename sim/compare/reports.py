"""The simulation against public reports: the factor by which each is missed."""

from __future__ import annotations

import math
import textwrap
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


def reports_section(results: Sequence[ReportResult]) -> str:
    """Return the reports as Markdown: how many are within their bars, the table, and the likely cause of each miss."""
    open_ = [result for result in results if result.report.seen is None]
    within = sum(result.is_within for result in open_)
    factors = sorted(abs(math.log(factor)) for result in open_ for factor in result.factors)
    median = math.exp(factors[len(factors) // 2])
    words = (
        f"{within} of {len(open_)} reports that nothing was made with in view are predicted within their bar, a factor "
        f"of 2 where the machine is known and 3 where it is guessed; half of their times within {median:.2f}."
    )
    lines = [*textwrap.wrap(words, 118), "", describe_reports(results, style="github"), ""]
    for result in results:
        report = result.report
        text = f"* **{report.name}**: {report.told.rstrip('.')} ({report.source})."
        text += f" Not a prediction: {report.seen.rstrip('.')}." if report.seen else ""
        text += f" What the miss points to: {report.missed.rstrip('.')}." if report.missed else ""
        lines += textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)
