"""Sweeps: every case of a scenario, as many replications as wanted, stored as they come and gone on with later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from models.results import Results, may_replace, provenance_of
from models.results.code import rule_identity
from models.results.folder import written_whole
from models.results.results import RECORD
from models.results.run import RunResult
from models.scenario import Scenario
from models.scenario.case import Case
from sim.runs.executors import Executor, cluster, local, make_runs
from sim.runs.experiment import is_local
from sim.runs.replications import Key, Replications, RunningMean
from sim.runs.store import RunStore

FIGURE = "speedup.png"
_MOST_LINES = 100  # in the figure; more can't be told apart


def sweep(
    scenario: Scenario,
    folder: str | Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    ci: float | None = None,
    max_replications: int = 100,
    on_done: Callable[[int, int], object] | None = None,
    on_amount: Callable[[float, float], object] | None = None,
) -> Results:
    """Simulate every case of a scenario, and store each run in a folder at once.

    A stored run is not made again. The results are the same for any number of jobs and stops. With a rule of your own
    that other processes can't import (of a notebook or a script), `jobs` is taken as 1.

    Args:
        scenario: The scenario to run.
        folder: Where runs and results are stored.
        jobs: How many processes share the work.
        scheduler: The address of a Dask scheduler whose cluster makes the runs, such as tcp://host:8786.
        ci: Go on with a case until half the 95 % confidence interval of its mean time is at most this share of the
        mean.
            There are at least the scenario's `replications`.
        max_replications: The most replications of a case with `ci`.
        on_done: Called at the start and after each run with the number of runs made, and the number expected in all.
        on_amount: Called likewise with the work done, and that expected in all: runs count there by their chunks.

    Returns:
        The results, as `run` gives them. With `ci` the summary has `time_ci_s`, half the width of the interval.

    Raises:
        ValueError: An option is impossible.
        FolderTakenError: The folder holds something else, or another sweep is at work in it.
        SchedulerError: The cluster can't be used.
        LostWorkersError: The cluster or a process was lost.
        OSError: The folder can't be written.

    Example:
        >>> scenario = load("clear_gigantic_page").with_values(
        ...     {"task.size": "2GiB", "task.pool": "8GiB", "kernel.max_threads": [1, 4], "replications": 1})
        >>> sweep(scenario, "folder").summary["replications"].tolist()
        [1, 1]
    """
    _check_options(scenario, jobs, ci, max_replications)
    folder = Path(folder)
    identity = provenance_of(scenario, "sim", with_traces=False)
    cases = scenario.cases
    runs = Replications(
        [case.replications for case in cases],
        [case.size_bytes * case.n_works for case in cases],
        ci=ci,
        most=max_replications,
        weights=[1 + case.least_chunks for case in cases],
    )

    def tell() -> None:
        if on_amount is not None:
            on_amount(runs.amount_known, runs.amount_known + runs.amount_left)
        if on_done is not None:
            on_done(runs.n_known, runs.n_known + runs.n_left)

    with RunStore(folder, identity | {"cases": digest(cases)}) as store:
        for key, time_s in store.times():
            runs.add(key, time_s)
        tell()
        if runs.n_left:
            n_processes = 1 if any(is_local(case) for case in cases) else jobs
            with cluster(scheduler) if scheduler is not None else local(n_processes) as executor:
                _make(cases, runs, store, executor, tell)
        provenance = identity | {"sweep": {"ci": ci, "max_replications": None if ci is None else max_replications}}
        from models.results.tables import make_results  # pandas takes a while

        results = make_results(scenario, store.results(runs.final()), provenance)
        results = _with_intervals(results)
        if not may_replace(folder, provenance):  # not written yet
            _write(results, folder)
    return results


def _check_options(scenario: Scenario, jobs: int, ci: float | None, max_replications: int) -> None:
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")
    if ci is None:
        return
    if not 0.0 < ci < 1.0:
        raise ValueError(f"ci must be more than 0 and less than 1; found {ci}")
    most = max(case.replications for case in scenario.cases)
    if max_replications < max(2, most):
        raise ValueError(
            f"max_replications must be 2 or more, and no less than the scenario's replications, {most}; "
            f"found {max_replications}"
        )


def digest(cases: Iterable[Case]) -> str:
    """Return the differences of cases that a scenario's file doesn't have, such as a user's own rules."""
    found = hashlib.sha256()
    for case in cases:
        others = (*case.background.values(), *case.groups.values())
        parts = [part.model_dump_json() for part in (case.task, case.kernel, *others)]
        for name, rule in sorted(case.rules.items()):
            parts += [name, *rule_identity(rule)]
        found.update(json.dumps(parts).encode())
    return found.hexdigest()


def _make(
    cases: tuple[Case, ...],
    runs: Replications,
    store: RunStore,
    executor: Executor,
    tell: Callable[[], object],
) -> None:
    """Make the runs that are left, and call `tell` after each."""

    def done(key: Key, result: RunResult) -> None:
        store.add(key, result)
        runs.add(key, result.time_s)
        tell()

    make_runs(executor, cases, lambda: runs.take() if runs.n_left else None, done)


def _with_intervals(results: Results) -> Results:
    """Return the results with the half width of each mean time's confidence interval in the summary."""
    summary = results.summary.copy()
    times = results.runs.groupby("case", sort=True)["time_s"]
    summary.insert(
        list(summary.columns).index("time_stdev_s") + 1,
        "time_ci_s",
        [RunningMean(own.tolist()).half_width() for _, own in times],
    )
    return replace(results, summary=summary)


def _write(results: Results, folder: Path) -> None:
    """Write the result files beside the runs, provenance.json last, so that it exists only if all others do."""
    with written_whole(folder, RECORD, alone=True) as new:
        results.write(new)
        if _n_lines(results) <= _MOST_LINES:
            from sim.figures import plot_speedup

            plot_speedup(results, new / FIGURE)


def _n_lines(results: Results) -> int:
    columns = list(results.summary.columns)
    names = [name for name in columns[: columns.index("replications")] if name not in ("nthreads", "size_gib")]
    return len(results.summary.drop_duplicates(names))
