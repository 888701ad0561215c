"""The table of regrets compares what can be compared."""

from __future__ import annotations

import pandas as pd
import pytest

from models.results.regret_table import policy_columns, regret_table, situation_columns


def summary_of(rows: list[tuple[str, int, int, str, float]]) -> pd.DataFrame:
    """Return a summary with these columns of cases and these times; a CPU-second for each second."""
    table = pd.DataFrame(rows, columns=["machine", "nthreads", "size_gib", "chunks", "time_s"])
    table.insert(4, "replications", 1)
    return table.assign(cpu_s=table["time_s"])


TWO_MACHINES = summary_of(
    [("a", 4, 8, "ktask", 10.0), ("a", 4, 8, "guided", 8.0), ("b", 9, 8, "ktask", 3.0), ("b", 9, 8, "guided", 6.0)]
)


def test_regret_is_against_the_best_of_the_same_situation() -> None:
    """10 s against 8 s are 25 %, 6 s against 3 s are 100 %; the policy with the least worst regret is first."""
    table = regret_table(TWO_MACHINES)
    assert list(table.columns) == [
        *("chunks", "machine", "time_s", "regret_pct", "cpu_s", "regret_mean_pct", "regret_worst_pct"),
        "regret_error_pct",
    ]
    assert [tuple(row) for row in table.drop(columns="regret_error_pct").itertuples(index=False)] == [
        ("ktask", "a", 10.0, pytest.approx(25.0), 10.0, pytest.approx(12.5), pytest.approx(25.0)),
        ("ktask", "b", 3.0, 0.0, 3.0, pytest.approx(12.5), pytest.approx(25.0)),
        ("guided", "a", 8.0, 0.0, 8.0, pytest.approx(50.0), pytest.approx(100.0)),
        ("guided", "b", 6.0, pytest.approx(100.0), 6.0, pytest.approx(50.0), pytest.approx(100.0)),
    ]


def test_the_error_of_a_regret() -> None:
    """Of 4 runs each, 8 s ± 1 is known to 6.25 %, 10 s ± 2 to 10 %: regret to 1.25 x sqrt(10² + 6.25²) = 14.74 %.

    The best has no regret, for certain; a policy that was run once has an error that nobody knows.
    """
    rows = summary_of([("a", 4, 8, "ktask", 10.0), ("a", 4, 8, "guided", 8.0), ("a", 4, 8, "factoring", 16.0)])
    spread = rows.assign(replications=[4, 4, 1], time_stdev_s=[2.0, 1.0, 0.0])
    errors = regret_table(spread).set_index("chunks")["regret_error_pct"]
    assert errors["guided"] == 0.0
    assert errors["ktask"] == pytest.approx(14.74, abs=0.01)
    assert pd.isna(errors["factoring"])


def test_policies_of_the_same_regrets_stay_together() -> None:
    """The rows of a policy follow each other, also where another one has the same worst and mean regret."""
    rows = [(machine, 4, 8, chunks, 5.0) for machine in "ab" for chunks in ("ktask", "guided")]
    assert list(regret_table(summary_of(rows))["chunks"]) == ["ktask", "ktask", "guided", "guided"]


def test_what_a_situation_is() -> None:
    """Machine, task and background load are met; the rest, threads too where they alone differ, is chosen."""
    names = ["machine", "size_gib", "page_node", "background_load", "chunks", "nthreads"]
    summary = pd.DataFrame({name: [1, 2] for name in names} | {"client": ["c", "c"], "replications": [1, 1]})
    assert situation_columns(summary) == ["machine", "size_gib", "page_node", "background_load"]
    assert policy_columns(TWO_MACHINES, ["machine"]) == ["chunks"]  # which chooses its threads by machine
    threads = summary_of([("a", n, 8, "ktask", 8.0 / n) for n in (1, 2)])
    assert policy_columns(threads, []) == ["nthreads"]
    both = summary_of([("a", n, 8, chunks, 8.0 / n) for n in (1, 2) for chunks in ("ktask", "guided")])
    assert policy_columns(both, []) == ["nthreads", "chunks"]
    assert list(regret_table(both, over=["nthreads"])["regret_pct"]) == [0.0] * 4


@pytest.mark.parametrize(
    ("summary", "over", "message"),
    [
        (TWO_MACHINES.iloc[:1], None, "at least two policies are needed; found one, over one case"),
        (TWO_MACHINES.iloc[:3], None, "every policy must be run in all 2 situations; found guided in 1"),
        (TWO_MACHINES, ["time_s"], "'time_s' says nothing of a situation; allowed are machine, nthreads, size_gib,"),
    ],
)
def test_what_can_not_be_compared(summary: pd.DataFrame, over: list[str] | None, message: str) -> None:
    """One policy alone, one that was not run everywhere, and a column that says nothing of a case are refused."""
    with pytest.raises(ValueError, match=message):
        regret_table(summary, over=over)
