"""All runs of a scenario: every case times its replications, over several processes if wanted, as tidy tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from models.files.shipped import find_scenario_file
from models.results import Results, provenance_of
from models.results.run import RunResult
from models.scenario import Scenario, load_scenario
from models.scenario.case import Case
from sim.engine.run import run_case
from sim.runs.executors import Executor, Here, local, make_listed
from sim.runs.replications import Key

if TYPE_CHECKING:
    import pandas as pd
    from tqdm import tqdm


def available_cpus() -> int:
    """Return the number of CPUs that this process may use, or of all CPUs if that is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(path: str | Path) -> Scenario:
    """Read a scenario.

    Args:
        path: The path of a scenario file, or the name of a shipped scenario.

    Returns:
        The scenario, with a case for each combination of its values.

    Raises:
        InputError: The file has problems. The error has all of them, each with its place.
        OSError: The file can't be read.

    Example:
        >>> len(load("clear_gigantic_page").cases)
        20
    """
    return load_scenario(find_scenario_file(path) if isinstance(path, str) else path)


def run(
    scenario: Scenario,
    *,
    jobs: int = 1,
    traces: bool = False,
    on_done: Callable[[], object] | None = None,
    executor: Executor | None = None,
    progress: str | None = None,
) -> Results:
    """Simulate every case of a scenario, `replications` times each.

    The results are the same for any number of jobs. Cases with a rule of your own that other processes can't import (of
    a notebook or a script) all run in this process.

    Args:
        scenario: The scenario to run (`load`).
        jobs: How many processes share the work.
        traces: Whether replication 0 of each case keeps its trace.
        on_done: Called after each run.
        executor: Makes the runs in processes that exist already (`sim.runs.executors`). Then `jobs` has no effect.
        progress: Show a progress bar with this text beside it. Runs count there by their chunks.

    Returns:
        Tidy tables: `summary`, `runs`, `workers`, `resources`, with traces also `traces` and `loads`.

    Raises:
        ValueError: There is less than one job.
        LostWorkersError: A process was lost or can't start.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> run(scenario).summary["nthreads"].tolist()
        [1, 4]
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")
    wanted = [(number, i) for number, case in enumerate(scenario.cases) for i in range(case.replications)]
    found: dict[Key, RunResult] = {}
    weights = [1 + case.least_chunks for case in scenario.cases]
    with _bar(progress, sum(weights[number] for number, _ in wanted)) as bar:

        def done(key: Key, result: RunResult) -> None:
            found[key] = result
            bar.set_postfix_str(f"{len(found)}/{len(wanted)} runs", refresh=False)
            bar.update(weights[key[0]])
            if on_done is not None:
                on_done()

        _make(scenario.cases, wanted, jobs, done, with_slices=lambda key: traces and key[1] == 0, executor=executor)
    from models.results.tables import make_results  # pandas takes a while, which other processes don't need

    return make_results(
        scenario, [(*key, found[key]) for key in wanted], provenance_of(scenario, "sim", with_traces=traces)
    )


def _bar(name: str | None, total: int) -> tqdm[NoReturn]:
    """Return a bar on stderr, or for no name one that shows nothing."""
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}% |{bar}|{postfix}, {remaining} left"
    hidden = True if name is None else None  # None: where stderr is no terminal
    if name is not None and "ipykernel" in sys.modules:
        hidden = False
    return tqdm(total=total, desc=name, bar_format=form, disable=hidden, leave=False)


def trace(scenario: Scenario, case: int = 0, replication: int = 0) -> pd.DataFrame:
    """Return the trace of one run: a row for each stretch of a worker's time.

    Args:
        scenario: The scenario to run.
        case: The number of the case, from 0.
        replication: The number of the replication, from 0.

    Returns:
        Columns: kind (chunk, lock for wait and hold, queued for a helper that has not started, asleep for the caller),
            task,
        worker (0
        is the caller), cpu, memory_node, start_bytes and size_bytes within the task, begin_s, end_s.

    Raises:
        IndexError: There is no such case.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> sorted(set(trace(scenario, case=1)["kind"]))
        ['asleep', 'chunk', 'lock', 'queued']
    """
    from models.results.tables import trace_frame

    return trace_frame(run_case(scenario.cases[case], replication, with_slices=True))


def is_local(case: Case) -> bool:
    """Return whether a case has rules that another process could not import."""
    return any(rule.__module__ == "__main__" or "<locals>" in rule.__qualname__ for rule in case.rules.values())


def _make(
    cases: tuple[Case, ...],
    wanted: Sequence[Key],
    jobs: int,
    on_result: Callable[[Key, RunResult], object],
    *,
    with_slices: Callable[[Key], bool],
    executor: Executor | None,
) -> None:
    """Make the wanted runs, in other processes where that is possible."""
    alone = [min(jobs, len(wanted)) == 1 or is_local(case) for case in cases]
    here = [key for key in wanted if alone[key[0]]]
    # The longest runs first, so that no process is left with one at the end.
    away = sorted(
        (key for key in wanted if not alone[key[0]]), key=lambda key: -cases[key[0]].size_bytes * cases[key[0]].n_works
    )
    make_listed(Here(), cases, here, on_result, with_slices=with_slices)
    if not away:
        return
    with nullcontext(executor) if executor is not None else local(min(jobs, len(away))) as others:
        make_listed(others, cases, away, on_result, with_slices=with_slices)
