"""Tidy tables from runs, simulated or real: of cases, runs, workers, resources and traces."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from models.results import Results, machine_as_data, machines_of
from models.results.run import RunResult, WorkerTotals
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import GIB

N_BINS = 200  # steps of utilisation over time in a traced run
# What has a column of its own, or is no property of a case's outcome.
_NOT_EXTRA = (
    "title",
    "question",
    "machine",
    "task.client",
    "task.size",
    "kernel",
    "kernel.version",
    "kernel.max_threads",
    "replications",
)


def make_results(
    scenario: Scenario,
    results: Iterable[tuple[int, int, RunResult]],
    provenance: Mapping[str, Any],
    host: Mapping[str, Any] | None = None,
) -> Results:
    """Return the tables of runs: (number of the case, replication, result) for each, in the order of the tables."""
    runs, slices, loads = _Rows(), [], []
    workers = _Rows(case="q", replication="q", worker="q", n_chunks="q", size_bytes="q", **dict.fromkeys(_WAITS, "d"))
    resources = _Rows(case="q", replication="q", utilisation="d")
    fixed: dict[int, dict[str, Any]] = {}  # the columns of each case
    for number, i, result in results:
        case = scenario.cases[number]
        if number not in fixed:
            fixed[number] = case_columns(case)
        totals = result.workers
        runs.add(
            {
                "case": number,
                **fixed[number],
                "replication": i,
                "n_workers": _n_workers(case, totals),
                "time_s": result.time_s,
                "cpu_s": result.cpu_s,
                "n_tasks": result.n_tasks,
                "n_chunks": result.n_chunks,
                "imbalance": result.imbalance,
                "lock_wait_s": math.fsum(worker.lock_wait_s for worker in totals),
                "client_lock_wait_s": math.fsum(worker.client_lock_wait_s for worker in totals),
                "start_wait_s": math.fsum(worker.start_wait_s for worker in totals),
                "end_wait_s": math.fsum(worker.end_wait_s for worker in totals),
                **result.extra,
            }
        )
        for worker in totals:
            workers.add({"case": number, "replication": i, **vars(worker)})
        for name, share in result.utilisation.items():
            resources.add({"case": number, "replication": i, "resource": name, "utilisation": share})
        if result.slices:
            trace = trace_frame(result)
            slices.append(trace.assign(case=number))
            loads.append(_loads(case, trace, result.time_s).assign(case=number))
    run_table, worker_table = runs.table(), workers.table()
    return Results(
        title=scenario.title,
        question=scenario.question,
        summary=summarise(scenario, run_table, worker_table),
        runs=run_table,
        workers=worker_table,
        resources=resources.table(),
        traces=_case_first(slices) if slices else None,
        loads=_case_first(loads) if loads else None,
        scenario=scenario.document.plain(),
        machines=tuple(machine_as_data(machine) for machine in machines_of(scenario)),
        provenance=provenance,
        host=host,
    )


_WAITS = ("working_s", "lock_wait_s", "client_lock_wait_s", "start_wait_s", "end_wait_s", "cpu_wait_s")


class _Rows:
    """A table that is made row by row, and kept by columns. Those of a known kind (of `array`) take least room."""

    def __init__(self, **kinds: str) -> None:
        self._columns: dict[str, list[Any] | array[Any]] = {}
        self._kinds = kinds
        self._n_rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row. Where one has no value for a column, that is NaN."""
        columns = self._columns
        if len(row) < len(columns) or not columns.keys() >= row.keys():
            for name in row:
                if name not in columns:
                    kind = self._kinds.get(name)
                    columns[name] = [math.nan] * self._n_rows if kind is None else array(kind)
            for name in columns.keys() - row.keys():
                columns[name].append(math.nan)
        for name, value in row.items():
            columns[name].append(value)
        self._n_rows += 1

    def table(self) -> pd.DataFrame:
        """Return the table."""
        return pd.DataFrame(
            {
                name: values if isinstance(values, list) else np.frombuffer(values, dtype=values.typecode)
                for name, values in self._columns.items()
            }
        )


def trace_frame(result: RunResult) -> pd.DataFrame:
    """Return the slices of a run as a table."""
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

    with_memory = case.machine.memory_nids
    chunks = trace[trace["kind"] == "chunk"]
    nids = chunks["cpu"].map(nid_of)
    keys: Any
    for keys, group in chunks.groupby([nids, "memory_node", "traffic"], dropna=False, sort=True):
        nid, memory_nid, traffic = keys
        begin_s, end_s, size_bytes = (group[name].to_numpy(float) for name in ("begin_s", "end_s", "size_bytes"))
        # Each chunk spread evenly from its begin to its end: what is done up to each edge, then the differences.
        done = np.diff(np.clip((edges[:, None] - begin_s) / (end_s - begin_s), 0.0, 1.0) @ size_bytes)
        memory_nids = with_memory if pd.isna(memory_nid) else [int(memory_nid)]
        for name, usage in case.machine.traffic(nid, memory_nids, traffic):
            served[name] = served.get(name, np.zeros(N_BINS)) + done * usage
    if not served:
        columns = {"resource": str, "begin_s": float, "utilisation": float}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
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


def case_columns(case: Case) -> dict[str, Any]:
    """Return the columns that identify a case, in order: machine, client, kernel, nthreads, size_gib, then the rest.

    `nthreads` is how many threads were allowed.
    """
    size_gib = case.size_bytes / GIB
    columns: dict[str, Any] = {
        "machine": case.machine.name,
        "client": case.task.client,
        "kernel": case.kernel.version,
        "nthreads": case.threads_allowed,
        "size_gib": int(size_gib) if size_gib.is_integer() else size_gib,
    }
    for path, value in case.choices.items():
        if path not in _NOT_EXTRA:
            columns[_column(path)] = value
    return columns


def _column(path: str) -> str:
    """Return the name of the column for a path of a scenario: kernel.min_chunk -> min_chunk."""
    part, _, name = path.rpartition(".")
    own_name = part.startswith(("background.", "groups."))
    return path.replace(".", "_") if own_name else name


_ENERGIES = ("energy_j", "energy_added_j")  # where they can be told (`sim.engine.simulation`)
STARTS = ("kernel_share", "speedup_limit")  # of jobs that are only in part the kernel's (`sim.engine.simulation`)
_SLOWDOWN = "slowdown"  # of the job; NAME_slowdown of other work
_OF_OTHERS = (_SLOWDOWN, *(f"{what}_s" for what in ("time", "mean", "alone", "p50", "p95", "p99")))


def other_works(table: pd.DataFrame) -> list[str]:
    """Return the names of the other works in a table of cases or runs, in its order."""
    ending = f"_{_SLOWDOWN}"
    return [str(name).removesuffix(ending) for name in table.columns if str(name).endswith(ending)]


def _interference_columns(runs: pd.DataFrame) -> list[str]:
    """Return the columns of a table of runs with the mutual cost of the job and other work."""
    of_others = {f"{name}_{what}" for name in other_works(runs) for what in _OF_OTHERS}
    return [name for name in runs.columns if name == _SLOWDOWN or name in of_others]


def _n_workers(case: Case, totals: Sequence[WorkerTotals]) -> int:
    """Return how many threads did a chunk.

    A thread that begins late does a part of its own (QEMU), though in the simulation another has done it by then.
    """
    late = case.kernel.late_start > 0.0
    return sum(worker.n_chunks > 0 or (late and worker.start_wait_s > 0.0) for worker in totals)


def threads_worked(summary: pd.DataFrame) -> pd.Series[float]:
    """Return how many threads worked in each case, in the mean, or the allowed number if unknown."""
    return summary.get("n_workers", summary["nthreads"]).astype(float)


def spread_over_runs(results: Results, columns: Sequence[str]) -> pd.DataFrame:
    """Return the standard deviation of columns of the table of runs, a row for each case, or NaN."""
    runs = results.runs
    known = [name for name in columns if name in runs and "case" in runs]
    found = runs.groupby("case")[known].std() if known else pd.DataFrame()
    return found.reindex(index=range(len(results.summary)), columns=list(columns)).astype(float)


def _note(case: Case, n_workers: float, n_started: int) -> str:
    """Return in words why a case had fewer threads at work than were allowed, or '' if it had them.

    `n_started` is the greatest number of threads that had started in a run, the caller included.
    """
    if n_workers >= case.threads_allowed:
        return ""
    if n_workers >= case.n_works:
        return case.limit
    if n_started >= case.n_works:
        return "the others found no chunk left when they started"
    return "the others had no place, or their work was done before they started"


class _Groups:
    """Columns of a table by case: looked up once, not anew for each case."""

    def __init__(self, table: pd.DataFrame, names: Iterable[str], n_cases: int) -> None:
        cases = table["case"].to_numpy()
        order = np.argsort(cases, kind="stable")
        self._edges = np.searchsorted(cases[order], np.arange(n_cases + 1))
        self._columns = {name: table[name].to_numpy(float)[order] for name in names if name in table}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def values(self, name: str, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return a column of a case, in the order of the table."""
        return self._columns[name][self._edges[number] : self._edges[number + 1]]

    def mean(self, name: str, number: int) -> float:
        """Return the mean of a column's known values in a case, or NaN if none is known."""
        values = self.values(name, number)
        known = ~np.isnan(values)
        n_known = int(known.sum())
        return float(np.where(known, values, 0.0).sum() / n_known) if n_known else math.nan


def summarise(scenario: Scenario, runs: pd.DataFrame, workers: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table of cases: mean, spread and least time over replications, speed-up, published figure and error.

    `nthreads` is how many threads were allowed, `n_workers` the mean number of those that did a chunk, and `note` says
    why these are fewer. `time_stdev_s` is one standard deviation over the replications, empty where there is just one.
    There are also means of energy and of the mutual cost of the job and other work. `speedup` is against the case with
    one thread that is otherwise the same. `error_pct` is the error of the mean time. `fitted` says whether the
    machine's rates were fitted to that published cell. Empty where there is nothing to compare with.
    """
    rows = []
    measured = (*STARTS, *_ENERGIES, *_interference_columns(runs))
    means = _Groups(runs, ["time_s", "n_workers", "cpu_s", "imbalance", *measured], len(scenario.cases))
    threads = None if workers is None else _Groups(workers, ["worker"], len(scenario.cases))
    for number, case in enumerate(scenario.cases):
        published = _published_cell(scenario, case)
        times = means.values("time_s", number)
        time_s = means.mean("time_s", number)
        n_workers = means.mean("n_workers", number) if "n_workers" in means else float(case.n_works)
        n_started = case.n_works if threads is None else int(threads.values("worker", number).max()) + 1
        rows.append(
            {
                **case_columns(case),
                "replications": len(times),
                "n_workers": n_workers,
                "time_s": time_s,
                "time_stdev_s": float(np.std(times, ddof=1)) if len(times) > 1 else float("nan"),
                "time_min_s": float(times.min()),
                "speedup": float("nan"),
                "published_time_s": float("nan") if published is None else float(published["time_s"]),
                "error_pct": float("nan") if published is None else (time_s / float(published["time_s"]) - 1) * 100,
                "published_stdev_s": float("nan") if published is None else float(published.get("stdev_s", "nan")),
                "published_speedup": float("nan") if published is None else float(published.get("speedup", "nan")),
                "fitted": published is not None and _was_fitted(scenario, case, published),
                "cpu_s": means.mean("cpu_s", number),
                "imbalance": means.mean("imbalance", number),
                **{name: means.mean(name, number) for name in measured if name in means},
                "note": _note(case, n_workers, n_started),
            }
        )
    summary = pd.DataFrame(rows)
    same = [name for name in case_columns(scenario.cases[0]) if name != "nthreads"]
    single = summary[summary["nthreads"] == 1].drop_duplicates(same).set_index(same)["time_s"]
    keys = [tuple(row) if len(same) > 1 else row[0] for row in summary[same].itertuples(index=False)]
    summary["speedup"] = [single.get(key, float("nan")) for key in keys] / summary["time_s"]
    return summary


def _published_cell(scenario: Scenario, case: Case) -> Mapping[str, Any] | None:
    """Return the row of the scenario's table that measures this case, if there is exactly one."""
    if scenario.compare_with is None:
        return None
    cells = scenario.compare_with.cells
    if not {"nthreads", "size_gib"} <= set(cells.columns):
        return None
    columns = case_columns(case)
    rows = cells[
        cells["machine"].isin([case.machine.name, *case.machine.also_known_as])
        & (cells["client"] == columns["client"])
        & (cells["nthreads"] == columns["nthreads"])
        & (cells["size_gib"] == columns["size_gib"])
    ]
    if len(rows) != 1:
        return None
    found: Mapping[str, Any] = {str(key): value for key, value in rows.iloc[0].items()}
    return found


def _was_fitted(scenario: Scenario, case: Case, published: Mapping[str, Any]) -> bool:
    assert scenario.compare_with is not None
    return any(
        all(published.get(column) == value for column, value in cell.items())
        for fit in case.machine.fits
        if fit.table == scenario.compare_with.name
        for cell in fit.cells
    )


def unmatched_note(scenario: Scenario, summary: pd.DataFrame) -> str | None:
    """Return a note if a table was to be compared and no case matches a row of it."""
    if scenario.compare_with is None or summary["published_time_s"].notna().any():
        return None
    machines: Sequence[str] = sorted(set(scenario.compare_with.cells["machine"]))
    return (
        f"no case matches a row of {scenario.compare_with.name}, which has machine {'; '.join(machines)}; "
        "a row matches by machine (name or also_known_as of the machine file), client, nthreads and size_gib"
    )
