"""Whole simulations against the same on a plain network: a sample of what `make compare` compares."""

from __future__ import annotations

import pytest

from models.scenario import load_scenario
from sim.engine.run import run_case
from tests.reference.whole import PUBLISHED, RELATIVE, difference, plain_run, random_case

SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_runs_agree(seed: int) -> None:
    """Time, CPU time, chunks, every utilisation and what others felt are those of the plain network."""
    case = random_case(seed)
    if case is None:
        return
    assert difference(run_case(case, 0), plain_run(case, 0)) < RELATIVE


def test_a_published_run_agrees() -> None:
    """So are those of a cell of the published table: 100 GiB with 8 threads."""
    case = load_scenario(PUBLISHED).cases[3]
    assert difference(run_case(case, 0), plain_run(case, 0)) < RELATIVE
