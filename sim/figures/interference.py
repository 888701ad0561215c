"""The mutual cost of the job and other work: the job's time against the slowdown of each other work."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.results import Results
from models.results.regret_table import situation_columns, varying
from models.results.tables import other_works, spread_over_runs
from sim.figures.names import axis_label, case_names
from sim.figures.pareto import LINE_INCHES, write_names
from sim.figures.style import GREY, GRID, SERIES, hover, save, set_title, width_inches

_MARKERS = "os^Dv<>p"


def plot_interference(results: Results, path: str | Path | None = None) -> Figure:
    """Draw how long the job took against how much each other work was slowed down: a point for each case.

    Points of a case are at one height, with its name beside them. A slowdown of 1 is as fast as alone. Work that stood
    still has no point.

    Args:
        results: Results of cases with other work (`background:`).
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: No case has other work.

    Example:
        >>> results = run(load("loaded_database"))  # doctest: +SKIP
        >>> plot_interference(results, "interference.png")  # doctest: +SKIP
    """
    summary = results.summary
    others = [name for name in other_works(summary) if summary[f"{name}_slowdown"].notna().any()]
    if not others:
        raise ValueError("there is no other work beside the job; `background` of a scenario says what there is")
    over = situation_columns(summary)
    policy = [name for name in varying(summary) if name not in over] or ["nthreads"]
    measures = ["time_s", *(f"{name}_slowdown" for name in others)]
    spreads = spread_over_runs(results, measures).add_suffix("_spread").set_index(summary.index)
    summary = pd.concat([summary, spreads], axis="columns")
    points = summary.assign(case=case_names(summary, policy), situation=case_names(summary, over))
    points = _merged(points.replace({f"{name}_slowdown": math.inf for name in others}, math.nan), others)
    panels = list(points.groupby("situation", sort=False))
    heights = [max(3.2, 0.9 + LINE_INCHES * len(part)) for _, part in panels]
    width = 6.5 + width_inches(points["case"])
    figure = Figure(figsize=(width, sum(heights) + 0.7 + 0.3 * len(panels)), layout="constrained")
    column = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axis, (_, part) in zip(column, panels, strict=True):
        _draw(axis, part, others)
    for axis, (name, part), height in zip(column, panels, heights, strict=True):
        axis.set_title(name, fontsize="medium")
        rows = part.assign(right=part[[f"{other}_slowdown" for other in others]].max(axis=1).fillna(1.0))
        write_names(axis, rows.sort_values("time_s", ascending=False, kind="stable"), "right", "time_s", "case", height)
    figure.align_ylabels()
    column[-1].set_xlabel("slowdown of other work while the job runs")
    handles, labels = column[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small",
                  title="bars: one standard deviation", title_fontsize="small")  # fmt: skip
    set_title(figure, f"{results.title}: what they cost each other")
    return save(figure, path)


def _merged(points: pd.DataFrame, others: list[str]) -> pd.DataFrame:
    """Return the rows, with one row (and a count) for those of a panel that are at the very same place."""
    places = ["situation", "time_s", *(f"{name}_slowdown" for name in others)]
    alike = points.groupby(places, sort=False, dropna=False)["case"]
    n_alike = alike.transform("size")
    names = [f"{name} (and {n - 1} alike)" if n > 1 else name for name, n in zip(points["case"], n_alike, strict=True)]
    return points.assign(case=names).drop_duplicates(places)


def _draw(axis: Axes, points: pd.DataFrame, others: list[str]) -> None:
    slowdowns = points[[f"{name}_slowdown" for name in others]]
    ends = slowdowns.agg(["min", "max"], axis=1).fillna(1.0)  # of cases without a point too, which so have their place
    axis.hlines(points["time_s"], ends["min"], ends["max"], color=GREY, linewidth=0.6, zorder=1)
    axis.axvline(1.0, color=GREY, linewidth=1, linestyle=":", zorder=0)
    for number, name in enumerate(others):
        told = zip(points["case"], points[f"{name}_slowdown"], points["time_s"], strict=True)
        texts = [f"{case}: {name} {slowdown:.2f} times as slow, job {time_s:.4g} s" for case, slowdown, time_s in told]
        hover(axis, points[f"{name}_slowdown"], points["time_s"], texts)
        axis.errorbar(
            points[f"{name}_slowdown"],
            points["time_s"],
            xerr=points[f"{name}_slowdown_spread"],
            yerr=points["time_s_spread"],
            color=SERIES[number % len(SERIES)],
            linestyle="none",
            elinewidth=0.9,
        )
        axis.plot(
            points[f"{name}_slowdown"],
            points["time_s"],
            color=SERIES[number % len(SERIES)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="none",
            markersize=6,
            label=name,
            zorder=2,
        )
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.set_ylabel(axis_label("time_s"))
    axis.margins(0.08, 0.12)
    axis.grid(color=GRID, linewidth=0.6)
