"""Traces as a file for the viewers of Perfetto and Chrome: each thread's work over time, of one or more results.

The format is the Trace Event Format in JSON (object form), in its documented phases alone: X (a slice with a duration),
C (a counter), M (names of processes and threads). Each case is two processes, its workers and its CPUs, each of them a
thread of that. Slices of a thread don't overlap, as the format asks. A slice that would overlap goes on a further
thread. Perfetto colours slices by their name, so a chunk is named for the place of its memory. Chrome takes `cname`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.text.units import format_size

if TYPE_CHECKING:
    import pandas as pd

    from models.results import Results

MOST_EVENTS = 100_000  # of a file that is written unasked: 20 MB
_COLOURS = {  # reserved names of Chrome's viewer
    "local chunk": "thread_state_running",
    "remote chunk": "terrible",
    "chunk": "thread_state_runnable",
    "lock": "black",
    "queued": "thread_state_unknown",
    "asleep": "thread_state_sleeping",
    "alone": "olive",
    "undo": "bad",
}
_MEANINGS = {"lock": "lock (wait and hold)", "queued": "queued", "asleep": "asleep", "alone": "alone", "undo": "undo"}
Event = dict[str, Any]


def write_trace(path: Path, parts: Iterable[tuple[str, Results]], *, most: int | None = None) -> int:
    """Write the traces of results to a file for ui.perfetto.dev or chrome://tracing. Return how many cases it has.

    Parameters: pairs of a name, such as `simulated` or a folder's, and results with traces. With `most`, cases are left
    out from where the file would have more events. Raises ValueError for results without traces.
    """
    events: list[Event] = []
    n_cases = 0
    for name, results in parts:
        if results.traces is None:
            raise ValueError(f"{name} has no traces; `ktask-sim run SCENARIO --trace` keeps them")
        nodes = {machine["name"]: _node_of(machine) for machine in results.machines}
        for case in sorted(set(results.traces["case"].astype(int))):
            trace = results.traces[results.traces["case"] == case]
            if most is not None and n_cases and len(events) + 2 * len(trace) > most:
                break
            row = results.summary.iloc[case]
            title = f"{name}, case {case} ({row['nthreads']} threads, {row['size_gib']} GiB)"
            loads = None if results.loads is None else results.loads[results.loads["case"] == case]
            events += trace_events(trace, nodes[row["machine"]], title, loads, first_pid=2 * n_cases + 1)
            n_cases += 1
    content = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"from": "ktask-sim"}}
    path.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8")
    return n_cases


def _node_of(machine: Mapping[str, Any]) -> dict[int, int]:
    return {int(cpu["cpu_id"]): int(cpu["nid"]) for cpu in machine["cpus"]}


def trace_events(
    trace: pd.DataFrame,
    node_of: Mapping[int, int],
    title: str,
    loads: pd.DataFrame | None = None,
    *,
    first_pid: int = 1,
) -> list[Event]:
    """Return the events of the trace of one case: process `first_pid` has its workers, the next one its CPUs.

    Parameters: `trace` as `sim.trace` returns it, the node of each CPU, and the table `loads` of the case, whose
    utilisation becomes counters in percent. Times become microseconds.
    """
    slices = list(_slices(trace, node_of))
    workers, cpus = first_pid, first_pid + 1
    events = [
        _meta("process_name", workers, 0, name=f"{title}: workers"),
        _meta("process_sort_index", workers, 0, sort_index=workers),
        _meta("process_name", cpus, 0, name=f"{title}: CPUs"),
        _meta("process_sort_index", cpus, 0, sort_index=cpus),
    ]
    events += _tracks(slices, workers, "worker", lambda each: "caller" if each == 0 else f"helper {each}")
    on_cpu = [each for each in slices if each["cpu"] is not None]
    events += _tracks(on_cpu, cpus, "cpu", lambda each: f"CPU {each} (node {node_of.get(each, '?')})")
    events += _counts(slices, workers)
    if loads is not None:
        events += _loads(loads, workers)
    return events


def _meta(what: str, pid: int, tid: int, **arguments: object) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": arguments}


def _slices(trace: pd.DataFrame, node_of: Mapping[int, int]) -> Iterator[Event]:
    """Yield each slice of a trace in plain values, with its name."""
    columns = ("kind", "task", "worker", "cpu", "memory_node", "start_bytes", "size_bytes", "begin_s", "end_s")
    whole = {name: trace[name].astype(object).where(trace[name].notna(), None) for name in columns}
    for values in zip(*whole.values(), strict=True):
        found = dict(zip(columns, values, strict=True))
        name = _MEANINGS.get(found["kind"], found["kind"])
        if found["kind"] == "chunk" and found["memory_node"] is not None:
            is_local = node_of.get(int(found["cpu"])) == int(found["memory_node"])
            name = "local chunk" if is_local else "remote chunk"
        yield {**found, "name": name}


def _tracks(slices: list[Event], pid: int, key: str, name: Any) -> Iterator[Event]:
    """Yield the events of slices on a thread for each value of `key`, on several where they overlap."""
    ends: dict[int, list[float]] = {}  # of each value: when each of its threads is free again
    numbers = {each: rank for rank, each in enumerate(sorted({int(one[key]) for one in slices}))}
    for one in sorted(slices, key=lambda each: (each["begin_s"], each["end_s"])):
        value = int(one[key])
        lanes = ends.setdefault(value, [])
        lane = next((i for i, end_s in enumerate(lanes) if end_s <= one["begin_s"]), len(lanes))
        tid = 1 + numbers[value] + 10_000 * lane
        if lane == len(lanes):
            lanes.append(0.0)
            more = "" if lane == 0 else f", {lane + 1}"
            yield _meta("thread_name", pid, tid, name=f"{name(value)}{more}")
            yield _meta("thread_sort_index", pid, tid, sort_index=100 * numbers[value] + lane)
        lanes[lane] = one["end_s"]
        arguments: dict[str, object] = {"task": int(one["task"]), "worker": int(one["worker"])}
        arguments |= {} if one["cpu"] is None else {"cpu": int(one["cpu"])}
        if one["size_bytes"] is not None:
            arguments |= {"start": format_size(int(one["start_bytes"])), "size": format_size(int(one["size_bytes"]))}
        if one["memory_node"] is not None:
            arguments["memory node"] = int(one["memory_node"])
        yield {
            "ph": "X",
            "name": one["name"],
            "cat": "work" if one["kind"] in ("chunk", "alone", "undo") else "wait",
            "ts": 1e6 * one["begin_s"],
            "dur": 1e6 * (one["end_s"] - one["begin_s"]),
            "pid": pid,
            "tid": tid,
            "cname": _COLOURS.get(one["name"], _COLOURS.get(one["kind"], "grey")),
            "args": arguments,
        }


def _counts(slices: list[Event], pid: int) -> Iterator[Event]:
    """Yield counters: how many workers are at a chunk, and how many wait for the lock or to be started."""
    changes = []
    for one in slices:
        what = "at a chunk" if one["kind"] == "chunk" else "waiting" if one["kind"] in ("lock", "queued") else None
        if what is not None:
            changes += [(one["begin_s"], 1, what), (one["end_s"], -1, what)]
    now = {"at a chunk": 0, "waiting": 0}
    changes.sort()
    for i, (time_s, step, what) in enumerate(changes):
        now[what] += step
        if i + 1 == len(changes) or changes[i + 1][0] > time_s:
            yield {"ph": "C", "name": "workers", "pid": pid, "tid": 0, "ts": 1e6 * time_s, "args": dict(now)}


def _loads(loads: pd.DataFrame, pid: int) -> Iterator[Event]:
    """Yield a counter of the utilisation of each memory node and link, in percent."""
    from sim.figures.loads import resource_name

    for resource, begin_s, utilisation in zip(loads["resource"], loads["begin_s"], loads["utilisation"], strict=True):
        share_pct = round(100 * float(utilisation), 2)
        name = f"{resource_name(resource)} (%)"
        yield {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": 1e6 * float(begin_s), "args": {"used": share_pct}}
