"""The simulation against every published table, with a verdict for each."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from models.measured.measurements import Measurements, known_tables, load_measurements, spread_of
from models.scenario.case import Case
from sim.runs.executors import Executor, local
from sim.runs.experiment import run

AGREES, NEARLY, DIFFERS, UNDECIDED = "agrees", "agrees within 10 %", "does not agree", "undecided"
_BAR_PCT, _SECOND_BAR_PCT = 5.0, 10.0  # mean error of predicted cells


@dataclass(frozen=True)
class TableResult:
    """The simulation against one published table.

    `cells` has the table's rows with `predicted_s`, `predicted_stdev_s`, `error_pct`, `fitted`. There are none where no
    case can be made of the table. Errors are means and maxima over predicted cells, in per cent.
    """

    measured: Measurements
    cells: pd.DataFrame

    @property
    def predicted(self) -> pd.DataFrame:
        """Return the cells that nothing was fitted to, without those that contradict others of their table."""
        return self.cells[~self.cells["fitted"] & ~self.cells["doubtful"]] if len(self.cells) else self.cells

    @property
    def mean_error_pct(self) -> float:
        """Return the mean absolute error of the predicted cells, or NaN for none."""
        return float(self.predicted["error_pct"].abs().mean()) if len(self.predicted) else float("nan")

    @property
    def worst_error_pct(self) -> float:
        """Return the largest absolute error of the predicted cells, or NaN for none."""
        return float(self.predicted["error_pct"].abs().max()) if len(self.predicted) else float("nan")

    @property
    def spread_pct(self) -> float:
        """Return the mean spread of the measurements, as the source states it, or NaN if it does not."""
        return float(100 * spread_of(self.cells).mean()) if len(self.cells) else float("nan")

    @property
    def verdict(self) -> str:
        """Return whether the mean error is within the measurements' own spread or 5 %, within 10 %, or neither."""
        if not len(self.predicted):
            return UNDECIDED
        spread = self.spread_pct
        if self.mean_error_pct <= max(_BAR_PCT, 0.0 if pd.isna(spread) else spread):
            return AGREES
        return NEARLY if self.mean_error_pct <= _SECOND_BAR_PCT else DIFFERS

    @property
    def misranked(self) -> tuple[int, int]:
        """Return pairs of rows that differ in threads only, by more than their spreads: in wrong order, and in all."""
        wrong = of_all = 0
        for _, group in self.cells.groupby(self._others(), dropna=False) if len(self.cells) else ():
            spread = spread_of(group).fillna(0.0) * group["time_s"]
            for a, b in itertools.combinations(group.index, 2):
                gap = group["time_s"][a] - group["time_s"][b]
                if abs(gap) <= spread[a] + spread[b]:
                    continue
                of_all += 1
                wrong += (group["predicted_s"][a] - group["predicted_s"][b]) * gap < 0
        return wrong, of_all

    def _others(self) -> list[str]:
        """Return the columns that tell rows apart besides the number of threads and the measurements."""
        if "nthreads" not in self.cells:
            return ["machine"]
        return ["machine", *(name for name in _TOLD[1:] if name in self.cells and name != "kernel")]


def compare(
    names: Sequence[str] = (), *, jobs: int = 1, on_table: Callable[[str], object] | None = None
) -> list[TableResult]:
    """Simulate published tables, and compare.

    Args:
        names: The names of tables. None takes all of them.
        jobs: How many processes share the work.
        on_table: Called with the name of each table before it is simulated.

    Returns:
        A result for each table: its cells with measured and predicted seconds, errors and a verdict.

    Raises:
        ValueError: A table is not known. The message has the known names.

    Example:
        >>> (result,) = compare_published(["vfio_pin_xeon_8160"])  # doctest: +SKIP
        >>> result.mean_error_pct < 10  # doctest: +SKIP
        True
    """
    found = []
    with local(jobs) as executor:  # for all tables
        for name in known_tables(names):
            if on_table is not None:
                on_table(name)
            found.append(compare_measurements(load_measurements(name), jobs, executor))
    return found


def compare_measurements(measured: Measurements, jobs: int = 1, executor: Executor | None = None) -> TableResult:
    """Simulate the cases of one table."""
    if measured.scenario is None:
        return TableResult(measured, measured.rows)
    cases: list[Case] = []  # each once: a row may be another measure of the same one
    for case in measured.scenario.cases:
        if case not in cases:
            cases.append(case)
    runs = run(replace(measured.scenario, cases=tuple(cases)), jobs=jobs, executor=executor).runs
    numbers = [cases.index(case) for case in measured.scenario.cases]
    times = [
        runs.loc[runs["case"] == number, column]
        for number, column in zip(numbers, measured.rows["measure"], strict=True)
    ]
    return result_of(measured, times)


def result_of(measured: Measurements, times: Sequence[pd.Series[float]]) -> TableResult:
    """Return a table beside the times of simulated runs, those of a row each."""
    predicted = np.array([each.mean() for each in times])
    cells = measured.rows.assign(
        predicted_s=predicted,
        predicted_stdev_s=[0.0 if len(each) < 2 else float(each.std()) for each in times],
        error_pct=(predicted / measured.rows["time_s"].to_numpy(float) - 1) * 100,
    )
    return TableResult(measured, cells)


def summary(results: Sequence[TableResult]) -> pd.DataFrame:
    """Return a row for each table: machines, client, cells, errors, spread in per cent, ranking, verdict and remark."""
    rows = []
    for result in results:
        cells, measured = result.cells, result.measured
        wrong, pairs = result.misranked
        rows.append(
            {
                "table": measured.name,
                "machines": int(cells["machine"].nunique()) if len(cells) else 0,
                "client": measured.scenario.cases[0].task.client if measured.scenario is not None else "",
                "fitted": int(cells["fitted"].sum()) if len(cells) else 0,
                "predicted": len(result.predicted),
                "left_out": sum(count for count, _ in measured.left_out),
                "mean_error_pct": result.mean_error_pct,
                "worst_error_pct": result.worst_error_pct,
                "spread_pct": result.spread_pct,
                "misranked": wrong,
                "ranked": pairs,
                "verdict": result.verdict,
            }
        )
    return pd.DataFrame(rows)


def describe_published(results: Sequence[TableResult], *, style: str = "simple") -> str:
    """Return the comparison with published tables as a table for a person, with the median of the tables' mean errors.

    Args:
        results: Tables that were simulated (`compare_published`).
        style: A style of tabulate, such as "simple" or "github".

    Returns:
        Lines of text.

    Example:
        >>> print(describe_published(compare_published(["vfio_pin_xeon_8160"])))  # doctest: +SKIP
    """
    table = summary(results)
    shown = [
        (
            row["table"],
            row["client"],
            row["fitted"],
            row["predicted"],
            _number(row["mean_error_pct"]),
            _number(row["worst_error_pct"]),
            _number(row["spread_pct"]),
            f"{row['misranked']} of {row['ranked']}" if row["ranked"] else "",
            row["verdict"],
        )
        for row in table.to_dict("records")
    ]
    heads = ["table", "client", "fitted", "predicted", "mean (%)", "worst (%)", "spread (%)", "misordered", "verdict"]
    text = tabulate(shown, headers=heads, tablefmt=style, disable_numparse=True)
    decided = table["mean_error_pct"].dropna()
    if len(decided):
        text += (
            f"\n\n{len(decided)} table{'s' * (len(decided) != 1)}, {int(table['predicted'].sum())} cells predicted, "
            f"{int(table['fitted'].sum())} fitted: the median of the tables' mean errors is "
            f"{decided.median():.1f} %, the worst {decided.max():.1f} %."
        )
    return text


def published_section(results: Sequence[TableResult]) -> str:
    """Return the comparison as Markdown: the summary, and the remarks on each table."""
    lines = [describe_published(results, style="github"), ""]
    for result in results:
        measured = result.measured
        known = _doubts(measured)
        if measured.parameters:
            known.append(f"fitted: {', '.join(f'`{name}`' for name in measured.parameters)}")
        parts = [*(f"{part.rstrip('.')}." for part in known), " ".join(measured.notes.split())]
        text = " ".join(f"{part[:1].upper()}{part[1:]}" for part in parts if part)
        lines += textwrap.wrap(f"* **{measured.name}**. {text}", 118, subsequent_indent="  ")
    return "\n".join(lines)


def _doubts(measured: Measurements) -> list[str]:
    """Return which rows of a table are left out, or not counted, and why."""
    found = [f"{count} row{'s' * (count != 1)} left out: {reason}" for count, reason in measured.left_out]
    return found + [f"{count} row{'s' * (count != 1)} not counted (?): {reason}" for count, reason in measured.doubts]


def describe_table(result: TableResult) -> str:
    """Return the cells of one table, and the remarks on it."""
    measured = result.measured
    parts = [describe_cells(result)] if len(result.cells) else []
    parts += _doubts(measured)
    if measured.parameters:
        parts.append(f"`*` {len(measured.parameters)} figures were fitted to these: {', '.join(measured.parameters)}.")
    if measured.notes:
        parts.append(measured.notes.strip())
    return "\n\n".join(parts)


def describe_cells(result: TableResult, *, style: str = "simple") -> str:
    """Return the cells of one table: the columns that vary, measured and predicted seconds, and the error."""
    cells = result.cells
    known = _varying(cells)
    rows = [
        (
            *(_cell(row[name]) for name in known),
            f"{row['time_s']:.4g}",
            f"{row['predicted_s']:.4g}",
            f"{row['error_pct']:+.1f}{'*' if row['fitted'] else '?' if row['doubtful'] else ''}",
        )
        for _, row in cells.iterrows()
    ]
    heads = [*(_HEADS.get(name, name) for name in known), "measured (s)", "predicted (s)", "error (%)"]
    return tabulate(rows, headers=heads, tablefmt=style, disable_numparse=True)


def remarks(result: TableResult) -> list[str]:
    """Return the remarks on a table, a text each: rows left out or not counted, figures fitted, its notes."""
    measured = result.measured
    found = [f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in _doubts(measured)]
    if measured.parameters:
        found.append(f"* {len(measured.parameters)} figures were fitted to these: {', '.join(measured.parameters)}.")
    return found + ([measured.notes.strip()] if measured.notes else [])


def cells_shown(result: TableResult) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    """Return the columns of a table's cells by head, and for some heads how values are written.

    Numbers stay numbers, so that a page can sort by them. The column `counts as` says fitted, not counted or predicted.
    """
    cells = result.cells
    columns: dict[str, list[Any]] = {
        _HEADS.get(name, name): [None if _cell(value) == "" else value for value in cells[name].astype(object)]
        for name in _varying(cells)
    }
    columns |= {
        "measured (s)": cells["time_s"].astype(float).tolist(),
        "predicted (s)": cells["predicted_s"].astype(float).tolist(),
        "error (%)": cells["error_pct"].astype(float).tolist(),
        "counts as": [
            "fitted" if fitted else "not counted" if doubtful else "predicted"
            for fitted, doubtful in zip(cells["fitted"], cells["doubtful"], strict=True)
        ],
    }
    return columns, {"error (%)": [f"{error:+.1f}" for error in cells["error_pct"]]}


def _varying(cells: pd.DataFrame) -> list[str]:
    """Return the columns that tell cells apart."""
    return [name for name in (*_TOLD, "nthreads") if name in cells and cells[name].nunique(dropna=False) > 1]


def cell_names(cells: pd.DataFrame) -> list[str]:
    """Return a name for each cell, by the values that tell it apart from the others."""
    words = {"nthreads": "{} thread{s}", "size_gib": "{} GiB"}
    return [
        ", ".join(
            words.get(name, "{}").format(_cell(row[name]), s="" if row[name] == 1 else "s")
            for name in _varying(cells)
            if _cell(row[name])
        )
        for _, row in cells.iterrows()
    ]


# What tells cells apart, besides the number of threads.
_TOLD = (
    "machine",
    "version",
    "case",
    "config",
    "workload",
    "memtype",
    "qemu_prealloc_threads",
    "lockedvm_cache_pages",
    "page_size",
    "memory",
    "size_gib",
    "kernel",
)
_HEADS = {"nthreads": "threads", "size_gib": "size (GiB)"}


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:g}"
    return "" if value is None else str(value)


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.1f}"
