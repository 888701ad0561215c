"""The runs of an advice: those of each case, where a long one is cut short, and who makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.results.run import RunResult
from models.scenario.case import Case
from sim.runs.executors import Executor, make_listed
from sim.runs.replications import Key
from sim.search.advice.chunk import first_chunk, has_chunk
from sim.search.advice.limit import WAITS

REPLICATIONS = 10  # of a candidate that matters (`sim.search.advice.search`)
SCREENED = 3  # of each candidate, at first
_ROUNDS = 2  # chunks for each thread in the shorter of two runs of which a long job is made up
_LEAST_CHUNKS = 512  # in it, so that their noise hardly shows
_LEAST_QUIET = 64  # in it, where chunks have no noise


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
        return on_line(results[0], results[-1], self.factor)


def on_line(first: RunResult, second: RunResult, factor: float) -> RunResult:
    """Return a result whose sums over time are a + (b - a) * `factor` of two others. With 0.5 it is their mean."""

    def at(a: float, b: float) -> float:
        return a + (b - a) * factor

    time_s = at(first.time_s, second.time_s)
    served = {
        name: at(first.utilisation.get(name, 0.0) * first.time_s, second.utilisation.get(name, 0.0) * second.time_s)
        for name in sorted(first.utilisation.keys() | second.utilisation.keys())
    }
    return replace(
        second,
        time_s=time_s,
        cpu_s=at(first.cpu_s, second.cpu_s),
        utilisation={name: max(0.0, value / time_s) for name, value in served.items()},
        workers=[
            replace(b, **dict[str, Any]((name, at(getattr(a, name), getattr(b, name))) for name in WAITS))
            for a, b in zip(first.workers, second.workers, strict=True)
        ],
    )


def parts_of(case: Case) -> Parts:
    """Return the runs to make for a case.

    A long case is cut short where the rest is more of the same. That holds for chunks of one size, with the memory of
    nodes cut down in proportion. It also holds for equal tasks, where each node has room for all of them.
    """
    machine, size_bytes, threads = case.machine, case.size_bytes, case.n_works
    least_bytes = min((node.memory_bytes for node in machine.nodes if node.memory_bytes), default=0)
    task_bytes, n_tasks, chunk_bytes = case.task.task_bytes(machine), case.task.n_tasks(machine), first_chunk(case)
    n_chunks = max(_ROUNDS * threads, _LEAST_CHUNKS if machine.rates.chunk_noise else _LEAST_QUIET)
    if n_tasks == 1 and has_chunk(case):
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
    """Return a case with a smaller job. With `scaled` its nodes have less memory in proportion."""
    task = case.task.model_copy(update={"size": size_bytes})
    if not scaled:
        return replace(case, task=task)
    unit = case.task.unit_bytes(case.machine)
    nodes = tuple(
        replace(node, memory_bytes=-(-node.memory_bytes * size_bytes // case.size_bytes // unit) * unit)
        for node in case.machine.nodes
    )
    return replace(case, task=task, machine=replace(case.machine, nodes=nodes))


class Runs:
    """Makes runs, and counts them: `on_done` is told how many are made, and how many are planned by now."""

    def __init__(self, executor: Executor, on_done: Callable[[int, int], object] | None) -> None:
        self._executor = executor
        self._on_done = on_done
        self._n_made = self._n_planned = 0

    def make(self, cases: Sequence[Case], replications: range) -> list[list[RunResult]]:
        """Return the results of each case, by replication."""
        parts = [parts_of(case) for case in cases]
        flat = [case for part in parts for case in part.cases]
        starts = [sum(len(part.cases) for part in parts[:i]) for i in range(len(parts))]
        found = self._run([(number, i) for number in range(len(flat)) for i in replications], flat)
        return [
            [part.combine([found[start + k, i] for k in range(len(part.cases))]) for i in replications]
            for start, part in zip(starts, parts, strict=True)
        ]

    def _run(self, keys: list[Key], cases: Sequence[Case]) -> dict[Key, RunResult]:
        found: dict[Key, RunResult] = {}
        self._n_planned += len(keys)

        def done(key: Key, result: RunResult) -> None:
            found[key] = result
            self._n_made += 1
            if self._on_done is not None:
                self._on_done(self._n_made, self._n_planned)

        longest_first = sorted(keys, key=lambda key: -cases[key[0]].n_works)
        make_listed(self._executor, cases, longest_first, done)
        return found
