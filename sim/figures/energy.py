"""Energy against threads: of the whole machine, and of the job's addition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from models.results import Results
from models.results.regret_table import varying
from models.results.tables import threads_worked
from sim.figures.names import case_name
from sim.figures.style import BLUE, GREY, GRID, ORANGE, hover, save, set_title

_MOST_PANELS = 12


def plot_energy(results: Results, path: str | Path | None = None) -> Figure:
    """Draw the energy of a run over its threads: of the whole machine and of the job's addition, with the time.

    Cases that differ in something else than threads are panels of their own. Bars are one standard deviation over the
    replications. The least of each is filled. Returns the figure, and writes it to `path` if given. Raises ValueError
    where no energy is known, or for too many panels.
    """
    summary, runs = results.summary, results.runs
    if "energy_j" not in summary or summary["energy_j"].isna().all():
        raise ValueError("no energy is known: the machine's file has no `power`, or other work has a share in it")
    if summary["nthreads"].nunique() == 1:
        raise ValueError("the number of threads does not vary")
    others = [name for name in varying(summary) if name != "nthreads"]
    groups: list[tuple[Any, pd.DataFrame]] = [((), summary)]
    if others:
        groups = list(summary.groupby(others, sort=False, dropna=False))
    if len(groups) > _MOST_PANELS:
        raise ValueError(f"{', '.join(others)} would take {len(groups)} panels; allowed are {_MOST_PANELS}")
    figure = Figure(figsize=(7.2, 3.3 * len(groups) + 0.6), layout="constrained")
    column = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axis, (values, part) in zip(column, groups, strict=True):
        part = part.sort_values("nthreads")
        times = axis.twinx()
        times.plot(part["nthreads"], part["time_s"], color=GREY, linestyle=":", marker=".", label="time")
        times.set_ylabel("time (s)")
        times.set_ylim(bottom=0)
        for name, colour, marker, label in (
            ("energy_j", BLUE, "o", "the machine in all"),
            ("energy_added_j", ORANGE, "s", "added by the job"),
        ):
            spread = [float(runs.loc[runs["case"] == number, name].std()) for number in part.index]
            axis.errorbar(part["nthreads"], part[name], yerr=spread, color=colour, marker=marker, capsize=2,
                          markerfacecolor="white", label=label)  # fmt: skip
            least = part.nsmallest(1, name)
            axis.plot(
                least["nthreads"], least[name], color=colour, marker=marker, markersize=9, zorder=3, linestyle="none"
            )
            texts = [
                f"{label}: {joule:,.4g} J with {n} threads ({worked:.3g} at work), {time_s:.4g} s"
                for joule, n, worked, time_s in zip(
                    part[name], part["nthreads"], threads_worked(part), part["time_s"], strict=True
                )
            ]
            hover(axis, part["nthreads"], part[name], texts)
        axis.set_title(case_name(others, values if isinstance(values, tuple) else (values,)), fontsize="medium")
        axis.set_ylabel("energy (J)")
        axis.set_ylim(bottom=0)
        axis.grid(color=GRID, linewidth=0.6)
    column[-1].set_xlabel("threads allowed")
    handles, labels = column[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, fontsize="small", title_fontsize="small",
        title="filled: the least; bars: one standard deviation; dotted: time, on the right",
    )  # fmt: skip
    set_title(figure, f"{results.title}: energy")
    return save(figure, path)
