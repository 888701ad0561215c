"""What holds for the Pareto front and the regret of any values."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from models.results.regret import pareto_front, regret_pct

COLUMNS = ["time_s", "cpu_s", "imbalance"]
# Few different values, so that ties are common.
TABLES = st.lists(st.tuples(*[st.sampled_from([1.0, 2.0, 3.5, 8.0])] * 3), min_size=1, max_size=30).map(
    lambda rows: pd.DataFrame(rows, columns=COLUMNS)
)


def beats(a: pd.Series[float], b: pd.Series[float]) -> bool:
    """Return whether `a` is as good as `b` everywhere and better somewhere."""
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


@given(TABLES)
def test_the_front_is_what_nothing_beats(table: pd.DataFrame) -> None:
    """Nothing beats a row of the front, and some row of the front beats each other row."""
    front = pareto_front(table, COLUMNS)
    best = [row for _, row in table[front].iterrows()]
    assert best
    assert not any(beats(row, other) for other in best for _, row in table.iterrows())
    assert all(any(beats(row, other) for row in best) for _, other in table[~front].iterrows())


@given(TABLES, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_order(table: pd.DataFrame, random: object) -> None:
    """The same rows and columns in another order have the same front."""
    index = list(table.index)
    random.shuffle(index)  # type: ignore[attr-defined]
    front = pareto_front(table, COLUMNS)
    assert pareto_front(table.loc[index], COLUMNS[::-1]).sort_index().equals(front)


@given(st.lists(st.floats(1e-6, 1e12), min_size=1), st.integers(-8, 8))
def test_regret_has_no_unit(values: list[float], exponent: int) -> None:
    """The least regret is 0, the order is that of the values, and a change of unit changes nothing."""
    found = regret_pct(pd.Series(values))
    assert found.min() == 0.0
    assert [found[i] <= found[j] for i in range(len(values)) for j in range(i)] == [
        values[i] <= values[j] or found[i] == found[j] for i in range(len(values)) for j in range(i)
    ]
    # A power of two changes no bit of a mantissa.
    assert regret_pct(pd.Series(values) * 2.0**exponent).equals(found)
