"""Times of traced boots as measurements: those of a real kernel's jobs, by node, to fit a machine to.

The function tracer has the time when a chunk began. A task ends with its last chunk, which is taken to last as long as
others of its size did. Where dmesg has a time, that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from models.files.content import read_content
from models.files.kernel_trace import KernelTrace, TracedTask, read_kernel_trace
from models.machine import Machine
from models.measured.measurements import Measurements, read_measurements
from models.memory.deferred import PAGE, Span, deferred_jobs
from models.scenario import Scenario, build_scenario
from models.text.document import locate
from models.text.units import GIB, KIB

# The first Linux version of each set of rules.
_SINCE = (((6, 18), "padata-6.18"), ((6, 15), "padata-6.15"), ((6, 9), "padata-6.9"), ((5, 8), "padata-5.8"))
_STRUCT_PAGES, _HUGE_PAGES = "deferred_struct_page_init", "hugetlb_boot_alloc"
_JIFFY_S = 0.004  # dmesg's times of struct pages are in jiffies of 4 ms (CONFIG_HZ=250)
_LEAST_SPREAD = 0.02  # of a time that a trace tells
_SIGNS = (b"_end: (", b"padata_do_multithreaded", b"deferred pages initialised", b"HugeTLB: allocation took")
# What rows of a trace have, beside `start_s`, `last_start_s` and `rate_gib_s`, which are shown and not fitted to.
COLUMNS = ("client", "node", "nthreads", "size_gib", "time_s", "stdev_s", "rate_gib_s", "start_s", "last_start_s")


class TraceError(ValueError):
    """A trace that can't be used. The message names the missing part and the next step."""


def version_of(trace: KernelTrace) -> str:
    """Return the name of the rules that a traced kernel has (`kernel.version`). Raises TraceError."""
    if trace.version is None:
        raise TraceError(
            "the text has no line `Linux version ...`; put the first lines of dmesg in front of it, or give --kernel"
        )
    for first, name in _SINCE:
        if trace.version >= first:
            return name
    raise TraceError(
        f"found Linux {trace.version[0]}.{trace.version[1]}; multithreaded jobs are in Linux 5.8 and later"
    )


def read_any_measurements(
    path: Path, machine: Machine, client: str, kernel: str | None = None, **of_csv: Any
) -> Measurements:
    """Return a user's CSV, or a trace or boot log, as cases. `of_csv` are options of read_measurements.

    Raises ValueError, and InputError as their readers.
    """
    if path.is_file() and any(sign in read_content(path) for sign in _SIGNS):
        return read_trace_measurements(path, machine, client, kernel)
    return read_measurements(path, machine, client, kernel, **of_csv)


def read_trace_measurements(path: Path, machine: Machine, client: str, kernel: str | None = None) -> Measurements:
    """Return the times of a traced boot as cases of a client on a machine: a row for each node, or for huge pages.

    Raises TraceError if the text has no time of this client, or does not tell where its memory is.
    """
    trace = read_kernel_trace(path)
    rows = trace_rows(trace)
    own = rows[rows["client"] == client].reset_index(drop=True)
    if own.empty:
        known = ", ".join(dict.fromkeys(rows["client"])) or "none"
        raise TraceError(f"{path}: found no time of client {client}; the text has those of: {known}")
    version = kernel or version_of(trace)
    parts = []
    for _, row in own.iterrows():
        task: dict[str, Any] = {"client": client}
        values: dict[str, Any] = {"version": version, "as_posted": False}
        if client == _STRUCT_PAGES:
            nid = int(row["node"])
            jobs = _jobs_of(trace, nid, version == "padata-6.18")
            if nid not in machine.memory_nids:
                raise TraceError(
                    f"{path}: found node {nid}; machine {machine.name} has memory on {machine.memory_nids}"
                )
            told = [{"node": nid, "start": _kib(job.start), "size": _kib(job.size)} for job in jobs]
            task["jobs"] = [told]  # a list of one value, which is a list
        else:
            task |= {"size": f"{round(float(row['size_gib']) * 2**20)}KiB"}
            task |= {"page_size": "2MiB"} if client == _HUGE_PAGES else {}
            values["max_threads"] = int(row["nthreads"])
        question = f"What of the boot in {path.name} does the model explain?"
        plain = {"title": path.stem, "question": question, "machine": machine.name, "replications": 1, "seed": 1}
        parts.append(build_scenario(locate(plain | {"task": task, "kernel": values}), path, machine=machine))
    scenario = Scenario.combine(path.stem, question, parts)
    own = own.assign(held_out=False, fitted=True, doubtful=False, measure="time_s")
    return Measurements(path.stem, own, scenario)


def _kib(pages: int) -> str:
    return f"{pages * PAGE // KIB}KiB"


def trace_rows(trace: KernelTrace) -> pd.DataFrame:
    """Return the times in a text, with the columns of COLUMNS.

    There is a row for struct pages of each node, one for huge pages at boot, and one for each call that one's own
    kprobes tell of. Its client is the name of the event.

    `rate_gib_s` is the rate of one thread, the median over its chunks. `start_s` is the median time from a task's
    beginning to the start of a helper, and `last_start_s` the longest. NaN where the text doesn't tell.
    """
    rows = [*_node_rows(trace), *_page_rows(trace), *_call_rows(trace)]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _node_rows(trace: KernelTrace) -> Iterator[tuple[Any, ...]]:
    tasks: dict[int, list[TracedTask]] = {}
    for task in trace.tasks:
        if task.job == "struct pages" and task.nid is not None:
            tasks.setdefault(task.nid, []).append(task)
    for nid in sorted({*tasks, *trace.told_nodes}):
        own = tasks.get(nid, [])
        told = trace.told_nodes.get(nid)
        by_zone = trace.version is not None and trace.version >= (6, 18)
        pages = sum(job.size for job in _jobs_of(trace, nid, by_zone)) if own or trace.memory.get(nid) else 0
        if not pages:
            continue
        size_gib = pages * PAGE / GIB
        time_s = _time_of(own) if own else None
        spread = _LEAST_SPREAD
        if time_s is None and told:
            time_s, spread = told, _JIFFY_S / told
        if not time_s:
            continue
        threads = max((task.n_works for task in own), default=math.nan)
        yield (_STRUCT_PAGES, nid, threads, size_gib, time_s, spread * time_s, *_rates(own, PAGE))


def _page_rows(trace: KernelTrace) -> Iterator[tuple[Any, ...]]:
    own = [task for task in trace.tasks if task.job == "huge pages" and task.chunks]
    asked = trace.huge_pages().get("2M", "")
    pages = sum(chunk.size or 0 for task in own for chunk in task.chunks) or (int(asked) if asked.isdigit() else 0)
    if not pages or not (own or trace.told_pages):
        return
    told = trace.told_pages[-1] if trace.told_pages else None
    time_s = told[0] if told else _time_of(own)
    threads = max((task.n_works for task in own), default=told[1] if told else 1)
    if time_s:
        size_gib = pages * 512 * PAGE / GIB
        yield (_HUGE_PAGES, math.nan, threads, size_gib, time_s, _LEAST_SPREAD * time_s, *_rates(own, 512 * PAGE))


def _call_rows(trace: KernelTrace) -> Iterator[tuple[Any, ...]]:
    for call in trace.calls:
        if call.size_bytes and call.end_s > call.begin_s:
            time_s, size_gib = call.end_s - call.begin_s, call.size_bytes / GIB
            yield (
                call.name,
                math.nan,
                1,
                size_gib,
                time_s,
                _LEAST_SPREAD * time_s,
                size_gib / time_s,
                *2 * (math.nan,),
            )


def _jobs_of(trace: KernelTrace, nid: int, by_zone: bool) -> Sequence[Span]:
    """Return the jobs of a node: as traced, where the chunks have sizes, else as they follow from its memory."""
    own = [task for task in trace.tasks if task.job == "struct pages" and task.nid == nid and task.chunks]
    if own and all(chunk.start is not None and chunk.size for task in own for chunk in task.chunks):
        return [
            Span(task.chunks[0].start or 0, (task.chunks[-1].start or 0) + (task.chunks[-1].size or 0)) for task in own
        ]
    return deferred_jobs(trace.memory.get(nid, ()), trace.reserved or (), by_zone=by_zone)


def _time_of(tasks: Sequence[TracedTask]) -> float | None:
    """Return the seconds from the beginning of the first task to the end of the last, or None if unknown."""
    last = tasks[-1] if tasks else None
    if last is None or not last.chunks:
        return None
    per_unit = _seconds_per_unit(tasks)
    if not per_unit:
        return None
    usual = median(per_unit)
    ends = [
        chunk.end_s if chunk.end_s is not None and _is_next_chunk(last, chunk.end_s)
        else chunk.begin_s + usual * (chunk.size or 1)
        for chunk in last.chunks
    ]  # fmt: skip
    return max(ends) - tasks[0].begin_s


def _is_next_chunk(task: TracedTask, at_s: float) -> bool:
    """Return whether at this time a thread took another chunk of a task: only then the time is the end of one."""
    return any(chunk.begin_s == at_s for chunk in task.chunks)


def _seconds_per_unit(tasks: Sequence[TracedTask]) -> list[float]:
    """Return the time of each chunk whose end is known, for a unit of it, or for a chunk of unknown size."""
    return [
        (chunk.end_s - chunk.begin_s) / (chunk.size or 1)
        for task in tasks
        for chunk in task.chunks
        if chunk.end_s is not None and _is_next_chunk(task, chunk.end_s)
    ]


def _rates(tasks: Sequence[TracedTask], unit_bytes: int) -> tuple[float, float, float]:
    """Return the rate of a thread, and median and longest time to the start of helpers."""
    per_unit = _seconds_per_unit(tasks)
    sized = bool(tasks) and all(chunk.size for task in tasks for chunk in task.chunks)
    rate = unit_bytes / GIB / median(per_unit) if per_unit and sized and median(per_unit) > 0 else math.nan
    starts = [
        start_s - task.begin_s for task in tasks for worker, (start_s, _) in task.works.items() if worker and task.apart
    ]
    return rate, median(starts) if starts else math.nan, max(starts, default=math.nan)
