"""Predicted times against measured ones."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from models.text.units import format_size
from sim.compare.host import AGREES, DIFFERS, UNDECIDED, Validation
from sim.figures.style import BLACK, BLUE, GREY, GRID, VERMILION, save


def plot_validation(validation: Validation, path: str | Path | None = None) -> Figure:
    """Draw the predicted time of each case over its measured one, with both spreads, by verdict.

    Between the dashed lines prediction and measurement agree within 5 %.

    Args:
        validation: A comparison with runs of this host (`validate`).
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Example:
        >>> plot_validation(validation, "validation.png")  # doctest: +SKIP
    """
    cells = validation.cells
    names = list(cells["name"]) if "name" in cells else [_case_name(cell) for cell in cells.to_dict("records")]
    figure = Figure(figsize=(8.6, 1.7 + 0.3 * len(cells)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0.0, color=GREY, linewidth=1)
    for edge in (-5.0, 5.0):
        axis.axvline(edge, color=GREY, linewidth=1, linestyle="--")
    styles = {AGREES: (BLUE, "o"), DIFFERS: (VERMILION, "X"), UNDECIDED: (GREY, "s")}
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
    axis.plot([], [], color=BLACK, marker="|", linestyle="none", markersize=9, label="spread of predicted runs")
    for i, (error, spread) in enumerate(zip(cells["error_pct"], 100 * cells["predicted_spread"], strict=True)):
        axis.plot([error - spread, error + spread], [i, i], color=BLACK, marker="|", linestyle="none", markersize=9)
    axis.set_yticks(range(len(cells)), names)
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.set_xlabel("predicted over measured time (%)\nbars: spread of measured runs")
    axis.grid(axis="x", color=GRID, linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    decided = not math.isnan(validation.mean_error_pct)
    words = f"mean error {validation.mean_error_pct:.1f} %" if decided else "nothing decided"
    figure.suptitle(f"Predicted and measured: {words}")
    return save(figure, path)


def _case_name(cell: Mapping[Hashable, Any]) -> str:
    background = "" if cell["background"] == "none" else f", {cell['background']} beside"
    threads = f"{cell['nthreads']} thread{'s' * (cell['nthreads'] > 1)}"
    task, chunk = format_size(cell["task_bytes"]), format_size(cell["chunk_bytes"])
    return f"{threads}, tasks of {task}{background}" if task == chunk else f"{threads}, {chunk} of {task}{background}"
