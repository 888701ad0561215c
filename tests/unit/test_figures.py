"""The figure shows what the results have."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import sim
from models.scenario import Scenario
from models.text.units import MIB
from sim.compare.host import AGREES, DIFFERS, UNDECIDED, Validation
from sim.show.host_figure import plot_validation


def test_panels_and_lines(small_scenario: Scenario) -> None:
    """A column for each size: throughput, speed-up, efficiency, a line with error bars for each group of cases."""
    results = sim.run(small_scenario.with_values({"kernel.chunks_per_work": [1, 4]}))
    figure = sim.plot_speedup(results)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["8 GiB", "16 GiB"]
    assert len(figure.axes) == 6
    for axis in figure.axes:
        assert [len(bars.lines[0].get_xdata()) for bars in axis.containers] == [2, 2]  # type: ignore[attr-defined]
    drawn = figure.axes[0].containers[0].lines[0].get_ydata()  # type: ignore[attr-defined]
    first = results.summary.query("size_gib == 8 and chunks_per_work == 1")
    assert list(drawn) == pytest.approx(list(first["size_gib"] / first["time_s"]))
    efficiency = figure.axes[4].containers[0].lines[0].get_ydata()  # type: ignore[attr-defined]
    assert list(efficiency) == pytest.approx([100.0, 25 * first["speedup"].iloc[1]])


@pytest.mark.parametrize("threads", [[2, 4], [1]], ids=str)
def test_no_speedup_without_one_thread_and_more(threads: list[int], small_scenario: Scenario) -> None:
    """Where there is no case of one thread, or of more, there is no panel of speed-up or efficiency."""
    results = sim.run(small_scenario.with_values({"kernel.max_threads": threads, "replications": 1}))
    assert len(sim.plot_speedup(results).axes) == 2


def test_published_cells_are_drawn_once_in_the_legend(small_scenario: Scenario) -> None:
    """Published cells are marked where there are any, with one entry in the legend."""
    changes = {"task.size": "100GiB", "task.pool": "800GiB", "kernel.chunks_per_work": [2, 4], "replications": 1}
    figure = sim.plot_speedup(sim.run(small_scenario.with_values(changes)))
    assert figure.axes[0].get_legend_handles_labels()[1].count("published") == 1


def test_real_results_are_called_measured(small_scenario: Scenario) -> None:
    """The line of a real run is labelled measured, that of a simulation simulated."""
    results = sim.run(small_scenario.with_values({"task.size": "8GiB", "replications": 1}))
    real = replace(results, provenance={**results.provenance, "backend": "real"})
    for found, word in ((results, "simulated"), (real, "measured")):
        assert word in sim.plot_speedup(found).axes[0].get_legend_handles_labels()[1]


def validation_of(n: int = 12, verdicts: tuple[str, ...] = (AGREES, DIFFERS, UNDECIDED)) -> Validation:
    """Return a validation of n cases, with all verdicts in turn and long names."""
    cells = pd.DataFrame(
        {
            "nthreads": [1 + i for i in range(n)],
            "chunk_bytes": [(2 + i) * MIB for i in range(n)],
            "task_bytes": [2 * MIB, *[1536 * MIB] * (n - 1)],
            "size_bytes": [1536 * MIB] * n,
            "background": list(itertools.islice(itertools.cycle(["none", "clear", "spin", "none"]), n)),
            "measured_spread": [0.01 * (i + 1) for i in range(n)],
            "predicted_spread": [0.01] * n,
            "error_pct": [(-1) ** i * 1.5 * i for i in range(n)],
            "noise_pct": [1.0] * n,
            "verdict": list(itertools.islice(itertools.cycle(verdicts), n)),
        }
    )
    return Validation(cells, None)


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Return the pairs of texts of a figure, as drawn, that overlap or leave the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axis = figure.axes[0]
    low, high = axis.get_xlim()
    texts = [
        *axis.get_yticklabels(),
        *(tick for tick in axis.get_xticklabels() if low <= tick.get_position()[0] <= high),
    ]
    texts.append(axis.xaxis.label)
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    texts.append(figure._suptitle)  # type: ignore[attr-defined]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    width, height = canvas.get_width_height()
    outside = [(a, "edge") for a, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]
    return outside + [(a, b) for (a, one), (b, two) in itertools.combinations(boxes, 2) if one.overlaps(two)]


@pytest.mark.parametrize("n", [1, 3, 12, 40])
def test_validation_is_drawn_without_overlaps(n: int, tmp_path: Path) -> None:
    """Every case has its row and name, every verdict that there is a style, and no text lies on another."""
    figure = plot_validation(validation_of(n), tmp_path / "validation.png")
    axis = figure.axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert len(set(names)) == n
    assert names[0] == "1 thread, tasks of 2 MiB"
    if n > 2:
        assert names[1:3] == ["2 threads, 3 MiB of 1.5 GiB, clear beside", "3 threads, 4 MiB of 1.5 GiB, spin beside"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {label.partition(" (")[0] for label in labels} >= {AGREES, DIFFERS, UNDECIDED} if n > 2 else {AGREES}
    assert "spread of predicted runs" in labels
    drawn = {float(y): float(x) for bars in axis.containers for x, y in bars.lines[0].get_xydata()}  # type: ignore[attr-defined]
    assert drawn == pytest.approx({float(i): (-1) ** i * 1.5 * i for i in range(n)})
    assert overlaps(figure) == []
    assert (tmp_path / "validation.png").read_bytes().startswith(b"\x89PNG")


def test_validation_of_nothing_decided() -> None:
    """Where every case is undecided the figure has no mean error to state."""
    figure = plot_validation(validation_of(3, (UNDECIDED,)))
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    assert "nan" not in figure._suptitle.get_text()  # type: ignore[attr-defined]
