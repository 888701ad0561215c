"""The shipped scenario against the published table. 6 cells are fitted, 14 predicted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from models.measured.measurements import load_measurements
from models.results import Results
from models.scenario import load_scenario
from sim.compare.published import describe_published, published_section, result_of
from sim.runs.experiment import run
from sim.show.describe import describe_results
from tests.published.guide import rows_of, section
from tests.validation.study import cell_table

SCENARIO = Path(__file__).parents[2] / "scenarios" / "clear_gigantic_page.yaml"


@pytest.fixture(scope="module")
def results() -> Results:
    """The shipped scenario, as `make run` runs it."""
    return run(load_scenario(SCENARIO), jobs=2)


def test_every_published_cell_is_compared(results: Results) -> None:
    """All 20 cells have their published time, and it is the table's."""
    cells = pd.read_csv(Path(__file__).parents[2] / "models" / "published" / "clear_gigantic_page_xeon_e7-8895v3.csv")
    merged = results.summary.merge(cells, on=["nthreads", "size_gib"], suffixes=("", "_table"))
    assert len(merged) == len(cells) == 20
    assert (merged["published_time_s"] == merged["time_s_table"]).all()


def test_at_most_six_cells_are_fitted(results: Results) -> None:
    """The machine file names the cells its rates were fitted to: six of twenty, as many as parameters."""
    assert results.summary["fitted"].sum() == 6


def test_predicted_cells_are_within_the_bounds(results: Results) -> None:
    """Over the 14 predicted cells the mean error is at most 2.2 % and the worst at most 5.9 % (a fit on paper)."""
    errors = results.summary.loc[~results.summary["fitted"], "error_pct"].abs()
    assert len(errors) == 14
    assert errors.mean() <= 2.2
    assert errors.max() <= 5.9


def test_fitted_cells_are_met(results: Results) -> None:
    """Each fitted cell is met within three standard errors of its simulated mean, or 0.3 %."""
    fitted = results.summary[results.summary["fitted"]]
    error_of_mean_pct = 100 * fitted["time_stdev_s"] / fitted["time_s"] / fitted["replications"] ** 0.5
    assert (fitted["error_pct"].abs() <= (3 * error_of_mean_pct).clip(lower=0.3)).all()


def test_threads_rank_as_published(results: Results) -> None:
    """For every size more threads are faster, and the speed-up at 800 GiB is above the number of threads up to 8."""
    for _, cells in results.summary.groupby("size_gib"):
        assert cells.sort_values("nthreads")["time_s"].is_monotonic_decreasing
    far = results.summary[(results.summary["size_gib"] == 800) & results.summary["nthreads"].between(2, 8)]
    assert (far["speedup"] > far["nthreads"]).all()


def test_guides_show_these_numbers(results: Results) -> None:
    """README.md and VALIDATION.md have the table that the scenario gives (`make validate` writes them)."""
    root = Path(__file__).parents[2]
    assert describe_results(results) in (root / "README.md").read_text()
    assert cell_table(results.summary) in (root / "VALIDATION.md").read_text()


def test_guides_row_of_the_table_is_this_one(results: Results) -> None:
    """The comparison of all tables has the same runs for this one, and its row and remarks in VALIDATION.md."""
    measured = load_measurements("clear_gigantic_page_xeon_e7-8895v3")
    assert measured.scenario is not None
    shipped = load_scenario(SCENARIO).cases
    parts = ("machine", "task", "kernel", "seed", "replications", "background", "groups", "rules")
    numbers = [
        next(i for i, own in enumerate(shipped) if all(getattr(own, part) == getattr(case, part) for part in parts))
        for case in measured.scenario.cases
    ]
    times = [results.runs.loc[results.runs["case"] == number, "time_s"] for number in numbers]
    found = [result_of(measured, times)]
    assert rows_of(describe_published(found, style="github"))[1] in rows_of(section("published"))
    assert published_section(found).partition("\n\n* ")[2] in section("published")
