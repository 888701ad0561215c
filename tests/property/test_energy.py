"""What holds for the energy of any run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.machine import Power
from models.machine.energy import Energy, energy_of
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.property.test_ktask import cases

WATTS = st.floats(0.0, 1e3)
POWERS = st.builds(Power, WATTS, WATTS, WATTS, WATTS, st.floats(0.0, 1e-8))
SECONDS = st.floats(0.0, 1e4)


def energy(power: Power, time_s: float, busy_s: float, moved_bytes: float) -> Energy:
    """Return the energy of a machine with one core of two threads, both busy as long."""
    busy = {0: busy_s}
    cpus_s = busy | {1: busy_s}
    return energy_of(power, time_s, cpus_s=cpus_s, cores_s=busy, sockets_s=busy, moved_bytes={"memory0": moved_bytes})


@given(POWERS, SECONDS, SECONDS, SECONDS, SECONDS)
def test_energy_is_additive(power: Power, first_s: float, then_s: float, busy_s: float, later_s: float) -> None:
    """Two runs one after the other take what both take."""
    parts = [energy(power, first_s, busy_s, 1e9 * busy_s), energy(power, then_s, later_s, 1e9 * later_s)]
    whole = energy(power, first_s + then_s, busy_s + later_s, 1e9 * (busy_s + later_s))
    assert whole.total_j == pytest.approx(sum(part.total_j for part in parts), rel=1e-9, abs=1e-9)
    assert whole.added_j == pytest.approx(sum(part.added_j for part in parts), rel=1e-9, abs=1e-9)


@given(POWERS, SECONDS, SECONDS, SECONDS)
def test_more_busy_time_takes_no_less(power: Power, time_s: float, busy_s: float, more_s: float) -> None:
    """Energy grows with busy time and with traffic, and is never below that of the machine at rest."""
    less, more = energy(power, time_s, busy_s, 0.0), energy(power, time_s, busy_s + more_s, 0.0)
    assert power.rest_w * time_s <= less.total_j <= more.total_j * (1 + 1e-12)
    assert less.total_j <= energy(power, time_s, busy_s, 1e12).total_j


@settings(deadline=None, max_examples=60)
@given(cases(), POWERS)
def test_energy_of_any_run_is_within_its_bounds(case: Case, power: Power) -> None:
    """A run takes no less than the machine at rest, and no more than with all cores, threads and sockets busy."""
    machine = replace(case.machine, power=replace(power, memory_j_per_byte=0.0))
    result = run_case(replace(case, machine=machine), 0)
    n_cores, n_sockets = len({cpu.core_id for cpu in machine.cpus}), len({node.socket_id for node in machine.nodes})
    n_more = len(machine.cpus) - n_cores
    most_w = n_cores * power.core_busy_w + n_more * power.thread_busy_w + n_sockets * power.socket_awake_w
    added_j = result.extra["energy_added_j"]
    assert -1e-9 <= added_j <= most_w * result.time_s * (1 + 1e-9) + 1e-9
    assert result.extra["energy_j"] == pytest.approx(power.rest_w * result.time_s + added_j, rel=1e-9, abs=1e-9)
