"""The framework over simulated time: tasks from fork to join, as the posted code does it.

The caller computes the number of works and the chunk size, queues the helpers on an unbound workqueue, takes chunks
like any of them, and sleeps until the last work has ended. Rules and figures are those of a kernel version
(`models.kernels`), the work that of a client (`models.clients`).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from functools import partial
from typing import Any

from simpy import Environment, Event, Resource
from simpy.events import ProcessGenerator

from models.clients import Step, Task
from models.kernels import Kernel
from models.machine import Cpu, Rates
from models.policies import Chunk, ChunkQueue, Policy
from models.results.run import Record, Slice
from models.scenario.streams import Streams
from sim.engine.hardware import Hardware
from sim.engine.scheduler import Scheduler
from sim.engine.threads import Thread


class TaskLock:
    """The lock of a task, given in the order of arrival. A waiter gets it a hand-over later."""

    def __init__(self, env: Environment, hold_s: float, handover_s: float) -> None:
        self._env = env
        self._hold_s = hold_s
        self._handover_s = handover_s
        self._free_at = 0.0

    def pass_through(self) -> tuple[float, float]:
        """Queue for the lock. Return (seconds until it is given back, seconds of them waited for others)."""
        now = self._env.now
        wait_s = self._free_at - now
        wait_s = wait_s + self._handover_s if wait_s > 0.0 else 0.0
        self._free_at = now + wait_s + self._hold_s
        return wait_s + self._hold_s, wait_s


class _Running:
    """One task under way. `helper_nids` are the nodes on which its helpers are queued (None: anywhere)."""

    def __init__(
        self,
        env: Environment,
        number: int,
        task: Task,
        queue: ChunkQueue,
        lock: TaskLock,
        helper_nids: list[int | None],
    ) -> None:
        works = 1 + len(helper_nids)
        self.number = number
        self.helper_nids = helper_nids
        self.task = task
        self.queue = queue
        self.nids = queue.nids
        self.stream = task.stream if works > 1 or task.serial is None else task.serial
        self.lock = lock
        self.walk = Resource(env) if task.iterate_s else None  # the lock, where it is held for longer than a moment
        self.unfinished = set(range(works))  # works that are waited for
        self.last_ended: Event = env.event()  # its value is the CPU on which the last work ended
        self.helper_cpu: Cpu | None = None  # of the last helper that ended
        self.waiting = set(range(1, works))  # helpers that have not started
        self.ended_at: list[tuple[int, float]] = []  # (worker, time) in order
        self.working_s = [0.0] * works
        self.handed_out = 0  # client units of chunks that did not fail
        self.failed = False
        self.helpers: dict[int, Thread] = {}  # those that have started and not ended
        self.helper_ended: Event = env.event()  # the next helper
        self.nice: dict[int, int] = {}  # of helpers whose nice level was changed
        self.n_at_work = 0  # works that are at a chunk
        self.none_at_work: Event = env.event()  # when the last of those has done it
        self.left = [0] * works  # client units of a work's chunk that it has not begun, while it is at one

    def cancel_waiting(self) -> None:
        """Take helpers that have not started out of the task."""
        self.unfinished -= self.waiting
        self.waiting.clear()


class Framework:
    """Runs tasks on simulated hardware."""

    def __init__(
        self,
        hardware: Hardware,
        cpus: Scheduler,
        kernel: Kernel,
        policy: Policy,
        streams: Streams,
        record: Record,
        *,
        nice: int = 0,
        group: str | None = None,
    ) -> None:
        self._env = hardware.env
        self._hardware = hardware
        self._cpus = cpus
        self._nice = nice  # of callers
        self._group = group  # of callers
        self._machine = hardware.machine
        self._kernel = kernel
        self._record = record
        self._policy = policy
        self._pull_distance = kernel.pull_distance(hardware.machine)
        self._start_latency = streams["start_latency"]
        self._chunk_noise = streams["chunk_noise"]
        self._wake = streams["wake"]
        self._late = streams["late_start"]
        rates = hardware.machine.rates
        self._run_factor = run_factor(rates, streams)
        self._noise = _lognormal(rates.chunk_noise)

    def run_steps(self, caller: Thread, steps: Iterable[Step]) -> ProcessGenerator:
        """Do a caller's steps until a task returns an error. Its CPU is free at the end."""
        for step in steps:
            if isinstance(step, Task):
                done = yield from self.run(caller, step)
                if not done:
                    break
            else:
                began_s = self._env.now
                yield self._env.timeout(step.seconds)
                self._record.alone_s[step.what] = self._record.alone_s.get(step.what, 0.0) + step.seconds
                if self._record.with_slices:
                    self._record.slices.append(
                        Slice("alone", -1, 0, caller.cpu.cpu_id, None, None, None, began_s, self._env.now)
                    )
        caller.sleep()

    def run(self, caller: Thread, task: Task) -> Generator[Event, Any, bool]:
        """Run one task (ktask_run_numa, padata_do_multithreaded) in the caller's name. Return False for an error."""
        env, kernel, record, entries = self._env, self._kernel, self._record, task.entries
        size = sum(entry.size for entry in entries)
        if not size:
            return True
        began_s = env.now
        wanted = self._policy.n_works(size, entries[0].nid) if task.helps else 1
        nids = self._policy.place_helpers(entries, wanted, caller.nid)
        if task.bound:
            nids = [entries[0].nid] * len(nids)
        works = 1 + len(nids)
        lock = TaskLock(env, kernel.lock_hold_time, kernel.lock_handover_time)
        running = _Running(env, record.n_tasks, task, self._policy.queue(entries, works), lock, nids)
        record.n_tasks += 1
        if works > 1:
            yield env.timeout(kernel.setup_time)
            for i, nid in enumerate(nids, 1):
                if kernel.start == "kthread" and kernel.kthread_time:
                    yield env.timeout(kernel.kthread_time)
                env.process(self._helper(running, i, nid))
        yield from self._work(running, 0, caller)
        self._end(running, 0, caller.cpu)
        if self._policy.cancels and not running.queue.size_left:
            running.cancel_waiting()
        if running.unfinished:
            yield from self._sleep(running, caller)
        elif running.helper_cpu is not None and not caller.bound and self._wake.random() < kernel.stray_block:
            caller.sleep()
            caller.wake(self._node_after_wakeup(caller, running.helper_cpu), caller.cpu)
        if running.failed:
            yield from self._undo(running, caller)
        else:
            running.queue.check_all_taken()
        self._policy.task_done(works, size * self._policy.unit_bytes, env.now - began_s, nids)
        self._sum_up(running)
        return not running.failed

    def _helper(self, running: _Running, index: int, nid: int | None) -> ProcessGenerator:
        """Run one helper: queued, started on an idle worker of the node or anywhere, at work until no chunk is left."""
        env = self._env
        queued_at = env.now
        yield from self._wait_for_worker()
        is_last = index == len(running.helper_nids)
        if is_last and running.task.keeps_mmap_lock and self._late.random() < self._kernel.late_start:
            while running.n_at_work:
                yield running.none_at_work
        if index not in running.waiting:
            return  # cancelled
        nice = running.nice.get(index, self._policy.priorities.nice(self._nice))
        group = self._group if self._policy.helper_group == "caller" else None
        helper = self._cpus.thread(self._policy.helper_cpus, bound=nid is not None, nice=nice, group=group)
        helper.pinned = self._kernel.pinned
        running.helpers[index] = helper
        helper.wake(nid)
        yield from helper.on_cpu()
        if index not in running.waiting:  # cancelled
            helper.sleep()
            del running.helpers[index]
            return
        running.waiting.remove(index)
        self._record.worker(index).start_wait_s += env.now - queued_at
        self._note("queued", running, index, None, queued_at)
        yield from self._work(running, index, helper)
        helper.sleep()
        del running.helpers[index]
        if self._policy.helper_group == "charged":
            self._cpus.charge(self._group, helper)
        self._end(running, index, helper.cpu)

    def _wait_for_worker(self) -> ProcessGenerator:
        """Return the time from queueing a work to its start."""
        mean, cv = self._kernel.start_latency, self._kernel.start_latency_cv
        if mean and cv:
            yield self._env.timeout(self._start_latency.gammavariate(1.0 / (cv * cv), mean * cv * cv))
        elif mean:
            yield self._env.timeout(mean)

    def _work(self, running: _Running, index: int, thread: Thread) -> ProcessGenerator:
        """Take chunks until none is left (ktask_thread)."""
        env, network = self._env, self._hardware.network
        totals, with_slices = self._record.worker(index), self._record.with_slices
        waited_s = thread.cpu_wait_s
        entry = self._first_entry(running, index, thread.cpu)
        while True:
            asked_at = env.now
            if running.walk is None:
                delay_s, wait_s = running.lock.pass_through()
                if delay_s:
                    if not network.skip(delay_s):
                        yield env.timeout(delay_s)
                    totals.lock_wait_s += wait_s
                    if with_slices:
                        self._note("lock", running, index, thread.cpu, asked_at)
                chosen, chunk = self._take(running, index, entry, thread.cpu)
            else:
                with running.walk.request() as turn:
                    yield turn
                    totals.lock_wait_s += env.now - asked_at
                    chosen, chunk = self._take(running, index, entry, thread.cpu)
                    steps = 0 if chunk is None else chunk.size
                    yield env.timeout(self._kernel.lock_hold_time + running.task.iterate_s * steps)
                self._note("lock", running, index, thread.cpu, asked_at)
            if chosen is None:
                totals.cpu_wait_s += thread.cpu_wait_s - waited_s
                return
            if chosen != entry and self._moves(running, index, entry, chosen, thread.cpu):
                thread.sleep()
                nid = running.nids[chosen]
                if self._kernel.migration == "requeue":
                    nid = yield from self._queue_again(running, index, nid)
                thread.bound = nid is not None
                thread.wake(nid)
            entry = chosen
            if chunk is None:
                continue
            begin_s = env.now
            running.n_at_work += 1
            done = yield from self._do_chunk(running, index, thread, chunk)
            running.n_at_work -= 1
            if not running.n_at_work and running.none_at_work.callbacks:
                running.none_at_work.succeed()
                running.none_at_work = env.event()
            took_s = env.now - begin_s
            totals.n_chunks += 1
            totals.size_bytes += done * self._policy.unit_bytes
            running.working_s[index] += took_s
            if done < chunk.size:
                self._record.n_failed += 1
                if self._kernel.stops_at_error:
                    running.failed = True
                    running.queue.stop()
            else:
                running.handed_out += chunk.size
                running.queue.done(index, chunk.size, took_s)

    def _take(self, running: _Running, index: int, entry: int, cpu: Cpu) -> tuple[int | None, Chunk | None]:
        """Return where a work at `entry` goes on, and its next chunk there.

        No entry ends the work. There is no chunk yet for one that is to be queued again on another node.
        """
        if self._kernel.migration == "requeue":
            chosen = running.queue.choose(entry, cpu.nid)
            if chosen is None:
                return None, None
            if self._moves(running, index, entry, chosen, cpu):
                return chosen, None
            entry = chosen
        chunk = running.queue.take(entry, index, cpu.nid)
        return (None, None) if chunk is None else (chunk.entry, chunk)

    def _moves(self, running: _Running, index: int, entry: int, chosen: int, cpu: Cpu) -> bool:
        """Return whether a work that goes on at another entry changes nodes. The caller, a user thread, never does."""
        nid = running.nids[chosen]
        if not index or chosen == entry or self._kernel.migration == "none":
            return False
        if self._kernel.migration == "requeue":
            return nid != running.nids[entry]
        return nid != cpu.nid and nid in self._machine.cpu_nids

    def _queue_again(self, running: _Running, index: int, wanted: int | None) -> Generator[Event, Any, int | None]:
        """Queue a helper's work again for data of another node, wait for a worker, and return its node."""
        slip = self._kernel.as_posted and self._kernel.asks_old_node
        nid = self._policy.move_helper(running.helper_nids[index - 1], wanted, asks_old=slip)
        running.helper_nids[index - 1] = nid
        queued_at = self._env.now
        yield from self._wait_for_worker()
        self._record.worker(index).start_wait_s += self._env.now - queued_at
        self._note("queued", running, index, None, queued_at)
        return nid

    def _do_chunk(self, running: _Running, index: int, thread: Thread, chunk: Chunk) -> Generator[Event, Any, int]:
        """Do the client's work on a chunk. Return its size, or the part before its failure."""
        env, hardware, task, stream = self._env, self._hardware, running.task, running.stream
        unit = self._policy.unit_bytes
        nid = running.nids[chunk.entry]
        size = chunk.size
        if task.fails_at is not None and chunk.start <= task.fails_at < chunk.start + size:
            size = task.fails_at - chunk.start
            if not size:
                return 0
        start = chunk.start
        for nids, part in task.memory.pieces(nid, thread.nid, size):
            begin_s, waited_before_s = env.now, thread.cpu_wait_s
            running.left[index] = chunk.start + size - start - part
            work = part * unit * self._run_factor
            if self._machine.rates.chunk_noise:
                work *= self._chunk_noise.lognormvariate(*self._noise)
            if thread.running:  # as nearly always: without a generator for it
                flow = thread.start(hardware.route(thread.cpu, nids, stream), work)
                yield flow
                left = thread.left(flow)
            else:
                left = work
            if left > 0.0:
                yield from thread.run(partial(hardware.route, nids=nids, stream=stream), left)
            cpu = thread.cpu
            if stream.locks:
                route = hardware.route(cpu, nids, stream)
                granted = min(resource.granted for resource in hardware.locks_of(nids, stream))
                took_s = env.now - begin_s - (thread.cpu_wait_s - waited_before_s)
                waited_s = max(0.0, min(took_s - work / route.cap, took_s * (1.0 - granted)))
                self._record.worker(index).client_lock_wait_s += waited_s
            if self._kernel.chunk_time and not hardware.network.skip(self._kernel.chunk_time):
                yield env.timeout(self._kernel.chunk_time)
            if self._record.with_slices:
                memory_nid = nids[0] if len(nids) == 1 else None
                place = (cpu.cpu_id, memory_nid, start * unit, part * unit)
                self._record.slices.append(
                    Slice("chunk", running.number, index, *place, begin_s, env.now, stream.traffic)
                )
            start += part
        running.left[index] = 0
        return size

    def _undo(self, running: _Running, caller: Thread) -> ProcessGenerator:
        """Undo all finished chunks after an error, by the caller alone, where the version does that.

        The client's own function undoes the part of a failed chunk, at no cost here.
        """
        if not self._kernel.undo or not running.task.undo_bytes_per_s or not running.handed_out:
            return
        began_s = self._env.now
        seconds = running.handed_out * self._policy.unit_bytes / running.task.undo_bytes_per_s
        yield self._env.timeout(seconds)
        self._record.alone_s["undo"] = self._record.alone_s.get("undo", 0.0) + seconds
        self._note("undo", running, 0, caller.cpu, began_s)

    def _first_entry(self, running: _Running, index: int, cpu: Cpu) -> int:
        """Return the entry of a work's number, or of its node, or one of no node, or the first."""
        if self._kernel.first_entry == "number":
            return index % len(running.nids)
        return next((running.nids.index(nid) for nid in (cpu.nid, None) if nid in running.nids), 0)

    def _end(self, running: _Running, index: int, cpu: Cpu) -> None:
        running.ended_at.append((index, self._env.now))
        running.unfinished.remove(index)
        if index:
            running.helper_cpu = cpu
            if running.helper_ended.callbacks:  # somebody waits
                running.helper_ended.succeed()
                running.helper_ended = self._env.event()
            if not running.unfinished:
                running.last_ended.succeed(cpu)

    def _sleep(self, running: _Running, caller: Thread) -> ProcessGenerator:
        """Wait for the last helper. Its wake-up may pull the caller over to its node (wake-affine)."""
        env, kernel = self._env, self._kernel
        slept_at = env.now
        caller.sleep()
        if self._policy.priorities.raises:
            env.process(self._raise_helpers(running))
        waker: Cpu = yield running.last_ended
        nid = self._node_after_wakeup(caller, waker)
        if kernel.wake_latency:
            yield env.timeout(kernel.wake_latency)
        caller.wake(nid, caller.cpu)
        yield from caller.on_cpu()
        self._note("asleep", running, 0, None, slept_at)

    def _raise_helpers(self, running: _Running) -> ProcessGenerator:
        """Give one helper after the other the caller's nice level while the caller sleeps, each until it has ended."""
        unit = self._policy.unit_bytes
        while running.unfinished:
            awake = {i: helper.work_left() / unit for i, helper in running.helpers.items()}
            left = {i: running.left[i] + awake.get(i, 0.0) for i in running.unfinished}
            index = self._policy.priorities.next_raised(left)
            running.nice[index] = self._nice
            if index in running.helpers:
                running.helpers[index].set_nice(self._nice)
            while index in running.unfinished:
                yield running.helper_ended

    def _node_after_wakeup(self, caller: Thread, waker: Cpu) -> int:
        """Return where the caller goes on: at home, or on the waker's node if that is near enough (wake-affine).

        The kernel does not even ask if the waker's CPU is one that the caller may not use (select_task_rq_fair).
        """
        home = caller.nid
        if caller.bound or waker.nid == home or self._machine.distances[home, waker.nid] > self._pull_distance:
            return home
        if caller.allowed is not None and waker.cpu_id not in caller.allowed:
            return home
        return waker.nid if self._wake.random() < self._kernel.wake_pull else home

    def _sum_up(self, running: _Running) -> None:
        last_s = running.ended_at[-1][1]
        for index, ended_s in running.ended_at:
            totals = self._record.worker(index)
            totals.end_wait_s += last_s - ended_s
            totals.working_s += running.working_s[index]
        if any(running.working_s):
            self._record.imbalance_sum += max(running.working_s) * len(running.working_s) / math.fsum(running.working_s)

    def _note(self, kind: str, running: _Running, index: int, cpu: Cpu | None, begin_s: float) -> None:
        if self._record.with_slices:
            cpu_id = None if cpu is None else cpu.cpu_id
            self._record.slices.append(
                Slice(kind, running.number, index, cpu_id, None, None, None, begin_s, self._env.now)
            )


def run_factor(rates: Rates, streams: Streams) -> float:
    """Return by how much all work of a run takes longer: the first number of its own stream."""
    return streams["run_noise"].lognormvariate(*_lognormal(rates.run_noise))


def _lognormal(cv: float) -> tuple[float, float]:
    """Return (mu, sigma) of a lognormal factor with mean 1 and a coefficient of variation."""
    sigma = math.sqrt(math.log1p(cv**2))
    return -0.5 * sigma * sigma, sigma
