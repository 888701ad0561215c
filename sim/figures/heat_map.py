"""Time over two parameters, such as threads and chunk size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from models.results import Results
from models.results.regret import tied
from models.results.regret_table import situation_columns, varying
from sim.figures.names import amount, axis_label, case_name, decimals, word
from sim.figures.style import HEAT, VERMILION, hover, save, set_title

_CHUNK_COLUMNS = ("min_chunk", "chunk_size", "chunks_per_work")
_MOST_PANELS = 12
_MOST_VALUES = 64  # along an edge of a panel


def plot_heat_map(
    results: Results, *, x: str | None = None, y: str | None = None, path: str | Path | None = None
) -> Figure:
    """Draw the mean time over two columns that vary: a cell for each pair of values, the best one framed.

    Cases that differ in anything else are panels of their own. Colour is time over the best of the panel.
    Cells within the noise of the best one are a tie, in dashed frames.

    Args:
        results: Results whose cases differ in two columns or more.
        x: The column across. None takes threads.
        y: The column upwards. None takes the size or number of chunks, or else a column that varies.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: No two columns vary, a column does not vary, or there are too many cells.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> figure = plot_heat_map(run(scenario.with_values({"kernel.chunks_per_work": [1, 4]})))
        >>> len(figure.axes) >= 1
        True
    """
    summary = results.summary
    x, y = _axes(summary, x, y)
    others = [name for name in varying(summary) if name not in (x, y)]
    panels = (
        [(case_name(others, values), part) for values, part in summary.groupby(others, sort=False, dropna=False)]
        if others
        else [("", summary)]
    )
    if len(panels) > _MOST_PANELS:
        raise ValueError(f"{', '.join(others)} would take {len(panels)} panels; allowed are {_MOST_PANELS}")
    for name in (x, y):
        if summary[name].nunique() > _MOST_VALUES:
            raise ValueError(f"{name} has {summary[name].nunique()} values; allowed are {_MOST_VALUES}")
    tables = [_table(part, x, y) for _, part in panels]
    n_columns = min(len(panels), 3 if len(panels) > 4 else 2)
    n_rows = math.ceil(len(panels) / n_columns)
    widest, tallest = max(len(table.columns) for table in tables), max(len(table) for table in tables)
    size = (n_columns * (0.6 * widest + 1.3) + 1.2, n_rows * (0.36 * tallest + 0.9) + 0.5)
    figure = Figure(figsize=(max(5.5, size[0]), max(3.2, size[1])), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flatten()
    worst = max(float(table.max().max() / table.min().min()) for table in tables)
    norm = LogNorm(1.0, max(worst, 1.01))
    image = None
    for axis, table, (name, part) in zip(axes, tables, panels, strict=False):
        image = _draw(axis, table, norm, _ties(part, x, y))
        axis.set_title(name, fontsize="medium", wrap=True)
        axis.set_xlabel(axis_label(x))
        axis.set_ylabel(axis_label(y))
    for axis in axes[len(panels) :]:
        axis.remove()
    assert image is not None
    bar = figure.colorbar(image, ax=axes[: len(panels)].tolist(), label="time over the best of the panel")
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    frames = "framed: the least time; dashed: a tie with it, within twice the standard error"
    figure.supxlabel(f"{frames}\n{_spread(summary)}", fontsize="small")
    set_title(figure, f"{results.title}: time (s)")
    return save(figure, path)


def _spread(summary: pd.DataFrame) -> str:
    """Return the spread of the runs of a cell in words."""
    several = summary[summary["replications"] > 1]
    if several.empty:
        return "each cell is one run: its spread is not known"
    shares = several["time_stdev_s"] / several["time_s"]
    low, high = (f"{100 * share:.1f}" for share in (shares.min(), shares.max()))
    span = f"{low} %" if low == high else f"{low} to {high} %"
    n = several["replications"]
    runs = f"{n.min()} runs" if n.nunique() == 1 else f"{n.min()} to {n.max()} runs"
    return f"a cell is the mean of {runs}, which have a standard deviation of {span}"


def _axes(summary: pd.DataFrame, x: str | None, y: str | None) -> tuple[str, str]:
    """Return the two columns, those that were not chosen by default."""
    names = varying(summary)
    for name in (x, y):
        if name is not None and name not in names:
            raise ValueError(f"{name!r} does not vary; allowed are {', '.join(names) or 'no columns: nothing varies'}")
    if x is not None and x == y:
        raise ValueError(f"x and y must be two columns; found {x!r} for both")
    free = [name for name in names if name not in (*situation_columns(summary), x, y)]
    free.sort(key=lambda name: (name != "nthreads", name not in _CHUNK_COLUMNS, not _is_numeric(summary, name)))
    x = x or (free.pop(0) if free else None)
    y = y or (free.pop(0) if free else None)
    if x is None or y is None:
        found = f"found {', '.join(names)}" if names else "nothing varies"
        raise ValueError(f"two columns must vary besides machine and task; {found}")
    return x, y


def _is_numeric(summary: pd.DataFrame, name: str) -> bool:
    return not any(math.isnan(amount(value)) for value in summary[name])


def _table(cases: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Return the times with a row for each value of y and a column for each of x: the greatest on top and right."""
    table = cases.set_index([y, x])["time_s"].unstack(x)
    rows = _in_order(cases, y)
    return table.loc[rows[::-1] if _is_numeric(cases, y) else rows, _in_order(cases, x)]


def _ties(cases: pd.DataFrame, x: str, y: str) -> set[tuple[object, object]]:
    """Return the values of y and x of the cases that are within the noise of the best."""
    within = tied(cases["time_s"], cases["time_stdev_s"], cases["replications"])
    return set(cases.loc[within, [y, x]].itertuples(index=False, name=None))


def _in_order(cases: pd.DataFrame, name: str) -> list[object]:
    """Return the values of a column, numbers, sizes and times by their amount and words as they come."""
    values = list(cases[name].unique())
    return sorted(values, key=amount) if _is_numeric(cases, name) else values


def _draw(axis: Axes, table: pd.DataFrame, norm: LogNorm, ties: set[tuple[object, object]]) -> AxesImage:
    ratios = table / table.min().min()
    image = axis.imshow(ratios, cmap=f"{HEAT}_r", norm=norm, aspect="auto")
    axis.set_xticks(range(len(table.columns)), [word(str(table.columns.name), value) for value in table.columns])
    axis.set_yticks(range(len(table)), [word(str(table.index.name), value) for value in table.index])
    n_decimals = decimals(table.min().min())
    for row, (above, times) in enumerate(table.iterrows()):
        for column, (beside, time_s) in enumerate(times.items()):
            if math.isnan(time_s):
                continue
            dark = norm(ratios.iat[row, column]) > 0.55
            best = ratios.iat[row, column] == 1.0
            axis.text(column, row, f"{time_s:.{n_decimals}f}", ha="center", va="center", fontsize="small",
                      color="white" if dark else "black", fontweight="bold" if best else "normal")  # fmt: skip
            is_tie = (above, beside) in ties
            words = ", the best" if best else ", a tie with the best" if is_tie else ""
            hover(axis, [column], [row], [f"{time_s:.{n_decimals}f} s, {ratios.iat[row, column]:.2f} x{words}"])
            if best or is_tie:
                style: Any = {"linewidth": 2.5} if best else {"linewidth": 1.5, "linestyle": "--"}
                axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, **style))
    return image
