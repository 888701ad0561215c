"""The Pareto front and the regret, on tables small enough to be judged by eye."""

from __future__ import annotations

import pandas as pd
import pytest

from models.results.regret import pareto_front, regret_pct

#    time: 10        8        8         6        12
#    cpu:  20       30       40        50        20
# beaten:  no       no   by the 2nd    no    by the 1st
POINTS = pd.DataFrame(
    {"time_s": [10.0, 8.0, 8.0, 6.0, 12.0], "cpu_s": [20.0, 30.0, 40.0, 50.0, 20.0]}, index=list("abcde")
)


def test_front_of_two_columns() -> None:
    """A row that is as good in one column and worse in the other is beaten."""
    front = pareto_front(POINTS, ["time_s", "cpu_s"])
    assert list(front.index[front]) == ["a", "b", "d"]


def test_front_of_one_column_is_its_least() -> None:
    """With one column, the front is all rows that have its least value."""
    front = pareto_front(POINTS, ["cpu_s"])
    assert list(front.index[front]) == ["a", "e"]


def test_equal_rows_are_on_the_front_together() -> None:
    """Rows that are equal don't beat each other."""
    assert pareto_front(pd.DataFrame({"time_s": [1.0, 1.0], "cpu_s": [2.0, 2.0]}), ["time_s", "cpu_s"]).all()


@pytest.mark.parametrize(
    ("values", "minimise", "expected"),
    [
        (POINTS, [], "at least one column; found none"),
        (pd.DataFrame({"time_s": [1.0, float("nan")]}), ["time_s"], "found NaN in time_s"),
    ],
)
def test_front_refuses(values: pd.DataFrame, minimise: list[str], expected: str) -> None:
    """A front without a column, or of values that can't be compared, is refused."""
    with pytest.raises(ValueError, match=expected):
        pareto_front(values, minimise)


def test_regret() -> None:
    """Regret is in percent of the least: 10, 8, 8, 6 and 12 seconds are 66.7, 33.3, 33.3, 0 and 100 % above 6."""
    expected = pd.Series([200 / 3, 100 / 3, 100 / 3, 0.0, 100.0], index=list("abcde"))
    pd.testing.assert_series_equal(regret_pct(POINTS["time_s"]), expected, check_names=False)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_regret_refuses(value: float) -> None:
    """A value that is not above 0 is refused, and named."""
    with pytest.raises(ValueError, match=f"found {value}"):
        regret_pct(pd.Series([1.0, value]))
