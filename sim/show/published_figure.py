"""The figure of one published table: the error of each cell, with the spread of the measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from models.measured.measurements import spread_of
from sim.compare.published import TableResult, cell_names
from sim.figures.style import BLUE, GREY, GRID, hover, save

_FITTED, _PREDICTED, _LINE = GREY, BLUE, GREY


def plot_table(result: TableResult, path: str | Path | None = None) -> Figure:
    """Draw the error of each cell of a published table that was simulated.

    Bars are the published spread of the measurements. Between the dashed lines prediction and measurement agree within
    5 %.

    Args:
        result: A table that was simulated (`compare_published`).
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: No cell of the table was simulated.

    Example:
        >>> (result,) = compare_published(["munmap_free_haswell_ex"])  # doctest: +SKIP
        >>> plot_table(result, "table.png")  # doctest: +SKIP
    """
    cells = result.cells
    if not len(cells):
        raise ValueError(f"no cell of {result.measured.name} was simulated")
    names = cell_names(cells)
    figure = Figure(figsize=(8.6, 1.6 + 0.26 * len(cells)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0.0, color=_LINE, linewidth=1)
    for edge in (-5.0, 5.0):
        axis.axvline(edge, color=_LINE, linewidth=1, linestyle="--")
    spread_pct = 100 * spread_of(cells).fillna(0.0)
    fitted, doubtful = cells["fitted"].astype(bool), cells["doubtful"].astype(bool)
    for chosen, colour, marker, face, label in (
        (~fitted & ~doubtful, _PREDICTED, "o", _PREDICTED, "predicted"),
        (fitted, _FITTED, "s", _FITTED, "fitted"),
        (doubtful & ~fitted, _PREDICTED, "o", "white", "not counted"),
    ):
        rows = [i for i, there in enumerate(chosen) if there]
        if rows:
            axis.errorbar(
                cells["error_pct"].iloc[rows],
                rows,
                xerr=spread_pct.iloc[rows],
                color=colour,
                marker=marker,
                markerfacecolor=face,
                linestyle="none",
                capsize=2,
                label=f"{label} ({len(rows)})",
            )
    counts = ["fitted" if f else "not counted" if d else "predicted" for f, d in zip(fitted, doubtful, strict=True)]
    told = zip(names, cells["time_s"], cells["predicted_s"], cells["error_pct"], counts, strict=True)
    texts = [f"{name}: measured {a:.4g} s, {how} {b:.4g} s, {error:+.1f} %" for name, a, b, error, how in told]
    hover(axis, cells["error_pct"], range(len(cells)), texts)
    axis.set_yticks(range(len(cells)), names, fontsize="small")
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.set_xlabel("predicted over measured (%)")
    axis.grid(axis="x", color=GRID, linewidth=0.6)
    bars = "bars: spread of the measured, where it is published"
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", title=bars, title_fontsize="small")
    mean = "nothing predicted" if pd.isna(result.mean_error_pct) else f"mean error {result.mean_error_pct:.1f} %"
    figure.suptitle(f"{result.measured.name}: {mean}")
    return save(figure, path)
