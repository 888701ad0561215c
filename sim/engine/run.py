"""One run: one case of a scenario, one replication."""

from __future__ import annotations

from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.interference import interference
from sim.engine.simulation import Simulation


def run_case(case: Case, replication: int, *, with_slices: bool = False) -> RunResult:
    """Simulate one replication of a case (numbered from 0). With `with_slices`, keep its trace.

    Where there is other work, the job and each other work are simulated alone too, and `extra` has their mutual cost
    (`sim.engine.interference`).
    """
    simulation = Simulation(case, replication, with_slices=with_slices)
    return simulation.result(interference(simulation) if case.background else {})
