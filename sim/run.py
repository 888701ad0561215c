"""One run: one case of a scenario, one replication."""

from __future__ import annotations

from typing import Any

from simpy import AllOf, Environment

from models.energy import energy_of
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
        allowed = None if caller.is_kthread else case.task.cpus
        thread = RunningThread(hardware.occupy(caller.nid, allowed=allowed), allowed, bound=caller.is_kthread)
        callers.append(env.process(ktask.run_steps(thread, caller.steps(thread))))
    env.run(until=AllOf(env, callers))
    time_s = float(env.now)
    utilisation = {
        resource.name: served / resource.capacity / time_s
        for resource in hardware.network.resources
        if (served := resource.served) > 0.0
    }
    cpus_s = hardware.busy_cpus.seconds
    utilisation |= {f"cpu{cpu_id}": busy_s / time_s for cpu_id, busy_s in cpus_s.items() if busy_s > 0.0}
    return RunResult(
        time_s=time_s,
        cpu_s=sum(cpus_s.values()),
        n_tasks=record.n_tasks,
        n_chunks=sum(worker.n_chunks for worker in record.workers),
        imbalance=record.imbalance_sum / max(1, record.n_tasks),
        workers=record.workers,
        utilisation=utilisation,
        slices=record.slices,
        extra={**_shares(record, len(callers), time_s), **_failures(record), **_energy(case, hardware, time_s)},
    )


def _shares(record: Record, n_callers: int, time_s: float) -> dict[str, Any]:
    """Return what of a run is the kernel's tasks, where its one caller has more to do than to call them.

    `speedup_limit` is by how much the run would be sooner if its tasks took no time: Amdahl's limit, with one thread.
    """
    alone_s = sum(seconds for what, seconds in record.alone_s.items() if what != "undo")
    if n_callers > 1 or not alone_s:
        return {}
    return {"alone_s": alone_s, "kernel_share": 1.0 - alone_s / time_s, "speedup_limit": time_s / alone_s}


def _failures(record: Record) -> dict[str, Any]:
    """Return how many chunks of a run failed, and how long its callers undid what had been done."""
    return {"n_failed": record.n_failed, "undo_s": record.alone_s.get("undo", 0.0)} if record.n_failed else {}


def _energy(case: Case, hardware: Hardware, time_s: float) -> dict[str, Any]:
    """Return the energy of a run, where the machine's power is known and nothing but the job takes any."""
    power = case.machine.power
    if power is None or case.background.load != "none":
        return {}
    memories = [resource for resource in hardware.network.resources if resource.name.startswith("memory")]
    energy = energy_of(
        power,
        time_s,
        cpus_s=hardware.busy_cpus.seconds,
        cores_s=hardware.busy_cores.seconds,
        sockets_s=hardware.busy_sockets.seconds,
        moved_bytes={memory.name: memory.served for memory in memories},
    )
    return {"energy_j": energy.total_j, "energy_added_j": energy.added_j}
