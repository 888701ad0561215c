"""One simulation: the job of a case beside its background, to the end of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simpy import AllOf, Environment

from models.loads import Service
from models.machine.energy import energy_of
from models.results.run import Record, RunResult
from models.scenario.case import Case
from models.scenario.streams import Streams
from sim.engine.background import Neighbour
from sim.engine.framework import Framework
from sim.engine.hardware import Hardware
from sim.engine.scheduler import Scheduler


class Simulation:
    """One simulation: the job of a case beside its background, to the end of both."""

    def __init__(self, case: Case, replication: int, *, with_slices: bool = False) -> None:
        self.case = case
        self.replication = replication
        self.env = env = Environment()
        self.record = Record(with_slices)
        self._hardware = hardware = Hardware(env, case.machine)
        streams = Streams(case.seed, replication)
        cpus = Scheduler.of(case, hardware, streams)
        self.neighbours = [Neighbour(name, load, hardware, cpus, streams) for name, load in case.background.items()]
        policy = case.policy(streams["next_entry"].randrange)
        policy.count_idle(lambda: hardware.placement.idle_cpus(policy.helper_cpus))
        task, allowed = case.task, case.caller_cpu_ids
        ktask = Framework(hardware, cpus, case.kernel, policy, streams, self.record, nice=task.nice, group=task.group)
        env.run(until=env.timeout(task.start))  # other work that starts by then is there first
        self.began_s = float(env.now)
        self._served_before = {name: served for name, (served, _) in hardware.served().items()}
        before = {neighbour.name: neighbour.progress for neighbour in self.neighbours}
        callers = []
        for caller in task.callers(case.machine, case.kernel, streams["caller_node"]):
            own = None if caller.is_kthread else allowed
            thread = cpus.thread(own, bound=caller.is_kthread, nice=task.nice, group=task.group)
            thread.pinned = case.kernel.pinned
            thread.wake(caller.nid)
            callers.append(env.process(ktask.run_steps(thread, caller.steps(thread))))
        env.run(until=AllOf(env, callers))
        self.n_callers = len(callers)
        self.ended_s = float(env.now)
        self.progress = {each.name: each.progress - before[each.name] for each in self.neighbours}
        self._utilisation = self._mean_utilisation()
        finish(env, self.neighbours, self.ended_s)

    def _mean_utilisation(self) -> dict[str, float]:
        """Return how busy everything was, from the start to the end of the job."""
        time_s = self.time_s
        before = self._served_before
        found = {
            name: share / capacity / time_s
            for name, (served, capacity) in self._hardware.served().items()
            if (share := served - before.get(name, 0.0)) > 0.0
        }
        occupied = self._hardware.busy_cpus.seconds.items()
        return found | {f"cpu{cpu_id}": busy_s / time_s for cpu_id, busy_s in occupied if busy_s > 0.0}

    @property
    def time_s(self) -> float:
        """Return the time of the job, in seconds."""
        return self.ended_s - self.began_s

    def _energy(self) -> dict[str, Any]:
        """Return the energy of a run, where the machine's power is known and nothing but the job takes any."""
        power, hardware = self.case.machine.power, self._hardware
        if power is None or self.case.background:
            return {}
        memories = [resource for resource in hardware.network.resources if resource.name.startswith("memory")]
        energy = energy_of(
            power,
            self.time_s,
            cpus_s=hardware.busy_cpus.seconds,
            cores_s=hardware.busy_cores.seconds,
            sockets_s=hardware.busy_sockets.seconds,
            moved_bytes={memory.name: memory.served for memory in memories},
        )
        return {"energy_j": energy.total_j, "energy_added_j": energy.added_j}

    def result(self, extra: Mapping[str, Any]) -> RunResult:
        """Return the results of the run, with further columns."""
        record = self.record
        return RunResult(
            time_s=self.time_s,
            cpu_s=math.fsum(self._hardware.busy_cpus.seconds.values()),
            n_tasks=record.n_tasks,
            n_chunks=sum(worker.n_chunks for worker in record.workers),
            imbalance=record.imbalance_sum / max(1, record.n_tasks),
            workers=record.workers,
            utilisation=self._utilisation,
            slices=record.slices,
            extra={**_shares(record, self.n_callers, self.time_s), **_failures(record), **self._energy(), **extra},
        )


def finish(env: Environment, neighbours: Sequence[Neighbour], until_s: float) -> None:
    """Let other work go on after the job: amounts of work to their end, services to the job's requests.

    Work that has not begun by then is not waited for. Each starts in its order, when nothing else is left to do.
    """
    late = sorted((each for each in neighbours if not each.has_begun), key=lambda each: each.load.start)
    finite = [neighbour for neighbour in neighbours if neighbour.load.is_finite]
    while not all(neighbour.has_ended for neighbour in finite):
        under_way = [neighbour for neighbour in finite if neighbour.has_begun and not neighbour.has_ended]
        if under_way:
            env.run(until=AllOf(env, [neighbour.ended for neighbour in under_way]))
        else:
            late.pop(0).begin()
    for neighbour in neighbours:
        while isinstance(neighbour.load, Service) and not neighbour.has_answered(until_s):
            env.run(until=env.now + 1.0)


def _shares(record: Record, n_callers: int, time_s: float) -> dict[str, Any]:
    """Return the share of the kernel's tasks in a run whose one caller has more to do than to call them.

    `speedup_limit` is by how much the run would be sooner if its tasks took no time: Amdahl's limit, with one thread.
    """
    alone_s = math.fsum(seconds for what, seconds in record.alone_s.items() if what != "undo")
    if n_callers > 1 or not alone_s:
        return {}
    return {"alone_s": alone_s, "kernel_share": 1.0 - alone_s / time_s, "speedup_limit": time_s / alone_s}


def _failures(record: Record) -> dict[str, Any]:
    """Return how many chunks of a run failed, and how long its callers took to undo finished parts."""
    return {"n_failed": record.n_failed, "undo_s": record.alone_s.get("undo", 0.0)} if record.n_failed else {}
