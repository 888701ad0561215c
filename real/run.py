"""One run on this host: one case of a scenario, one replication."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from models.results.run import Record, RunResult
from models.scenario.case import Case
from models.scenario.streams import Streams
from models.text.cpu_list import format_cpu_list
from real.background import Background, busy_cpus
from real.clear_gigantic_page import fallocate
from real.workers import Workers
from real.zeroing import Arena, Method

# Below this share of its working time on a CPU, something else ran in a worker's place (host measurements: quiet runs
# are above 0.98).
LEAST_CPU_SHARE = 0.96
# A run in which more memory than this came in smaller pages than asked for is another kind of run.
MOST_SMALL_PAGES = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run_case(
    case: Case,
    replication: int,
    *,
    workers: Workers,
    arena: Arena,
    method: Method,
    background: Sequence[Background] = (),
    with_slices: bool = False,
) -> RunResult:
    """Run one replication of a case (numbered from 0) on this host. Time is that of all tasks, from fork to join.

    The table of runs gets the method, waits for a CPU, page faults, steal time, and in `unstable` the reasons why the
    run should not be trusted (empty if there are none). Raises MemoryError or OSError if clearing fails.
    """
    record = Record(with_slices)
    streams = Streams(case.seed, replication)
    steal_before_s = stolen_s()
    gc_was_on = gc.isenabled()
    gc.disable()
    # Given back just now, and kept after the run: memory that lies free goes back to a hypervisor within seconds, and
    # is then 50 times slower. Not so pages of the pool: those beyond this case's size may be wanted on their node.
    arena.give_back(0, arena.size_bytes if method.from_pool else case.clearing.size)
    try:
        with ExitStack() as stack:
            for load in background:
                stack.enter_context(load.running())
            placed = fallocate(case, workers, arena, streams, record)
    finally:
        if gc_was_on:
            gc.enable()
    steal_s = stolen_s() - steal_before_s
    totals = workers.end_run()
    time_s = sum(task.end_s - task.begin_s for task in workers.tasks)
    faults = sum(worker.page_faults for worker in totals)
    return RunResult(
        time_s=time_s,
        cpu_s=sum(worker.cpu_s for worker in totals),
        n_tasks=record.n_tasks,
        n_chunks=sum(worker.n_chunks for worker in totals),
        imbalance=record.imbalance_sum / record.n_tasks,
        workers=totals,
        utilisation=workers.utilisation(time_s),
        slices=record.slices,
        extra={
            "method": method.name,
            "cpu_wait_s": sum(worker.cpu_wait_s for worker in totals),
            "page_faults": faults,
            "steal_s": steal_s,
            **workers.costs(),
            "unstable": "; ".join(
                [*_doubts(case, workers, method, faults, steal_s, time_s), *_misplaced(case, arena, placed)]
            ),
        },
    )


def _doubts(case: Case, workers: Workers, method: Method, faults: int, steal_s: float, time_s: float) -> list[str]:
    """Return the reasons why a run should not be trusted."""
    found = []
    shares = workers.shares()
    used = [cpu_id for cpu_ids, _, _ in shares for cpu_id in cpu_ids]
    busy = {cpu_id for cpu_id in used if used.count(cpu_id) > 1}  # by the job's own threads
    busy.update(busy_cpus(case))
    for cpu_ids, working_s, cpu_s in shares:
        if not cpu_ids & busy and cpu_s < LEAST_CPU_SHARE * working_s:
            found.append(
                f"something else had CPU {format_cpu_list(cpu_ids)} for {1 - cpu_s / working_s:.0%} of a worker's time"
            )
    if method.page_bytes > case.machine.base_page_bytes and not method.from_pool:
        n_pages = case.clearing.size // method.page_bytes
        small = max(0, faults - n_pages) * case.machine.base_page_bytes / case.clearing.size
        if small > MOST_SMALL_PAGES:
            found.append(f"{small:.0%} of the memory came in small pages, for lack of huge ones")
    if steal_s > max(1 / TICKS_PER_S, (1 - LEAST_CPU_SHARE) * time_s):
        found.append(f"the hypervisor took {steal_s:.2f} s of CPU time")
    return found


def _misplaced(case: Case, arena: Arena, placed: Sequence[int]) -> list[str]:
    """Ask the kernel where the memory is: its beginning and middle, for each page of the job."""
    if len(case.machine.nids) == 1:
        return []
    size = case.clearing.page_size
    starts = [number * size + offset for number in range(len(placed)) for offset in (0, size // 2)]
    found = arena.nodes(starts)
    wrong = sum(nid != placed[i // 2] for i, nid in enumerate(found))
    return [f"{wrong / len(found):.0%} of the memory is not on the node it was bound to"] if wrong else []


def stolen_s() -> float:
    """Return the CPU time that the hypervisor has taken from all CPUs since boot, in seconds."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / TICKS_PER_S
