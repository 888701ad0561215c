"""Speed-up: throughput, speed-up and efficiency against threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from models.results import Results
from models.results.regret_table import varying
from sim.figures.names import case_name
from sim.figures.style import GREY, GRID, SERIES, VERMILION, save, set_title, width_inches

_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^Dv<>p"


def plot_speedup(results: Results, path: str | Path | None = None) -> Figure:
    """Draw throughput, speed-up and efficiency against threads, simulated or measured, and published.

    There is a column for each size. Cases that differ in something else than threads and size are lines of their own.
    Efficiency is speed-up for each thread; there is neither to draw without cases of one thread and of more. Bars are
    one standard deviation over replications. Returns the figure, and writes it to `path` if given.
    """
    summary = results.summary
    word = "measured" if results.provenance.get("backend") == "real" else "simulated"
    groups = [(f"{word} {label}".strip(), group) for label, group in _groups(summary)]
    sizes = sorted(summary["size_gib"].unique())
    threads = sorted(summary["nthreads"].unique())
    rows = 3 if summary[summary["nthreads"] > 1]["speedup"].notna().any() else 1
    key_inches = 0.8 + width_inches(label for label, _ in groups)  # of a line in a legend below
    width = max(5.0, 3.1 * len(sizes) + 0.9, key_inches)
    n_key_columns = int(width // key_inches)
    keys = -(-(len(groups) + 2) // n_key_columns) if len(groups) > 1 else 0
    figure = Figure(figsize=(width, 2.6 * rows + 0.9 + 0.2 * keys), layout="constrained")
    axes = figure.subplots(rows, len(sizes), sharex=True, sharey="row", squeeze=False)
    for column, size_gib in zip(axes.T, sizes, strict=True):
        for style, (label, group) in enumerate(groups):
            cells = group[group["size_gib"] == size_gib].sort_values("nthreads")
            for axis, draw in zip(column, (_throughput, _speedup, _efficiency), strict=False):
                draw(axis, cells, label, style)
        column[0].set_title(f"{size_gib:g} GiB")
        column[-1].set_xlabel("threads")
        for axis in column:
            axis.set_xscale("log", base=2)
            _mark_numbers(axis.xaxis, threads)
            axis.grid(color=GRID, linewidth=0.6)
        if rows == 3:
            column[1].plot(threads, threads, color=GREY, linewidth=1, linestyle=":", label="linear", zorder=0)
            column[1].set_yscale("log", base=2)
            _mark_numbers(column[1].yaxis, threads)
            column[2].axhline(100, color=GREY, linewidth=1, linestyle=":", zorder=0)
    axes[0, 0].set_ylabel("throughput (GiB/s)")
    axes[0, 0].set_ylim(bottom=0)
    if rows == 3:
        axes[1, 0].set_ylabel("speed-up over one thread")
        axes[2, 0].set_ylabel("efficiency (%)")
        axes[2, 0].set_ylim(bottom=0)
    handles, labels = axes[min(1, rows - 1), 0].get_legend_handles_labels()
    if len(groups) > 1:
        figure.legend(handles, labels, loc="outside lower center", fontsize="small", ncols=n_key_columns)
    else:
        axes[0, 0].legend(*axes[0, 0].get_legend_handles_labels(), fontsize="small", loc="upper left")
        if rows == 3:
            axes[1, 0].legend(handles, labels, fontsize="small", loc="upper left")
    set_title(figure, results.title)
    return save(figure, path)


def _mark_numbers(axis: Axis, numbers: Sequence[int]) -> None:
    """Put plain numbers on a logarithmic axis: these, the greatest first, but for those that others leave no room."""
    room = max(numbers[-1] / numbers[0], 1.0) ** 0.1
    marked: list[int] = []
    for number in reversed(numbers):
        if not marked or marked[-1] / number >= room:
            marked.append(number)
    axis.set_major_locator(FixedLocator(marked))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(ScalarFormatter())


def _groups(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split the cases by all that varies besides threads and size: (label, cases) pairs."""
    names = [name for name in varying(summary) if name not in ("nthreads", "size_gib")]
    if not names:
        return [("", summary)]
    parts = summary.groupby(names, sort=False, dropna=False)
    return [(case_name(names, values), part) for values, part in parts]


def _throughput(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    _points(
        axis, cells, cells["size_gib"] / cells["time_s"], cells["size_gib"] / cells["published_time_s"], label, style
    )


def _speedup(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    _points(axis, cells, cells["speedup"], _published_speedup(cells), label, style)


def _efficiency(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    share_pct = 100 / cells["nthreads"]
    _points(axis, cells, share_pct * cells["speedup"], share_pct * _published_speedup(cells), label, style)


def _published_speedup(cells: pd.DataFrame) -> pd.Series:
    return cells["published_speedup"].where(cells["nthreads"] > 1, 1.0).where(cells["published_time_s"].notna())


def _points(axis: Axes, cells: pd.DataFrame, values: pd.Series, published: pd.Series, label: str, style: int) -> None:
    axis.errorbar(
        cells["nthreads"],
        values,
        yerr=values * cells["time_stdev_s"] / cells["time_s"],
        color=SERIES[style % len(SERIES)],
        marker=_MARKERS[style % len(_MARKERS)],
        markersize=4,
        linestyle=_LINES[style // len(SERIES) % len(_LINES)],
        capsize=2,
        label=label,
    )
    if published.notna().any():
        axis.plot(
            cells["nthreads"],
            published,
            color=VERMILION,
            marker="x",
            markersize=7,
            markeredgewidth=1.6,
            linestyle="none",
            label=None if "published" in axis.get_legend_handles_labels()[1] else "published",
            zorder=3,
        )
