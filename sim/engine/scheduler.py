"""The CPU scheduler, where other work wants CPUs too: turns by weight, wake-ups, idle CPUs that pull, and balancing.

A CPU runs one thread at a time. Each has a virtual runtime, CPU time over its weight; at a tick (`time_slice`) the
thread with the least of those that wait goes on, if it has no more than the one that runs: shares by weight, as CFS and
EEVDF give them. A woken thread begins where the least one is, and takes the CPU at once from one of no more weight than
its own; so its first turn ends at the next tick, which may come at any time. Groups with a quota are throttled
when it is used up, until the next period (`sim.engine.quota`).

A woken thread goes to an idle core of its node, its previous one first, then an idle hardware thread, then the least
loaded (`models.machine.placement`). A CPU that falls idle pulls a waiting thread that may run there, from its own
cache, then node, then the others. Balancing in a domain (the CPUs of a cache, of a node, all) is tried every n ms for
idle CPUs and `busy_factor` times less often for others, n being its CPUs, give or take a half (sd_init,
kernel/sched/topology.c: min_interval). One thread moves from the CPU with most load to one with less than the mean,
if its weight, halved for each time that it could not be done before, is no more than what is out of balance
(detach_tasks). The mean is that of all CPUs of the domain (find_busiest_group): threads that may use a part of it
only are not balanced while the rest is idle. Left out: moving a running thread, cache-hot threads, and groups' own
weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from simpy import Event

from models.loads.groups import Group
from models.machine import Cpu
from models.machine.weights import NORMAL, weight_of
from sim.engine.flows import Flow, Route
from sim.engine.hardware import Hardware
from sim.engine.quota import Quota
from sim.engine.threads import Thread

_MS = 1e-3
_TIE = 1e-9  # seconds: virtual runtimes this close are the same


class ScheduledThread(Thread):
    """A thread that shares CPUs with others. Made by `Scheduler.thread`."""

    def __init__(
        self,
        scheduler: Scheduler,
        hardware: Hardware,
        allowed: tuple[int, ...] | None,
        *,
        bound: bool,
        nice: int,
        quota: Quota | None,
        of_job: bool,
    ) -> None:
        super().__init__(hardware, allowed, bound=bound)
        self.weight = weight_of(nice)
        self.quota = quota
        self.of_job = of_job
        self.running = False
        self.vruntime = 0.0  # on the clock of its CPU; while asleep, how far it was ahead of that
        self.ran_s = 0.0
        self.since_s = 0.0  # when it began to run, or to wait; `ran_s` is up to date there
        self.queue: RunQueue | None = None  # None while asleep
        self.bound_nid: int | None = None
        self._scheduler = scheduler
        self._turn: Event | None = None
        self._flow: tuple[Route, Flow] | None = None  # while it has a CPU
        self._work = 0.0  # that it does just now: what was left of it when it last got or lost a CPU

    @property
    def has_own_cpu(self) -> bool:
        return False

    @property
    def is_throttled(self) -> bool:
        """Whether its group has used up its quota."""
        return self.quota is not None and self.quota.used_up

    def wake(self, nid: int | None, previous: Cpu | None = None) -> None:
        self._scheduler.wake(self, nid, previous)

    def sleep(self) -> None:
        self._scheduler.sleep(self)

    def set_nice(self, nice: int) -> None:
        self._scheduler.set_weight(self, weight_of(nice))

    def run(self, route_on: Callable[[Cpu], Route], work: float) -> Generator[Event, Any, None]:
        """Do work while it has a CPU; each time it is on another one, over the route from there."""
        network = self.hardware.network
        self._work = work
        while self._work > 0.0:
            yield from self.on_cpu()
            route = route_on(self.cpu)
            flow = network.start(route, self._work)
            self._flow = (route, flow)
            yield flow
            self._flow = None
            self._work = flow.left

    def on_cpu(self) -> Generator[Event, Any, None]:
        while not self.running:
            self._turn = Event(self.hardware.env)
            yield self._turn

    def work_left(self) -> float:
        """Return what is left of the work that it does just now, 0 if none."""
        return self._work if self._flow is None else self.hardware.network.work_left(*self._flow)

    def begin(self) -> None:
        """Let it go on: it has a CPU."""
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.succeed()

    def halt(self) -> None:
        """Stop what it does: it has no CPU."""
        if self._flow is not None:
            self.hardware.network.stop(*self._flow)

    def may_use(self, cpu: Cpu) -> bool:
        """Whether it may be moved to a CPU."""
        if self.pinned or (self.bound_nid is not None and cpu.nid != self.bound_nid):
            return False
        return self.allowed is None or cpu.cpu_id in self.allowed


class RunQueue:
    """The threads of a CPU: one that runs, and those that wait in the order in which they came."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.current: ScheduledThread | None = None
        self.waiting: list[ScheduledThread] = []
        self.clock = 0.0  # the least virtual runtime, which never goes back
        self.phase_s = -1.0  # of its ticks, drawn when the first is needed
        self.tick = 0  # which of the ticks asked for counts
        self.failed = 0  # how often in a row balancing found nothing that it could take

    @property
    def ready(self) -> list[ScheduledThread]:
        """Those that wait and are not throttled."""
        return [thread for thread in self.waiting if not thread.is_throttled]

    @property
    def load(self) -> int:
        """The weight of all that want the CPU."""
        own = self.current.weight if self.current is not None else 0
        return own + sum(thread.weight for thread in self.ready)


class Scheduler:
    """The CPUs of a machine, shared by the threads of the job and others."""

    is_shared = True

    def __init__(
        self, hardware: Hardware, tick_s: float, busy_factor: int, groups: Mapping[str, Group], ticks: Random
    ) -> None:
        self._hardware = hardware
        self._env = hardware.env
        self._tick_s = tick_s
        self._busy_factor = busy_factor
        self._ticks = ticks
        self._groups = groups
        self._queues = {cpu.cpu_id: RunQueue(cpu) for cpu in hardware.machine.cpus}
        self._crowded: dict[int, RunQueue] = {}  # where threads wait
        self._quotas = {
            name: Quota(self._env, group.quota, group.period, self._throttle, partial(self._unthrottle, name))
            for name, group in groups.items()
            if group.quota is not None
        }
        for domain in _domains(hardware.machine.cpus):
            self._env.process(self._balance_domain([self._queues[cpu.cpu_id] for cpu in domain]))

    def thread(
        self,
        allowed: tuple[int, ...] | None = None,
        *,
        bound: bool = False,
        nice: int = 0,
        group: str | None = None,
        of_job: bool = True,
    ) -> ScheduledThread:
        """Return a new thread, asleep: `allowed` are its CPUs by id (None: all), less those its group may not use."""
        quota = None
        if group is not None:
            allowed, quota = self._groups[group].limit(allowed), self._quotas.get(group)
        return ScheduledThread(self, self._hardware, allowed, bound=bound, nice=nice, quota=quota, of_job=of_job)

    def charge(self, group: str | None, thread: Thread) -> None:
        """Take the CPU time that a thread has had off what a group may use."""
        if group in self._quotas and isinstance(thread, ScheduledThread):
            self._quotas[group].charge(thread.ran_s)

    # -- threads

    def wake(self, thread: ScheduledThread, nid: int | None, previous: Cpu | None) -> None:
        """Put a sleeping thread on a CPU of a node (None: of any), and let it run or wait there."""
        thread.cpu = self._hardware.placement.choose(nid, previous, thread.allowed)
        self._count(thread)
        thread.bound_nid = thread.cpu.nid if thread.bound else None
        queue = thread.queue = self._queues[thread.cpu.cpu_id]
        self._account(queue)
        thread.vruntime = queue.clock + max(0.0, thread.vruntime)
        thread.since_s = self._env.now
        current = queue.current
        if thread.is_throttled or (current is not None and thread.weight < current.weight):
            self._wait(queue, thread)
            self._arm(queue)
        elif current is None:
            self._start(queue, thread)
        else:
            self._preempt(queue, thread)

    def sleep(self, thread: ScheduledThread) -> None:
        """Take a thread off its CPU, which somebody else may have."""
        queue = thread.queue
        assert queue is not None
        self._account(queue)
        if thread.running:
            self._end(queue)
        else:
            self._unwait(queue, thread)
        thread.queue = None
        thread.vruntime -= queue.clock
        self._discount(thread)
        self._fill(queue)

    def set_weight(self, thread: ScheduledThread, weight: int) -> None:
        """Give a thread another weight, from now on."""
        if thread.queue is not None:
            self._account(thread.queue)
            self._discount(thread)
        thread.weight = weight
        if thread.queue is not None:
            self._count(thread)
            self._arm(thread.queue)

    def _count(self, thread: ScheduledThread) -> None:
        """Count a thread on its CPU: where CPUs are alike, those of the job keep apart from each other first."""
        self._hardware.placement.put(thread.cpu, thread.weight, of_job=thread.of_job)

    def _discount(self, thread: ScheduledThread) -> None:
        """Count a thread no longer on its CPU."""
        self._hardware.placement.release(thread.cpu, thread.weight, of_job=thread.of_job)

    # -- one CPU

    def _account(self, queue: RunQueue, without: Quota | None = None) -> None:
        """Bring the time of the thread that runs, and the queue's clock, up to now.

        The clock goes on without threads that are throttled; `without` is a quota of which they were so until now.
        """
        now, current = self._env.now, queue.current
        least = [thread.vruntime for thread in queue.ready if without is None or thread.quota is not without]
        if current is not None:
            ran_s = now - current.since_s
            current.ran_s += ran_s
            current.vruntime += ran_s * NORMAL / current.weight
            current.since_s = now
            least.append(current.vruntime)
        if least:
            queue.clock = max(queue.clock, min(least))

    def _start(self, queue: RunQueue, thread: ScheduledThread) -> None:
        now = self._env.now
        thread.cpu_wait_s += now - thread.since_s
        thread.since_s = now
        thread.running = True
        queue.current = thread
        if thread.of_job:
            self._hardware.begin(queue.cpu)
        self._arm(queue)
        thread.begin()
        if thread.quota is not None:
            thread.quota.begin()

    def _end(self, queue: RunQueue) -> ScheduledThread:
        """Take the thread that runs off the CPU; its time is accounted for."""
        thread = queue.current
        assert thread is not None
        queue.current = None
        thread.running = False
        thread.since_s = self._env.now
        if thread.of_job:
            self._hardware.end(queue.cpu)
        if thread.quota is not None:
            thread.quota.end()
        return thread

    def _preempt(self, queue: RunQueue, thread: ScheduledThread) -> None:
        """Let a thread have the CPU in place of the one that runs."""
        last = self._end(queue)
        self._wait(queue, last)
        self._start(queue, thread)
        last.halt()

    def _wait(self, queue: RunQueue, thread: ScheduledThread) -> None:
        queue.waiting.append(thread)
        self._crowded[queue.cpu.cpu_id] = queue

    def _unwait(self, queue: RunQueue, thread: ScheduledThread) -> None:
        queue.waiting.remove(thread)
        if not queue.waiting:
            del self._crowded[queue.cpu.cpu_id]

    def _fill(self, queue: RunQueue) -> None:
        """Give a CPU that nobody runs on to the thread that waited, or to one from elsewhere."""
        if queue.current is not None:
            self._arm(queue)
            return
        best = _least(queue.ready)
        if best is not None:
            self._unwait(queue, best)
            self._start(queue, best)
        else:
            self._pull(queue)

    def _arm(self, queue: RunQueue) -> None:
        """Have the CPU looked at again at the tick at which the thread that waited is to go on."""
        queue.tick += 1
        best, current = _least(queue.ready), queue.current
        if best is None or current is None:
            return
        if queue.phase_s < 0.0:
            queue.phase_s = self._ticks.random() * self._tick_s
        now = self._env.now
        due_s = current.since_s + max(0.0, best.vruntime - current.vruntime) * current.weight / NORMAL
        n = math.ceil((max(due_s, now) - queue.phase_s) / self._tick_s - _TIE)
        at_s = queue.phase_s + n * self._tick_s
        if at_s <= now + _TIE * self._tick_s:
            at_s += self._tick_s
        tick, number = self._env.timeout(at_s - now), queue.tick
        assert tick.callbacks is not None
        tick.callbacks.append(lambda _event: self._on_tick(queue, number))

    def _on_tick(self, queue: RunQueue, number: int) -> None:
        if number != queue.tick:
            return
        self._account(queue)
        best, current = _least(queue.ready), queue.current
        if best is not None and current is not None and best.vruntime <= current.vruntime + _TIE:
            self._unwait(queue, best)
            self._preempt(queue, best)
        else:
            self._arm(queue)

    # -- quotas

    def _throttle(self) -> None:
        """Take the threads of groups that have used up their quota off their CPUs."""
        for queue in self._queues.values():
            if queue.current is not None and queue.current.is_throttled:
                self._account(queue)
                last = self._end(queue)
                self._wait(queue, last)
                self._fill(queue)
                last.halt()

    def _unthrottle(self, name: str) -> None:
        """Let the threads of a group that has some of its quota again go on: where others are by now, as if woken."""
        quota = self._quotas[name]
        for queue in list(self._crowded.values()):
            self._account(queue, without=quota)
            for thread in queue.waiting:
                if thread.quota is quota:
                    thread.vruntime = max(thread.vruntime, queue.clock)
            self._fill(queue)

    # -- between CPUs

    def _move(self, thread: ScheduledThread, queue: RunQueue) -> None:
        """Take a thread that waits to another CPU."""
        old = thread.queue
        assert old is not None
        self._account(old)
        self._account(queue)
        self._unwait(old, thread)
        self._discount(thread)
        thread.vruntime += queue.clock - old.clock
        thread.cpu, thread.queue = queue.cpu, queue
        self._count(thread)
        self._arm(old)
        if queue.current is None:
            self._start(queue, thread)
        else:
            self._wait(queue, thread)
            self._arm(queue)

    def _pull(self, queue: RunQueue) -> None:
        """Give an idle CPU a thread that waits elsewhere, from the nearest CPU with most load."""
        here, distances = queue.cpu, self._hardware.machine.distances
        found: tuple[tuple[float, ...], ScheduledThread] | None = None
        for other in self._crowded.values():
            thread = next((thread for thread in other.ready if thread.may_use(here)), None)
            if thread is None:
                continue
            cpu = other.cpu
            far = 0 if cpu.cache_id == here.cache_id else int(distances[here.nid, cpu.nid])
            key = (far, -other.load, cpu.cpu_id)
            if found is None or key < found[0]:
                found = (key, thread)
        if found is not None:
            self._move(found[1], queue)

    def _balance_domain(self, queues: Sequence[RunQueue]) -> Generator[Event, Any, None]:
        """Balance a domain again and again."""
        for passes in range(1, 1 << 62):
            yield self._env.timeout(len(queues) * _MS * (0.5 + self._ticks.random()))
            crowded = [queue for queue in queues if queue.cpu.cpu_id in self._crowded and queue.ready]
            if not crowded:
                continue
            wanted = self._wanted()
            for queue in queues:
                if queue.current is None and (queue.waiting or queue.cpu.cpu_id in wanted):
                    self._fill(queue)
            if passes % self._busy_factor == 0:
                self._balance(queues)

    def _wanted(self) -> Container[int]:
        """Return the CPUs, by their ids, that threads may use which wait."""
        wanted: set[int] = set()
        for queue in self._crowded.values():
            for thread in queue.ready:
                if thread.allowed is None:
                    return self._queues
                wanted.update(thread.allowed)
        return wanted

    def _balance(self, queues: Sequence[RunQueue]) -> None:
        """Let one thread move from the CPU with most load to one with less than the mean."""
        crowded = [queue for queue in queues if queue.ready]
        if not crowded:
            return
        busiest = max(crowded, key=lambda queue: (queue.load, -queue.cpu.cpu_id))
        most, mean = busiest.load, sum(queue.load for queue in queues) / len(queues)
        for queue in sorted(queues, key=lambda queue: (queue.load, queue.cpu.cpu_id)):
            thread = next((thread for thread in busiest.ready if thread.may_use(queue.cpu)), None)
            if thread is None or queue is busiest:
                continue
            excess = min(most - mean, mean - queue.load)
            if excess <= 0.0:
                continue
            if thread.weight / 2**queue.failed <= excess:
                queue.failed = 0
                self._move(thread, queue)
                return
            queue.failed += 1


def _least(threads: Sequence[ScheduledThread]) -> ScheduledThread | None:
    return min(threads, key=lambda thread: thread.vruntime) if threads else None


def _domains(cpus: Sequence[Cpu]) -> list[list[Cpu]]:
    """Return the domains of balancing that have two CPUs or more: those of each cache, of each node, and all."""
    found: dict[tuple[int, ...], list[Cpu]] = {}
    for key in ("cache_id", "nid", None):
        of_key: dict[Any, list[Cpu]] = {}
        for cpu in cpus:
            of_key.setdefault(key and getattr(cpu, key), []).append(cpu)
        for domain in of_key.values():
            if len(domain) > 1:
                found[tuple(cpu.cpu_id for cpu in domain)] = domain
    return list(found.values())
