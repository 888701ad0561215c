"""The figure shows what the results have."""

from __future__ import annotations

import pytest

import sim
from models.scenario import Scenario


def test_panels_and_lines(small_scenario: Scenario) -> None:
    """A column for each size, throughput above speed-up, a line with error bars for each group of cases."""
    results = sim.run(small_scenario.with_values({"kernel.chunks_per_work": [1, 4]}))
    figure = sim.plot_speedup(results)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["8 GiB", "16 GiB"]
    assert len(figure.axes) == 4
    for axis in figure.axes:
        assert [len(bars.lines[0].get_xdata()) for bars in axis.containers] == [2, 2]  # type: ignore[attr-defined]
    drawn = figure.axes[0].containers[0].lines[0].get_ydata()  # type: ignore[attr-defined]
    first = results.summary.query("size_gib == 8 and chunks_per_work == 1")
    assert list(drawn) == pytest.approx(list(first["size_gib"] / first["time_s"]))


def test_no_speedup_without_one_thread(small_scenario: Scenario) -> None:
    """Where no case has one thread there is no speed-up panel."""
    results = sim.run(small_scenario.with_values({"kernel.max_threads": [2, 4], "replications": 1}))
    assert len(sim.plot_speedup(results).axes) == 2


def test_published_cells_are_drawn_once_in_the_legend(small_scenario: Scenario) -> None:
    """Published cells are marked where there are any, with one entry in the legend."""
    changes = {"task.size": "100GiB", "task.pool": "800GiB", "kernel.chunks_per_work": [2, 4], "replications": 1}
    figure = sim.plot_speedup(sim.run(small_scenario.with_values(changes)))
    assert figure.axes[0].get_legend_handles_labels()[1].count("published") == 1
