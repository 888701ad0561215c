"""The CPU scheduler, where threads want the same CPU: turns by weight, wake-ups, idle CPUs that pull, and balancing.

A CPU runs one thread at a time, which EEVDF chooses (kernel/sched/fair.c of Linux 6.18). Each thread has a virtual
runtime: its CPU time over its weight. A thread is eligible if it is not ahead of the weighted mean of all threads that
want the CPU. The eligible thread with the earliest deadline goes on. The deadline is the virtual runtime at the start
of its slice plus a slice over its weight. The choice is made at each tick (`time_slice`) and at wake-ups.
RUN_TO_PARITY, by which a thread keeps the CPU for its slice, is left out: measured waits are those without it. CFS,
before 6.6, gives the same shares and chooses a little otherwise.

A thread that falls asleep behind the mean has that lag again when it wakes, up to two slices or a tick. The lead of a
thread ahead of the mean melts while the others run (the delayed dequeue). A woken thread takes the CPU at once if it is
the one that EEVDF would choose: one that is owed time, or one whose deadline is no later than that of a thread whose
slice has ended. Else it waits for the next tick. Groups with a quota are throttled when it is used up, until the next
period (`sim.engine.quota`).

A woken thread goes to an idle core of its node, its previous one first, then an idle hardware thread, then the least
loaded (`models.machine.placement`). A CPU that falls idle pulls a waiting thread that may run there, from its own
cache, then node, then the others. If the waiting threads may not run there, and three tries have failed, it gets the
thread that runs before them (active balance, cache_nice_tries + 2).

Balancing in a domain (the CPUs of a cache, of a node, all) is tried every n ms for idle CPUs and `busy_factor` times
less often for others, n being its CPUs, give or take a half (sd_init, kernel/sched/topology.c: min_interval). One
thread moves from the CPU with most load to one with less than the mean. Its weight must be no more than the imbalance
(detach_tasks), where the weight is halved for each earlier failure. Only those CPUs of a domain count that the threads
may use (`balance_masks`). So CPUs of a mask are balanced like a machine of their own. The kernel gets there by other
means (idle CPUs that pull, group_imbalance, active balance). After a group was throttled its CPUs are balanced half as
often, and failures are counted anew: they were found idle and balanced meanwhile (load_balance doubles balance_interval
and clears nr_balance_failed). Nothing is tried while nobody waits. Left out: cache-hot threads, and groups' own
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from models.loads.groups import Group
from models.machine import Cpu
from models.scenario.case import Case
from models.scenario.streams import Streams
from sim.engine.balancing import Balancing
from sim.engine.hardware import Hardware
from sim.engine.quota import Quota
from sim.engine.run_queue import RunQueue, base_slice_s
from sim.engine.threads import Thread


class Scheduler:
    """The CPUs of a machine, shared by the threads of the job and others."""

    def __init__(
        self,
        hardware: Hardware,
        tick_s: float,
        busy_factor: int,
        groups: Mapping[str, Group],
        ticks: Random,
        *,
        balance_masks: bool = True,
    ) -> None:
        self._hardware = hardware
        self._env = hardware.env
        self._groups = groups
        cpus = hardware.machine.cpus
        slice_s = base_slice_s(len(cpus), tick_s)
        self._queues = {cpu.cpu_id: RunQueue(cpu, tick_s, slice_s, ticks.random) for cpu in cpus}
        self._crowded: dict[int, RunQueue] = {}  # where threads wait
        on_empty, on_refill = self._throttle, self._refill
        self._quotas = {
            name: Quota(self._env, group.quota, group.period, partial(on_empty, name), partial(on_refill, name))
            for name, group in groups.items()
            if group.quota is not None
        }
        self._balancing = Balancing(
            self._env, self._queues, busy_factor, balance_masks, ticks, fill=self._fill, move=self._move
        )

    @classmethod
    def of(cls, case: Case, hardware: Hardware, streams: Streams) -> Scheduler:
        """Return the CPUs of a case."""
        kernel = case.kernel
        return cls(
            hardware,
            kernel.time_slice,
            kernel.busy_factor,
            case.groups,
            streams["ticks"],
            balance_masks=kernel.balance_masks,
        )

    def thread(
        self,
        allowed: tuple[int, ...] | None = None,
        *,
        bound: bool = False,
        nice: int = 0,
        group: str | None = None,
        of_job: bool = True,
    ) -> Thread:
        """Return a new thread, asleep: `allowed` are its CPUs by id (None: all), less those its group may not use."""
        quota = None
        if group is not None:
            allowed, quota = self._groups[group].limit(allowed), self._quotas.get(group)
        return Thread(self, self._hardware, allowed, bound=bound, nice=nice, quota=quota, of_job=of_job)

    def charge(self, group: str | None, thread: Thread) -> None:
        """Take the CPU time of a thread off the rest of its group's quota."""
        if group in self._quotas:
            self._quotas[group].charge(thread.ran_s)

    # -- threads

    def wake(self, thread: Thread, nid: int | None, previous: Cpu | None) -> None:
        """Put a sleeping thread on a CPU of a node (None: of any), and let it run or wait there."""
        if thread.ahead is not None:
            self._queues[thread.cpu.cpu_id].account(self._env.now)
        thread.cpu = self._hardware.placement.choose(nid, previous, thread.allowed)
        thread.awake = True
        thread.since_s = self._env.now
        thread.bound_nid = thread.cpu.nid if thread.bound else None
        self._count(thread)
        queue = self._queue_of(thread)
        if thread.quota is not None and thread.quota.used_up:
            thread.is_throttled = True
            self._wait(queue, thread)
            return
        queue.account(self._env.now)
        queue.join(thread)
        self._settle(queue, thread)

    def sleep(self, thread: Thread) -> None:
        """Take a thread off its CPU, so that another can have it."""
        queue = self._queue_of(thread)
        queue.account(self._env.now)
        if thread.running:
            self._end(queue)
        else:
            self._unwait(queue, thread)
        if not thread.is_throttled:
            queue.leave(thread, asleep=True)
        thread.awake = thread.is_throttled = False
        self._discount(thread)
        self._fill(queue)

    def set_weight(self, thread: Thread, weight: int) -> None:
        """Give a thread another weight, from now on."""
        if not thread.awake or thread.is_throttled:
            thread.lag *= thread.weight / weight
            if thread.awake:
                self._discount(thread)
            thread.weight = weight
            if thread.awake:
                self._count(thread)
            return
        queue = self._queue_of(thread)
        queue.account(self._env.now)
        self._discount(thread)
        queue.reweigh(thread, weight)
        self._count(thread)
        self._arm(queue)

    def _queue_of(self, thread: Thread) -> RunQueue:
        return self._queues[thread.cpu.cpu_id]

    def _count(self, thread: Thread) -> None:
        """Count a thread on its CPU: where CPUs are alike, those of the job keep apart from each other first."""
        self._hardware.placement.put(thread.cpu, thread.weight, of_job=thread.of_job)

    def _discount(self, thread: Thread) -> None:
        """Count a thread no longer on its CPU."""
        self._hardware.placement.release(thread.cpu, thread.weight, of_job=thread.of_job)

    # -- one CPU

    def _settle(self, queue: RunQueue, thread: Thread) -> None:
        """Let a thread that has joined a queue run or wait there."""
        if queue.current is None and not queue.waiting:
            self._start(queue, thread)
            return
        self._wait(queue, thread)
        if queue.current is None:
            self._fill(queue)
        elif queue.choose() is thread:
            self._preempt(queue, thread)
        else:
            self._arm(queue)

    def _start(self, queue: RunQueue, thread: Thread) -> None:
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

    def _end(self, queue: RunQueue) -> Thread:
        """Take the thread that runs off the CPU, and account for its time."""
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

    def _preempt(self, queue: RunQueue, thread: Thread) -> None:
        """Let a thread that waits have the CPU in place of the one that runs."""
        self._unwait(queue, thread)
        last = self._end(queue)
        self._wait(queue, last)
        self._start(queue, thread)
        last.halt()

    def _wait(self, queue: RunQueue, thread: Thread) -> None:
        queue.waiting.append(thread)
        self._crowded[queue.cpu.cpu_id] = queue
        if not thread.is_throttled:
            self._balancing.wake(queue, thread.allowed)

    def _unwait(self, queue: RunQueue, thread: Thread) -> None:
        queue.waiting.remove(thread)
        if not queue.waiting:
            del self._crowded[queue.cpu.cpu_id]

    def _fill(self, queue: RunQueue, *, active: bool = False) -> None:
        """Give a CPU that nobody runs on to a thread that waits there, or to one from elsewhere (`_pull`)."""
        if queue.current is not None:
            self._arm(queue)
            return
        best = queue.choose()
        if best is not None:
            self._unwait(queue, best)
            self._start(queue, best)
        else:
            self._pull(queue, active=active)

    def _arm(self, queue: RunQueue) -> None:
        """Have the CPU looked at again at the tick at which a thread that waits may go on."""
        queue.tick += 1
        now = self._env.now
        at_s = queue.next_tick_s(now)
        if at_s is None:
            return
        tick, number = self._env.timeout(at_s - now), queue.tick
        assert tick.callbacks is not None
        tick.callbacks.append(lambda _event: self._on_tick(queue, number))

    def _on_tick(self, queue: RunQueue, number: int) -> None:
        if number != queue.tick:
            return
        queue.account(self._env.now)
        best = queue.choose()
        if best is not None and best is not queue.current:
            self._preempt(queue, best)
        else:
            self._arm(queue)

    # -- quotas

    def _throttle(self, name: str) -> None:
        """Take the threads of a group that has used up its quota off their CPUs."""
        quota = self._quotas[name]
        left: list[tuple[RunQueue, Thread | None]] = []
        for queue in self._queues.values():
            current = queue.current
            own = [thread for thread in queue.waiting if thread.quota is quota and not thread.is_throttled]
            if current is not None and current.quota is quota:
                queue.account(self._env.now)
                self._end(queue)
                queue.waiting.append(current)
                self._crowded[queue.cpu.cpu_id] = queue
                own.append(current)
            elif own:
                queue.account(self._env.now)
            for thread in own:
                thread.is_throttled = True
                queue.leave(thread, asleep=False)
            if own:
                left.append((queue, current if current in own else None))
        for queue, last in left:
            self._fill(queue)
            self._balancing.slow_down(queue)
            if last is not None:
                last.halt()

    def _refill(self, name: str) -> None:
        """Let the threads of a group that has some of its quota again go on: where others are by now, as if woken."""
        quota = self._quotas[name]
        for queue in list(self._crowded.values()):
            own = [thread for thread in queue.waiting if thread.quota is quota and thread.is_throttled]
            if not own:
                continue
            queue.account(self._env.now)
            for thread in own:
                queue.join(thread)
                thread.is_throttled = False
                self._balancing.wake(queue, thread.allowed)
            if queue.current is None:
                self._fill(queue)
            elif (best := queue.choose()) is not None and best is not queue.current:
                self._preempt(queue, best)
            else:
                self._arm(queue)

    # -- between CPUs

    def _move(self, thread: Thread, queue: RunQueue) -> None:
        """Take a thread to another CPU: one that waits, or one that runs (active balance)."""
        now, old = self._env.now, self._queue_of(thread)
        old.account(now)
        queue.account(now)
        ran = thread.running
        if ran:
            self._end(old)
        else:
            self._unwait(old, thread)
        deadline_in = thread.deadline - thread.vruntime
        old.leave(thread, asleep=False)
        self._discount(thread)
        thread.cpu = queue.cpu
        self._count(thread)
        queue.join(thread, deadline_in)
        self._settle(queue, thread)
        if ran:
            thread.halt()
        self._fill(old)

    def _pull(self, queue: RunQueue, *, active: bool) -> None:
        """Give an idle CPU a thread that waits elsewhere, from the nearest CPU with most load.

        If none of those that wait may come, `active` balancing takes one that runs where others wait.
        """
        here, distances = queue.cpu, self._hardware.machine.distances
        found: tuple[tuple[float, ...], Thread] | None = None
        for other in self._crowded.values():
            ready = other.ready
            thread = _movable(ready, here)
            is_running = thread is None
            if thread is None and active and ready and other.current is not None and other.current.may_use(here):
                thread = other.current
            if thread is None:
                continue
            cpu = other.cpu
            far = 0 if cpu.cache_id == here.cache_id else int(distances[here.nid, cpu.nid])
            key = (is_running, far, -other.load, cpu.cpu_id)
            if found is None or key < found[0]:
                found = (key, thread)
        if found is not None:
            self._move(found[1], queue)


def _movable(threads: Sequence[Thread], cpu: Cpu) -> Thread | None:
    return next((thread for thread in threads if thread.may_use(cpu)), None)
