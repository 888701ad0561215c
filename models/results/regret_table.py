"""The regret table: how much longer each policy takes than the best one, in each situation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.clients import CLIENTS
from models.results.regret import regret_pct

# What a policy meets and does not choose.
_SITUATION = (
    "machine",
    "size_gib",
    *dict.fromkeys(name for client in CLIENTS.values() for name in client.model_fields),
)


def identity(summary: pd.DataFrame) -> list[str]:
    """Return the columns of a summary that describe a case."""
    return list(summary.columns[: summary.columns.get_loc("replications")])


def varying(summary: pd.DataFrame) -> list[str]:
    """Return the columns of a summary that describe a case and differ between cases."""
    return [name for name in identity(summary) if summary[name].nunique(dropna=False) > 1]


def situation_columns(summary: pd.DataFrame) -> list[str]:
    """Return the columns of a summary that vary and that no policy chooses: machine, task and background load."""
    return [name for name in varying(summary) if name in _SITUATION or name.startswith(("background_", "groups_"))]


def policy_columns(summary: pd.DataFrame, over: Sequence[str]) -> list[str]:
    """Return the columns that vary and are not in `over`: those that describe the policy of a case.

    The number of threads is one of them only if policies are not told apart without it, as a policy may choose it.
    """
    names = [name for name in varying(summary) if name not in over]
    without = [name for name in names if name != "nthreads"]
    return without if without and not summary.duplicated([*over, *without]).any() else names


def regret_table(summary: pd.DataFrame, *, over: Sequence[str] | None = None) -> pd.DataFrame:
    """Return how much more time each policy takes in each situation than the best one there.

    Args:
        summary: The table `summary` of results with several policies.
        over: The columns that describe a situation. None takes machine, task, size and other work.

    Returns:
        A row for each policy and situation, the policy of least worst regret first. Columns: those of the policy and of
        the situation, time_s, regret_pct (in percent of the best time), cpu_s, over all situations of the policy
        regret_mean_pct and regret_worst_pct, and regret_error_pct (the standard error of regret_pct, of the runs of
        both; NaN where it has one run).

    Raises:
        ValueError: There are less than two policies, a column does not tell cases apart, or a policy was not run in
        every
            situation.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> table = regret_table(run(scenario).summary)
        >>> float(table["regret_pct"].min())
        0.0
    """
    over = situation_columns(summary) if over is None else list(over)
    for name in over:
        if name not in identity(summary):
            raise ValueError(f"{name!r} says nothing of a situation; allowed are {', '.join(identity(summary))}")
    policy = policy_columns(summary, over)
    if not policy:
        raise ValueError(f"at least two policies are needed; found one, over {', '.join(over) or 'one case'}")
    table = summary[[*policy, *over, "time_s", "cpu_s"]].copy()
    situation = [summary[name] for name in over] or [pd.Series(0, index=summary.index)]
    times = table.groupby(situation, sort=False, dropna=False)["time_s"]
    table.insert(len(policy) + len(over) + 1, "regret_pct", times.transform(regret_pct))
    errors_pct = _errors_pct(summary, times.transform("idxmin"))
    regrets = table.groupby(policy, sort=False, dropna=False)["regret_pct"]
    found = regrets.size()
    if found.min() < times.ngroups:
        keys = found.idxmin()
        name = ", ".join(str(key) for key in (keys if isinstance(keys, tuple) else (keys,)))
        raise ValueError(f"every policy must be run in all {times.ngroups} situations; found {name} in {found.min()}")
    table["regret_mean_pct"] = regrets.transform("mean")
    table["regret_worst_pct"] = regrets.transform("max")
    table["regret_error_pct"] = errors_pct
    order = np.lexsort((regrets.ngroup(), table["regret_mean_pct"], table["regret_worst_pct"]))
    return table.iloc[order].reset_index(drop=True)


def _errors_pct(summary: pd.DataFrame, best: pd.Series[int]) -> pd.Series[float]:
    """Return the standard error of each case's regret in percent: of its own mean and of the best one's. 0 is the best.

    Cases of one run have no spread, and so no error that is known.
    """
    if "time_stdev_s" not in summary:
        return pd.Series(np.nan, index=summary.index)
    n = summary["replications"]
    relative = summary["time_stdev_s"].where(n > 1) / np.sqrt(n) / summary["time_s"]
    ratio = summary["time_s"] / summary["time_s"].loc[best].to_numpy()
    both = np.hypot(relative, relative.loc[best].to_numpy())
    is_best = best.to_numpy() == summary.index
    return pd.Series(np.where(is_best, 0.0, 100.0 * ratio * both), index=summary.index)
