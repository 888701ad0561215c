"""Figures, made from results. Colours are the colour-blind safe set of Okabe and Ito (2008)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from models.results import Results
from models.units import format_size
from sim.validation import AGREES, DIFFERS, UNDECIDED, Validation

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
_PUBLISHED, _LINEAR = "#D55E00", "#999999"
_LINES = ("-", "--", "-.", ":")


def plot_speedup(results: Results, path: str | Path | None = None) -> Figure:
    """Draw throughput and speed-up against threads, simulated or measured, and published; a column for each size.

    Cases that differ in something else than threads and size are lines of their own. Without a case of one thread there
    is no speed-up to draw. Bars are one standard deviation over replications. Returns the figure, and writes it to
    `path` if given.
    """
    summary = results.summary
    word = "measured" if results.provenance.get("backend") == "real" else "simulated"
    groups = [(f"{word} {label}".strip(), group) for label, group in _groups(summary)]
    sizes = sorted(summary["size_gib"].unique())
    threads = sorted(summary["nthreads"].unique())
    rows = 2 if summary["speedup"].notna().any() else 1
    keys = len(groups) + 2 if len(groups) > 1 else 0  # lines of a legend below
    figure = Figure(figsize=(max(5.0, 3.1 * len(sizes) + 0.9), 3.1 * rows + 0.4 + 0.2 * keys), layout="constrained")
    axes = figure.subplots(rows, len(sizes), sharex=True, sharey="row", squeeze=False)
    for column, size_gib in enumerate(sizes):
        for style, (label, group) in enumerate(groups):
            cells = group[group["size_gib"] == size_gib].sort_values("nthreads")
            _throughput(axes[0, column], cells, label, style)
            if rows == 2:
                _speedup(axes[1, column], cells, label, style)
        axes[0, column].set_title(f"{size_gib:g} GiB")
        axes[-1, column].set_xlabel("threads")
        for axis in axes[:, column]:
            axis.set_xscale("log", base=2)
            _mark_numbers(axis.xaxis, threads)
            axis.grid(color="#dddddd", linewidth=0.6)
        if rows == 2:
            axes[1, column].plot(threads, threads, color=_LINEAR, linewidth=1, linestyle=":", label="linear", zorder=0)
            axes[1, column].set_yscale("log", base=2)
            _mark_numbers(axes[1, column].yaxis, threads)
    axes[0, 0].set_ylabel("throughput (GiB/s)")
    axes[0, 0].set_ylim(bottom=0)
    if rows == 2:
        axes[1, 0].set_ylabel("speed-up over one thread")
    handles, labels = axes[-1, 0].get_legend_handles_labels()
    if len(groups) > 1:
        figure.legend(handles, labels, loc="outside lower center", fontsize="small", ncols=1 if len(sizes) == 1 else 2)
    else:
        axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels(), fontsize="small", loc="upper left")
        if rows == 2:
            axes[1, 0].legend(handles, labels, fontsize="small", loc="upper left")
    figure.suptitle(results.title)
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def _mark_numbers(axis: object, numbers: list[int]) -> None:
    """Put a plain number at each of the numbers of a logarithmic axis, and nowhere else."""
    axis.set_major_locator(FixedLocator(numbers))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
    axis.set_major_formatter(ScalarFormatter())  # type: ignore[attr-defined]


def _groups(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split the cases by all that varies besides threads and size: (label, cases) pairs."""
    identity = list(summary.columns[: summary.columns.get_loc("replications")])
    varying = [name for name in identity if name not in ("nthreads", "size_gib") and summary[name].nunique() > 1]
    if not varying:
        return [("", summary)]
    parts = summary.groupby(varying, sort=False, dropna=False)
    return [(_label(varying, keys), part) for keys, part in parts]


def _label(names: list[str], values: tuple[object, ...]) -> str:
    """Return 'xeon, chunks_per_work 4': names that speak for themselves without their column."""
    plain = ("machine", "client", "kernel")
    return ", ".join(
        f"{value}" if name in plain else f"{name} {value}" for name, value in zip(names, values, strict=True)
    )


def _throughput(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    rate = cells["size_gib"] / cells["time_s"]
    spread = rate * cells["time_stdev_s"] / cells["time_s"]
    _points(axis, cells, rate, spread, cells["size_gib"] / cells["published_time_s"], label, style)


def _speedup(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    spread = cells["speedup"] * cells["time_stdev_s"] / cells["time_s"]
    published = cells["published_speedup"].where(cells["nthreads"] > 1, 1.0).where(cells["published_time_s"].notna())
    _points(axis, cells, cells["speedup"], spread, published, label, style)


def _points(
    axis: Axes,
    cells: pd.DataFrame,
    values: pd.Series,
    spread: pd.Series,
    published: pd.Series,
    label: str,
    style: int,
) -> None:
    axis.errorbar(
        cells["nthreads"],
        values,
        yerr=spread,
        color=_COLOURS[style % len(_COLOURS)],
        marker="os^Dv<>p"[style % 8],
        markersize=4,
        linestyle=_LINES[style // len(_COLOURS) % len(_LINES)],
        capsize=2,
        label=label,
    )
    if published.notna().any():
        axis.plot(
            cells["nthreads"],
            published,
            color=_PUBLISHED,
            marker="x",
            markersize=7,
            markeredgewidth=1.6,
            linestyle="none",
            label=None if "published" in axis.get_legend_handles_labels()[1] else "published",
            zorder=3,
        )


def plot_validation(validation: Validation, path: str | Path | None = None) -> Figure:
    """Draw the predicted time of each case over its measured one, with both spreads, by verdict.

    Between the dashed lines prediction and measurement agree within 5 %. Returns the figure, and writes it to `path` if
    given.
    """
    cells = validation.cells
    names = [_case_name(cell) for cell in cells.to_dict("records")]
    figure = Figure(figsize=(8.6, 1.7 + 0.3 * len(cells)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0.0, color=_LINEAR, linewidth=1)
    for edge in (-5.0, 5.0):
        axis.axvline(edge, color=_LINEAR, linewidth=1, linestyle="--")
    styles = {AGREES: ("#0072B2", "o"), DIFFERS: ("#D55E00", "X"), UNDECIDED: ("#999999", "s")}
    for verdict, (colour, marker) in styles.items():
        rows = [i for i, found in enumerate(cells["verdict"]) if found == verdict]
        if rows:
            axis.errorbar(
                cells["error_pct"].iloc[rows],
                rows,
                xerr=100 * cells["measured_spread"].iloc[rows].clip(upper=0.3),
                color=colour,
                marker=marker,
                linestyle="none",
                capsize=2,
                label=f"{verdict} ({len(rows)})",
            )
    axis.plot([], [], color="#000000", marker="|", linestyle="none", markersize=9, label="spread of predicted runs")
    for i, (error, spread) in enumerate(zip(cells["error_pct"], 100 * cells["predicted_spread"], strict=True)):
        axis.plot([error - spread, error + spread], [i, i], color="#000000", marker="|", linestyle="none", markersize=9)
    axis.set_yticks(range(len(cells)), names)
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.set_xlabel("predicted over measured time (%), bars: spread of measured runs")
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    decided = not math.isnan(validation.mean_error_pct)
    words = f"mean error {validation.mean_error_pct:.1f} %" if decided else "nothing decided"
    figure.suptitle(f"Predicted and measured: {words}")
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def _case_name(cell: Mapping[Hashable, Any]) -> str:
    background = "" if cell["background"] == "none" else f", {cell['background']} beside"
    threads = f"{cell['nthreads']} thread{'s' * (cell['nthreads'] > 1)}"
    task, chunk = format_size(cell["task_bytes"]), format_size(cell["chunk_bytes"])
    return f"{threads}, tasks of {task}{background}" if task == chunk else f"{threads}, {chunk} of {task}{background}"
