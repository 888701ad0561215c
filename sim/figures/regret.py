"""How much longer each policy takes than the best one, at worst and on average."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from models.results import Results
from models.results.regret import tied
from models.results.regret_table import policy_columns, regret_table, situation_columns
from sim.figures.names import case_names
from sim.figures.style import BLACK, BLUE, GRID, ORANGE, SKY, hover, save, set_title, width_inches

_MOST_POLICIES = 60
_SEVERAL_DECADES_PCT = 100.0


def _ties(summary: pd.DataFrame, over: Sequence[str]) -> set[str]:
    """Return the names of the policies within the noise of the best one in every situation, if several are."""
    if "time_stdev_s" not in summary:
        return set()  # the noise is not known
    parts = [part for _, part in summary.groupby(list(over), sort=False, dropna=False)] if over else [summary]
    found = [
        set(pd.Series(case_names(part, policy_columns(summary, over)), index=part.index)[within])
        for part in parts
        for within in (tied(part["time_s"], part["time_stdev_s"], part["replications"]),)
    ]
    every = set.intersection(*found)
    return every if len(every) > 1 else set()


def plot_regret(results: Results, *, over: Sequence[str] | None = None, path: str | Path | None = None) -> Figure:
    """Draw the table of `regret_table` as bars: for each policy its worst and its mean regret.

    Rings are the single situations. Of many policies the best are drawn.

    Args:
        results: Results with several policies.
        over: The columns that describe a situation. None takes machine, task, size and other work.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: There is no such table.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> figure = plot_regret(run(scenario.with_values({"kernel.chunks": ["ktask", "factoring"]})))
        >>> len(figure.axes) >= 1
        True
    """
    summary = results.summary
    over = situation_columns(summary) if over is None else over
    table = regret_table(summary, over=over)
    names = pd.Series(case_names(table, policy_columns(summary, over)))
    n_policies = names.nunique()
    policies = list(dict.fromkeys(names))[:_MOST_POLICIES]
    table, names = table[names.isin(policies)], names[names.isin(policies)]
    rows = names.map({name: row for row, name in enumerate(policies)})
    first = table.loc[~names.duplicated()]
    n_situations = len(table) // len(policies)
    figure = Figure(figsize=(6.0 + width_inches(policies), 1.8 + 0.27 * len(policies)), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(policies))
    two_errors = 2.0 * table["regret_error_pct"].fillna(0.0)
    if n_situations == 1:
        axis.barh(places, first["regret_pct"], color=BLUE, label="regret")
    else:
        axis.barh(places, first["regret_worst_pct"], color=SKY, label=f"worst of {n_situations} situations")
        axis.barh(places, first["regret_mean_pct"], height=0.4, color=BLUE, label="mean")
        axis.plot(
            table["regret_pct"],
            rows,
            color=ORANGE,
            marker="o",
            markerfacecolor="none",
            markersize=5,
            linestyle="none",
            label="one situation",
        )
    if (two_errors > 0.0).any():
        lower = np.minimum(two_errors, table["regret_pct"])
        axis.errorbar(
            table["regret_pct"],
            rows,
            xerr=[lower, two_errors],
            fmt="none",
            ecolor=BLACK,
            elinewidth=1.0,
            capsize=2,
            label="± 2 standard errors, of its runs and the best one's",
        )
    ties = _ties(summary, over)
    for row, name, regret in zip(places, policies, first["regret_worst_pct"], strict=True):
        word = f"{regret:.1f}, a tie" if name in ties else f"{regret:.1f}"
        hover(axis, [max(regret, 0.0)], [float(row)], [f"{name}: {word} % more than the best, at worst"])
        end = float((table["regret_pct"] + two_errors)[rows == row].max())
        axis.annotate(word, (max(regret, end), row), (5, 0), textcoords="offset points", va="center", fontsize="small")
    axis.set_yticks(places, policies, fontsize="small")
    axis.set_ylim(len(policies) - 0.4, -0.6)
    most = float(max(first["regret_worst_pct"].max(), (table["regret_pct"] + two_errors).max()))
    if most > _SEVERAL_DECADES_PCT:  # from one percent on, by decades
        axis.set_xscale("symlog", linthresh=1.0)
        axis.set_xlim(0, 2 * most)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axis.set_xlim(0, max(1.0, 1.15 * most))
    axis.set_xlabel("more time than the best takes in the same situation (%)")
    axis.grid(axis="x", color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    if ties:
        axis.text(1, 1.01, "a tie: within twice the standard error of the best in every situation",
                  transform=axis.transAxes, ha="right", fontsize="small")  # fmt: skip
    left_out = f" of the best {_MOST_POLICIES} of {n_policies} policies" if n_policies > _MOST_POLICIES else ""
    set_title(figure, f"{results.title}: regret{left_out}")
    return save(figure, path)
