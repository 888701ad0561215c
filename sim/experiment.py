"""All runs of a scenario: every case times its replications, over several processes if wanted, as tidy tables."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.results import (
    Results,
    case_columns,
    machine_as_data,
    machines_of,
    provenance_of,
    summarise,
)
from models.scenario import Case, Scenario, load_scenario
from sim.run import RunResult, run_case

N_BINS = 200  # steps of utilisation over time in a traced run


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, where the system tells, else of those there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(path: str | Path) -> Scenario:
    """Read a scenario file. Raises models.problems.InputError with everything that is wrong in it."""
    return load_scenario(path)


def run(
    scenario: Scenario, *, jobs: int = 1, traces: bool = False, on_done: Callable[[], object] | None = None
) -> Results:
    """Simulate every case of a scenario, `replications` times each.

    `jobs` processes share the work; the results are the same for any number. With `traces`, replication 0 of each case
    keeps who did what when. `on_done` is called after each run. Raises ValueError for less than one job.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")
    wanted = [(number, i) for number, case in enumerate(scenario.cases) for i in range(case.replications)]
    found: dict[tuple[int, int], RunResult] = {}
    for key, result in _results(scenario.cases, wanted, jobs, traces):
        found[key] = result
        if on_done is not None:
            on_done()
    runs, workers, resources, slices, loads = [], [], [], [], []
    for number, i in wanted:
        case, result = scenario.cases[number], found[number, i]
        run_id = {"case": number, "replication": i}
        totals = result.workers
        runs.append(
            {
                "case": number,
                **case_columns(case),
                "replication": i,
                "time_s": result.time_s,
                "cpu_s": result.cpu_s,
                "n_tasks": result.n_tasks,
                "n_chunks": result.n_chunks,
                "imbalance": result.imbalance,
                "lock_wait_s": sum(worker.lock_wait_s for worker in totals),
                "start_wait_s": sum(worker.start_wait_s for worker in totals),
                "end_wait_s": sum(worker.end_wait_s for worker in totals),
            }
        )
        workers += [run_id | asdict(worker) for worker in totals]
        resources += [run_id | {"resource": name, "utilisation": share} for name, share in result.utilisation.items()]
        if result.slices:
            trace = _frame(result)
            slices.append(trace.assign(case=number))
            loads.append(_loads(case, trace, result.time_s).assign(case=number))
    run_table = pd.DataFrame(runs)
    return Results(
        title=scenario.title,
        question=scenario.question,
        summary=summarise(scenario, run_table),
        runs=run_table,
        workers=pd.DataFrame(workers),
        resources=pd.DataFrame(resources),
        traces=_case_first(slices) if traces else None,
        loads=_case_first(loads) if traces else None,
        scenario=scenario.document.plain(),
        machines=tuple(machine_as_data(machine) for machine in machines_of(scenario)),
        provenance=provenance_of(scenario, with_traces=traces),
    )


def trace(scenario: Scenario, case: int = 0, replication: int = 0) -> pd.DataFrame:
    """Return the trace of one run: a row for each stretch of a worker's time.

    Columns: kind (chunk; lock: wait and hold; queued: a helper not yet started; asleep: the caller), task, worker (0 is
    the caller), cpu, memory_node, start_bytes and size_bytes within the task, begin_s, end_s.
    """
    return _frame(run_case(scenario.cases[case], replication, with_slices=True))


def _frame(result: RunResult) -> pd.DataFrame:
    whole = dict.fromkeys(("cpu", "memory_node", "start_bytes", "size_bytes"), "Int64")  # where there is none: <NA>
    return pd.DataFrame(result.slices).astype(whole)


def _case_first(tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    return table[["case", *(name for name in table.columns if name != "case")]]


def _loads(case: Case, trace: pd.DataFrame, time_s: float) -> pd.DataFrame:
    """Return the utilisation of memory nodes and links over a run, in equal steps, from its chunks.

    Within a chunk its mean rate is taken. Columns: resource, begin_s, utilisation (0 to 1).
    """
    nid_of = {cpu.cpu_id: cpu.nid for cpu in case.machine.cpus}
    edges = np.linspace(0.0, time_s, N_BINS + 1)
    served: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}

    chunks = trace[trace["kind"] == "chunk"]
    nids = chunks["cpu"].map(nid_of)
    for nid, memory_nid in sorted(set(zip(nids, chunks["memory_node"].astype(int), strict=True))):
        group = chunks[(nids == nid) & (chunks["memory_node"] == memory_nid)]
        begin_s, end_s, size_bytes = (group[name].to_numpy(float) for name in ("begin_s", "end_s", "size_bytes"))
        # Each chunk spread evenly from its begin to its end: what is cleared up to each edge, then the differences.
        cleared = np.diff(np.clip((edges[:, None] - begin_s) / (end_s - begin_s), 0.0, 1.0) @ size_bytes)
        for name, usage in case.machine.traffic(nid, memory_nid):
            served[name] = served.get(name, np.zeros(N_BINS)) + cleared * usage
    step_s = time_s / N_BINS
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "resource": name,
                    "begin_s": edges[:-1],
                    "utilisation": amount / step_s / case.machine.bandwidths[name],
                }
            )
            for name, amount in sorted(served.items())
        ],
        ignore_index=True,
    )


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which stops all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _results(
    cases: tuple[Case, ...], wanted: list[tuple[int, int]], jobs: int, traces: bool
) -> Iterator[tuple[tuple[int, int], RunResult]]:
    """Yield the results of the wanted runs in any order."""
    if min(jobs, len(wanted)) == 1:
        for number, i in wanted:
            yield (number, i), run_case(cases[number], i, with_slices=traces and i == 0)
        return
    # The longest runs first, so that no process is left with one at the end.
    first = sorted(wanted, key=lambda key: -cases[key[0]].task.size * cases[key[0]].kernel.max_threads)
    with ProcessPoolExecutor(
        min(jobs, len(wanted)), multiprocessing.get_context("spawn"), initializer=_ignore_interrupt
    ) as pool:
        futures = {
            pool.submit(run_case, cases[number], i, with_slices=traces and i == 0): (number, i) for number, i in first
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
