"""Regimes of a host: stretches of time in which it is another machine, such as when its virtual CPUs change places."""

from __future__ import annotations

import numpy as np
import pandas as pd

# A gap between blocks of runs that noise does not make: medians of several runs scatter by 1 to 3 %.
LEAST_GAP = 0.08
LEAST_BLOCKS = 3


def mark_regimes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with those of a minority regime marked in `unstable`.

    Replications are blocks in time, each with every case once. A block's pace is the median, over the cases with
    several threads (or all, if there are none), of its time over the case's median. If the paces fall into two groups
    apart by more than LEAST_GAP, with LEAST_BLOCKS blocks or more in each, the smaller group is another regime.
    """
    several = runs[runs["nthreads"] > 1]
    paced = several if len(several) else runs
    relative = paced["time_s"] / paced.groupby("case")["time_s"].transform("median")
    paces = relative.groupby(paced["replication"]).median().sort_values()
    if len(paces) < 2 * LEAST_BLOCKS:
        return runs
    gaps = np.diff(np.log(paces.to_numpy()))[LEAST_BLOCKS - 1 : len(paces) - LEAST_BLOCKS]
    widest = int(np.argmax(gaps))
    if gaps[widest] < LEAST_GAP:
        return runs
    split = widest + LEAST_BLOCKS
    fast, slow = paces.index[:split], paces.index[split:]
    few, share = (fast, "faster") if len(fast) < len(slow) else (slow, "slower")
    percent = abs(float(np.expm1(np.log(paces[slow].median() / paces[fast].median()))))
    reason = f"another regime of the host: {percent:.0%} {share} than most of the time"
    marked = runs.copy()
    of_few = marked["replication"].isin(few)
    marked.loc[of_few, "unstable"] = [f"{old}; {reason}" if old else reason for old in marked.loc[of_few, "unstable"]]
    return marked
