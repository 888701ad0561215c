"""Regimes: marked where a host was another machine for some blocks of runs, and not for noise."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest

from models.measured.regimes import LEAST_BLOCKS, mark_regimes


def runs_of(
    n_blocks: int,
    flipped: Collection[int] = (),
    *,
    by: float = 1.21,
    noise: float = 0.02,
    threads: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Return blocks of 8 cases, each a time of its own; some blocks take `by` times as long."""
    random = np.random.default_rng(seed)
    rows = [
        {
            "case": case,
            "nthreads": 1 if case < 2 else threads,
            "replication": block,
            "time_s": (1 + case)
            * (by if block in flipped and (case > 1 or threads == 1) else 1.0)
            * float(random.lognormal(0.0, noise)),
            "unstable": "",
        }
        for block in range(n_blocks)
        for case in range(8)
    ]
    return pd.DataFrame(rows)


def marked(runs: pd.DataFrame) -> set[int]:
    """Return the blocks with a mark, which all runs of such a block have."""
    table = mark_regimes(runs)
    by_block = (table["unstable"] != "").groupby(table["replication"])
    assert (by_block.all() == by_block.any()).all()
    return {int(str(block)) for block, found in by_block.any().items() if found}


@pytest.mark.parametrize("n_blocks", [6, 12, 40])
def test_noise_is_no_regime(n_blocks: int) -> None:
    """Noise of 2 % in every run marks nothing, over 200 seeds.

    A block's pace is a median of 6 such runs, with an error of 1 %; a gap of 8 % inside a sample of it would be eight
    of these between neighbours with three or more on either side: less than 1e-12 for each seed.
    """
    assert not any(marked(runs_of(n_blocks, seed=seed)) for seed in range(200))


@pytest.mark.parametrize("flipped", [{0, 1, 2}, {3, 7, 11, 15}, {13, 14, 15, 16, 17, 18, 19}])
def test_a_flip_is_marked(flipped: set[int]) -> None:
    """A minority of blocks that take 21 % longer is marked, with the reason, over 20 seeds.

    A gap of 19 % in logarithms, with paces known to 1 %: less than 8 % of it would be seven errors (2e-12).
    """
    assert all(marked(runs_of(20, flipped, seed=seed)) == flipped for seed in range(20))
    reasons = set(mark_regimes(runs_of(20, flipped, noise=0.0))["unstable"]) - {""}
    assert reasons == {"another regime of the host: 21% slower than most of the time"}


def test_a_fast_minority_is_marked() -> None:
    """Where most blocks are slow the few fast ones are the other regime."""
    fast = {0, 1, 2}
    runs = runs_of(10, set(range(10)) - fast, noise=0.0)
    assert marked(runs) == fast
    assert "21% faster than most of the time" in set(mark_regimes(runs)["unstable"]).pop() + "".join(
        mark_regimes(runs)["unstable"]
    )


def test_too_few_blocks_are_not_marked() -> None:
    """Two slow blocks, or three of five, are no regime: it takes three of each kind."""
    assert LEAST_BLOCKS == 3
    assert marked(runs_of(20, {4, 9})) == set()
    assert marked(runs_of(5, {0, 1, 2})) == set()
    assert marked(runs_of(6, {0, 1, 2})) in ({0, 1, 2}, {3, 4, 5})  # the first that has enough; neither is a minority


def test_a_small_change_is_not_marked() -> None:
    """A change of 5 % in half of the blocks is less than what counts as another regime."""
    assert marked(runs_of(20, set(range(10)), by=1.05, noise=0.005)) == set()


def test_runs_of_one_thread_do_when_there_are_no_others() -> None:
    """Without cases of several threads those of one tell the pace; with them they don't count."""
    assert marked(runs_of(12, {0, 1, 2}, threads=1)) == {0, 1, 2}
    runs = runs_of(12, (), noise=0.0)
    slow = (runs["replication"] < 4) & (runs["nthreads"] == 1)
    assert marked(runs.assign(time_s=runs["time_s"] * (1 + slow))) == set()


def test_earlier_reasons_stay() -> None:
    """A run that was unstable before has both reasons, and the table given is not changed."""
    runs = runs_of(12, {0, 1, 2}, noise=0.0)
    runs.loc[0, "unstable"] = "stolen"
    before = runs.copy()
    found = mark_regimes(runs)
    assert str(found.loc[0, "unstable"]).startswith("stolen; another regime of the host: 21% slower")
    assert str(found.loc[1, "unstable"]).startswith("another regime")
    pd.testing.assert_frame_equal(runs, before)
