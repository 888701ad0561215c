"""Figures, made from results. Colours are the colour-blind safe set of Okabe and Ito (2008)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from models.results import Results

_SIMULATED, _PUBLISHED, _LINEAR = "#0072B2", "#D55E00", "#999999"


def plot_speedup(results: Results, path: str | Path | None = None) -> Figure:
    """Draw throughput and speed-up against threads, simulated and published, a column of panels for each size.

    Cases that differ in something else than threads and size are drawn as further lines. Returns the figure, and
    writes it to `path` if given. Bars are one standard deviation over replications.
    """
    summary = results.summary
    groups = _groups(summary)
    sizes = sorted(summary["size_gib"].unique())
    figure = Figure(figsize=(3.1 * len(sizes) + 0.9, 6.4), layout="constrained")
    axes = figure.subplots(2, len(sizes), sharex=True, sharey="row", squeeze=False)
    for column, size_gib in enumerate(sizes):
        for style, (label, group) in enumerate(groups):
            cells = group[group["size_gib"] == size_gib].sort_values("nthreads")
            _throughput(axes[0, column], cells, label, style)
            _speedup(axes[1, column], cells, label, style)
        axes[0, column].set_title(f"{size_gib:g} GiB")
        axes[1, column].set_xlabel("threads")
        threads = sorted(summary["nthreads"].unique())
        axes[1, column].plot(threads, threads, color=_LINEAR, linewidth=1, linestyle=":", label="linear", zorder=0)
        for row in (0, 1):
            axes[row, column].set_xscale("log", base=2)
            axes[row, column].xaxis.set_major_locator(FixedLocator(threads))
            axes[row, column].xaxis.set_minor_locator(NullLocator())
            axes[row, column].xaxis.set_major_formatter(ScalarFormatter())
            axes[row, column].grid(color="#dddddd", linewidth=0.6)
        axes[1, column].set_yscale("log", base=2)
        axes[1, column].yaxis.set_major_locator(FixedLocator(threads))
        axes[1, column].yaxis.set_major_formatter(ScalarFormatter())
    axes[0, 0].set_ylabel("throughput (GiB/s)")
    axes[0, 0].set_ylim(bottom=0)
    axes[1, 0].set_ylabel("speed-up over one thread")
    axes[0, 0].legend(fontsize="small", loc="upper left")
    axes[1, 0].legend(fontsize="small", loc="upper left")
    figure.suptitle(results.title)
    if path is not None:
        figure.savefig(path, dpi=110)
    return figure


def _groups(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split the cases by all that varies besides threads and size: (label, cases) pairs."""
    identity = list(summary.columns[: summary.columns.get_loc("replications")])
    varying = [name for name in identity if name not in ("nthreads", "size_gib") and summary[name].nunique() > 1]
    if not varying:
        return [("", summary)]
    parts = summary.groupby(varying, sort=False)
    return [(", ".join(f"{value}" for value in keys), part) for keys, part in parts]


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
    simulated: pd.Series,
    spread: pd.Series,
    published: pd.Series,
    label: str,
    style: int,
) -> None:
    marker = "os^Dv<>p"[style % 8]
    line = ("-", "--", "-.", ":")[style % 4]
    axis.errorbar(
        cells["nthreads"],
        simulated,
        yerr=spread,
        color=_SIMULATED,
        marker=marker,
        markersize=4,
        linestyle=line,
        capsize=2,
        label=f"simulated {label}".strip(),
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
            label=f"published {label}".strip(),
            zorder=3,
        )
