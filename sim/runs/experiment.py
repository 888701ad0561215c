"""All runs of a scenario: every case times its replications, over several processes if wanted, as tidy tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from models.results import Results, provenance_of
from models.results.run import RunResult
from models.scenario import Scenario, load_scenario
from models.scenario.case import Case
from sim.engine.run import run_case
from sim.runs.executors import processes

if TYPE_CHECKING:
    import pandas as pd


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, where the system tells, else of those there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(path: str | Path) -> Scenario:
    """Read a scenario file. Raises models.text.problems.InputError with everything that is wrong in it."""
    return load_scenario(path)


def run(
    scenario: Scenario, *, jobs: int = 1, traces: bool = False, on_done: Callable[[], object] | None = None
) -> Results:
    """Simulate every case of a scenario, `replications` times each.

    `jobs` processes share the work; the results are the same for any number. Cases with a rule of your own that other
    processes can't import (of a notebook or a script) all run in this one. With `traces`, replication 0 of each case
    keeps who did what when. `on_done` is called after each run. Raises ValueError for less than one job, and
    sim.runs.executors.LostWorkersError if a process is lost or can't start.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")
    wanted = [(number, i) for number, case in enumerate(scenario.cases) for i in range(case.replications)]
    found: dict[tuple[int, int], RunResult] = {}
    for key, result in _results(scenario.cases, wanted, jobs, traces):
        found[key] = result
        if on_done is not None:
            on_done()
    from models.results.tables import make_results  # pandas takes a while, which other processes don't need

    return make_results(
        scenario, [(*key, found[key]) for key in wanted], provenance_of(scenario, "sim", with_traces=traces)
    )


def trace(scenario: Scenario, case: int = 0, replication: int = 0) -> pd.DataFrame:
    """Return the trace of one run: a row for each stretch of a worker's time.

    Columns: kind (chunk; lock: wait and hold; queued: a helper not yet started; asleep: the caller), task, worker (0 is
    the caller), cpu, memory_node, start_bytes and size_bytes within the task, begin_s, end_s.
    """
    from models.results.tables import trace_frame

    return trace_frame(run_case(scenario.cases[case], replication, with_slices=True))


def is_local(case: Case) -> bool:
    """Return whether a case has rules that another process could not import."""
    return any(rule.__module__ == "__main__" or "<locals>" in rule.__qualname__ for rule in case.rules.values())


def _results(
    cases: tuple[Case, ...], wanted: list[tuple[int, int]], jobs: int, traces: bool
) -> Iterator[tuple[tuple[int, int], RunResult]]:
    """Yield the results of the wanted runs in any order."""
    local = [min(jobs, len(wanted)) == 1 or is_local(case) for case in cases]
    for number, i in (key for key in wanted if local[key[0]]):
        yield (number, i), run_case(cases[number], i, with_slices=traces and i == 0)
    away = [key for key in wanted if not local[key[0]]]
    if not away:
        return
    # The longest runs first, so that no process is left with one at the end.
    first = sorted(away, key=lambda key: -cases[key[0]].size_bytes * cases[key[0]].n_works)
    with processes(min(jobs, len(away))) as pool:
        futures = {
            pool.submit(run_case, cases[number], i, with_slices=traces and i == 0): (number, i) for number, i in first
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
