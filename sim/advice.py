"""Advice: how many threads, and which chunk, prepare the memory of a program soonest without waste.

The recommendation is the fewest threads whose mean time is within 3 % of the least found, and of the chunks that these
may take, the largest within 1 % of the best. All candidates meet the same luck.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

import pandas as pd
from tabulate import tabulate

from models.case import Case
from models.clients import CLIENTS, Advised
from models.cpu_list import format_cpu_list
from models.document import locate
from models.kernels import VERSIONS
from models.machine import Machine
from models.problems import InputError, Problem, did_you_mean
from models.replications import Key, RunningMean
from models.run import RunResult
from models.scenario import DEFAULT_VERSION, build_scenario
from models.units import describe, format_size, format_time
from sim.executors import Executor, local

SOURCE = "advice"  # stands for the file in messages
REPLICATIONS = 10
THREADS_WITHIN, CHUNK_WITHIN = 0.03, 0.01  # of the least time: what is as good
NOTICED = 0.05  # share of the time that a limit has to cost to be named
NO_LIMIT = "number of threads"  # named where nothing else is
UNSURE = 0.3  # by which a figure that is not measured may be off, either way
_LOWER, _HIGHER = 1 - UNSURE, 1 + UNSURE
_UNSURE_SOURCES = ("not measured", "an assumption", "assumption")
_UNLIMITED = 1e3  # times a capacity: no limit
_CHUNK_STEP = 8  # ratio of chunks that are tried
_CHUNKS_EACH = 16  # for each thread, at least: one that comes late for a reason not modelled costs little
_ROUNDS = 2  # chunks for each thread in the shorter of two runs of which a long job is made up
_LEAST_CHUNKS = 512  # in it, so that their noise hardly shows
_MOST_WORK = 1_000_000  # chunks times threads of a run: with more, an advice takes too long
_ALIKE = 0.9  # share of the highest utilisation from which a resource is named with it; of 1: a link is full
_LOCKS = "client_lock_wait_s"
_WAITS = {  # of a worker, and what it waits for
    _LOCKS: "kernel locks",
    "lock_wait_s": "lock of the task",
    "start_wait_s": "start of the threads",
    "end_wait_s": "wait for the last thread",
}
_WIDTH = 118  # of the words
_ALONE_S = 0.1  # of simulated time, to see how fast a background load is by itself


@dataclass(frozen=True)
class Advice:
    """What was found for one job on one machine.

    * ``table``: a row for each candidate, by threads and chunk: threads, chunk_bytes (the first one's, where chunks
      differ), time_s (mean), low_s and high_s (where 95 % of runs end; wider where rates are not measured), cpu_s,
      limit (what keeps it from being faster), and note (recommended, default, one thread).
    * ``recommended``, ``default``, ``single``: rows of it.
    * ``sentences``: the advice in words, the first one the answer.
    * ``option``: what to paste.
    * ``unsure``: the figures that are not measured on this machine.
    """

    title: str
    table: pd.DataFrame
    recommended: pd.Series[Any]
    default: pd.Series[Any]
    single: pd.Series[Any]
    sentences: tuple[str, ...]
    option: str
    unsure: tuple[str, ...]


def advise(
    client: str,
    size: str | int,
    machine: Machine,
    *,
    page_size: str | int | None = None,
    thp: bool = False,
    smp: int | None = None,
    keep_free: int = 0,
    background: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    seed: int = 1,
    jobs: int = 1,
    on_done: Callable[[int, int], object] | None = None,
) -> Advice:
    """Advise on a job of `size` (bytes, or a text with a unit) that leaves `keep_free` CPUs of a machine to others.

    `smp` is the number of the guest's CPUs, from which QEMU's default follows. Runs are made by `jobs` processes; the
    result is the same for any number. `on_done` is called with the number of runs made so far, and how many are planned
    by now. Raises InputError for a job that can't be, and sim.executors.LostWorkersError if a process is lost.
    """
    others = background or {}, groups or {}
    request = _Request(client, _as_text(size), machine, _as_text(page_size), thp, smp, *others, seed)
    request.check(keep_free)
    with local(jobs) as executor:
        return _Search(request, len(machine.cpus) - keep_free, _Runs(executor, on_done)).advice()


def describe_advice(advice: Advice) -> str:
    """Return an advice as a person reads it: table, sentences, and what to paste."""
    table = advice.table
    unit, factor = ("s", 1.0) if table["time_s"].max() >= 1.0 else ("ms", 1e3)
    shown = {
        "": table["note"],
        "threads": table["threads"],
        "chunk": [format_size(size) for size in table["chunk_bytes"]],
        f"time ({unit})": [f"{factor * time:.2f}" for time in table["time_s"]],
        "from, to": [
            f"{factor * low:.2f} to {factor * high:.2f}"
            for low, high in zip(table["low_s"], table["high_s"], strict=True)
        ],
        "CPU-seconds": [f"{cpu_s:.2f}" for cpu_s in table["cpu_s"]],
        "what limits it": table["limit"],
    }
    rows = tabulate(shown, headers="keys", disable_numparse=True, colalign=("left", *["right"] * 5, "left"))
    words = "\n".join(fill(sentence, _WIDTH) for sentence in advice.sentences)
    return "\n\n".join([advice.title, rows, words, f"    {advice.option}"])


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads that are tried: 1, 2, 3, 4, 6, 8, 12, 16 ... and `most` itself."""
    counts = {1, most}
    power = 2
    while power <= most:
        counts |= {count for count in (power, power * 3 // 2) if count <= most}
        power *= 2
    return sorted(counts)


def recommend(table: pd.DataFrame) -> Any:
    """Return the index of the row to recommend: the fewest threads, then the largest chunk that are as good as any."""
    good = table[table["time_s"] <= (1 + THREADS_WITHIN) * table["time_s"].min()]
    fewest = table[table["threads"] == good["threads"].min()]
    best = fewest[fewest["time_s"] <= (1 + CHUNK_WITHIN) * fewest["time_s"].min()]
    return best["chunk_bytes"].idxmax()


@dataclass(frozen=True)
class _Request:
    """A job, as it was asked for; sizes are texts as in a file."""

    client: str
    size: str
    machine: Machine
    page_size: str | None
    thp: bool
    smp: int | None
    background: Mapping[str, Any]  # as in a scenario's file
    groups: Mapping[str, Any]
    seed: int

    def check(self, keep_free: int) -> None:
        """Find what is wrong with the request before anything runs. Raises InputError."""
        sized = [name for name, kind in CLIENTS.items() if "size" in kind.model_fields]
        n_cpus = len(self.machine.cpus)
        problems = []
        if self.client not in sized:
            found = f"found {self.client!r}" + (", which has no size" if self.client in CLIENTS else "")
            near = [name for name in sized if self.client and name.startswith(self.client.lower())]
            hint = f"; did you mean {near[0]}?" if near else did_you_mean(self.client, sized)
            problems.append(("task.client", f"{found}; allowed is {', '.join(sized)}{hint}"))
        else:
            for name, value in (("page_size", self.page_size), ("thp", self.thp or None)):
                if value is not None and name not in CLIENTS[self.client].model_fields:
                    able = [other for other in sized if name in CLIENTS[other].model_fields]
                    message = f"found {describe(value)}; {self.client} has no such choice, but {_and(able)} have"
                    problems.append((f"task.{name}", message))
            if self.smp is not None and "smp" not in VERSIONS[self._framework].model_fields:
                message = f"found {self.smp}; {self.client} has no guest, whose CPUs its threads follow from"
                problems.append(("kernel.smp", message))
        if not 0 <= keep_free < n_cpus:
            of_whom = f"machine {self.machine.name} has {_n(n_cpus, 'CPU')}"
            problems.append(("keep_free", f"found {keep_free}; allowed is 0 to {n_cpus - 1}: {of_whom}"))
        if problems:
            raise InputError(Problem(SOURCE, 0, 0, *problem) for problem in problems)

    @property
    def _framework(self) -> str:
        name: str = getattr(CLIENTS[self.client], "framework", DEFAULT_VERSION)
        return name

    def case(self, threads: int | None = None, chunk_bytes: int | None = None) -> Case:
        """Return the job with so many threads and such chunks; None is the default. Raises InputError."""
        task = {"client": self.client, "size": self.size, "page_size": self.page_size, "thp": self.thp or None}
        kernel: dict[str, Any] = {
            "version": self._framework,
            "max_threads": threads,
            "smp": self.smp,
            "chunk_size": None if chunk_bytes is None else f"{chunk_bytes}B",
        }
        document = {
            "title": SOURCE,
            "question": "how many threads?",
            "machine": self.machine.name,
            "task": {name: value for name, value in task.items() if value is not None},
            "kernel": {name: value for name, value in kernel.items() if value is not None},
            "background": dict(self.background),
            "groups": dict(self.groups),
            "replications": REPLICATIONS,
            "seed": self.seed,
        }
        return build_scenario(locate(document), Path(SOURCE), machine=self.machine).cases[0]


def _as_text(size: str | int | None) -> Any:
    return f"{size}B" if isinstance(size, int) else size


@dataclass(frozen=True)
class Parts:
    """The runs that stand for a case: itself, or two shorter ones, from which its figures follow on a straight line.

    T = T1 + (T2 - T1) * `factor`. Both have the same rest beside whole rounds of chunks, so that this is exact but for
    chance, and for rounding where the memory of nodes is cut down (below 0.1 %).
    """

    cases: tuple[Case, ...]
    factor: float = 0.0

    def combine(self, results: Sequence[RunResult]) -> RunResult:
        """Return the result of the case from those of its parts."""
        if len(results) == 1:
            return results[0]
        first, second = results

        def at(a: float, b: float) -> float:
            return a + (b - a) * self.factor

        time_s = at(first.time_s, second.time_s)
        names = first.utilisation.keys() | second.utilisation.keys()
        served = {
            name: at(first.utilisation.get(name, 0.0) * first.time_s, second.utilisation.get(name, 0.0) * second.time_s)
            for name in sorted(names)
        }
        return replace(
            second,
            time_s=time_s,
            cpu_s=at(first.cpu_s, second.cpu_s),
            utilisation={name: max(0.0, value / time_s) for name, value in served.items()},
            workers=[
                replace(b, **dict[str, Any]((name, at(getattr(a, name), getattr(b, name))) for name in _WAITS))
                for a, b in zip(first.workers, second.workers, strict=True)
            ],
        )


def parts_of(case: Case) -> Parts:
    """Return the runs to make for a case.

    A long one is cut short where the rest is more of the same: chunks of one size, with the memory of nodes cut down
    alike; or tasks that are all alike, where each node has room for all of them.
    """
    machine, size_bytes, threads = case.machine, case.size_bytes, case.n_works
    least_bytes = min((node.memory_bytes for node in machine.nodes if node.memory_bytes), default=0)
    task_bytes, n_tasks, chunk_bytes = case.task.task_bytes(machine), case.task.n_tasks(machine), _first_chunk(case)
    n_chunks = max(_ROUNDS * threads, _LEAST_CHUNKS)
    if n_tasks == 1 and _has_chunk(case):
        step_bytes = -(-n_chunks // threads) * threads * chunk_bytes
    elif n_tasks > 1 and n_tasks * task_bytes == size_bytes <= least_bytes:
        step_bytes = -(-n_chunks * chunk_bytes // task_bytes) * task_bytes
    else:
        return Parts((case,))
    if size_bytes < 4 * step_bytes:
        return Parts((case,))
    sizes = [step_bytes + size_bytes % step_bytes, 2 * step_bytes + size_bytes % step_bytes]
    cases = tuple(_shortened(case, size, scaled=size_bytes > least_bytes) for size in sizes)
    if any(part.n_works != threads for part in cases):
        return Parts((case,))
    return Parts(cases, (size_bytes - sizes[0]) / step_bytes)


def _shortened(case: Case, size_bytes: int, *, scaled: bool) -> Case:
    """Return a case with a smaller job; `scaled`: on a machine whose nodes have less memory in proportion."""
    task = case.task.model_copy(update={"size": size_bytes})
    if not scaled:
        return replace(case, task=task)
    unit = case.task.unit_bytes(case.machine)
    nodes = tuple(
        replace(node, memory_bytes=-(-node.memory_bytes * size_bytes // case.size_bytes // unit) * unit)
        for node in case.machine.nodes
    )
    return replace(case, task=task, machine=replace(case.machine, nodes=nodes))


class _Runs:
    """Makes runs, and counts them."""

    def __init__(self, executor: Executor, on_done: Callable[[int, int], object] | None) -> None:
        self._executor = executor
        self._on_done = on_done
        self._n_made = self._n_planned = 0

    def make(self, cases: Sequence[Case], replications: int = REPLICATIONS) -> list[list[RunResult]]:
        """Return the results of each case, by replication."""
        parts = [parts_of(case) for case in cases]
        flat = [case for part in parts for case in part.cases]
        starts = [sum(len(part.cases) for part in parts[:i]) for i in range(len(parts))]
        found = self._run([(number, i) for number in range(len(flat)) for i in range(replications)], flat)
        return [
            [part.combine([found[start + k, i] for k in range(len(part.cases))]) for i in range(replications)]
            for start, part in zip(starts, parts, strict=True)
        ]

    def _run(self, keys: list[Key], cases: Sequence[Case]) -> dict[Key, RunResult]:
        found: dict[Key, RunResult] = {}
        self._n_planned += len(keys)
        waiting = deque(sorted(keys, key=lambda key: -cases[key[0]].n_works))  # the longest first
        n_in_flight = 0
        while waiting or n_in_flight:
            while waiting and n_in_flight < self._executor.limit():
                key = waiting.popleft()
                self._executor.submit(key, cases[key[0]])
                n_in_flight += 1
            key, found_result = self._executor.next_done()
            found[key] = found_result
            n_in_flight -= 1
            self._n_made += 1
            if self._on_done is not None:
                self._on_done(self._n_made, self._n_planned)
        return found


@dataclass
class _Candidate:
    """A number of threads and a chunk, and what became of it."""

    case: Case
    threads: int
    chunk_bytes: int
    results: list[RunResult]
    limit: str
    varied: Mapping[str, tuple[float, float]]  # figure -> the time if it is lower, and higher, relative to this one

    @property
    def time_s(self) -> float:
        return fmean(result.time_s for result in self.results)

    def interval(self) -> tuple[float, float]:
        """Return where 95 % of runs end, by the spread of the runs and, independent of it, by each unsure figure."""
        mean = RunningMean(result.time_s for result in self.results)
        spread = mean.half_width() * math.sqrt(mean.n + 1) / mean.mean  # of one more run, not of the mean
        less = math.hypot(spread, *(min(1.0, *pair) - 1.0 for pair in self.varied.values()))
        more = math.hypot(spread, *(max(1.0, *pair) - 1.0 for pair in self.varied.values()))
        return mean.mean * max(0.0, 1 - less), mean.mean * (1 + more)

    def row(self) -> dict[str, Any]:
        low_s, high_s = self.interval()
        return {
            "threads": self.threads,
            "chunk_bytes": self.chunk_bytes,
            "time_s": self.time_s,
            "low_s": low_s,
            "high_s": high_s,
            "cpu_s": fmean(result.cpu_s for result in self.results),
            "limit": self.limit,
        }


class _Search:
    """The candidates of one request, and the words about them."""

    def __init__(self, request: _Request, most_threads: int, runs: _Runs) -> None:
        self._request = request
        self._machine = request.machine
        self._most_threads = most_threads
        self._runs = runs
        self._found: dict[tuple[int, int], _Candidate] = {}
        self._default = request.case()
        self._unsure = _unsure_figures(self._default)
        self._skipped: set[int] = set()

    def advice(self) -> Advice:
        """Try what there is to try, and say what is best."""
        self._try([self._default, *self._thread_cases(None)])
        if _has_chunk(self._default):
            self._try_chunks()
        candidates = [self._found[key] for key in sorted(self._found)]
        table = pd.DataFrame([candidate.row() for candidate in candidates])
        rows = {"recommended": recommend(table[table["threads"] <= self._most_threads])}
        for name, case in (("default", self._default), ("one thread", self._request.case(1))):
            rows[name] = sorted(self._found).index(_key(case))
        notes = [", ".join(name for name, row in rows.items() if row == index) for index in table.index]
        table.insert(len(table.columns), "note", notes)
        best = candidates[rows["recommended"]]
        return Advice(
            title=f"{self._request.client}, {format_size(best.case.size_bytes)}, on {self._machine.name}: "
            f"{self._machine.title}",
            table=table,
            recommended=table.loc[rows["recommended"]],
            default=table.loc[rows["default"]],
            single=table.loc[rows["one thread"]],
            sentences=tuple(self._sentences(table, rows, candidates)),
            option=_option(best),
            unsure=tuple(self._unsure.values()),
        )

    def _thread_cases(self, chunk_bytes: int | None) -> Iterator[Case]:
        """Yield the job with each number of threads that it really gets, unless it takes too long to simulate."""
        seen = set()
        for count in thread_counts(self._most_threads):
            threads = self._request.case(count, chunk_bytes).n_works
            if threads in seen:
                continue
            seen.add(threads)
            case = self._request.case(threads, chunk_bytes)
            if sum(_n_chunks(part) for part in parts_of(case).cases) * threads > _MOST_WORK and threads > 1:
                self._skipped.add(threads)
            else:
                yield case

    def _try_chunks(self) -> None:
        """Try other chunks with the threads that are best so far; all threads again if one is better by far."""
        before = self._best()
        self._try([self._request.case(before.threads, size) for size in _chunk_sizes(before)])
        best = self._best()
        if best.time_s < (1 - CHUNK_WITHIN) * before.time_s:
            self._try(list(self._thread_cases(best.chunk_bytes)))

    def _best(self) -> _Candidate:
        candidates = [each for each in self._found.values() if each.threads <= self._most_threads]
        index: int = recommend(pd.DataFrame([each.row() for each in candidates]))
        return candidates[index]

    def _try(self, cases: Sequence[Case]) -> None:
        new = {_key(case): case for case in reversed(cases) if _key(case) not in self._found}
        noisy = self._runs.make(list(new.values()))
        variants: dict[tuple[tuple[int, int], object], Case] = {
            (key, what): _quiet(variant)
            for key, case in new.items()
            for what, variant in [("", case), *_relaxed(case).items(), *_varied(case, self._unsure).items()]
        }
        steady = dict(zip(variants, self._runs.make(list(variants.values()), 1), strict=True))
        for (key, case), results in zip(new.items(), noisy, strict=True):
            as_is = steady[key, ""][0]
            limit = limit_of(as_is, {kind: steady[key, kind][0].time_s for kind in _relaxed(case)}, key[0])
            times = {what: steady[key, what][0].time_s / as_is.time_s for what in _varied(case, self._unsure)}
            varied = {name: (times[name, _LOWER], times[name, _HIGHER]) for name in self._unsure}
            self._found[key] = _Candidate(case, *key, results, limit, varied)

    def _sentences(self, table: pd.DataFrame, rows: Mapping[str, Any], candidates: list[_Candidate]) -> Iterator[str]:
        best, default, single = (candidates[rows[name]] for name in ("recommended", "default", "one thread"))
        row = table.loc[rows["recommended"]]
        chunks = f" with chunks of {format_size(best.chunk_bytes)}" if _has_chunk(best.case) else ""
        often = "as far as can be told" if self._unsure else "in 95 of 100 runs"
        yield (
            f"Use {_n(best.threads, 'thread')}{chunks}: {format_size(best.case.size_bytes)} then take about "
            f"{format_time(best.time_s)} ({format_time(row['low_s'])} to {format_time(row['high_s'])} {often})."
        )
        coarse = f", no larger chunk within {CHUNK_WITHIN:.0%}" if _has_chunk(best.case) else ""
        if best.threads > 1:
            yield f"No fewer threads come within {THREADS_WITHIN:.0%} of the least time{coarse}."
        if best is default:
            yield "That is the default."
        else:
            chunks = f" with chunks of {format_size(default.chunk_bytes)}" if _has_chunk(default.case) else ""
            yield f"The default, {_n(default.threads, 'thread')}{chunks}, takes {format_time(default.time_s)}."
        if 1 not in (best.threads, default.threads):
            yield f"One thread takes {format_time(single.time_s)}."
        yield self._more(best, candidates)
        yield self._neighbours(best)
        if self._unsure:
            yield self._doubt(best)

    def _more(self, best: _Candidate, candidates: Sequence[_Candidate]) -> str:
        """Say what more threads would and would not bring, and why."""
        more = [each for each in candidates if best.threads < each.threads <= self._most_threads]
        untried = ""
        if self._skipped:
            untried = f" With {_and(map(str, sorted(self._skipped)))} threads it takes too long to simulate: not tried."
        if not more:
            if untried:
                return untried.strip()
            if best.threads < self._most_threads:
                return "More threads are not to be had: by its rules it takes no more for so much memory."
            free = len(self._machine.cpus) - self._most_threads
            return "More threads would want more CPUs than " + ("are left to it." if free else "there are.")
        fastest = min(more, key=lambda each: each.time_s)
        most = max(more, key=lambda each: each.threads)
        gain = 1 - fastest.time_s / best.time_s
        text = (
            f"More threads bring at most {gain:.1%} ({fastest.threads} of them: {format_time(fastest.time_s)})"
            if gain > 0
            else "More threads bring nothing"
        )
        cost = fmean(r.cpu_s for r in most.results) / fmean(r.cpu_s for r in best.results)
        why = "" if most.limit == NO_LIMIT else f" What limits them: {most.limit}."
        most_s = format_time(most.time_s)
        return f"{text}; {most.threads} take {most_s} and {cost:.1f} times the CPU-seconds.{why}{untried}"

    def _neighbours(self, best: _Candidate) -> str:
        """Say what others feel of it."""
        machine = self._machine
        results = best.results
        if best.case.background:
            alone = replace(best.case, background={})
            results = self._runs.make([alone])[0]
        n_cpus = fmean(result.cpu_s / result.time_s for result in results)
        shares = _mean_utilisation(results)
        memory = {name: shares.get(name, 0.0) for name in machine.bandwidths if name.startswith("memory")}
        busiest = max(memory, key=lambda name: memory[name])
        text = (
            f"Meanwhile it keeps {n_cpus:.3g} of {len(machine.cpus)} CPUs busy and takes "
            f"{fmean(memory.values()):.0%} of the machine's memory bandwidth"
        )
        if len(memory) > 1:
            text += f", {memory[busiest]:.0%} of that of node {busiest.removeprefix('memory')}"
        if not best.case.background:
            return f"{text}."
        without_s = fmean(result.time_s for result in results)
        for name, load in best.case.background.items():
            slowdown = fmean(result.extra[f"{name}_slowdown"] for result in best.results)
            text += f". Beside it {name} ({load.words()}) runs at {1 / slowdown:.0%} of its speed"
        return f"{text}; without {_and(best.case.background)} the job takes {format_time(without_s)}."

    def _doubt(self, best: _Candidate) -> str:
        """Say how uncertain the answer is as long as rates are not measured."""
        candidates = [each for each in self._found.values() if each.threads <= self._most_threads]
        counts = {best.threads}
        for name, side in itertools.product(self._unsure, (0, 1)):
            times = [each.time_s * each.varied[name][side] for each in candidates]
            rows = [{"threads": each.threads, "chunk_bytes": each.chunk_bytes} for each in candidates]
            table = pd.DataFrame(rows).assign(time_s=times)
            counts.add(int(table.loc[recommend(table), "threads"]))
        threads = f"{min(counts)} to {max(counts)} threads" if len(counts) > 1 else "the same number of threads"
        verb = "is" if len(self._unsure) == 1 else "are"
        return (
            f"This is uncertain: {_and(self._unsure.values())} {verb} not measured on {self._machine.name}. With each "
            f"{UNSURE:.0%} off, which the interval allows for, {threads} would be best. `ktask-sim calibrate -o "
            "MACHINE.yaml` measures a machine in a minute, on it; then give --machine MACHINE.yaml."
        )


def _n_chunks(case: Case) -> int:
    """Return about how many chunks a run has."""
    return -(-case.task.task_bytes(case.machine) // _first_chunk(case)) * case.task.n_tasks(case.machine)


def _first_chunk(case: Case) -> int:
    unit = case.task.unit_bytes(case.machine)
    size = case.task.task_bytes(case.machine) // unit
    rule = case.policy(lambda _count: 0).chunk_rule(size, case.n_works)
    return min(size, rule.next_size(size, 0, 0)) * unit


def _key(case: Case) -> tuple[int, int]:
    return case.n_works, _first_chunk(case)


def _has_chunk(case: Case) -> bool:
    """Whether a program's chunk can be chosen."""
    return case.kernel.rule("chunks") == "fixed"


def _chunk_sizes(candidate: _Candidate) -> list[int]:
    """Return the chunks to try beside one, each 8 times as large as the one before."""
    case, unit = candidate.case, candidate.case.task.unit_bytes(candidate.case.machine)
    most = case.task.task_bytes(case.machine) // candidate.threads // _CHUNKS_EACH
    sizes = [candidate.chunk_bytes // _CHUNK_STEP]
    while (size := sizes[-1] * _CHUNK_STEP) <= most and len(sizes) < 5:
        sizes.append(size)
    return [size for size in sizes if size and size % unit == 0]


def _quiet(case: Case) -> Case:
    """Return a case whose chunks and runs have no noise."""
    rates = replace(case.machine.rates, chunk_noise=0.0, run_noise=0.0)
    return replace(case, machine=replace(case.machine, rates=rates))


def _relaxed(case: Case) -> dict[str, Case]:
    """Return the case on machines without one limit each, by the kind of resource."""
    machine, rates = case.machine, case.machine.rates
    threads = len(machine.cpus) / len({cpu.core_id for cpu in machine.cpus})
    machines = {
        "memory": replace(machine, rates=replace(rates, memory_bytes_per_s=_UNLIMITED * rates.memory_bytes_per_s))
    }
    if rates.cache_bytes_per_s is not None:
        machines["cache"] = replace(machine, rates=replace(rates, cache_bytes_per_s=None))
    if threads > 1:
        machines["core"] = replace(machine, rates=replace(rates, core_throughput=_UNLIMITED))
    if len(machine.nodes) > 1:
        links = tuple(replace(link, rate_bytes_per_s=_UNLIMITED * link.rate_bytes_per_s) for link in machine.links)
        machines["link"] = replace(machine, links=links, rates=replace(rates, remote_factors={}))
    return {kind: replace(case, machine=other) for kind, other in machines.items()}


def _unsure_figures(case: Case) -> dict[str, str]:
    """Return the figures that are not measured on a case's machine, in words, by what has to be changed."""
    sources = case.machine.sources
    figures = {
        name: words
        for name, words in (("clear_rate", "the rate of clearing"), ("memory_bandwidth", "the memory bandwidth"))
        if sources.get(f"rates.{name}", "").lower().startswith(_UNSURE_SOURCES)
    }
    if figures and hasattr(case.task, "costs") and case.task.client not in case.machine.clients:
        figures["costs"] = f"the costs of {case.task.client}"
    return figures


def _varied(case: Case, unsure: Iterable[str]) -> dict[tuple[str, float], Case]:
    """Return the case with each unsure figure lower and higher, one at a time; what goes with it in proportion."""
    found = {}
    for name, factor in itertools.product(unsure, (_LOWER, _HIGHER)):
        machine, rates = case.machine, case.machine.rates
        if name == "costs":
            costs = case.task.costs_on(machine)
            scaled = {key: value * factor for key, value in costs if isinstance(value, float)}
            task = case.task.model_copy(update={"costs": costs.model_copy(update=scaled)})
            found[name, factor] = replace(case, task=task)
            continue
        if name == "clear_rate":
            changes = ("clear_bytes_per_s", "serial_clear_bytes_per_s")
        else:
            changes = ("memory_bytes_per_s", "cache_bytes_per_s")
        given = {key: value * factor for key in changes if (value := getattr(rates, key)) is not None}
        found[name, factor] = replace(case, machine=replace(machine, rates=replace(rates, **given)))
    return found


def limit_of(result: RunResult, without: Mapping[str, float], threads: int) -> str:
    """Return what keeps a run with so many threads from being faster.

    `without` has its time without the limit of each kind of resource (memory, link, cache, core). Of those, and of what
    threads wait for, the one that costs most of the time is named, if that is much; else it is the number of threads.
    Locks come last: what a thread waits for in them grows with all else that makes it slow.
    """
    costs = {kind: 1.0 - other_s / result.time_s for kind, other_s in without.items()}
    costs |= {
        name: sum(getattr(worker, name) for worker in result.workers) / (threads * result.time_s) for name in _WAITS
    }
    locks = costs.pop(_LOCKS)
    kind = max(costs, key=lambda name: costs[name])
    if costs[kind] >= NOTICED:
        return _named(kind, result.utilisation)
    return _named(_LOCKS, result.utilisation) if locks >= NOTICED else NO_LIMIT


def _named(kind: str, utilisation: Mapping[str, float]) -> str:
    """Return the busiest resources of a kind, or what threads wait for, in words."""
    prefix = "locks of " if kind == _LOCKS else kind
    used = {name.removeprefix(prefix): share for name, share in utilisation.items() if name.startswith(prefix)}
    busiest = [name for name, share in used.items() if share >= _ALIKE * max(used.values())]
    if kind in ("memory", "cache") and busiest:
        what = "memory of node" if kind == "memory" else "last-level cache"
        return f"{what}{'s' * (len(busiest) > 1)} {format_cpu_list(map(int, busiest))}"
    if kind == "link":
        return f"far memory, over link {busiest[0]}" if busiest and used[busiest[0]] >= _ALIKE else "far memory"
    if kind == "core":
        return "cores, which threads share"
    return f"{_WAITS[kind]} ({busiest[0]})" if kind == _LOCKS else _WAITS[kind]


def _mean_utilisation(results: Sequence[RunResult]) -> dict[str, float]:
    names = sorted({name for result in results for name in result.utilisation})
    return {name: fmean(result.utilisation.get(name, 0.0) for result in results) for name in names}


def _option(best: _Candidate) -> str:
    """Return what to paste: a program's option, or the part of a scenario."""
    chunk_bytes = best.chunk_bytes if _has_chunk(best.case) else None
    if isinstance(best.case.task, Advised):
        return best.case.task.advice_options(best.threads, chunk_bytes, best.case)
    return f"kernel: {{version: {best.case.kernel.version}, max_threads: {best.threads}}}"


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _n(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
