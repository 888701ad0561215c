"""Threads that run tasks as ktask's works do: the caller takes part, helpers wait to be queued, all take chunks.

The objects of `models` that decide in the simulation (works, chunk size, next chunk, CPU) decide here too. Only the
time is real. Helpers are threads that wait between tasks, like the workers of a workqueue.
"""

from __future__ import annotations

import _thread
import itertools
import math
import os
import statistics
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.machine import Cpu, Machine
from models.machine.placement import Placement
from models.policies import Chunk, ChunkQueue, NodeEntry, Policy
from models.results.run import Record, Slice, WorkerTotals
from real.system_calls import current_cpu
from real.zeroing import Arena

_clock = time.perf_counter


@dataclass
class RealWorkerTotals(WorkerTotals):
    """The times that only a real worker has, in seconds."""

    cpu_s: float = 0.0  # the thread ran, within tasks
    cpu_wait_s: float = 0.0  # it was ready to run, and something else ran
    page_faults: int = 0


class _Step(NamedTuple):
    """A chunk that was cleared, with the clock at each step."""

    cpu_id: int
    nid: int
    chunk: Chunk
    asked_s: float  # for the lock
    locked_s: float
    begin_s: float
    end_s: float


class TaskTimes(NamedTuple):
    """The clock at the steps of one task."""

    begin_s: float
    queued_s: float  # the last helper is queued
    last_ended_s: float  # the last work has ended
    end_s: float  # the caller goes on
    slept: bool  # the caller had to wait
    n_works: int


class _Task:
    """One task under way."""

    def __init__(
        self, queue: ChunkQueue, offset: int, unit_bytes: int, works: int, allowed: tuple[int, ...] | None
    ) -> None:
        self.queue = queue
        self.allowed = allowed  # the ids of the CPUs that helpers may use, None if all
        self.nids = queue.nids
        self.offset = offset
        self.unit_bytes = unit_bytes
        self.lock = _thread.allocate_lock()
        self.unfinished = works
        self.last_ended = _thread.allocate_lock()
        self.last_ended.acquire()
        self.queued_s = [0.0] * works
        self.started_s = [0.0] * works
        self.ended_s = [0.0] * works
        self.cpu_ns = [0] * works
        self.steps: list[list[_Step]] = [[] for _ in range(works)]
        self.failure: BaseException | None = None


class Workers:
    """The caller (the thread that makes this) and its helpers. A context manager: leaving it ends the threads."""

    def __init__(self, machine: Machine, arena: Arena, helpers: int) -> None:
        """The machine has just CPUs that this process may use."""
        self._machine = machine
        self._arena = arena
        self._placement = Placement(machine)
        self._record = Record()
        self._jobs: list[tuple[_Task, Cpu] | None] = [None] * (helpers + 1)
        self._go = [_thread.allocate_lock() for _ in range(helpers + 1)]
        for lock in self._go:
            lock.acquire()
        self._bound: list[int | None] = [None] * (helpers + 1)  # the CPU that each thread is bound to
        self._threads = [
            threading.Thread(target=self._helper, args=(index,), name=f"helper {index}", daemon=True)
            for index in range(1, helpers + 1)
        ]
        self._thread_ids: list[int] = []  # of the system
        self._cpus = {cpu.cpu_id: cpu for cpu in machine.cpus}
        self._caller_cpu: Cpu
        self._original = os.sched_getaffinity(0)
        self._waits_and_faults: list[tuple[float, int]] = []
        self._used: list[set[int]] = []  # the CPUs of each worker in this run
        self._busy_s: dict[int, float] = {}
        self._hold_s = self._overhead_s = 0.0
        self._starts: list[float] = []  # from queued to started, of each helper of each task
        self._chunk_times_s: list[float] = []  # the caller's, of one size
        self.tasks: list[TaskTimes] = []

    def __enter__(self) -> Workers:
        for thread in self._threads:
            thread.start()
        self._thread_ids = [threading.get_native_id(), *(thread.native_id or 0 for thread in self._threads)]
        return self

    def __exit__(self, *_: object) -> None:
        for index in range(1, len(self._jobs)):
            self._jobs[index] = None
            with suppress(RuntimeError):  # an interrupt came before it took the job it was told of: it sees this one
                self._go[index].release()
        for thread in self._threads:
            thread.join()
        os.sched_setaffinity(0, self._original)

    def begin_run(
        self, nid: int, record: Record, busy_cpus: Collection[int] = (), allowed: tuple[int, ...] | None = None
    ) -> None:
        """Begin a run with the caller on a node. `busy_cpus` have background load.

        On a machine with one node the caller stays on one CPU, one of those `allowed` by their ids (None: all). Else
        the kernel chooses among them.
        """
        self._placement = Placement(self._machine)
        for cpu_id in busy_cpus:
            self._placement.put(self._cpus[cpu_id], of_job=False)
        self._caller_cpu = self._placement.occupy(nid, allowed=allowed)
        self._bind(0, self._caller_cpu)
        if len(self._machine.cpu_nids) > 1:
            os.sched_setaffinity(0, self._cpus if allowed is None else allowed)
            self._bound[0] = None
        self._record = record
        record.workers = [RealWorkerTotals(index) for index in range(len(self._jobs))]
        self._waits_and_faults = [_waits_and_faults(thread_id) for thread_id in self._thread_ids]
        self._used = [set() for _ in self._jobs]
        self._busy_s = {}
        self._hold_s = self._overhead_s = 0.0
        self._starts.clear()
        self._chunk_times_s.clear()
        self.tasks = []

    def end_run(self) -> list[RealWorkerTotals]:
        """Return the totals of the workers that took part in the run."""
        found: list[RealWorkerTotals] = []
        for index, totals in enumerate(self._record.workers):
            assert isinstance(totals, RealWorkerTotals)
            waited_s, faults = _waits_and_faults(self._thread_ids[index])
            before_s, faults_before = self._waits_and_faults[index]
            totals.cpu_wait_s, totals.page_faults = waited_s - before_s, faults - faults_before
            if index == 0 or totals.cpu_s:
                found.append(totals)
        return found

    def shares(self) -> list[tuple[frozenset[int], float, float]]:
        """Return for each worker of the run its CPUs, its time within tasks' chunks, and its CPU time, in seconds."""
        return [
            (frozenset(self._used[totals.worker]), totals.working_s, totals.cpu_s)
            for totals in self._record.workers
            if isinstance(totals, RealWorkerTotals) and totals.n_chunks
        ]

    def costs(self) -> dict[str, float]:
        """Return the costs of the machinery in the run, by kernel parameter, in seconds, or nan for unknown ones.

        hold_s, overhead_s: means for a chunk, of the lock's holding and of all Python outside the clearing. setup_s,
        start_s, wake_s: means for a task or helper. start_cv: coefficient of variation of start_s. chunk_cv: that of
        the time of a chunk, of chunks of one size by one worker.
        """
        woken = [task.end_s - task.last_ended_s for task in self.tasks if task.slept]
        queued = [task.queued_s - task.begin_s for task in self.tasks if task.n_works > 1]
        n_chunks = sum(totals.n_chunks for totals in self._record.workers)
        return {
            "hold_s": self._hold_s / n_chunks,
            "overhead_s": self._overhead_s / n_chunks,
            "setup_s": _mean(queued),
            "start_s": _mean(self._starts),
            "start_cv": _variation(self._starts),
            "wake_s": _mean(woken),
            "chunk_cv": _variation(self._chunk_times_s),
        }

    def utilisation(self, time_s: float) -> dict[str, float]:
        """Return the share of the run's time for which the job's threads worked on each CPU."""
        return {f"cpu{cpu_id}": busy_s / time_s for cpu_id, busy_s in sorted(self._busy_s.items())}

    def caller_cpu(self) -> Cpu:
        """Return the CPU on which the caller runs now."""
        if self._bound[0] is None:
            now = self._cpus.get(current_cpu(), self._caller_cpu)
            if now != self._caller_cpu:
                self._placement.release(self._caller_cpu)
                self._placement.put(now)
                self._caller_cpu = now
        return self._caller_cpu

    def run_task(self, policy: Policy, entries: Sequence[NodeEntry], offset: int) -> None:
        """Run one task over a part of the arena that begins at `offset`, in the caller's name.

        Entries are in base pages.

        Raises a worker's exception, after all have ended.
        """
        unit = self._machine.base_page_bytes
        size = sum(entry.size for entry in entries)
        wanted = policy.n_works(size, entries[0].nid)
        if wanted > len(self._jobs):
            raise ValueError(f"{wanted} works asked for; there are {len(self._jobs)}")
        allowed = policy.helper_cpus
        cpu = self.caller_cpu()
        nids = policy.place_helpers(entries, wanted, cpu.nid)
        works = 1 + len(nids)
        task = _Task(policy.queue(entries, works), offset, unit, works, allowed)
        places = [self._placement.occupy(nid, allowed=allowed) for nid in nids]
        task.started_s[0] = begin_s = _clock()
        for index, place in enumerate(places, 1):
            self._jobs[index] = (task, place)
            task.queued_s[index] = _clock()
            self._go[index].release()
        queued_s = _clock()
        self._work(task, 0, cpu)
        with task.lock:
            task.unfinished -= 1 + (self._cancel(works) if policy.cancels and not task.queue.size_left else 0)
            slept = bool(task.unfinished)
            task.ended_s[0] = _clock()
        if slept:
            task.last_ended.acquire()
        end_s = _clock()
        for index, place in enumerate(places, 1):
            job = self._jobs[index]
            self._placement.release(place if job is None else job[1])
        if task.failure is not None:
            raise task.failure
        task.queue.check_all_taken()
        policy.task_done(works, size * unit, end_s - begin_s, nids)
        self.tasks.append(TaskTimes(begin_s, queued_s, max(task.ended_s), end_s, slept, works))
        self._sum_up(task, self.tasks[-1])

    def _cancel(self, works: int) -> int:
        """Take back the jobs of helpers that have not begun, and return how many."""
        return sum(self._go[index].acquire(blocking=False) for index in range(1, works))

    def _helper(self, index: int) -> None:
        """A helper's thread: waits to be queued, works, waits again."""
        while True:
            self._go[index].acquire()
            job = self._jobs[index]
            if job is None:
                return
            task, cpu = job
            task.started_s[index] = _clock()
            self._work(task, index, cpu)
            with task.lock:
                task.unfinished -= 1
                task.ended_s[index] = _clock()
                if not task.unfinished:
                    task.last_ended.release()

    def _work(self, task: _Task, index: int, cpu: Cpu) -> None:
        """Take chunks until none is left (ktask_thread), and note each."""
        cpu_began_ns = time.thread_time_ns()
        try:
            if index and self._bound[index] != cpu.cpu_id:
                self._bind(index, cpu)
            self._take_chunks(task, index, cpu)
        except BaseException as error:  # of a thread: handed to the caller, which raises it
            task.failure = error
        task.cpu_ns[index] = time.thread_time_ns() - cpu_began_ns

    def _take_chunks(self, task: _Task, index: int, cpu: Cpu) -> None:
        lock, take, clear, unit = task.lock, task.queue.take, self._arena.clear, task.unit_bytes
        steps, nids, done = task.steps[index], task.nids, task.queue.done
        entry = next((nids.index(nid) for nid in (cpu.nid, None) if nid in nids), 0)
        asked_s = _clock()
        while task.failure is None:
            with lock:
                locked_s = _clock()
                if steps:
                    done(index, steps[-1].chunk.size, steps[-1].end_s - steps[-1].begin_s)
                chunk = take(entry, index, cpu.nid)
            if chunk is None:
                return
            nid = nids[chunk.entry]
            if chunk.entry != entry:
                entry = chunk.entry
                if index and nid is not None and nid != cpu.nid:
                    cpu = self._move(index, task, cpu, nid)
            begin_s = _clock()
            clear(task.offset + chunk.start * unit, chunk.size * unit)
            end_s = _clock()
            steps.append(_Step(cpu.cpu_id, cpu.nid if nid is None else nid, chunk, asked_s, locked_s, begin_s, end_s))
            asked_s = _clock()

    def _move(self, index: int, task: _Task, cpu: Cpu, nid: int) -> Cpu:
        """Move a helper to another node (ktask v1 changes the helper's own mask)."""
        with task.lock:
            self._placement.release(cpu)
            cpu = self._placement.occupy(nid, allowed=task.allowed)
            self._jobs[index] = (task, cpu)
        self._bind(index, cpu)
        return cpu

    def _bind(self, index: int, cpu: Cpu) -> None:
        """Bind the calling thread, which is worker `index`, to a CPU."""
        os.sched_setaffinity(0, {cpu.cpu_id})
        self._bound[index] = cpu.cpu_id

    def _sum_up(self, task: _Task, times: TaskTimes) -> None:
        """Add a task that has ended to the record of the run."""
        record, unit = self._record, task.unit_bytes
        number, zero_s = record.n_tasks, self.tasks[0].begin_s
        record.n_tasks += 1
        working = [sum(step.end_s - step.begin_s for step in steps) for steps in task.steps]
        record.imbalance_sum += max(working) * len(working) / sum(working)
        for index, steps in enumerate(task.steps):
            totals = record.workers[index]
            assert isinstance(totals, RealWorkerTotals)
            totals.n_chunks += len(steps)
            totals.size_bytes += sum(step.chunk.size for step in steps) * unit
            totals.working_s += working[index]
            for step in steps:
                self._used[index].add(step.cpu_id)
                self._busy_s[step.cpu_id] = self._busy_s.get(step.cpu_id, 0.0) + step.end_s - step.begin_s
            totals.cpu_s += task.cpu_ns[index] / 1e9
            totals.lock_wait_s += sum(step.locked_s - step.asked_s for step in steps)
            if task.ended_s[index]:  # else it was cancelled
                totals.end_wait_s += times.last_ended_s - task.ended_s[index]
            self._hold_s += sum(step.begin_s - step.locked_s for step in steps)
            self._overhead_s += sum(step.begin_s - step.locked_s for step in steps)
            self._overhead_s += sum(b.asked_s - a.end_s for a, b in itertools.pairwise(steps))
            if index and task.started_s[index]:
                totals.start_wait_s += task.started_s[index] - task.queued_s[index]
                self._starts.append(task.started_s[index] - task.queued_s[index])
            elif steps:
                usual = steps[0].chunk.size
                self._chunk_times_s += [step.end_s - step.begin_s for step in steps if step.chunk.size == usual]
            if record.with_slices:
                record.slices += self._slices(task, number, index, zero_s)
        if record.with_slices and times.slept:
            record.slices.append(
                Slice("asleep", number, 0, None, None, None, None, task.ended_s[0] - zero_s, times.end_s - zero_s)
            )

    def _slices(self, task: _Task, number: int, index: int, zero_s: float) -> list[Slice]:
        found = []
        traffic = self._machine.rates.clear_traffic
        if index and task.started_s[index]:
            queued_s, started_s = task.queued_s[index] - zero_s, task.started_s[index] - zero_s
            found.append(Slice("queued", number, index, None, None, None, None, queued_s, started_s))
        for cpu_id, nid, chunk, asked_s, _, begin_s, end_s in task.steps[index]:
            start_bytes, size_bytes = chunk.start * task.unit_bytes, chunk.size * task.unit_bytes
            found += [
                Slice("lock", number, index, cpu_id, None, None, None, asked_s - zero_s, begin_s - zero_s),
                Slice(
                    "chunk",
                    number,
                    index,
                    cpu_id,
                    nid,
                    start_bytes,
                    size_bytes,
                    begin_s - zero_s,
                    end_s - zero_s,
                    traffic,
                ),
            ]
        return found


def _waits_and_faults(thread_id: int) -> tuple[float, int]:
    """Return how long a thread was ready but did not run, in seconds, and its page faults, since it began."""
    folder = Path("/proc/self/task") / str(thread_id)
    try:
        wait_ns = int((folder / "schedstat").read_text().split()[1])
    except (OSError, IndexError):  # a kernel without schedstats
        wait_ns = 0
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return wait_ns / 1e9, int(fields[7]) + int(fields[9])  # minflt and majflt, proc(5)


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _variation(values: Sequence[float]) -> float:
    """Return the robust coefficient of variation, from the quartiles, of at least five values, else nan."""
    if len(values) < 5:
        return math.nan
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 1.349 / middle  # the quartiles of a normal distribution are 1.349 standard deviations apart
