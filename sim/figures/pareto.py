"""Time against cost: both for each case, and the cases that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.results.regret import pareto_front
from sim.figures.names import axis_label
from sim.figures.style import BLUE, GREY, GRID, ORANGE, hover, save, set_title, width_inches

LINE_INCHES = 0.19  # between the lines of the names
DECADE = 10.0  # an axis whose values span more is logarithmic


def plot_pareto(
    points: pd.DataFrame,
    *,
    x: str = "cpu_s",
    y: str = "time_s",
    label: str | None = None,
    highlight: str | None = None,
    by: str | None = None,
    title: str = "What nothing beats in both",
    path: str | Path | None = None,
) -> Figure:
    """Draw a point for each row, and a line along those that nothing beats in both columns (the Pareto front).

    Args:
        points: A row for each point.
        x: The column across. Less is better.
        y: The column upwards. Less is better.
        label: The column whose text names the points of the front.
        highlight: A column of true and false. Rows with true have a name and a colour of their own.
        by: A column. Rows that differ in it are not compared, but panels of their own.
        title: The text above the figure.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: There is no point, or one that is not a number.

    Example:
        >>> import pandas as pd
        >>> points = pd.DataFrame({"cpu_s": [1.0, 2.0], "time_s": [3.0, 1.5], "name": ["a", "b"]})
        >>> figure = plot_pareto(points, label="name")
        >>> len(figure.axes) >= 1
        True
    """
    if points.empty:
        raise ValueError("points must be at least one row; found none")
    panels = [("", points)] if by is None else [(str(key), part) for key, part in points.groupby(by, sort=False)]
    marked = [_marked(part, x, y, label, highlight) for _, part in panels]
    heights = [max(3.2, 0.9 + LINE_INCHES * len(rows)) for rows in marked]
    names = [] if label is None else [str(name) for rows in marked for name in rows[label]]
    figure = Figure(figsize=(6.5 + width_inches(names), sum(heights) + 0.7 + 0.3 * len(panels)), layout="constrained")
    column = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (name, part), rows, height in zip(column, panels, marked, heights, strict=True):
        _draw(axis, part, x, y, highlight)
        axis.set_title(name, fontsize="medium")
        if label is not None:
            write_names(axis, rows, x, y, label, height)
    handles, labels = column[0].get_legend_handles_labels()
    told = "bars: one standard deviation" if f"{y}_spread" in points and points[f"{y}_spread"].notna().any() else None
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small",
                  title=told, title_fontsize="small")  # fmt: skip
    set_title(figure, title)
    return save(figure, path)


def _marked(points: pd.DataFrame, x: str, y: str, label: str | None, highlight: str | None) -> pd.DataFrame:
    """Return the rows that get a name, from the top of the figure down."""
    if label is None:
        return points.iloc[:0]
    named = pareto_front(points, [x, y])
    if highlight is not None:
        named |= points[highlight].astype(bool)
    rows = points[named]
    if highlight is not None:
        rows = rows.sort_values(highlight, ascending=False, kind="stable")  # so that theirs are the names
    alike = rows.groupby([x, y], sort=False)[label]
    names = [
        f"{name} (and {n - 1} alike)" if n > 1 else str(name)
        for name, n in zip(alike.first(), alike.size(), strict=True)
    ]
    return rows.drop_duplicates([x, y]).assign(**{label: names}).sort_values([y, x], ascending=[False, True])


def _draw(axis: Axes, points: pd.DataFrame, x: str, y: str, highlight: str | None) -> None:
    front = pareto_front(points, [x, y])
    for values, set_scale in ((points[x], axis.set_xscale), (points[y], axis.set_yscale)):
        if values.min() > 0 and values.max() / values.min() > DECADE:
            set_scale("log")
    if "name" in points:
        texts = [f"{name}: {a:.4g}, {b:.4g}" for name, a, b in zip(points["name"], points[x], points[y], strict=True)]
        hover(axis, points[x], points[y], texts)
    spreads = {"xerr": f"{x}_spread", "yerr": f"{y}_spread"}
    bars: dict[str, Any] = {at: points[name] for at, name in spreads.items() if name in points}
    if bars:
        axis.errorbar(points[x], points[y], **bars, color=GREY, linestyle="none", linewidth=0.9, zorder=1)
    best = points[front].sort_values(x)
    others = points[~front]
    axis.plot(others[x], others[y], color=GREY, marker="o", linestyle="none", markersize=5, label="beaten in both")
    axis.plot(best[x], best[y], color=BLUE, drawstyle="steps-post", linewidth=1.2, zorder=2)
    axis.plot(best[x], best[y], color=BLUE, marker="o", linestyle="none", markersize=6, label="Pareto front", zorder=3)
    if highlight is not None:
        chosen = points[points[highlight].astype(bool)]
        axis.plot(
            chosen[x],
            chosen[y],
            color=ORANGE,
            marker="s",
            linestyle="none",
            markersize=10,
            markerfacecolor="none",
            markeredgewidth=2,
            label=highlight,
            zorder=4,
        )
    axis.set_xlabel(axis_label(x))
    axis.set_ylabel(axis_label(y))
    axis.margins(0.08, 0.12)
    axis.grid(color=GRID, linewidth=0.6)


def write_names(axis: Axes, rows: pd.DataFrame, x: str, y: str, label: str, height_inches: float) -> None:
    """Write the names in a column right of the panel, each at the height of its point or as near as there is room.

    The rows come from the top down. The limits of the panel stay as they are.
    """
    low, high = axis.get_ylim()
    axis.set_ylim(low, high)
    axis.set_xlim(axis.get_xlim())
    gap = LINE_INCHES / (height_inches - 0.7)  # the panel without its labels
    scale = math.log if axis.get_yscale() == "log" else float
    heights = spread([(scale(each) - scale(low)) / (scale(high) - scale(low)) for each in rows[y]], gap)
    for point_x, point_y, height, name in zip(rows[x], rows[y], heights, rows[label], strict=True):
        axis.annotate(
            name,
            (point_x, point_y),
            (1.03, height),
            textcoords="axes fraction",
            fontsize="small",
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return falling heights, moved as little as needed to be `gap` apart, between 0 and 1 where there is room."""
    groups: list[tuple[float, int]] = []  # middle, and how many: those that push each other
    for height in heights:
        groups.append((min(max(height, 0.0), 1.0), 1))
        while True:
            middle, n = groups[-1]
            half = gap * (n - 1) / 2
            groups[-1] = (max(min(middle, 1.0 - half), half), n)
            if len(groups) == 1 or groups[-2][0] - gap * (groups[-2][1] - 1) / 2 >= groups[-1][0] + half + gap:
                break
            (above, n_above), (below, n_below) = groups[-2:]
            groups[-2:] = [((above * n_above + below * n_below) / (n_above + n_below), n_above + n_below)]
    return [middle + gap * ((n - 1) / 2 - i) for middle, n in groups for i in range(n)]
