"""Memory made present, timed: by threads of this process, and by programs, interleaved in one go.

Memory that lies free goes back to a hypervisor within seconds, and is then many times slower. So this process holds the
memory of a run, gives it back just before the run, and takes it again after it.
"""

from __future__ import annotations

import mmap
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from models.clients.populate import Populate
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import MIB
from real import system_calls
from real.experiment import LEAST_REPLICATIONS, own_cpu_s
from real.huge_pages import GrownPool
from real.limits import DEFAULT_SHARE, check_budget, check_huge_pages, free_huge_pages
from real.programs import Program, Timing, from_pool
from real.run import LEAST_CPU_SHARE, MOST_SMALL_PAGES, TICKS_PER_S, stolen_s
from real.zeroing import MappedArena, transparent_huge_page_bytes


@dataclass(frozen=True)
class Prepared:
    """Timed preparations of memory: the runs of each scenario, and the median start-up time of each program.

    Columns of runs: case, replication, nthreads, time_s (without the start-up), cpu_s (within that time, NaN if not
    known), unstable.

    Example:
        >>> Prepared((), {"qemu_prealloc": 0.2}).startup_s
        {'qemu_prealloc': 0.2}
    """

    runs: tuple[pd.DataFrame, ...]
    startup_s: Mapping[str, float]


def measure_preparation(
    scenarios: Sequence[Scenario],
    programs: Mapping[str, Program],
    *,
    share: float = DEFAULT_SHARE,
    allow_pool: bool = False,
    seconds: float,
    on_done: Callable[[], object] | None = None,
) -> Prepared:
    """Run the cases of scenarios whose memory this process or a program prepares, and time them.

    Runs come in blocks of one run of each case and one start of each program. Each block is shuffled, and the first one
    is not counted. Cases of `populate` run in threads of this process, others in their client's program.

    Args:
        scenarios: The scenarios to run.
        programs: The program of each client (`find_programs`).
        share: The largest share of the available memory that may be used, 0 to 1.
        allow_pool: Whether the pool of huge pages may be grown meanwhile, which needs root.
        seconds: No block begins after this time, if there are enough.
        on_done: Called after each run.

    Returns:
        The runs of each scenario, and the start-up time of each program in seconds.

    Raises:
        NotEnoughMemoryError: A case needs more than its share of the memory, or than the pool has.
        PoolError: The pool can't be grown.
        ProgramError: A program failed or did not answer.

    Example:
        >>> prepared = measure_preparation([scenario], find_programs(["qemu_prealloc"]), seconds=60)  # doctest: +SKIP
        >>> prepared.startup_s  # doctest: +SKIP
        {'qemu_prealloc': 0.21}
    """
    cases = {(i, number): case for i, part in enumerate(scenarios) for number, case in enumerate(part.cases)}
    needed_bytes = max(_needed_bytes(case, programs) for case in cases.values())
    pool_bytes = _pool_bytes(cases.values(), programs)
    missing_bytes = sum(max(0, size - page * free_huge_pages(page)) for page, size in pool_bytes.items())
    if not allow_pool:
        for page_bytes, size_bytes in pool_bytes.items():
            check_huge_pages(size_bytes, page_bytes)
    check_budget(needed_bytes + missing_bytes, share=share, what="a run, and what is held for it,")
    replications = min(case.replications for case in cases.values())
    starts = {
        client: next(case for case in cases.values() if case.task.client == client)
        for client, program in programs.items()
        if program.has_startup
    }
    order = random.Random(next(iter(cases.values())).seed)
    found: dict[tuple[int, int], list[tuple[Timing, str]]] = {key: [] for key in cases}
    startups: dict[str, list[Timing]] = {client: [] for client in starts}
    with _grown(pool_bytes, share), _held(needed_bytes) as held:
        began_s = time.monotonic()
        for replication in range(-1, replications):
            if replication >= LEAST_REPLICATIONS and time.monotonic() - began_s > seconds:
                break
            block: list[tuple[int, int] | str] = [*cases, *starts]
            order.shuffle(block)
            for item in block:
                size_bytes = _needed_bytes(starts[item] if isinstance(item, str) else cases[item], programs)
                with held.lent(size_bytes):
                    before_s, others_before_s = stolen_s(), _others_s()
                    if isinstance(item, str):
                        timing, doubt = programs[item].startup(starts[item]), ""
                    elif isinstance(cases[item].task, Populate):
                        timing, doubt = _populate(cases[item])
                    else:
                        timing = programs[cases[item].task.client].run(cases[item])
                        doubt = _doubt(cases[item], timing)
                    steal_s = stolen_s() - before_s
                others_s = _others_s() - others_before_s
                if others_s > max(2 / TICKS_PER_S, (1 - LEAST_CPU_SHARE) * timing.time_s):
                    doubt = doubt or f"other processes had {others_s:.2f} s of CPU time"
                if steal_s > max(1 / TICKS_PER_S, (1 - LEAST_CPU_SHARE) * timing.time_s):
                    doubt = doubt or f"the hypervisor took {steal_s:.2f} s of CPU time"
                if replication >= 0:
                    if isinstance(item, str):
                        startups[item].append(timing)
                    else:
                        found[item].append((timing, doubt))
                if on_done is not None:
                    on_done()
    less = {
        client: (median(t.time_s for t in own), median(t.cpu_s or 0.0 for t in own)) for client, own in startups.items()
    }
    tables = []
    for i, scenario in enumerate(scenarios):
        rows = [
            {
                "case": number,
                "replication": replication,
                "nthreads": case.n_works,
                "time_s": timing.time_s - less.get(case.task.client, (0.0, 0.0))[0],
                "cpu_s": None if timing.cpu_s is None else timing.cpu_s - less.get(case.task.client, (0.0, 0.0))[1],
                "unstable": doubt,
            }
            for number, case in enumerate(scenario.cases)
            for replication, (timing, doubt) in enumerate(found[i, number])
        ]
        tables.append(pd.DataFrame(rows).astype({"cpu_s": float}))
    return Prepared(tuple(tables), {client: time_s for client, (time_s, _) in less.items()})


def _others_s() -> float:
    """Return the CPU time that processes other than this one and its children that ended have had since boot."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split(maxsplit=4)[1:4])
    return (user + nice + system) / TICKS_PER_S - own_cpu_s()


class _Held:
    """Memory that this process has, and lends to runs."""

    def __init__(self, arena: MappedArena) -> None:
        self._arena = arena

    @contextmanager
    def lent(self, size_bytes: int) -> Iterator[None]:
        """Give this much of it back for the time of a block."""
        self._arena.give_back(0, size_bytes)
        try:
            yield
        finally:
            self._arena.clear(0, size_bytes)


@contextmanager
def _held(size_bytes: int) -> Iterator[_Held]:
    arena = MappedArena(size_bytes, transparent_huge_page_bytes() or mmap.PAGESIZE)
    try:
        arena.clear(0, arena.size_bytes)
        yield _Held(arena)
    finally:
        arena.close()


def _pool_bytes(cases: Iterable[Case], programs: Mapping[str, Program]) -> dict[int, int]:
    """Return the most that runs need of each pool of huge pages, by their size, in bytes."""
    needed: dict[int, int] = {}
    for case in cases:
        if case.task.client in programs and from_pool(case):
            page_bytes = case.task.unit_bytes(case.machine)
            needed[page_bytes] = max(needed.get(page_bytes, 0), programs[case.task.client].pool_bytes(case))
    return needed


@contextmanager
def _grown(needed: Mapping[int, int], share: float) -> Iterator[None]:
    """Have so much memory free in the pools."""
    with ExitStack() as stack:
        for page_bytes, size_bytes in needed.items():
            stack.enter_context(GrownPool(page_bytes, -(-size_bytes // page_bytes), share=share))
        yield


def _needed_bytes(case: Case, programs: Mapping[str, Program]) -> int:
    if isinstance(case.task, Populate):
        return case.size_bytes + 256 * MIB
    return programs[case.task.client].memory_bytes(case)


def _doubt(case: Case, timing: Timing) -> str:
    """Return why a run of a program should not be trusted: pages of another size than asked for."""
    base = case.machine.base_page_bytes
    share_small = timing.n_faults * base / case.size_bytes
    if from_pool(case) or getattr(case.task, "thp", False):
        return f"{share_small:.0%} of the memory came in small pages" if share_small > 2 * MOST_SMALL_PAGES else ""
    return f"only {share_small:.0%} of the memory came in small pages" if share_small < 1 - MOST_SMALL_PAGES else ""


def _populate(case: Case) -> tuple[Timing, str]:
    """Make fresh memory present by threads that exist already, a part each. A strided store of NumPy touches it."""
    task = case.task
    assert isinstance(task, Populate)
    base, threads = mmap.PAGESIZE, case.n_works
    page_bytes = task.present_bytes(case.machine)
    address, mapped_at, mapped_bytes = system_calls.map_anonymous(task.size, align_bytes=page_bytes)
    part_bytes = task.size // threads // page_bytes * page_bytes
    spans: list[tuple[float, float]] = []
    cpu: list[float] = []
    barrier = threading.Barrier(threads)

    def work(index: int) -> None:
        start = address + index * part_bytes
        size_bytes = part_bytes if index < threads - 1 else task.size - index * part_bytes
        pages = np.frombuffer(system_calls.bytes_at(start, size_bytes), dtype=np.uint8)[::base]
        barrier.wait()
        begin_s, cpu_s = time.perf_counter(), time.thread_time()
        if task.populate:
            system_calls.populate(start, size_bytes)
        else:
            pages[:] = 0  # NumPy lets others run meanwhile
        cpu.append(time.thread_time() - cpu_s)
        spans.append((begin_s, time.perf_counter()))

    try:
        system_calls.want_huge_pages(address, task.size, task.thp)
        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        system_calls.unmap(mapped_at, mapped_bytes)
    if len(spans) < threads:
        raise MemoryError("a thread could not make its memory present")
    time_s = max(end for _, end in spans) - min(begin for begin, _ in spans)
    shares = [cpu_s / (end - begin) for cpu_s, (begin, end) in zip(cpu, spans, strict=True)]
    doubt = f"something else had a CPU for {1 - min(shares):.0%} of a thread's time"
    return Timing(time_s, sum(cpu), 0), doubt if min(shares) < LEAST_CPU_SHARE else ""
