"""Utilisation of memory nodes and links over a run."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sim.figures.style import HEAT, save, set_title

_NAMES = ((re.compile(r"memory(\d+)"), r"memory of node \1"), (re.compile(r"link(\d+)-(\d+)"), r"link, node \1 to \2"))


def plot_loads(
    loads: pd.DataFrame, *, title: str = "Utilisation of memory and links", path: str | Path | None = None
) -> Figure:
    """Draw the utilisation of each memory node and link over the time of one run, with its mean.

    Args:
        loads: The table `loads` of traced results, for one case.
        title: The text above the figure.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: The table is empty or has several cases.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> loads = run(scenario, traces=True).loads
        >>> figure = plot_loads(loads[loads["case"] == 1])
        >>> len(figure.axes) >= 1
        True
    """
    if "case" in loads and loads["case"].nunique() > 1:
        raise ValueError(f"loads must be of one case; found {loads['case'].nunique()}")
    if loads.empty:
        raise ValueError("loads must be of one run; found no row")
    table = loads.pivot(index="resource", columns="begin_s", values="utilisation")
    table = table.loc[sorted(table.index, key=_order)]
    begins_s = table.columns.to_numpy(float)
    end_s = 2 * begins_s[-1] - begins_s[-2]
    figure = Figure(figsize=(9.0, 1.9 + 0.27 * len(table)), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(
        table,
        cmap=HEAT,
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="none",
        extent=(0.0, end_s, len(table) - 0.5, -0.5),
    )
    axis.set_yticks(range(len(table)), [resource_name(resource) for resource in table.index])
    means = axis.secondary_yaxis("right")
    means.set_yticks(range(len(table)), [f"{mean:.0%}" for mean in table.mean(axis="columns")])
    means.set_ylabel("mean")
    axis.set_xlabel("time of one run (s): its spread over runs is not drawn")
    for row in range(1, len(table)):
        axis.axhline(row - 0.5, color="white", linewidth=1.5)
    figure.colorbar(image, ax=axis, fraction=0.04, label="utilisation", format="{x:.0%}")
    set_title(figure, title)
    return save(figure, path)


def _order(resource: str) -> tuple[bool, list[int]]:
    """Memory nodes before links, each by number."""
    return not resource.startswith("memory"), [int(number) for number in re.findall(r"\d+", resource)]


def resource_name(resource: str) -> str:
    """Return 'memory of node 4' for memory4, and any other name as it is."""
    for pattern, words in _NAMES:
        if pattern.fullmatch(resource):
            return pattern.sub(words, resource)
    return resource
