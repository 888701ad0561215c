"""The figure of two results side by side: by how much each case differs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sim.compare.folders import ALIKE, FASTER, SLOWER, UNSURE, Comparison
from sim.figures.style import BLUE, GREY, GRID, VERMILION, save, set_title, width_inches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {FASTER: (BLUE, "o"), SLOWER: (VERMILION, "X"), ALIKE: (GREY, "s"), UNSURE: (GREY, "d")}


def plot_difference(comparison: Comparison, *, title: str = "B from A", path: str | Path | None = None) -> Figure:
    """Draw how much longer each case takes in B than in A, with the 95 % confidence interval.

    Parameters: the result of `sim.compare.folders.compare_results`, a title, and a path to write to. Returns the
    figure.
    """
    from matplotlib.figure import Figure

    cells = comparison.cases
    figure = Figure(figsize=(6.4 + width_inches(cells["case"]), 1.7 + 0.27 * len(cells)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0.0, color=GREY, linewidth=1)
    for verdict, (colour, marker) in _STYLES.items():
        rows = [i for i, found in enumerate(cells["verdict"]) if found == verdict]
        if rows:
            part = cells.iloc[rows]
            axis.errorbar(part["difference_pct"], rows, xerr=part["half_width_pct"].fillna(0.0), color=colour,
                          marker=marker, linestyle="none", capsize=2, label=f"{verdict} ({len(rows)})")  # fmt: skip
    axis.set_yticks(range(len(cells)), list(cells["case"]), fontsize="small")
    axis.set_ylim(len(cells) - 0.4, -0.6)
    axis.set_xlabel("time in B from that in A (%)")
    axis.grid(axis="x", color=GRID, linewidth=0.6)
    bars = "bars: 95 % confidence interval of the difference"
    figure.legend(loc="outside lower center", ncols=4, fontsize="small", title=bars, title_fontsize="small")
    set_title(figure, title)
    return save(figure, path)
