"""Each figure shows what its table has, and no text of it lies on another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.text
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import sim
from models.results import Results
from models.scenario import load_scenario
from models.text.units import MIB
from sim.figures.kinds import best_kind, draw, nodes_of
from sim.figures.names import axis_label, case_name, decimals, word
from sim.figures.pareto import spread
from sim.figures.style import BLUE, VERMILION
from sim.figures.timeline import _CHUNKS, placed
from tests.conftest import ROOT

LONG = "padata-numa-aware, chunks factoring, min_chunk 4 MiB, helper_node round-robin, end split"


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts of a figure, as drawn, that overlap or leave the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    texts = set(figure.findobj(matplotlib.text.Text)) - {
        label
        for axis in (part for outer in figure.axes for part in (outer, *outer.child_axes))
        for line, (low, high) in ((axis.xaxis, sorted(axis.get_xlim())), (axis.yaxis, sorted(axis.get_ylim())))
        for tick in (*line.get_major_ticks(), *line.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not low <= tick.get_loc() <= high  # which is not drawn
    }
    # The base class's extent is of the words alone, without the line that an annotation draws.
    boxes = [(text.get_text(), matplotlib.text.Text.get_window_extent(text)) for text in texts if text.get_visible()]
    boxes = [(words, box) for words, box in boxes if box.width > 1]
    outside = [
        (a, "edge") for a, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    return outside + [(a, b) for (a, one), (b, two) in itertools.combinations(boxes, 2) if one.overlaps(two)]


def results_of(columns: Mapping[str, Sequence[Any]], times_s: Sequence[float]) -> Results:
    """Return results whose summary has these columns of each case and these mean times, and nothing else."""
    n = len(times_s)
    base: dict[str, Any] = {"machine": "m", "client": "c", "kernel": "k", "nthreads": 4, "size_gib": 8}
    measures = {"replications": 1, "time_s": times_s, "time_stdev_s": 0.0, "speedup": float("nan"), "cpu_s": times_s}
    published = {"published_time_s": float("nan"), "published_speedup": float("nan")}
    summary = pd.DataFrame({**base, **columns, **measures, **published}, index=range(n))
    empty = pd.DataFrame()
    return Results("A title", "Why?", summary, empty, empty, empty, None, None, {}, (), {})


def grid_of(n_threads: int, n_chunks: int) -> Results:
    """Return results of a grid of threads and chunk sizes; more threads and middling chunks are better."""
    pairs = list(itertools.product(range(1, n_threads + 1), range(n_chunks)))
    columns = {"nthreads": [n for n, _ in pairs], "min_chunk": [f"{2**k}MiB" for _, k in pairs]}
    return results_of(columns, [10.0 / n + abs(k - n_chunks // 2) for n, k in pairs])


@pytest.fixture(scope="module")
def traced() -> Results:
    """A traced run of 3 GiB with 1 and with 16 threads, on the 8-socket machine."""
    scenario = load_scenario(ROOT / "scenarios" / "clear_gigantic_page.yaml")
    changes = {"task.size": "3GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 16], "replications": 1}
    return sim.run(scenario.with_values(changes), traces=True)


def case_of(table: pd.DataFrame | None, case: int) -> pd.DataFrame:
    """Return the rows of a case."""
    assert table is not None
    return table[table["case"] == case]


# Heat map.


def test_the_best_cell_of_the_heat_map_is_marked() -> None:
    """Cells have their times, greatest chunk on top, and the frame is around the least of them."""
    results = grid_of(4, 3)
    figure = sim.plot_heat_map(results)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["4 MiB", "2 MiB", "1 MiB"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "3", "4"]
    assert len(axis.texts) == 12
    marked = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    assert [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in marked] == [(3, 1)]
    assert to_hex(marked[0].get_edgecolor()) == VERMILION.lower()
    assert [t.get_text() for t in axis.texts if t.get_fontweight() == "bold"] == ["2.500"]
    assert axis.texts[0].get_text() == "11.000"  # 1 thread, 4 MiB: 10 s and 1 s


def test_a_cell_that_was_not_run_stays_empty() -> None:
    """A grid with a hole has no text there, and is drawn."""
    results = results_of({"nthreads": [1, 2, 1], "min_chunk": ["1MiB", "1MiB", "2MiB"]}, [3.0, 2.0, 2.5])
    assert sorted(text.get_text() for text in sim.plot_heat_map(results).axes[0].texts) == ["2.000", "2.500", "3.000"]


def test_a_heat_map_compares_only_the_same_job() -> None:
    """Each size is a panel of its own with its own best, in order, and has its name."""
    sizes, threads, chunks = zip(*itertools.product((8, 16), (1, 2), ("ktask", "guided")), strict=True)
    results = results_of({"size_gib": sizes, "nthreads": threads, "chunks": chunks}, [4, 3, 2, 1, 9, 8, 7, 6])
    axes = sim.plot_heat_map(results).axes[:2]
    assert [axis.get_title() for axis in axes] == ["8 GiB", "16 GiB"]
    bold = [[t.get_text() for t in axis.texts if t.get_fontweight() == "bold"] for axis in axes]
    assert bold == [["1.000"], ["6.000"]]


def test_any_two_columns_that_vary() -> None:
    """The columns of a heat map can be chosen, and sizes stand in order of their bytes however they are written."""
    results = results_of(
        {"min_chunk": ["16777216B", "1MiB", "16777216B", "1MiB"], "chunks_per_work": [1, 1, 4, 4]}, [1, 2, 3, 4]
    )
    axis = sim.plot_heat_map(results, x="min_chunk", y="chunks_per_work").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1 MiB", "16 MiB"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["4", "1"]
    assert [text.get_text() for text in axis.texts] == ["4.000", "3.000", "2.000", "1.000"]


@pytest.mark.parametrize(
    ("options", "n_threads", "message"),
    [
        ({"x": "size_gib"}, 4, "'size_gib' does not vary; allowed are nthreads, min_chunk"),
        ({"x": "nthreads", "y": "nthreads"}, 4, "x and y must be two columns; found 'nthreads' for both"),
        ({}, 1, "two columns must vary besides machine and task; found min_chunk"),
        ({}, 65, "nthreads has 65 values; allowed are 64"),
    ],
)
def test_no_heat_map(options: dict[str, str], n_threads: int, message: str) -> None:
    """A column that does not vary, one twice, too few and too many values are refused."""
    with pytest.raises(ValueError, match=message):
        sim.plot_heat_map(grid_of(n_threads, 3), **options)  # type: ignore[arg-type]


def test_too_many_panels_are_refused() -> None:
    """What else varies spans panels, and there is a limit to them."""
    columns = {"nthreads": [1, 2] * 13, "chunks": ["a", "b"] * 13, "seed": list(range(13)) * 2}
    with pytest.raises(ValueError, match="seed would take 13 panels; allowed are 12"):
        sim.plot_heat_map(results_of(columns, [1.0] * 26), x="nthreads", y="chunks")


@pytest.mark.parametrize(("n_threads", "n_chunks"), [(2, 2), (4, 3), (64, 2)])
def test_no_text_of_a_heat_map_lies_on_another(n_threads: int, n_chunks: int) -> None:
    """Small and large grids are drawn without overlaps."""
    assert overlaps(sim.plot_heat_map(grid_of(n_threads, n_chunks))) == []


# Pareto front.


def points_of(n: int) -> pd.DataFrame:
    """Return n points that nothing beats, half of them in a heap, with long names, and one that all beat."""
    x = [1.0 + i * (0.001 if i < n / 2 else 1.0) for i in range(n)]
    table = pd.DataFrame(
        {"cpu_s": x, "time_s": [1.0 / value for value in x], "name": [f"{LONG} {i}" for i in range(n)]}
    )
    return pd.concat([table, pd.DataFrame({"cpu_s": [99.0], "time_s": [9.0], "name": ["beaten"]})], ignore_index=True)


@pytest.mark.parametrize("n", [1, 4, 40])
def test_the_front_is_named_without_overlaps(n: int, tmp_path: Path) -> None:
    """Every point of the front has its name, none that is beaten has, and no name lies on another."""
    figure = sim.plot_pareto(points_of(n), label="name", path=tmp_path / "pareto.svg")
    names = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(names) == sorted(f"{LONG} {i}" for i in range(n))
    assert overlaps(figure) == []
    assert (tmp_path / "pareto.svg").read_text().startswith("<?xml")


def test_the_front_is_a_step_line() -> None:
    """The line goes right and then down: what is above it is beaten by the point left of it."""
    table = pd.DataFrame({"cpu_s": [3, 1, 2, 3], "time_s": [1, 3, 2, 3]})
    line = next(line for line in sim.plot_pareto(table).axes[0].lines if line.get_drawstyle() == "steps-post")
    assert [list(axis) for axis in (line.get_xdata(), line.get_ydata())] == [[1, 2, 3], [3, 2, 1]]  # type: ignore[call-overload]
    assert line.get_color() == BLUE


def test_points_at_the_same_place_share_a_name() -> None:
    """One of them has the name, a highlighted one if there is, and tells how many others there are."""
    table = pd.DataFrame(
        {"cpu_s": [1, 1, 9], "time_s": [1, 1, 9], "name": ["a", "b", "c"], "preset": [False, True, True]}
    )
    figure = sim.plot_pareto(table, label="name", highlight="preset")
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["b (and 1 alike)", "c"]
    chosen = next(line for line in figure.axes[0].lines if line.get_label() == "preset")
    assert list(chosen.get_xdata()) == [1, 9]  # type: ignore[call-overload]


def test_situations_are_panels() -> None:
    """Points of another situation don't beat each other: each panel has its own front."""
    table = pd.DataFrame({"cpu_s": [1, 5], "time_s": [1, 5], "name": ["a", "b"], "size": ["8 GiB", "16 GiB"]})
    axes = sim.plot_pareto(table, label="name", by="size").axes
    assert [(axis.get_title(), [text.get_text() for text in axis.texts]) for axis in axes] == [
        ("8 GiB", ["a"]),
        ("16 GiB", ["b"]),
    ]


def test_no_point_no_front() -> None:
    """An empty table is refused with what is needed."""
    with pytest.raises(ValueError, match="points must be at least one row; found none"):
        sim.plot_pareto(points_of(1).iloc[:0])


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0.9, 0.5, 0.1], [0.9, 0.5, 0.1]),
        ([0.5, 0.5], [0.55, 0.45]),
        ([0.5, 0.5, 0.5], [0.6, 0.5, 0.4]),
        ([1.0, 1.0], [1.0, 0.9]),
        ([0.0, 0.0, 0.0], [0.2, 0.1, 0.0]),
    ],
)
def test_names_move_no_more_than_needed(heights: list[float], expected: list[float]) -> None:
    """Names that are a tenth apart stay; others move apart evenly, and none leaves the panel."""
    assert spread(heights, 0.1) == pytest.approx(expected)


# Timeline and loads.


def bars(figure: Figure) -> list[tuple[int, float, float]]:
    """Return the chunks that a timeline shows: row, begin and end on the axis."""
    axis, found = figure.axes[0], []
    for collection in axis.collections:
        if isinstance(collection, PolyCollection) and collection.get_hatch() is None and len(collection.get_paths()):
            if to_hex(collection.get_facecolor()[0]) == "#000000":
                continue
            for path in collection.get_paths():
                low, high = path.get_extents().min, path.get_extents().max
                found.append((round((low[1] + high[1]) / 2), low[0], high[0]))
    return found


def test_the_timeline_has_a_bar_for_each_chunk(traced: Results) -> None:
    """The rows are the CPUs that were used, and the bars their chunks from begin to end."""
    trace = case_of(traced.traces, 1)
    chunks = trace[trace["kind"] == "chunk"]
    figure = sim.plot_timeline(trace)
    cpus = sorted(trace["cpu"].dropna().unique())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"CPU {cpu}" for cpu in cpus]
    rows = chunks["cpu"].map({cpu: row for row, cpu in enumerate(cpus)})
    expected = sorted(zip(rows, 1e3 * chunks["begin_s"], 1e3 * chunks["end_s"], strict=True))
    assert sorted(bars(figure)) == [pytest.approx(bar) for bar in expected]
    assert overlaps(figure) == []


def test_colours_say_where_memory_is_and_who_works(traced: Results) -> None:
    """Chunks of local memory, of remote memory, of the caller and of helpers have colours of their own, and edges."""
    trace = case_of(traced.traces, 1)
    node_of = nodes_of(traced, 1)
    figure = sim.plot_timeline(trace, node_of=node_of)
    chunks = trace[trace["kind"] == "chunk"]
    expected = {
        _CHUNKS["local" if node_of[cpu] == nid else "remote"][int(worker > 0)].lower()
        for cpu, nid, worker in zip(chunks["cpu"], chunks["memory_node"], chunks["worker"], strict=True)
    }
    drawn = {
        to_hex(colour)
        for collection in figure.axes[0].collections
        for colour in collection.get_facecolor()  # type: ignore[union-attr]
    }
    assert len(expected) >= 2 and expected <= drawn
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"caller, memory of its own node", "helper, memory of another node"} & legend
    assert len(set(sum(_CHUNKS.values(), ()))) == 6


def test_a_wait_has_the_place_of_its_worker(traced: Results) -> None:
    """A queued helper stands on the CPU that it starts on, a sleeping caller on the one it left; all have a CPU."""
    trace = case_of(traced.traces, 1)
    slices = placed(trace)
    assert len(slices) == len(trace)
    for kind in ("queued", "asleep"):
        assert (slices["kind"] == kind).sum() == (trace["kind"] == kind).sum() > 0
        for wait in slices[slices["kind"] == kind].itertuples():
            own = trace[(trace["task"] == wait.task) & (trace["worker"] == wait.worker)].dropna(subset="cpu")
            near = (
                own[own["begin_s"] >= wait.end_s].head(1)
                if kind == "queued"
                else own[own["end_s"] <= wait.begin_s].tail(1)
            )
            assert list(near["cpu"]) == [wait.cpu]


def test_a_caller_that_is_moved_sleeps_where_it_was() -> None:
    """A caller that wakes on another CPU slept on the one before, and a helper that never started has no place."""
    rows = [
        ("chunk", 0, 3, 0.0, 1.0),
        ("asleep", 0, None, 1.0, 2.0),
        ("chunk", 0, 8, 2.0, 3.0),
        ("queued", 1, None, 0.0, 2.0),
    ]
    trace = pd.DataFrame(rows, columns=["kind", "worker", "cpu", "begin_s", "end_s"]).astype({"cpu": "Int64"})
    slices = placed(trace.assign(task=0))
    assert list(zip(slices["kind"], slices["cpu"], strict=True)) == [("chunk", 3), ("asleep", 3), ("chunk", 8)]


def test_the_end_of_a_task_is_marked(traced: Results) -> None:
    """Each task but the last has a line where it ends."""
    trace = case_of(traced.traces, 1)
    lines = sim.plot_timeline(trace).axes[0].lines
    ends_ms = 1e3 * trace.groupby("task")["end_s"].max().sort_values()
    assert [line.get_xdata()[0] for line in lines] == pytest.approx(list(ends_ms)[:-1])  # type: ignore[index]
    assert len(lines) == 2


def test_a_window_of_the_timeline(traced: Results) -> None:
    """Only what lies between begin and end is drawn, and the axis says how long the whole run is."""
    trace = case_of(traced.traces, 1)
    begin_s, end_s = 0.03, 0.05
    figure = sim.plot_timeline(trace, begin_s=begin_s, end_s=end_s)
    inside = trace[(trace["kind"] == "chunk") & (trace["end_s"] > begin_s) & (trace["begin_s"] < end_s)]
    assert 0 < len(bars(figure)) == len(inside) < (trace["kind"] == "chunk").sum()
    assert figure.axes[0].get_xlim() == pytest.approx((30.0, 50.0))
    assert figure.axes[0].get_xlabel() == f"time (ms), of {1e3 * trace['end_s'].max():.4g} ms in all"


def test_a_long_run_is_shown_by_its_first_tasks() -> None:
    """Of 40 tasks with 10 chunks each, up to 320 chunks are drawn, and whole tasks only."""
    rows = [
        {"kind": "chunk", "task": i // 10, "worker": 0, "cpu": 3, "begin_s": float(i), "end_s": i + 1.0}
        for i in range(400)
    ]
    figure = sim.plot_timeline(pd.DataFrame(rows))
    assert len(bars(figure)) == 320
    assert figure.axes[0].get_xlim() == (0.0, 320.0)


def test_a_timeline_of_every_cpu() -> None:
    """With 288 CPUs the rows are there, those that have room are named, and no name lies on another."""
    rows = [{"kind": "chunk", "task": 0, "worker": i, "cpu": i, "begin_s": 0.0, "end_s": 1.0 + i} for i in range(288)]
    figure = sim.plot_timeline(pd.DataFrame(rows))
    assert len(bars(figure)) == 288
    assert len(figure.axes[0].get_yticklabels()) == 48
    assert overlaps(figure) == []


def test_what_has_no_timeline(traced: Results) -> None:
    """Several cases at once, and a time when nothing was done, are refused."""
    assert traced.traces is not None and traced.loads is not None
    with pytest.raises(ValueError, match="the trace must be of one case; found 2"):
        sim.plot_timeline(traced.traces)
    with pytest.raises(ValueError, match=r"nothing was done from 50 s to 99 s; the run takes 1\."):
        sim.plot_timeline(case_of(traced.traces, 0), begin_s=50.0, end_s=99.0)
    with pytest.raises(ValueError, match="nothing was done from 50 s to its end; the run takes"):
        sim.plot_timeline(case_of(traced.traces, 0), begin_s=50.0)
    with pytest.raises(ValueError, match="loads must be of one case; found 2"):
        sim.plot_loads(traced.loads)
    with pytest.raises(ValueError, match="loads must be of one run; found no row"):
        sim.plot_loads(case_of(traced.loads, 9))


def test_loads_are_rows_in_the_order_of_the_machine() -> None:
    """Memory nodes come before links, by number, each with its utilisation over time and its mean."""
    names = ["link2-10", "link10-2", "memory10", "memory2"]
    loads = pd.DataFrame(
        [(name, 0.5 * i, 0.25 * i) for name in names for i in range(4)], columns=["resource", "begin_s", "utilisation"]
    )
    figure = sim.plot_loads(loads)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        *("memory of node 2", "memory of node 10", "link, node 2 to 10", "link, node 10 to 2"),
    ]
    image = axis.images[0]
    assert image.get_array().tolist() == [[0.0, 0.25, 0.5, 0.75]] * 4  # type: ignore[union-attr]
    assert tuple(image.get_extent()) == (0.0, 2.0, 3.5, -0.5)
    means = axis.child_axes[0]
    assert [label.get_text() for label in means.get_yticklabels()] == ["38%"] * 4
    assert overlaps(figure) == []


# Regret.


@pytest.mark.parametrize("n", [2, 40])
def test_regret_has_a_bar_for_each_policy(n: int) -> None:
    """Bars are the worst regret and the mean one, the best policy on top, with its single situations as rings."""
    machines, policies = zip(*itertools.product(("a", "b"), range(n)), strict=True)
    columns = {"machine": machines, "end": [f"{LONG} {i}" for i in policies]}
    times_s = [100.0 + i * (2 if machine == "a" else 1) for machine, i in zip(machines, policies, strict=True)]
    figure = sim.plot_regret(results_of(columns, times_s))
    axis = figure.axes[0]
    worst, mean = axis.containers
    assert [bar.get_width() for bar in worst] == pytest.approx([2.0 * i for i in range(n)])  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in mean] == pytest.approx([1.5 * i for i in range(n)])  # type: ignore[attr-defined]
    assert len(axis.lines[0].get_xydata()) == 2 * n  # type: ignore[arg-type]
    assert axis.get_yticklabels()[0].get_text() == f"end {LONG} 0"
    assert axis.yaxis_inverted()
    assert overlaps(figure) == []


def test_of_many_policies_the_best_are_drawn() -> None:
    """With 100 policies the figure has the 60 of least regret, and says so."""
    figure = sim.plot_regret(results_of({"nthreads": range(1, 101)}, [1.0 + n for n in range(100)][::-1]))  # type: ignore[dict-item]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (len(labels), labels[0], labels[-1]) == (60, "100 threads", "41 threads")
    assert figure.get_suptitle() == "A title: regret of the best 60 of 100 policies"


# Speed-up and names.


@pytest.mark.parametrize("n", [2, 40])
def test_long_names_and_many_threads_of_speedup(n: int) -> None:
    """A legend of long names is as wide as the figure, and numbers of threads leave each other room."""
    threads = (1, 2, 3, 63, 64, 65)
    columns = {"nthreads": list(threads) * n, "end": [f"{LONG} {i}" for i in range(n) for _ in threads]}
    assert overlaps(sim.plot_speedup(results_of(columns, [10.0 / t for t in threads] * n))) == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("min_chunk", "16777216B", "16 MiB"),
        ("chunk_bytes", 16 * MIB, "16 MiB"),
        ("start_latency", "50us", "50 us"),
        ("chunks_per_work", 4.0, "4"),
        ("chunks", "ktask", "ktask"),
        ("chunk_size", None, "default"),
        ("chunk_size", float("nan"), "default"),
    ],
)
def test_values_in_words(column: str, value: object, words: str) -> None:
    """Sizes and times have the unit that suits them, and nothing is the default."""
    assert word(column, value) == words


def test_names_of_cases_and_columns() -> None:
    """Names leave out what is left to its default, and axes have units."""
    columns = ["machine", "nthreads", "size_gib", "min_chunk", "end"]
    assert case_name(columns, ["xeon", 1, 8, "1MiB", None]) == "xeon, 1 thread, 8 GiB, min_chunk 1 MiB"
    assert [axis_label(name) for name in ("time_s", "regret_worst_pct", "cpu_s", "min_chunk", "nthreads")] == [
        *("time (s)", "regret worst (%)", "CPU-seconds", "min_chunk", "threads allowed"),
    ]
    assert [decimals(least) for least in (0.0141, 1.0, 31.4, 9876.0, 12345.0)] == [5, 3, 2, 0, 0]


# For tests/unit/test_plots.py (needs: import math, numpy not needed). Passes as is.

# Interference.


def beside(slowdowns: Mapping[str, Sequence[float]], **columns: Sequence[Any]) -> Results:
    """Return results whose other works were slowed down so much, and whose jobs took 1, 2, 3 ... seconds."""
    n = len(next(iter(slowdowns.values())))
    made = results_of(columns, [float(i) for i in range(1, n + 1)])
    others = {f"{name}_slowdown": values for name, values in slowdowns.items()}
    return replace(made, summary=made.summary.assign(slowdown=1.0, **others))


def points_beside(figure: Figure, panel: int = 0) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each other work in a panel."""
    lines = [line for line in figure.axes[panel].lines if not str(line.get_label()).startswith("_")]
    return {
        str(line.get_label()): list(zip(*(map(float, data) for data in line.get_data()), strict=True)) for line in lines
    }


def test_each_other_work_has_a_point_for_each_policy() -> None:
    """A point is at slowdown and time; works have names of their own, and what is alike has one name."""
    figure = sim.plot_interference(
        beside({"a": [1.5, 1.1, 2.0], "x-1": [1.0, 1.2, 3.0]}, priority=["normal", "nice", "raise"])
    )
    assert points_beside(figure) == {"a": [(1.5, 1), (1.1, 2), (2.0, 3)], "x-1": [(1.0, 1), (1.2, 2), (3.0, 3)]}
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == ["priority raise", "priority nice", "priority normal"]
    assert not overlaps(figure)


def test_situations_are_panels_of_interference() -> None:
    """Other work that varies spans panels, whose names do not overlap."""
    figure = sim.plot_interference(
        beside({"a": [1.5, 1.1, 2.0, 1.0]}, background_a_threads=[1, 1, 8, 8], priority=["normal", "nice"] * 2)
    )
    assert [axis.get_title() for axis in figure.axes] == ["a_threads 1", "a_threads 8"]
    assert points_beside(figure, 1) == {"a": [(2.0, 3), (1.0, 4)]}
    assert not overlaps(figure)


def test_work_that_stood_still_has_no_point() -> None:
    """An infinite slowdown is not drawn, and the case keeps its name."""
    figure = sim.plot_interference(beside({"a": [math.inf, 2.0]}, priority=["normal", "nice"]))
    assert [point for point in points_beside(figure)["a"] if not math.isnan(point[0])] == [(2.0, 2)]
    assert len(figure.axes[0].texts) == 2
    assert not overlaps(figure)


def test_no_interference_without_other_work() -> None:
    """Results without other work are refused with what to do."""
    with pytest.raises(ValueError, match="there is no other work beside the job; `background` of a scenario says"):
        sim.plot_interference(results_of({"priority": ["normal"]}, [1.0]))


# What all figures share.


def test_winners_within_noise_are_a_tie() -> None:
    """A cell within twice the standard error of the best has a dashed frame, a policy the word; others have neither."""
    made = results_of(
        {"nthreads": [1, 2, 3, 4] * 2, "min_chunk": ["1MiB"] * 4 + ["2MiB"] * 4}, [9, 8, 7, 5, 9, 8, 7, 5.1]
    )
    noisy = replace(made, summary=made.summary.assign(time_stdev_s=0.2, replications=10))
    # Two means of ten runs with a deviation of 0.2 s differ by 0.09 s in the mean: 0.1 s is no difference, 2 s is one.
    frames = [patch for patch in sim.plot_heat_map(noisy).axes[0].patches if isinstance(patch, Rectangle)]
    assert sorted((str(frame.get_linestyle()), frame.get_y() + 0.5) for frame in frames) == [("--", 0), ("solid", 1)]
    policies = replace(noisy, summary=noisy.summary[noisy.summary["nthreads"] == 4].reset_index(drop=True))
    words = [text.get_text() for text in sim.plot_regret(policies).axes[0].texts]
    assert "2.0, a tie" in words
    certain = replace(made, summary=made.summary[made.summary["nthreads"] == 4].reset_index(drop=True))
    assert "2.0" in [text.get_text() for text in sim.plot_regret(certain).axes[0].texts]


def test_thirty_policies_are_not_thirty_lines_of_a_legend() -> None:
    """Of many lines the best have colours and names, and the others are grey and one entry."""
    many = [{"min_chunk": f"{k}MiB", "nthreads": n} for k in range(1, 31) for n in (1, 2)]
    made = results_of(
        {"nthreads": [each["nthreads"] for each in many], "min_chunk": [each["min_chunk"] for each in many]},
        [10.0 / int(each["nthreads"]) + i // 2 for i, each in enumerate(many)],
    )
    figure = sim.plot_speedup(made)
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(words) <= 9 and "23 others, which take longer" in words
    assert "simulated min_chunk 1 MiB" in words and "simulated min_chunk 30 MiB" not in words
    assert overlaps(figure) == []


def test_axes_that_span_decades_are_logarithmic() -> None:
    """Regret from 0 to thousands of percent, and a front over decades, are drawn by decades."""
    made = results_of({"min_chunk": ["1MiB", "2MiB", "4MiB"]}, [1.0, 20.0, 50.0])
    assert sim.plot_regret(made).axes[0].get_xscale() == "symlog"
    assert draw("pareto", made).axes[0].get_xscale() == "log" == draw("pareto", made).axes[0].get_yscale()
    near = results_of({"min_chunk": ["1MiB", "2MiB", "4MiB"]}, [1.0, 1.2, 1.5])
    assert sim.plot_regret(near).axes[0].get_xscale() == "linear" == draw("pareto", near).axes[0].get_xscale()


def test_points_of_fewer_threads_are_hollow() -> None:
    """Where fewer threads worked than were allowed the points are hollow, and the legend says so."""
    made = results_of({"nthreads": [1, 2, 4]}, [4.0, 2.0, 2.0])
    made = replace(made, summary=made.summary.assign(n_workers=[1.0, 2.0, 2.0]))
    figure = sim.plot_speedup(made)
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [list(map(float, line.get_xdata())) for line in hollow] == [[4.0]]  # type: ignore[arg-type]
    assert "hollow: fewer threads at work than allowed" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_figure_of_a_run_fits_what_was_asked() -> None:
    """Beside other work it is what they cost each other, with energy that, with published times both times."""
    plain = results_of({"nthreads": [1, 2]}, [2.0, 1.0])
    assert best_kind(plain) == "speedup"
    assert best_kind(beside({"a": [1.5, 1.1]}, nthreads=[1, 2])) == "interference"
    assert best_kind(replace(plain, summary=plain.summary.assign(energy_j=[3.0, 2.0]))) == "energy"
    published = plain.summary.assign(energy_j=[3.0, 2.0], published_time_s=[2.0, 1.0])
    assert best_kind(replace(plain, summary=published)) == "speedup"


def test_sizes_in_bytes_are_read_as_sizes() -> None:
    """A parameter that is a number of bytes is written with its unit."""
    assert [word("min_chunk", 67108864), word("chunk_size", 2**30), word("nthreads", 64)] == ["64 MiB", "1 GiB", "64"]
