"""A traced kernel's decisions beside the simulation's, for the same tasks on the same machine.

A kernel's decisions have to be the same: tasks, threads, chunks. The results of chance have limits: who takes which
chunk, and how many sections boot needed beside the first. Times are the trace's own and the simulation's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd
from tabulate import tabulate

from models.clients.deferred_struct_page_init import DeferredInit, DeferredJob
from models.clients.hugetlb_boot_alloc import GIGANTIC_RULES, HugetlbBoot
from models.files.kernel_trace import KernelTrace, TracedChunk, TracedTask
from models.kernels import VERSIONS, Kernel
from models.machine import Machine
from models.measured.traces import TraceError, version_of
from models.memory.deferred import PAGE, SECTION, Span, deferred_jobs, first_deferred
from models.policies import NodeEntry, Policy
from models.results.run import Slice
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case

_NOTHING = pd.DataFrame([], columns=["kind", "task", "worker", "cpu", "begin_s", "end_s"])
_COLUMNS = ("job", "task", "node", "what", "kernel", "simulated", "agrees")


@dataclass(frozen=True)
class Decisions:
    """A task as it was run, in the kernel or in the simulation. Starts and sizes are in the job's units."""

    job: str
    nid: int | None
    begin_s: float
    works: int
    chunks: tuple[tuple[int, int], ...] | None  # (start, size), ascending; None: not told
    n_chunks: int
    of_worker: tuple[int, ...]  # chunks of each worker, the most first
    first_s: float  # from the start of the task to the first chunk
    last_s: float  # and to the last
    idle_s: float  # from a worker's last chunk to the last of all, the mean
    slices: pd.DataFrame  # kind, task, worker, cpu, begin_s, end_s


@dataclass(frozen=True)
class KernelComparison:
    """A trace beside the simulation.

    `rows` has the columns of _COLUMNS. `remarks` list the parts that could not be compared.
    """

    trace: KernelTrace
    machine: Machine
    version: str
    rows: pd.DataFrame
    kernel: tuple[Decisions, ...]
    simulated: tuple[Decisions, ...]
    remarks: tuple[str, ...]

    @property
    def differences(self) -> pd.DataFrame:
        """Return the rows that don't agree."""
        return self.rows[~self.rows["agrees"]]


def compare_trace(trace: KernelTrace, machine: Machine, seed: int = 1, version: str | None = None) -> KernelComparison:
    """Simulate the tasks of a trace on its machine, and say where the two differ.

    Parameters: the trace, the machine that it was made on (with its rates as far as they are known), the simulation's
    random seed, and the rules (`kernel.version`), by default those of the release in the text. Returns both sides and a
    table of their decisions. Raises TraceError if the trace has no tasks.
    """
    version = version or version_of(trace)
    if not trace.tasks:
        raise TraceError("the text has no traced tasks; HOST.md says how to trace a boot")
    remarks: list[str] = []
    tasks = list(trace.tasks)
    of_pages = [task for task in tasks if task.job == "struct pages"]
    pairs: list[tuple[TracedTask, Decisions]] = []
    rows: list[tuple[object, ...]] = []
    if of_pages:
        found, own_rows = _struct_pages(trace, machine, version, of_pages, seed, remarks)
        pairs += found
        rows += own_rows
    for task in tasks:
        if task.job in ("huge pages", "gigantic pages"):
            simulated = _huge_pages(trace, machine, version, task, seed)
            pairs.append((task, simulated))
        elif task.job != "struct pages":
            remarks.append(f"line {task.line}: a task of {task.job}, which is not modelled")
    numbers = {id(task): number for number, task in enumerate(tasks)}
    kernel = {id(task): _decisions(task, numbers[id(task)]) for task, _ in pairs}
    shared = [(task, simulated) for task, simulated in pairs if not task.apart]
    for task, simulated in sorted(pairs, key=lambda pair: numbers[id(pair[0])]):
        if task.apart:
            rows += _rows(numbers[id(task)], kernel[id(task)], simulated)
    if shared:
        remarks.append(
            f"whose helpers those of {len(shared)} tasks at once are is not told: their sums are compared "
            "(trace_options=func-args tells it, since Linux 6.15)"
        )
        rows += _sums([kernel[id(task)] for task, _ in shared], [simulated for _, simulated in shared])
    order = sorted(pairs, key=lambda pair: numbers[id(pair[0])])
    return KernelComparison(
        trace,
        machine,
        version,
        pd.DataFrame(rows, columns=pd.Index(_COLUMNS)).astype({"agrees": bool}),
        tuple(kernel[id(task)] for task, _ in order),
        tuple(simulated for _, simulated in order),
        tuple(dict.fromkeys(remarks)),
    )


def _kernel(version: str, trace: KernelTrace, client: str, **values: object) -> Kernel:
    given = {name: value for name, value in values.items() if value is not None}
    if trace.possible_cpus is not None:
        given["helper_pool"] = trace.possible_cpus
    return VERSIONS[version].model_validate(given).for_client(client)


def _struct_pages(
    trace: KernelTrace, machine: Machine, version: str, tasks: Sequence[TracedTask], seed: int, remarks: list[str]
) -> tuple[list[tuple[TracedTask, Decisions]], list[tuple[object, ...]]]:
    """Simulate struct page initialisation of all nodes at once. Return the tasks with theirs, and rows of the jobs."""
    kernel = _kernel(version, trace, "deferred_struct_page_init")
    memory = trace.memory or _memory_of(machine, remarks)
    by_node: dict[int, list[TracedTask]] = {}
    for task in tasks:
        by_node.setdefault(_nid(task), []).append(task)
    rows: list[tuple[object, ...]] = []
    wanted: list[tuple[int, Span]] = []
    simulate: dict[int, list[Span]] = {}
    for nid in sorted({*by_node, *(nid for nid, spans in memory.items() if first_deferred(spans) is not None)}):
        seen, spans = by_node.get(nid, []), memory.get(nid, ())
        jobs = _jobs(trace, kernel, machine, nid, spans, seen, remarks, rows)
        simulate[nid] = jobs
        wanted += [(nid, job) for job in jobs]
    if not wanted:
        return [], rows
    client = DeferredInit(
        client="deferred_struct_page_init",
        jobs=tuple(
            DeferredJob.model_construct(node=nid, start=job.start * PAGE, size=job.size * PAGE) for nid, job in wanted
        ),
    )
    on = _with_memory(machine, {nid for nid, _ in wanted})
    slices = run_case(Case(on, client, kernel, 1, seed), 0, with_slices=True).slices
    of_start = {(nid, job.start): [] for nid, job in wanted}  # type: dict[tuple[int, int], list[Slice]]
    job_of_task = {
        item.task: (nid, job.start)
        for item in slices
        for nid, job in wanted
        if item.kind == "chunk" and item.start_bytes is not None and item.memory_node == nid
        if job.start * PAGE <= item.start_bytes < job.end * PAGE
    }
    for item in slices:
        if item.task in job_of_task:
            of_start[job_of_task[item.task]].append(item)
    pairs = []
    for nid, jobs in simulate.items():
        for job, task in zip(jobs, by_node.get(nid, []), strict=False):
            pairs.append((task, _simulated("struct pages", nid, of_start[nid, job.start], PAGE)))
    return pairs, rows


def _jobs(
    trace: KernelTrace,
    kernel: Kernel,
    machine: Machine,
    nid: int,
    spans: Sequence[Span],
    seen: Sequence[TracedTask],
    remarks: list[str],
    rows: list[tuple[object, ...]],
) -> list[Span]:
    """Return the jobs of a node, and add rows for how many there are and where the first one begins."""
    first = first_deferred(spans)
    start = seen[0].chunks[0].start if seen and seen[0].chunks else None
    one, known = kernel.one_job_a_zone, trace.reserved is not None
    jobs = list(deferred_jobs(spans, trace.reserved or (), by_zone=one))
    if first is not None and start is not None and (one or known):
        most = max(0, start - first) // SECTION
        tried = [deferred_jobs(spans, trace.reserved or (), by_zone=one, boot_sections=n) for n in range(most + 1)]
        sections = next((n for n, found in enumerate(tried) if found and found[0].start == start), 0)
        jobs = list(tried[sections])
        begin = jobs[0].start if jobs else first
        told = f"{begin:#x}" + (f", {sections} sections on" if sections else "")
        rows.append(("struct pages", "", nid, "first page", f"{start:#x}", told, begin == start))
    if not one and not known:
        remarks.append(
            "until Linux 6.17 memory that is in use cuts struct pages into jobs, and the text doesn't tell it "
            "(memblock=debug does): the jobs are taken as seen"
        )
        jobs = _seen_jobs(kernel, machine, nid, jobs, seen)
    rows.append(("struct pages", "", nid, "tasks", len(seen), len(jobs), len(seen) == len(jobs)))
    return jobs


def _seen_jobs(
    kernel: Kernel, machine: Machine, nid: int, whole: Sequence[Span], seen: Sequence[TracedTask]
) -> list[Span]:
    """Return jobs of whole sections, one after the other, with as many chunks as were seen, or fewer."""
    jobs: list[Span] = []
    if not whole:
        return jobs
    start, end = whole[0].start, -(-whole[-1].end // SECTION) * SECTION
    for task in seen:
        if task.chunks and task.chunks[0].start is not None and all(chunk.size for chunk in task.chunks):
            last = task.chunks[-1]
            job = Span(task.chunks[0].start, (last.start or 0) + (last.size or 0))
            jobs.append(job)
            start = job.end
            continue
        for sections in range(1, (end - start) // SECTION + 1):
            job = Span(start, start + sections * SECTION)
            if len(_chunks_of(kernel, machine, nid, job)) == len(task.chunks) or not task.apart:
                jobs.append(job)
                start = job.end
                break
    return jobs


def _chunks_of(kernel: Kernel, machine: Machine, nid: int, job: Span) -> list[tuple[int, int]]:
    """Return the chunks of one job, as the policy cuts them."""
    policy = Policy(kernel, machine, lambda _: 0)
    entries = [NodeEntry(nid, job.start, job.size)]
    queue = policy.queue(entries, policy.n_works(job.size, nid))
    found = []
    while (chunk := queue.take(0)) is not None:
        found.append((chunk.start, chunk.size))
    return found


def _huge_pages(trace: KernelTrace, machine: Machine, version: str, task: TracedTask, seed: int) -> Decisions:
    """Simulate the allocation of huge pages at boot, or the struct pages of gigantic ones: a unit for each node."""
    if task.job == "gigantic pages":
        # A unit for each number that a node may have, those without memory too, and a thread for each with memory.
        kernel = _kernel(version, trace, GIGANTIC_RULES, max_threads=len(machine.memory_nids))
        n_nodes = 1 + max(machine.nids)
        machine = _with_memory(machine, machine.nids)
        client = HugetlbBoot.model_validate(
            {"client": "hugetlb_boot_alloc", "size": f"{n_nodes}GiB", "page_size": "1GiB"}
        )
        unit = GIB
    else:
        threads = trace.option("hugepage_alloc_threads")
        kernel = _kernel(version, trace, "hugetlb_boot_alloc", max_threads=int(threads) if threads else None)
        pages = _n_pages(trace, task)
        if not pages:  # padata_do_multithreaded returns at once
            return _summed(task.job, None, 0.0, 1, (), _NOTHING)
        client = HugetlbBoot.model_validate(
            {"client": "hugetlb_boot_alloc", "size": f"{2 * pages}MiB", "page_size": "2MiB"}
        )
        unit = 2 * MIB
    slices = run_case(Case(machine, client, kernel, 1, seed), 0, with_slices=True).slices
    first = min((chunk.start for chunk in task.chunks if chunk.start is not None), default=0)
    return _simulated(task.job, None, slices, unit, first)


def _n_pages(trace: KernelTrace, task: TracedTask) -> int:
    """Return the pages of a task of huge pages: those of the options, or the rest of them in a further round."""
    asked = trace.huge_pages().get("2M")
    start = min((chunk.start for chunk in task.chunks if chunk.start is not None), default=0)
    told = sum(chunk.size or 0 for chunk in task.chunks)
    if asked is not None and asked.isdigit() and int(asked) > start:
        return int(asked) - start
    return told


def _nid(task: TracedTask) -> int:
    return -1 if task.nid is None else task.nid


def _memory_of(machine: Machine, remarks: list[str]) -> dict[int, tuple[Span, ...]]:
    """Return where the memory of each node may be: whole sections, one after the other, 2 GiB of it below 4 GiB."""
    remarks.append(
        "the text has no `Early memory node ranges` (dmesg): nodes are taken one after the other, 2 GiB below 4 GiB"
    )
    low, at, found = 2 * GIB // PAGE, 0, {}
    for node in machine.nodes:
        left, spans = -(-node.memory_bytes // PAGE // SECTION) * SECTION, []
        while left > 0:
            room = low - at if at < low else left
            spans.append(Span(at, at + min(room, left)))
            left -= min(room, left)
            at += spans[-1].size
            at = 4 * GIB // PAGE if at == low else at
        if spans:
            found[node.nid] = tuple(spans)
    return found


def _with_memory(machine: Machine, nids: Iterable[int]) -> Machine:
    """Return the machine with memory on these nodes."""
    wanted = set(nids)
    nodes = tuple(
        replace(node, memory_bytes=max(node.memory_bytes, GIB)) if node.nid in wanted else node
        for node in machine.nodes
    )
    return replace(machine, nodes=nodes)


def _simulated(job: str, nid: int | None, slices: Sequence[Slice], unit: int, offset: int = 0) -> Decisions:
    """Return the decisions of a simulated task. Starts are moved up by `offset` units."""
    slices = _whole_chunks([item for item in slices if item.kind != "alone"])
    begin_s = min((item.begin_s for item in slices), default=0.0)
    found = sorted((item for item in slices if item.kind == "chunk"), key=lambda item: item.start_bytes or 0)
    rows = [(item.kind, item.task, item.worker, item.cpu, item.begin_s - begin_s, item.end_s - begin_s)
            for item in slices]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["kind", "task", "worker", "cpu", "begin_s", "end_s"])
    pieces = tuple(((item.start_bytes or 0) // unit + offset, (item.size_bytes or 0) // unit) for item in found)
    works = 1 + max((item.worker for item in slices), default=0)
    return _summed(job, nid, begin_s, works, pieces, frame)


def _whole_chunks(slices: Sequence[Slice]) -> list[Slice]:
    """Put the pieces of a chunk together: those of one worker without the task's lock in between."""
    whole: list[Slice] = []
    last: dict[int, int] = {}  # worker -> index of its last slice
    for item in sorted(slices, key=lambda item: (item.begin_s, item.end_s)):
        before = whole[last[item.worker]] if item.worker in last else None
        if item.kind == "chunk" and before is not None and before.kind == "chunk" and before.end_s == item.begin_s:
            size = (before.size_bytes or 0) + (item.size_bytes or 0)
            whole[last[item.worker]] = before._replace(size_bytes=size, end_s=item.end_s)
        else:
            last[item.worker] = len(whole)
            whole.append(item)
    return whole


def _decisions(task: TracedTask, number: int) -> Decisions:
    """Return the decisions of a traced task."""
    last_s = max((chunk.begin_s for chunk in task.chunks), default=task.begin_s)
    rows = []
    for chunk in task.chunks:
        end_s = _end(chunk, last_s)
        rows.append(("chunk", number, chunk.worker, chunk.cpu, chunk.begin_s - task.begin_s, end_s - task.begin_s))
    for worker, (start_s, cpu) in task.works.items():
        if worker and start_s > task.begin_s:
            rows.append(("queued", number, worker, cpu, 0.0, start_s - task.begin_s))
    frame = pd.DataFrame(rows, columns=["kind", "task", "worker", "cpu", "begin_s", "end_s"])
    told = all(chunk.start is not None and chunk.size is not None for chunk in task.chunks)
    pieces = tuple((chunk.start or 0, chunk.size or 0) for chunk in task.chunks) if told and task.chunks else None
    return _summed(task.job, task.nid, task.begin_s, task.n_works, pieces, frame, len(task.chunks))


def _end(chunk: TracedChunk, last_s: float) -> float:
    """Return when a chunk ended: when its thread went on, but at most when the last chunk of the task began."""
    if chunk.end_s is not None and chunk.end_s <= last_s:
        return chunk.end_s
    return max(chunk.begin_s, last_s)


def _summed(
    job: str,
    nid: int | None,
    begin_s: float,
    works: int,
    pieces: tuple[tuple[int, int], ...] | None,
    frame: pd.DataFrame,
    n_chunks: int | None = None,
) -> Decisions:
    chunks = frame[frame["kind"] == "chunk"]
    own = chunks.groupby("worker")["begin_s"].agg(["count", "max"])
    last_s = float(chunks["begin_s"].max()) if len(chunks) else 0.0
    return Decisions(
        job=job,
        nid=nid,
        begin_s=begin_s,
        works=works,
        chunks=pieces,
        n_chunks=len(pieces or ()) if n_chunks is None else n_chunks,
        of_worker=tuple(sorted((int(n) for n in own["count"]), reverse=True)),
        first_s=float(chunks["begin_s"].min()) if len(chunks) else 0.0,
        last_s=last_s,
        idle_s=float((last_s - own["max"]).mean()) if len(own) else 0.0,
        slices=frame,
    )


def _rows(number: int, kernel: Decisions, simulated: Decisions) -> Iterator[tuple[object, ...]]:
    """Yield the rows of a task, one for each decision."""
    head = (kernel.job, number, "" if kernel.nid is None else kernel.nid)
    yield (*head, "threads", kernel.works, simulated.works, kernel.works == simulated.works)
    yield (*head, "chunks", kernel.n_chunks, simulated.n_chunks, kernel.n_chunks == simulated.n_chunks)
    if kernel.chunks is not None and simulated.chunks is not None:
        a, b = first_difference(kernel.chunks, simulated.chunks)
        yield (*head, "sizes", a, b, kernel.chunks == simulated.chunks)
    within = len(kernel.of_worker) <= simulated.works and sum(kernel.of_worker) == kernel.n_chunks
    yield (*head, "of each thread", _counts(kernel), _counts(simulated), within)


def first_difference(kernel: Sequence[tuple[int, int]], simulated: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Return two lists of chunks in words: all sizes where they are equal, else the first that differs.

    >>> first_difference([(0, 4), (4, 4)], [(0, 4), (4, 3), (7, 1)])
    ('0x4 at 0x4', '0x3 at 0x4')
    """
    if list(kernel) == list(simulated):
        return _sizes(kernel), _sizes(simulated)
    for i in range(max(len(kernel), len(simulated))):
        a, b = (list(chunks[i : i + 1]) for chunks in (kernel, simulated))
        if a != b:
            words = [f"{chunk[0][1]:#x} at {chunk[0][0]:#x}" if chunk else "none" for chunk in (a, b)]
            return words[0], words[1]
    return "", ""


def _sizes(chunks: Sequence[tuple[int, int]]) -> str:
    """Return the sizes of chunks in order, runs of equal ones as one: 0x8000, 7 x 0x18000."""
    runs: list[tuple[int, int]] = []
    for _, size in chunks:
        if runs and runs[-1][1] == size:
            runs[-1] = (runs[-1][0] + 1, size)
        else:
            runs.append((1, size))
    return ", ".join(f"{n} x {size:#x}" if n > 1 else f"{size:#x}" for n, size in runs)


def _counts(decisions: Decisions) -> str:
    return " ".join(map(str, decisions.of_worker))


def _sums(kernel: Sequence[Decisions], simulated: Sequence[Decisions]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of tasks that look alike."""
    for what in ("works", "n_chunks"):
        a, b = (sum(getattr(decisions, what) for decisions in side) for side in (kernel, simulated))
        name = "threads" if what == "works" else "chunks"
        yield (kernel[0].job, "all", "", f"{name} of {len(kernel)} tasks", a, b, a == b)


def describe_comparison(comparison: KernelComparison) -> str:
    """Return the comparison in words: the table, the times, the differences, and the parts that were not compared."""
    trace = comparison.trace
    version = "unknown" if trace.version is None else ".".join(map(str, trace.version))
    lines = [
        f"{trace.source}: Linux {version}, by the rules of {comparison.version}, on {comparison.machine.title}",
        "",
    ]
    shown = comparison.rows.assign(agrees=comparison.rows["agrees"].map({True: "", False: "differs"}))
    heads = ["job", "task", "node", "decision", "kernel", "simulated", ""]
    lines += [tabulate(shown.to_numpy().tolist(), headers=heads, disable_numparse=True), ""]
    times = [
        [kernel.job, "" if kernel.nid is None else kernel.nid]
        + [f"{1e3 * value:.3f}" for pair in _times(kernel, simulated) for value in pair]
        for kernel, simulated in zip(comparison.kernel, comparison.simulated, strict=True)
    ]
    heads = [
        "times (ms)",
        "node",
        "first start",
        "simulated",
        "last start",
        "simulated",
        "idle at the end",
        "simulated",
    ]
    lines += [tabulate(times, headers=heads, disable_numparse=True), ""]
    lines += [f"note: {remark}" for remark in comparison.remarks]
    n = len(comparison.differences)
    lines.append(f"{len(comparison.rows)} decisions, {n} of them differ." if n else
                 f"{len(comparison.rows)} decisions, all the same.")  # fmt: skip
    return "\n".join(lines)


def _times(kernel: Decisions, simulated: Decisions) -> list[tuple[float, float]]:
    return [(getattr(kernel, name), getattr(simulated, name)) for name in ("first_s", "last_s", "idle_s")]


def timelines(comparison: KernelComparison) -> dict[str, pd.DataFrame]:
    """Return the traces of kernel and simulation, as `sim.figures.timeline.plot_timelines` takes them.

    Jobs come one after the other, without the rest of boot in between. Tasks of a job keep their times.
    """
    sides = {"the kernel, as traced": comparison.kernel, "simulated": comparison.simulated}
    return {name: _timeline(decisions) for name, decisions in sides.items()}


def _timeline(decisions: Sequence[Decisions]) -> pd.DataFrame:
    frames: list[pd.DataFrame] = []
    at, group = 0.0, 0
    for job, of_job in groupby(enumerate(decisions), key=lambda item: item[1].job):
        members = list(of_job)
        apart = 0.0
        for number, each in members:
            # Struct pages of all nodes are simulated in one run; others are runs of their own.
            begin_s = each.begin_s - min(other.begin_s for _, other in members) if job == "struct pages" else apart
            own = each.slices
            frames.append(
                own.assign(task=number, begin_s=own["begin_s"] + at + begin_s, end_s=own["end_s"] + at + begin_s)
            )
            apart += float(own["end_s"].max()) if len(own) else 0.0
        at = max((float(frame["end_s"].max()) for frame in frames[group:] if len(frame)), default=at)
        group = len(frames)
    return pd.concat(frames, ignore_index=True)
