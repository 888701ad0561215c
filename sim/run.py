"""One run: one case of a scenario, one replication."""

from __future__ import annotations

from simpy import Environment

from models.run import Record, RunResult
from models.scenario import Case
from models.streams import Streams
from sim.background import start_background
from sim.clear_gigantic_page import fallocate
from sim.hardware import Hardware
from sim.ktask import Ktask


def run_case(case: Case, replication: int, *, with_slices: bool = False) -> RunResult:
    """Simulate one replication of a case (numbered from 0); with `with_slices`, keep who did what when."""
    env = Environment()
    hardware = Hardware(env, case.machine)
    streams = Streams(case.seed, replication)
    record = Record(with_slices)
    start_background(case.background, hardware, case.kernel.time_slice, streams["ticks"])
    policy = case.policy(streams["next_entry"].randrange)
    ktask = Ktask(hardware, case.kernel, policy, streams, record)
    env.run(until=env.process(fallocate(case, hardware, ktask, streams)))
    time_s = float(env.now)
    utilisation = {
        resource.name: resource.served / resource.capacity / time_s for resource in hardware.network.resources
    }
    utilisation |= {f"cpu{cpu_id}": occupied_s / time_s for cpu_id, occupied_s in hardware.occupied_s.items()}
    return RunResult(
        time_s=time_s,
        cpu_s=sum(hardware.occupied_s.values()),
        n_tasks=record.n_tasks,
        n_chunks=sum(worker.n_chunks for worker in record.workers),
        imbalance=record.imbalance_sum / record.n_tasks,
        workers=record.workers,
        utilisation={name: share for name, share in utilisation.items() if share > 0.0},
        slices=record.slices,
    )
