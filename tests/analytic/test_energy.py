"""Energy of small jobs, against sums worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from models.machine import Power
from models.scenario.case import Case
from sim.engine.run import run_case

MakeCase = Callable[..., Case]
POWER = Power(rest_w=100.0, core_busy_w=8.0, thread_busy_w=3.0, socket_awake_w=10.0, memory_j_per_byte=1e-9)


def energies_of(case: Case) -> tuple[float, float]:
    """Return the energy of the machine and of the job in joules, with the power above."""
    extra = run_case(replace(case, machine=replace(case.machine, power=POWER)), 0).extra
    return extra["energy_j"], extra["energy_added_j"]


def test_caller_alone(case_of: MakeCase) -> None:
    """1 GiB at 2 GiB/s: 0.5 s of a core and a socket, 2 GiB of traffic: 0.5 x 18 + 2.147 J; at rest 0.5 s x 100 W."""
    assert energies_of(case_of(1)) == pytest.approx((50 + 9 + 2**31 * 1e-9, 9 + 2**31 * 1e-9), rel=1e-9)


def test_late_helper_and_sleeping_caller(case_of: MakeCase) -> None:
    """The caller works from 0 to 250 ms and sleeps, the helper from 10 to 260 ms, each on a core of the one socket.

    0.5 core-seconds x 8 W + 0.26 s x 10 W + 2 GiB x 1 nJ/B = 4 + 2.6 + 2.147 J; at rest 0.26 s x 100 W.
    """
    added_j = 4.0 + 2.6 + 2**31 * 1e-9
    case = case_of(2, start_latency=0.010, start_latency_cv=0.0)
    assert energies_of(case) == pytest.approx((26.0 + added_j, added_j), rel=1e-9)
