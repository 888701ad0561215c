"""Timelines: the chunks of each worker, by CPU and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from models.text.units import format_size, format_time
from sim.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, hover, save, set_title

_MOST_CHUNKS = 320  # of the first tasks, where nobody says up to when
_CHUNKS = {  # of the caller, of helpers
    "local": (BLUE, SKY),
    "remote": (VERMILION, ORANGE),
    "anywhere": (GREEN, "#8fd6bf"),
}
_PLACES = {"local": "memory of its own node", "remote": "memory of another node", "anywhere": "memory of no one node"}
_WAITS: dict[str, tuple[dict[str, Any], str]] = {  # how each kind is drawn, and what it is
    "queued": ({"facecolor": "#dddddd", "hatch": "////", "edgecolor": "#777777"}, "queued: a helper not yet started"),
    "lock": ({"facecolor": BLACK, "edgecolor": BLACK}, "lock: wait and hold"),
    "asleep": ({"facecolor": "#dddddd", "hatch": "....", "edgecolor": "#777777"}, "asleep: the caller, waiting"),
}
_TASK_END: dict[str, Any] = {"color": BLACK, "linewidth": 1, "linestyle": "--"}
_MOST_LABELS = 48


def plot_timeline(
    trace: pd.DataFrame,
    *,
    node_of: Mapping[int, int] | None = None,
    begin_s: float = 0.0,
    end_s: float | None = None,
    title: str = "Who did what when",
    path: str | Path | None = None,
) -> Figure:
    """Draw the trace of one run: a row for each CPU that was used, a bar for each chunk, and the waits.

    A helper that is queued stands on the CPU that it will start on. A caller that sleeps stands on the one that it
    left.
    Chunks of the caller are dark.

    Args:
        trace: The trace of one run (`trace`), or the table `traces` of results for one case.
        node_of: The node of each CPU. With it, chunks are coloured by where their memory is.
        begin_s: The beginning of the window in seconds.
        end_s: Its end. None shows the first tasks, up to a few hundred chunks.
        title: The text above the figure.
        path: Where to write the figure. The ending gives the format. None does not write it.

    Returns:
        The figure.

    Raises:
        ValueError: The trace has several cases, or there is nothing to draw.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> figure = plot_timeline(trace(scenario, case=1), end_s=0.1)
        >>> len(figure.axes) >= 1
        True
    """
    if "case" in trace and trace["case"].nunique() > 1:
        raise ValueError(f"the trace must be of one case; found {trace['case'].nunique()}")
    slices = placed(trace)
    slices = slices[(slices["end_s"] > begin_s) & (slices["begin_s"] < (math.inf if end_s is None else end_s))]
    last_s = float(trace["end_s"].max()) if len(trace) else 0.0
    if slices.empty:
        until = "its end" if end_s is None else f"{end_s:g} s"
        raise ValueError(f"nothing was done from {begin_s:g} s to {until}; the run takes {last_s:g} s")
    end_s = _first_tasks_s(slices) if end_s is None else min(end_s, last_s)
    slices = slices[slices["begin_s"] < end_s]
    cpus = sorted(slices["cpu"].unique())
    figure = Figure(figsize=(11.0, min(14.0, 2.0 + 0.26 * len(cpus))), layout="constrained")
    slices = slices.assign(place=_places(slices, node_of))
    _draw_all(figure.subplots(), trace, slices, cpus, begin_s, end_s)
    _legend(figure, slices)
    set_title(figure, title)
    return save(figure, path)


def plot_timelines(
    traces: Mapping[str, pd.DataFrame],
    *,
    node_of: Mapping[int, int] | None = None,
    title: str = "Who did what when",
    path: str | Path | None = None,
) -> Figure:
    """Draw several traces of the same job one above the other, each from its beginning to its end.

    Parameters: the title and the trace of each, as for `plot_timeline`. Rows are the CPUs of all. Returns the figure,
    and writes it to `path` if given. Raises ValueError where there is nothing to draw.
    """
    slices = {name: placed(trace) for name, trace in traces.items()}
    slices = {name: own.assign(place=_places(own, node_of)) for name, own in slices.items()}
    cpus = sorted({cpu for own in slices.values() for cpu in own["cpu"]})
    if not cpus:
        raise ValueError("nothing was done in any of the traces")
    height = 1.2 + len(traces) * (0.9 + 0.26 * len(cpus))
    figure = Figure(figsize=(11.0, min(18.0, height)), layout="constrained")
    axes = figure.subplots(len(traces), squeeze=False)[:, 0]
    for axis, (name, trace) in zip(axes, traces.items(), strict=True):
        _draw_all(axis, trace, slices[name], cpus, 0.0, float(trace["end_s"].max()) if len(trace) else 1.0)
        axis.set_title(name, fontsize="medium", loc="left")
    _legend(figure, pd.concat(list(slices.values())))
    set_title(figure, title)
    return save(figure, path)


def _draw_all(
    axis: Axes, trace: pd.DataFrame, slices: pd.DataFrame, cpus: Sequence[Any], begin_s: float, end_s: float
) -> None:
    """Draw a row for each of these CPUs."""
    last_s = float(trace["end_s"].max()) if len(trace) else 0.0
    factor, unit = (1.0, "s") if end_s - begin_s >= 1.0 else (1e3, "ms")
    for row, cpu in enumerate(cpus):
        _draw(axis, slices[slices["cpu"] == cpu], row, factor)
    step = -(-len(cpus) // _MOST_LABELS)
    axis.set_yticks(range(0, len(cpus), step), [f"CPU {cpu}" for cpu in cpus[::step]], fontsize="small")
    axis.set_ylim(len(cpus) - 0.5, -0.5)
    axis.set_xlim(factor * begin_s, factor * end_s)
    part = f", of {format_time(last_s)} in all" if begin_s > 0.0 or end_s < last_s else ""
    axis.set_xlabel(f"time ({unit}){part}")
    _mark_tasks(axis, trace, begin_s, end_s, factor)


def _legend(figure: Figure, slices: pd.DataFrame) -> None:
    """Explain the bars, waits and lines that the figure has."""
    chunks = slices[slices["kind"] == "chunk"]
    there = set(zip(chunks["place"], chunks["worker"] == 0, strict=True))
    patches = [
        Patch(facecolor=_CHUNKS[place][who], label=f"{('caller', 'helper')[who]}, {_PLACES[place]}")
        for place in _CHUNKS
        for who in (0, 1)
        if (place, who == 0) in there
    ]
    kinds = set(slices["kind"])
    waits = [Patch(**style, linewidth=0, label=words) for kind, (style, words) in _WAITS.items() if kind in kinds]
    end = Line2D([], [], **_TASK_END, label="a task ends, the next begins")
    figure.legend(handles=[*patches, *waits, end], loc="outside lower center", ncols=3, fontsize="small")


def _places(slices: pd.DataFrame, node_of: Mapping[int, int] | None) -> list[str]:
    """Return where the memory of each slice is, from where it is worked on: local, remote, or anywhere."""
    found = []
    if "memory_node" not in slices:
        return ["anywhere"] * len(slices)
    for cpu, nid in zip(slices["cpu"], slices["memory_node"], strict=True):
        known = node_of is not None and not pd.isna(nid) and not pd.isna(cpu)
        found.append("anywhere" if not known or node_of is None else "local" if node_of[int(cpu)] == nid else "remote")
    return found


def placed(trace: pd.DataFrame) -> pd.DataFrame:
    """Return the slices with a CPU for each wait: the helper's start CPU if queued, the caller's last if asleep.

    Helpers that never started are left out.
    """
    slices = trace.sort_values(["begin_s", "end_s"], kind="stable")
    own = slices.groupby(["task", "worker"], sort=False)["cpu"]
    return slices.assign(cpu=own.ffill().fillna(own.bfill())).dropna(subset="cpu")


def _first_tasks_s(slices: pd.DataFrame) -> float:
    """Return the end of the last task up to which, from the first one on, there are few enough chunks."""
    n_chunks = (slices["kind"] == "chunk").groupby(slices["task"]).sum().sort_index().cumsum()
    tasks = n_chunks.index[n_chunks <= max(_MOST_CHUNKS, n_chunks.iloc[0])]
    return float(slices[slices["task"].isin(tasks)]["end_s"].max())


def _draw(axis: Axes, slices: pd.DataFrame, row: int, factor: float) -> None:
    """Draw the row of a CPU: chunks in colours in turn, and the waits."""
    for kind, own in slices.groupby("kind"):
        bars = list(zip(factor * own["begin_s"], factor * (own["end_s"] - own["begin_s"]), strict=True))
        if kind == "chunk":
            colours = [_CHUNKS[place][int(who > 0)] for place, who in zip(own["place"], own["worker"], strict=True)]
            style: dict[str, Any] = {"facecolor": colours, "edgecolor": "white", "linewidth": 0.6}
            middles = factor * (own["begin_s"] + own["end_s"]) / 2
            names = ["caller" if who == 0 else f"helper {who}" for who in own["worker"]]
            sizes = [
                "a chunk" if pd.isna(size) else f"a chunk of {format_size(int(size))}"
                for size in own.get("size_bytes", pd.Series(pd.NA, index=own.index))
            ]
            took = zip(names, own["task"], sizes, own["end_s"] - own["begin_s"], strict=True)
            texts = [f"{who}, task {task}: {chunk} in {format_time(seconds)}" for who, task, chunk, seconds in took]
            hover(axis, middles, [row] * len(own), texts)
        elif kind not in _WAITS:
            style = {"facecolor": GREY}
        else:
            style = {"linewidth": 0.5 if kind == "lock" else 0, **_WAITS[str(kind)][0]}
        axis.broken_barh(bars, (row - 0.42, 0.84), **style)


def _mark_tasks(axis: Axes, trace: pd.DataFrame, begin_s: float, end_s: float, factor: float) -> None:
    """Draw a line where a task ends and the next begins."""
    for time_s in trace.groupby("task")["end_s"].max():
        if begin_s < time_s < end_s:
            axis.axvline(factor * time_s, **_TASK_END)
