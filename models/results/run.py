"""The events of a run: the work of each worker, its place, beginning and end, and the worker's waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Slice(NamedTuple):
    """A stretch of a worker's time. Chunks have a start and size within their task, in bytes. Other kinds have none."""

    kind: str  # chunk, lock (wait and hold), queued (a helper not yet started), asleep, alone or undo (the caller)
    task: int
    worker: int  # 0 is the caller
    cpu: int | None
    memory_node: int | None
    start_bytes: int | None
    size_bytes: int | None
    begin_s: float
    end_s: float
    traffic: float = 0.0  # of a chunk: bytes over the memory bus for a byte of it


@dataclass
class WorkerTotals:
    """Sums over all tasks of a run for worker number `worker`. 0 is the caller. Times are in seconds."""

    worker: int
    n_chunks: int = 0
    size_bytes: int = 0
    working_s: float = 0.0  # within the client's function
    lock_wait_s: float = 0.0  # for the task's lock, without the time in it
    client_lock_wait_s: float = 0.0  # within the client's function, for the locks that it takes
    start_wait_s: float = 0.0  # from being queued to running
    end_wait_s: float = 0.0  # from its own last chunk to the end of the task
    cpu_wait_s: float = 0.0  # at work, and others had the CPU


@dataclass
class Record:
    """The bookkeeping of one run."""

    with_slices: bool = False
    slices: list[Slice] = field(default_factory=list)
    workers: list[WorkerTotals] = field(default_factory=list)
    alone_s: dict[str, float] = field(default_factory=dict)  # what callers did that nobody helps with -> seconds
    n_tasks: int = 0
    n_failed: int = 0
    imbalance_sum: float = 0.0  # over tasks: longest working time of a work over the mean

    def worker(self, index: int) -> WorkerTotals:
        """Return the totals of worker `index`, made when first asked for."""
        while len(self.workers) <= index:
            self.workers.append(WorkerTotals(len(self.workers)))
        return self.workers[index]


@dataclass(frozen=True)
class RunResult:
    """The results of one run.

    Times are in seconds, simulated or real. Utilisations are means over the run, from 0 to 1.
    """

    time_s: float
    cpu_s: float
    n_tasks: int
    n_chunks: int
    imbalance: float  # mean over tasks: longest working time of a work over the mean; 1 is even
    workers: Sequence[WorkerTotals]
    utilisation: Mapping[str, float]  # by resource; those that were never used are left out
    slices: Sequence[Slice]
    extra: Mapping[str, Any] = field(default_factory=dict)  # further columns of the table of runs
