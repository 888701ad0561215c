"""How good a policy is beside others: which of them nothing beats in everything, and how far one is from the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def pareto_front(values: pd.DataFrame, minimise: Sequence[str]) -> pd.Series[bool]:
    """Return, for each row, whether no other row is at most as large in every column of `minimise` and less in one.

    Rows that are equal in all of them are on the front together. Raises ValueError for no column or for a NaN, KeyError
    for a column that is not there.
    """
    if not minimise:
        raise ValueError("minimise must name at least one column; found none")
    points = values[list(minimise)].to_numpy(float)
    if np.isnan(points).any():
        raise ValueError(f"values must be numbers; found NaN in {', '.join(minimise)}")
    beaten = [bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any()) for point in points]
    return pd.Series(np.logical_not(beaten), index=values.index, dtype=bool)


def regret_pct(values: pd.Series[float]) -> pd.Series[float]:
    """Return how much more than the least each value is, in percent of the least: 0 is the best.

    Raises ValueError for a value that is not above 0, in whose percent nothing can be said.
    """
    if not (values > 0).all():
        raise ValueError(f"values must be above 0; found {values[~(values > 0)].iloc[0]}")
    return (values / values.min() - 1) * 100


def tied(times_s: pd.Series[float], stdevs_s: pd.Series[float], n_runs: pd.Series[int]) -> pd.Series[bool]:
    """Return, for each case, whether its mean time is within the noise of the least one. It is True for that one.

    Parameters: mean, standard deviation and number of the runs of each case. Two means are told apart if they differ by
    more than twice the standard error of their difference (Welch). With one run, which has no spread, any difference
    counts.
    """
    errors = (stdevs_s.fillna(0.0) ** 2 / n_runs).to_numpy(float)
    best = int(np.argmin(times_s.to_numpy(float)))
    gaps = times_s.to_numpy(float) - float(times_s.iloc[best])
    return pd.Series(gaps <= 2.0 * np.sqrt(errors + errors[best]) + 1e-12, index=times_s.index, dtype=bool)
