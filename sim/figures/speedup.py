"""Speed-up: throughput, speed-up and efficiency against threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from models.results import Results
from models.results.regret_table import varying
from models.results.tables import threads_worked
from sim.figures.names import case_name
from sim.figures.style import BLACK, GREY, GRID, SERIES, VERMILION, hover, save, set_title, width_inches

_LINES = ("-", "--", "-.", ":")
_MARKERS = "os^Dv<>p"
_MOST_LINES = 8  # in colours; of more, all but the best are grey
_MOST_SIZES = 8  # columns; of more, some are left out


def plot_speedup(results: Results, path: str | Path | None = None) -> Figure:
    """Draw throughput, speed-up and efficiency against threads, simulated or measured, and published.

    There is a column of panels for each size. Cases that differ in something else than threads and size are lines of
    their own. Of more than eight the best have a colour, the rest are grey. Efficiency is speed-up for each thread at
    work. Bars are one standard deviation over replications.

    Args:
        results: Results with several numbers of threads.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> figure = plot_speedup(run(scenario), "speedup.png")
        >>> __import__("pathlib").Path("speedup.png").exists()
        True
    """
    summary = results.summary
    word = "measured" if results.provenance.get("backend") == "real" else "simulated"
    every = _groups(summary)
    best = _best(every, summary)
    groups = [(f"{word} {label}".strip(), group) for label, group in best]
    drawn = {label for label, _ in best}
    rest = [group for label, group in every if label not in drawn]
    sizes = sorted(summary["size_gib"].unique())
    if len(sizes) > _MOST_SIZES:
        steps = range(_MOST_SIZES)
        sizes = [sizes[round(step * (len(sizes) - 1) / (_MOST_SIZES - 1))] for step in steps]
    threads = sorted(summary["nthreads"].unique())
    rows = 3 if summary[summary["nthreads"] > 1]["speedup"].notna().any() else 1
    key_inches = 0.8 + width_inches(label for label, _ in groups)  # of a line in a legend below
    width = max(5.0, 3.1 * len(sizes) + 0.9, key_inches)
    n_key_columns = int(width // key_inches)
    keys = 2 + -(-(len(groups) + 3) // n_key_columns)
    figure = Figure(figsize=(width, 2.6 * rows + 0.9 + 0.2 * keys), layout="constrained")
    axes = figure.subplots(rows, len(sizes), sharex=True, sharey="row", squeeze=False)
    for column, size_gib in zip(axes.T, sizes, strict=True):
        for style, (label, group) in enumerate(groups):
            cells = group[group["size_gib"] == size_gib].sort_values("nthreads")
            for axis, draw in zip(column, (_throughput, _speedup, _efficiency), strict=False):
                draw(axis, cells, label, style)
        for group in rest:
            cells = group[group["size_gib"] == size_gib].sort_values("nthreads")
            for axis, values in zip(column, _values(cells), strict=False):
                axis.plot(cells["nthreads"], values, color=GRID, linewidth=0.9, zorder=0)
        column[0].set_title(f"{size_gib:g} GiB")
        column[-1].set_xlabel("threads allowed")
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
    if rest:
        handles.append(Line2D([], [], color=GRID))
        labels.append(f"{len(rest)} others, which take longer")
    if (threads_worked(summary) < summary["nthreads"]).any():
        handles.append(Line2D([], [], color=BLACK, marker="o", markerfacecolor="white", linestyle="none"))
        labels.append("hollow: fewer threads at work than allowed")
    least, most = summary["replications"].min(), summary["replications"].max()
    runs = f"{least}" if least == most else f"{least} to {most}"
    spread = f"bars: one standard deviation over {runs} runs" if most > 1 else "one run a case: no spread is known"
    figure.legend(handles, labels, loc="outside lower center", fontsize="small", ncols=max(1, n_key_columns),
                  title=spread, title_fontsize="small")  # fmt: skip
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


def _best(groups: list[tuple[str, pd.DataFrame]], summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the groups that get a line of their own: all if they are few, else those that take the least time.

    Each is measured by its mean time over the best one of the same threads, size and machine.
    """
    if len(groups) <= _MOST_LINES:
        return groups
    keys = [name for name in ("machine", "client", "nthreads", "size_gib") if name in summary]
    ratio = summary["time_s"] / summary.groupby(keys, dropna=False)["time_s"].transform("min")
    ranked = sorted(groups, key=lambda group: float(ratio[group[1].index].mean()))[: _MOST_LINES - 1]
    chosen = {label for label, _ in ranked}
    return [group for group in groups if group[0] in chosen]


def _values(cells: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return throughput, speed-up and efficiency (speed-up for each thread at work)."""
    return (
        cells["size_gib"] / cells["time_s"],
        cells["speedup"],
        100 * cells["speedup"] / threads_worked(cells),
    )


def _throughput(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    published = cells["size_gib"] / cells["published_time_s"]
    _points(axis, cells, _values(cells)[0], published, label, style, "{:.4g} GiB/s")


def _speedup(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    _points(axis, cells, _values(cells)[1], _published_speedup(cells), label, style, "speed-up {:.3g}")


def _efficiency(axis: Axes, cells: pd.DataFrame, label: str, style: int) -> None:
    published = 100 / cells["nthreads"] * _published_speedup(cells)
    _points(axis, cells, _values(cells)[2], published, label, style, "efficiency {:.3g} %")


def _published_speedup(cells: pd.DataFrame) -> pd.Series:
    return cells["published_speedup"].where(cells["nthreads"] > 1, 1.0).where(cells["published_time_s"].notna())


def _points(
    axis: Axes, cells: pd.DataFrame, values: pd.Series, published: pd.Series, label: str, style: int, text: str
) -> None:
    """Draw the points of a group with their spread: hollow where fewer threads worked than were allowed."""
    worked = threads_worked(cells)
    counts = zip(cells["nthreads"], worked, cells["time_s"], values, strict=True)
    told = [f"{label}: {n} threads ({at_work:.3g} at work), {t:.4g} s, {text.format(v)}" for n, at_work, t, v in counts]
    hover(axis, cells["nthreads"], values, told)
    fewer = worked < cells["nthreads"]
    axis.plot(cells["nthreads"][fewer], values[fewer], color=SERIES[style % len(SERIES)], markerfacecolor="white",
              marker=_MARKERS[style % len(_MARKERS)], markersize=4, linestyle="none", zorder=2.5)  # fmt: skip
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
