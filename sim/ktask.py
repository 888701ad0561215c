"""ktask v1 over simulated time: one task from fork to join, as the posted code does it.

The caller computes the number of works and the chunk size, queues the helpers on an unbound workqueue, takes chunks
like any of them, and sleeps until the last work has ended. Rules and figures are those of `models.kernels.ktask_v1`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from simpy import Environment, Event

from models.kernels import Kernel
from models.machine import Cpu
from models.policies import ChunkQueue, NodeEntry, Policy
from models.run import Record, Slice
from models.streams import Streams
from sim.background import Turns
from sim.hardware import Hardware

Process = Generator[Event, Any, None]


@dataclass
class Caller:
    """The user thread that has the job done. It is put on another CPU only by its own sleep and wake-up."""

    cpu: Cpu
    allowed: tuple[int, ...] | None = None  # the ids of the CPUs that it may use, None if all


class Mutex:
    """A lock that is held for the same time by everybody, in the order of arrival."""

    def __init__(self, env: Environment, hold_s: float) -> None:
        self._env = env
        self._hold_s = hold_s
        self._free_at = 0.0

    def pass_through(self) -> tuple[float, float]:
        """Queue for the lock; return (seconds until it is given back, seconds of them waited for others)."""
        now = self._env.now
        wait_s = max(0.0, self._free_at - now)
        self._free_at = now + wait_s + self._hold_s
        return wait_s + self._hold_s, wait_s


class _Task:
    """One task under way."""

    def __init__(self, env: Environment, number: int, queue: ChunkQueue, hold_s: float, works: int) -> None:
        self.number = number
        self.queue = queue
        self.nids = queue.nids
        self.lock = Mutex(env, hold_s)
        self.unfinished = works
        self.last_ended: Event = env.event()  # its value is the CPU on which the last work ended
        self.helper_cpu: Cpu | None = None  # of the last helper that ended
        self.waiting = set(range(1, works))  # helpers that have not started
        self.ended_at: list[tuple[int, float]] = []  # (worker, time) in order
        self.working_s = [0.0] * works

    def cancel_waiting(self) -> None:
        """Take helpers that have not started out of the task."""
        self.unfinished -= len(self.waiting)
        self.waiting.clear()


class Ktask:
    """Runs tasks one after the other on simulated hardware."""

    def __init__(self, hardware: Hardware, kernel: Kernel, policy: Policy, streams: Streams, record: Record) -> None:
        self._env = hardware.env
        self._hardware = hardware
        self._machine = hardware.machine
        self._kernel = kernel
        self._record = record
        self._page_bytes = hardware.machine.base_page_bytes
        self._policy = policy
        self._start_latency = streams["start_latency"]
        self._chunk_noise = streams["chunk_noise"]
        self._wake = streams["wake"]
        self._ticks = streams["ticks"]
        rates = hardware.machine.rates
        self._run_factor = streams["run_noise"].lognormvariate(*_lognormal(rates.run_noise))
        self._noise = _lognormal(rates.chunk_noise)

    def run(self, caller: Caller, entries: Sequence[NodeEntry]) -> Process:
        """Run one task (ktask_run_numa) in the caller's name; `entries` are in base pages, one for each node."""
        env, kernel, record = self._env, self._kernel, self._record
        size = sum(entry.size for entry in entries)
        began_s = env.now
        works = self._policy.n_works(size, entries[0].nid)
        task = _Task(env, record.n_tasks, self._policy.queue(entries, works), kernel.lock_hold_time, works)
        record.n_tasks += 1
        if works > 1:
            yield env.timeout(kernel.setup_time)
            for i, nid in enumerate(self._policy.helper_nids(entries, works, caller.cpu.nid), 1):
                env.process(self._helper(task, i, nid))
        yield from self._work(task, 0, caller.cpu, is_helper=False)
        self._end(task, 0, caller.cpu)
        if self._policy.cancels and not task.queue.size_left:
            task.cancel_waiting()
        if task.unfinished:
            yield from self._sleep(task, caller)
        elif task.helper_cpu is not None and self._wake.random() < kernel.stray_block:
            self._hardware.release(caller.cpu)
            nid = self._node_after_wakeup(caller, task.helper_cpu)
            caller.cpu = self._hardware.occupy(nid, caller.cpu, caller.allowed)
        task.queue.check_all_taken()
        self._policy.task_done(works, size * self._page_bytes, env.now - began_s)
        self._sum_up(task)

    def _helper(self, task: _Task, index: int, nid: int | None) -> Process:
        """One helper: queued, started on an idle worker of the node (or anywhere), at work until no chunk is left."""
        env = self._env
        queued_at = env.now
        mean, cv = self._kernel.start_latency, self._kernel.start_latency_cv
        if mean and cv:
            yield env.timeout(self._start_latency.gammavariate(1.0 / (cv * cv), mean * cv * cv))
        elif mean:
            yield env.timeout(mean)
        if index not in task.waiting:
            return  # cancelled
        task.waiting.remove(index)
        cpu = self._hardware.occupy(nid, allowed=self._policy.helper_cpus)
        self._record.worker(index).start_wait_s += env.now - queued_at
        self._note("queued", task, index, None, queued_at)
        cpu = yield from self._work(task, index, cpu, is_helper=True)
        self._hardware.release(cpu)
        self._end(task, index, cpu)

    def _work(self, task: _Task, index: int, cpu: Cpu, *, is_helper: bool) -> Generator[Event, Any, Cpu]:
        """Take chunks until none is left (ktask_thread); return the CPU on which the work ends."""
        env, hardware, rates = self._env, self._hardware, self._hardware.machine.rates
        totals = self._record.worker(index)
        noise = self._chunk_noise.lognormvariate
        chunk_time = self._kernel.chunk_time
        local = rates.clear_bytes_per_s if len(task.working_s) > 1 else rates.serial_clear_bytes_per_s
        turns = Turns(hardware, self._kernel.time_slice, self._ticks)
        entry = self._first_entry(task, cpu)
        while True:
            asked_at = env.now
            delay_s, wait_s = task.lock.pass_through()
            if delay_s:
                yield env.timeout(delay_s)
                totals.lock_wait_s += wait_s
                self._note("lock", task, index, cpu, asked_at)
            chunk = task.queue.take(entry, index, cpu.nid)
            if chunk is None:
                turns.give_up()
                return cpu
            nid = task.nids[chunk.entry]
            memory_nid = cpu.nid if nid is None else nid
            if chunk.entry != entry:
                entry = chunk.entry
                if is_helper and nid is not None and nid != cpu.nid:
                    # v1 changes the helper's own cpumask; user threads are never moved.
                    turns.give_up()
                    hardware.release(cpu)
                    cpu = hardware.occupy(nid, allowed=self._policy.helper_cpus)
            begin_s = env.now
            size_bytes = chunk.size * self._page_bytes
            work = size_bytes * self._run_factor
            if rates.chunk_noise:
                work *= noise(*self._noise)
            route = hardware.clear_route(cpu, memory_nid, local)
            if hardware.sharing(cpu) is None:
                yield hardware.network.start(route, work)
            else:
                yield from turns.run(cpu, route, work)
            if chunk_time:
                yield env.timeout(chunk_time)
            totals.n_chunks += 1
            totals.size_bytes += size_bytes
            task.working_s[index] += env.now - begin_s
            task.queue.done(index, chunk.size, env.now - begin_s)
            if self._record.with_slices:
                start_bytes = chunk.start * self._page_bytes
                self._record.slices.append(
                    Slice(
                        "chunk", task.number, index, cpu.cpu_id, memory_nid, start_bytes, size_bytes, begin_s, env.now
                    )
                )

    def _first_entry(self, task: _Task, cpu: Cpu) -> int:
        """Return the entry that a work begins with: its CPU's node, else one of no node, else the first."""
        return next((task.nids.index(nid) for nid in (cpu.nid, None) if nid in task.nids), 0)

    def _end(self, task: _Task, index: int, cpu: Cpu) -> None:
        task.ended_at.append((index, self._env.now))
        task.unfinished -= 1
        if index:
            task.helper_cpu = cpu
            if not task.unfinished:
                task.last_ended.succeed(cpu)

    def _sleep(self, task: _Task, caller: Caller) -> Process:
        """Wait for the last helper. Its wake-up may pull the caller over to its node (wake-affine)."""
        env, hardware, kernel = self._env, self._hardware, self._kernel
        slept_at = env.now
        hardware.release(caller.cpu)
        waker: Cpu = yield task.last_ended
        nid = self._node_after_wakeup(caller, waker)
        if kernel.wake_latency:
            yield env.timeout(kernel.wake_latency)
        caller.cpu = hardware.occupy(nid, caller.cpu, caller.allowed)
        self._note("asleep", task, 0, None, slept_at)

    def _node_after_wakeup(self, caller: Caller, waker: Cpu) -> int:
        """Return where the caller goes on: at home, or on the waker's node if that is near enough (wake-affine).

        The kernel does not even ask if the waker's CPU is one that the caller may not use (select_task_rq_fair).
        """
        home = caller.cpu.nid
        if waker.nid == home or self._machine.distances[home, waker.nid] > self._kernel.wake_pull_max_distance:
            return home
        if caller.allowed is not None and waker.cpu_id not in caller.allowed:
            return home
        return waker.nid if self._wake.random() < self._kernel.wake_pull else home

    def _sum_up(self, task: _Task) -> None:
        last_s = task.ended_at[-1][1]
        for index, ended_s in task.ended_at:
            totals = self._record.worker(index)
            totals.end_wait_s += last_s - ended_s
            totals.working_s += task.working_s[index]
        self._record.imbalance_sum += max(task.working_s) * len(task.working_s) / sum(task.working_s)

    def _note(self, kind: str, task: _Task, index: int, cpu: Cpu | None, begin_s: float) -> None:
        if self._record.with_slices:
            cpu_id = None if cpu is None else cpu.cpu_id
            self._record.slices.append(
                Slice(kind, task.number, index, cpu_id, None, None, None, begin_s, self._env.now)
            )


def _lognormal(cv: float) -> tuple[float, float]:
    """Return (mu, sigma) of a lognormal factor with mean 1 and a coefficient of variation."""
    sigma = math.sqrt(math.log1p(cv**2))
    return -0.5 * sigma * sigma, sigma
