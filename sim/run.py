"""One run: one case of a scenario, one replication."""

from __future__ import annotations

from simpy import AllOf, Environment

from models.run import Record, RunResult
from models.scenario import Case
from models.streams import Streams
from sim.background import start_background
from sim.hardware import Hardware
from sim.ktask import Ktask, RunningThread


def run_case(case: Case, replication: int, *, with_slices: bool = False) -> RunResult:
    """Simulate one replication of a case (numbered from 0); with `with_slices`, keep who did what when."""
    env = Environment()
    hardware = Hardware(env, case.machine)
    streams = Streams(case.seed, replication)
    record = Record(with_slices)
    start_background(case.background, hardware, case.kernel.time_slice, streams["ticks"])
    policy = case.policy(streams["next_entry"].randrange)
    ktask = Ktask(hardware, case.kernel, policy, streams, record)
    callers = []
    for caller in case.task.callers(case.machine, case.kernel, streams["caller_node"]):
        thread = RunningThread(hardware.occupy(caller.nid), bound=caller.is_kthread)
        callers.append(env.process(ktask.run_steps(thread, caller.steps(thread))))
    env.run(until=AllOf(env, callers))
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
        imbalance=record.imbalance_sum / max(1, record.n_tasks),
        workers=record.workers,
        utilisation={name: share for name, share in utilisation.items() if share > 0.0},
        slices=record.slices,
    )
