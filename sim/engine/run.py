"""One run: one case of a scenario, one replication."""

from __future__ import annotations

from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.interference import interference
from sim.engine.simulation import Simulation


def run_case(case: Case, replication: int, *, with_slices: bool = False) -> RunResult:
    """Simulate one replication of a case (numbered from 0); with `with_slices`, keep who did what when.

    Where there is other work, the job and each of that are simulated alone too, and `extra` has what they cost each
    other (`sim.engine.interference`).
    """
    simulation = Simulation(case, replication, with_slices=with_slices)
    return simulation.result(interference(simulation) if case.background else {})
