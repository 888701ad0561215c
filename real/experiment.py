"""All runs of a scenario on this host, in random order, as the same tables that the simulation gives."""

from __future__ import annotations

import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from models.clients import ClearGigantic
from models.machine import Machine
from models.memory.pool import free_pages
from models.results import Results, provenance_of
from models.results.run import RunResult
from models.results.tables import make_results
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.checks import Checker
from models.text.cpu_list import format_cpu_list
from models.text.problems import Problem
from models.text.units import format_size
from real.background import Background, budget_bytes, check_background, loads_of, memory_cpus
from real.host import host_machine
from real.host_state import as_data, read_host_state, what_changed
from real.huge_pages import GrownPool
from real.limits import DEFAULT_SHARE, check_budget
from real.run import run_case
from real.workers import Workers
from real.zeroing import Arena, Choice, choose

LEAST_REPLICATIONS = 5


@dataclass(frozen=True)
class Plan:
    """A run that is ready: the scenario on the host's machine, and the method of clearing (`plan`, `run`).

    Example:
        >>> import sim
        >>> small = sim.load("clear_gigantic_page").with_values(
        ...     {"task.size": "4MiB", "task.page_size": "2MiB", "task.pool": "4MiB", "kernel.max_threads": 1})
        >>> plan(small, method="memset").size_bytes
        4194304
    """

    scenario: Scenario
    choice: Choice
    size_bytes: int  # of the largest case
    share: float  # of the available memory, at most
    allow_pool: bool


def plan(
    scenario: Scenario,
    *,
    machine: Machine | None = None,
    method: str | None = None,
    share: float = DEFAULT_SHARE,
    allow_pool: bool = False,
) -> Plan:
    """Find out whether and how this host can run a scenario in place of the scenario's machine.

    Args:
        scenario: The scenario to run. Its client clears pages.
        machine: This host, if it was read from a file. None asks the system.
        method: The name of the method of clearing. None takes the best.
        share: The largest share of the available memory that may be used, 0 to 1.
        allow_pool: Whether the pool of huge pages may be grown for the run, which needs root.

    Returns:
        The plan, for `run`. Nothing is done to the host yet.

    Raises:
        InputError: The host can't run a case. The message names the change to make.
        NotEnoughMemoryError: The memory is too small.
        NoMethodError: No method works. The message has the reason for each.

    Example:
        >>> import sim
        >>> small = sim.load("clear_gigantic_page").with_values(
        ...     {"task.size": "4MiB", "task.page_size": "2MiB", "task.pool": "4MiB", "kernel.max_threads": 1})
        >>> plan(small, method="memset").choice.method.name
        'memset'
    """
    host = host_machine()
    machine = machine or host
    check = Checker(scenario.document, str(scenario.path))
    usable = {cpu.cpu_id for cpu in host.cpus}
    strange = [cpu.cpu_id for cpu in machine.cpus if cpu.cpu_id not in usable]
    if strange:
        which = format_cpu_list(strange)
        check.problem(
            ("machine",),
            f"found CPUs {which} in machine {machine.name}; this host lets you use {format_cpu_list(usable)}; "
            "`ktask-sim host` writes a machine file of it",
        )
    names = {case.machine.name for case in scenario.cases}
    if len(names) > 1:
        check.problem(("machine",), f"found {len(names)} machines; on this host there is one, so give one")
    others = sorted({case.task.client for case in scenario.cases if not isinstance(case.task, ClearGigantic)})
    if others:
        check.problem(("task", "client"), f"found {others[0]}; on a host pages are cleared: clear_gigantic_page")
        check.stop()
    for case in scenario.cases:
        _check_case(case, machine, check)
    check.stop()
    here = scenario.on(machine)
    size_bytes = max(case.clearing.size for case in here.cases)
    n_busy = _n_clearing(here.cases)
    check_budget(size_bytes + budget_bytes(n_busy), share=share, what="the job with its background load")
    sizes = sorted({chunk for case in here.cases for chunk in case.chunk_bytes()[:-1] or case.chunk_bytes()})
    by_nid = _bytes_by_nid(here.cases)
    choice = choose(
        size_bytes + budget_bytes(n_busy), sizes, wanted=method, allow_pool=allow_pool, share=share, by_nid=by_nid
    )
    return Plan(here, choice, size_bytes, share, allow_pool)


def run(
    ready: Plan, *, traces: bool = False, seconds: float | None = None, on_done: Callable[[], object] | None = None
) -> Results:
    """Carry out a plan: every case `replications` times, in an order drawn from the seed.

    Nothing stays behind on the host.

    Args:
        ready: The plan (`plan`).
        traces: Whether replication 0 of each case keeps its trace.
        seconds: No replication begins after this time, if there are enough. None has no limit.
        on_done: Called after each run.

    Returns:
        The tables that `sim.run` gives, with more columns (method, unstable ...). `results.host` has the state of the
        host before and after, and the possible disturbances of the runs.

    Raises:
        MemoryError: Clearing failed because there was too little memory.
        OSError: Clearing failed.
        PoolError: There are too few huge pages.

    Example:
        >>> import sim
        >>> small = sim.load("clear_gigantic_page").with_values(
        ...     {"task.size": "4MiB", "task.page_size": "2MiB", "task.pool": "4MiB", "kernel.max_threads": 1,
        ...      "replications": 1})
        >>> bool((run(plan(small, method="memset")).runs["time_s"] > 0).all())
        True
    """
    started = datetime.now(UTC)
    found = {}
    with _arena(ready) as arena:
        before, cpu_began_s = read_host_state(), own_cpu_s()
        for number, replication, result in _runs(ready, arena, traces, seconds):
            found[number, replication] = result
            if on_done is not None:
                on_done()
        after, used_cpu_s = read_host_state(), own_cpu_s() - cpu_began_s
    scenario = ready.scenario
    host = {
        "method": ready.choice.method.name,
        "passed_over": dict(ready.choice.passed_over),
        "before": as_data(before),
        "after": as_data(after),
        "doubts": list(what_changed(before, after, own_cpu_s=used_cpu_s)),
    }
    return make_results(
        scenario,
        [(*key, found[key]) for key in sorted(found)],
        provenance_of(scenario, "real", with_traces=traces) | {"started": started.isoformat(timespec="seconds")},
        host,
    )


def _runs(ready: Plan, arena: Arena, traces: bool, seconds: float | None) -> Iterator[tuple[int, int, RunResult]]:
    """Yield (case, replication, result) of all runs, in blocks of one replication of each case, each block shuffled.

    So that a slow change of the host meets all cases alike. Each case is run once before, which is not counted.
    """
    cases = ready.scenario.cases
    method = ready.choice.method
    machine = cases[0].machine
    helpers = max(_most_works(case) for case in cases) - 1
    order = random.Random(cases[0].seed)
    loads = {key for case in cases for key in loads_of(case)}
    with ExitStack() as stack:
        busy = {key: stack.enter_context(Background(*key, method)) for key in sorted(loads)}
        workers = stack.enter_context(Workers(machine, arena, helpers))
        began_s = time.monotonic()
        for replication in range(-1, max(case.replications for case in cases)):
            if seconds and replication >= LEAST_REPLICATIONS and time.monotonic() - began_s > seconds:
                return
            block = [number for number, case in enumerate(cases) if replication < case.replications]
            order.shuffle(block)
            for number in block:
                case = cases[number]
                result = run_case(
                    case,
                    replication,
                    workers=workers,
                    arena=arena,
                    method=method,
                    background=[busy[key] for key in loads_of(case)],
                    with_slices=traces and replication == 0,
                )
                if replication >= 0:
                    yield number, replication, result


@contextmanager
def _arena(ready: Plan) -> Iterator[Arena]:
    """Memory for the runs, touched once, so that the hypervisor has given it and nothing is found cold later."""
    method = ready.choice.method
    with ExitStack() as stack:
        if method.from_pool and ready.allow_pool:
            n_busy = _n_clearing(ready.scenario.cases)
            size_bytes = ready.size_bytes + budget_bytes(n_busy, method.page_bytes)
            for nid, of_node_bytes in (_bytes_by_nid(ready.scenario.cases) or {None: size_bytes}).items():
                n_pages = -(-of_node_bytes // method.page_bytes)
                stack.enter_context(GrownPool(method.page_bytes, n_pages, nid, share=ready.share))
        arena = method.open(ready.size_bytes)
        stack.callback(arena.close)
        arena.clear(0, arena.size_bytes)
        yield arena


def own_cpu_s() -> float:
    """Return the CPU time of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _bytes_by_nid(cases: Sequence[Case]) -> dict[int | None, int]:
    """Return the most that a run may take from each node, wherever its caller goes. Empty if there is one node."""
    found: Counter[int | None] = Counter()
    for case in cases if len(cases[0].machine.nids) > 1 else ():
        task, machine = case.clearing, case.machine
        holding = memory_cpus(case)
        busy = Counter(cpu.nid for cpu in machine.cpus if cpu.cpu_id in holding)
        reached_nids = sorted({cpu.nid for cpu in case.caller_cpus})
        for start_nid in reached_nids if task.page_node is None else (task.page_node,):
            pool = free_pages(machine, task.page_size, task.pool)
            n_pages = Counter(pool.take(start_nid) for _ in range(task.size // task.page_size))
            for nid in n_pages | busy:
                found[nid] = max(found[nid], n_pages[nid] * task.page_size + budget_bytes(busy[nid]))
    return dict(found)


def _n_clearing(cases: Sequence[Case]) -> int:
    """Return how many threads of background load hold memory: those of all cases are there all the time."""
    return sum(len(cpus) for kind, cpus, _ in {key for case in cases for key in loads_of(case)} if kind != "spin")


def _most_works(case: Case) -> int:
    """Return how many works a task of a case may get."""
    return min(case.kernel.max_threads or len(case.machine.cpus), len(case.machine.cpus))


def _check_case(case: Case, machine: Machine, check: Checker) -> None:
    """Find the parts of a case that can't be done here."""

    def refuse(path: str, found: str, allowed: str) -> None:
        line, column = case.document.place(tuple(path.split(".")))
        check.problems.append(Problem(check.file, line, column, path, f"found {found}; {allowed}"))

    task = case.clearing
    known = {cpu.cpu_id: cpu.nid for cpu in machine.cpus}
    if (case.kernel.max_threads or 1) > len(known):
        refuse(
            "kernel.max_threads",
            str(case.kernel.max_threads),
            f"this host has CPUs {format_cpu_list(known)} for you, so allowed is at most {len(known)}",
        )
    if task.caller_node is not None and task.caller_node not in machine.cpu_nids:
        nids = ", ".join(str(nid) for nid in machine.cpu_nids)
        refuse("task.caller_node", f"node {task.caller_node}", f"this host's nodes with CPUs are {nids}")
    elif task.caller_node is not None and task.cpus is not None:
        reached_nids = sorted({known[cpu_id] for cpu_id in task.cpus if cpu_id in known})
        if reached_nids and task.caller_node not in reached_nids:
            nids = ", ".join(str(nid) for nid in reached_nids)
            whose = f"on this host allowed are the nodes of task.cpus, {format_cpu_list(task.cpus)}: {nids}"
            refuse("task.caller_node", f"node {task.caller_node}", whose)
    memory_bytes = {node.nid: node.memory_bytes for node in machine.nodes if node.memory_bytes}
    if task.page_node is not None and task.page_node not in memory_bytes:
        nids = ", ".join(str(nid) for nid in memory_bytes)
        refuse("task.page_node", f"node {task.page_node}", f"this host's nodes with memory are {nids}")
    elif task.page_node is not None and task.size > memory_bytes[task.page_node]:
        room_text = format_size(memory_bytes[task.page_node])
        refuse("task.size", format_size(task.size), f"the page_node, {task.page_node}, has {room_text} on this host")
    base = machine.base_page_bytes
    if task.page_size % base:
        page = format_size(task.page_size)
        refuse("task.page_size", page, f"allowed is a multiple of this host's base page, {format_size(base)}")
    room = sum(node.memory_bytes // task.page_size for node in machine.nodes) * task.page_size
    fits = f"this host has room for {format_size(room)} in pages of {format_size(task.page_size)}"
    if task.size > room:
        refuse("task.size", format_size(task.size), fits)
    if task.pool is not None and task.pool > room:
        refuse("task.pool", format_size(task.pool), fits)
    check_background(case, refuse)
    others = {f"background.{name}.cpus": load.cpus or () for name, load in case.background.items()}
    for path, cpus in {"task.cpus": task.cpus or (), **others}.items():
        strange = [cpu_id for cpu_id in cpus if cpu_id not in known]
        if strange:
            refuse(path, f"CPU {strange[0]}", f"this host has CPUs {format_cpu_list(known)} for you")
