"""Threads of this host take the chunks of tasks as the simulation says they are taken, on the CPUs chosen for them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import real
from models.clients import ClearGigantic
from models.files.machine import build_machine
from models.kernels import Kernel, KtaskV1
from models.loads.spin import Spin
from models.machine import Machine
from models.machine.placement import Placement
from models.policies import NodeEntry, Policy
from models.results.run import Record, RunResult, Slice
from models.scenario.case import Case
from models.text.document import parse
from models.text.units import KIB, MIB
from real.run import run_case
from real.workers import RealWorkerTotals, Workers
from real.zeroing import MappedArena, Method, methods, why_not
from sim.engine.run import run_case as simulate_case

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")

ARENA_BYTES = 24 * MIB
CPU_IDS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CPU_COUNTS = [n for n in (1, 2, 3, 4, 8) if n <= len(CPU_IDS)]


@dataclass(frozen=True)
class Call:
    """One call of the clearing function, and the thread that made it."""

    start: int
    size_bytes: int
    thread_id: int
    cpu_ids: frozenset[int]  # that it may run on


class NotingArena(MappedArena):
    """Real memory that also notes who has it cleared; from call number `fail_from` of a helper on it fails."""

    def __init__(self) -> None:
        super().__init__(ARENA_BYTES, os.sysconf("SC_PAGE_SIZE"))
        self.calls: list[Call] = []
        self.fail_from: int | None = None
        self.caller_fails = False
        self._n_calls = itertools.count()

    def _clear(self, start: int, size_bytes: int) -> None:
        self.calls.append(Call(start, size_bytes, threading.get_native_id(), frozenset(os.sched_getaffinity(0))))
        is_caller = threading.current_thread() is threading.main_thread()
        if self.fail_from is not None and is_caller == self.caller_fails and next(self._n_calls) >= self.fail_from:
            raise MemoryError(f"nothing is left for {threading.current_thread().name}")
        super()._clear(start, size_bytes)


@pytest.fixture(scope="module")
def method() -> Method:
    """The method that clears base pages one by one: it cuts memory as finely as any test may want."""
    found = next(method for method in methods() if method.name == "populate-base")
    reason = why_not(found, MIB, [])
    if reason is not None:
        pytest.skip(reason)
    return found


@pytest.fixture
def arena(method: Method) -> Iterator[NotingArena]:
    """Memory of base pages."""
    assert not method.from_pool
    with closing(NotingArena()) as opened:
        yield opened


@pytest.fixture(params=CPU_COUNTS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """This host, with 1 CPU and more of those that it allows."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CPU_IDS[: request.param])
    try:
        found = real.host_machine()
        assert {cpu.cpu_id for cpu in found.cpus} == set(CPU_IDS[: request.param])
        yield found
    finally:
        os.sched_setaffinity(0, before)


def kernel_of(max_threads: int, min_chunk: int = 64 * KIB, chunks_per_work: int = 4) -> Kernel:
    """Return the kernel with such works and chunks."""
    return KtaskV1().model_copy(
        update={"max_threads": max_threads, "min_chunk": min_chunk, "chunks_per_work": chunks_per_work}
    )


def case_of(
    machine: Machine,
    kernel: Kernel,
    page_bytes: int,
    n_pages: int,
    *,
    busy: Sequence[int] = (),
    cpus: Sequence[int] | None = None,
) -> Case:
    """Return a case in which some pages are cleared, each as one task, with load said to be on `busy` CPUs.

    The caller may use `cpus`; default all.
    """
    task = ClearGigantic(client="clear_gigantic_page", size="1GiB", caller_node=machine.cpu_nids[0]).model_copy(
        update={"size": n_pages * page_bytes, "page_size": page_bytes, "cpus": cpus and tuple(cpus)}
    )
    background = {"other": Spin(load="spin", cpus=",".join(map(str, busy)))} if busy else {}
    return Case(machine, task, kernel, 1, 1, background)


def run_on_host(case: Case, arena: MappedArena, method: Method, workers: Workers | None = None) -> RunResult:
    """Run a case once, with workers of its own if none is given."""
    if workers is not None:
        return run_case(case, 0, workers=workers, arena=arena, method=method, with_slices=True)
    with Workers(case.machine, arena, case.kernel.max_threads - 1) as own:
        return run_case(case, 0, workers=own, arena=arena, method=method, with_slices=True)


def chunks_of(slices: Sequence[Slice]) -> dict[int, list[tuple[int, int]]]:
    """Return the chunks of each task, by their place."""
    found: dict[int, list[tuple[int, int]]] = {}
    for item in slices:
        if item.kind == "chunk":
            assert item.start_bytes is not None and item.size_bytes is not None
            found.setdefault(item.task, []).append((item.start_bytes, item.size_bytes))
    return {task: sorted(chunks) for task, chunks in found.items()}


def own_threads() -> list[str]:
    """Return the names of the helpers that there are."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("helper")]


SHAPES = [  # page, least chunk, chunks for each work
    (1 * MIB, 4 * KIB, 4),
    (3 * MIB + 4 * KIB, 64 * KIB, 3),  # the last chunk is smaller
    (768 * KIB, 512 * KIB, 4),  # fewer chunks than wanted
    (64 * KIB, 1 * MIB, 4),  # one chunk
    (2 * MIB, 4 * KIB, 128),
]


@pytest.mark.parametrize(("page_bytes", "min_chunk", "chunks_per_work"), SHAPES)
def test_every_chunk_is_taken_once_and_is_as_large_as_the_rule_says(
    machine: Machine, arena: NotingArena, method: Method, page_bytes: int, min_chunk: int, chunks_per_work: int
) -> None:
    """The chunks cover each task from end to end, all of the size by the rule, but for the last one."""
    n_pages, base = 5, machine.base_page_bytes
    for max_threads in range(1, len(machine.cpus) + 1):
        arena.calls.clear()
        case = case_of(machine, kernel_of(max_threads, min_chunk, chunks_per_work), page_bytes, n_pages)
        result = run_on_host(case, arena, method)
        works = min(-(-page_bytes // min_chunk), max_threads)
        share = page_bytes // base // works // chunks_per_work * base
        usual = page_bytes if works == 1 else max(share - share % min_chunk, min_chunk)
        expected = [(start, min(usual, page_bytes - start)) for start in range(0, page_bytes, usual)]
        assert chunks_of(result.slices) == dict.fromkeys(range(n_pages), expected)
        of_pages = [(n * page_bytes + start, size) for n in range(n_pages) for start, size in expected]
        assert sorted((call.start, call.size_bytes) for call in arena.calls) == of_pages
        assert arena.cleared_bytes() == n_pages * page_bytes
        assert [worker.worker for worker in result.workers] == list(range(works))


def test_no_chunk_is_taken_twice_however_threads_take_turns(
    machine: Machine, arena: NotingArena, method: Method
) -> None:
    """With threads that change at nearly every step, thousands of chunks are still taken once each."""
    case = case_of(machine, kernel_of(len(machine.cpus), 4 * KIB, 4096), 8 * MIB, 3)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        results = [run_on_host(case, arena, method) for _ in range(12)]
    finally:
        sys.setswitchinterval(before)
    for result in results:
        for covered in chunks_of(result.slices).values():
            assert covered[0][0] == 0 and sum(covered[-1]) == 8 * MIB
            assert all(sum(a) == b[0] for a, b in itertools.pairwise(covered))


def test_totals_add_up(machine: Machine, arena: NotingArena, method: Method) -> None:
    """Bytes and chunks of the workers are those of the tasks and slices; no time is outside of the tasks'."""
    page_bytes, n_pages = 2 * MIB, 6
    case = case_of(machine, kernel_of(len(machine.cpus), 16 * KIB), page_bytes, n_pages)
    result = run_on_host(case, arena, method)
    chunks = [item for item in result.slices if item.kind == "chunk"]
    assert (result.n_tasks, result.n_chunks) == (n_pages, len(chunks))
    assert sum(worker.size_bytes for worker in result.workers) == n_pages * page_bytes
    for worker in result.workers:
        assert isinstance(worker, RealWorkerTotals)
        own = [item for item in chunks if item.worker == worker.worker]
        assert worker.n_chunks == len(own)
        assert worker.size_bytes == sum(item.size_bytes or 0 for item in own)
        assert worker.working_s == pytest.approx(sum(item.end_s - item.begin_s for item in own))
        assert worker.cpu_s > 0
        assert worker.working_s + worker.lock_wait_s <= result.time_s
        assert min(worker.working_s, worker.lock_wait_s, worker.start_wait_s, worker.end_wait_s) >= 0
    assert result.cpu_s == pytest.approx(sum(worker.cpu_s for worker in result.workers))
    busy_s = sum(share * result.time_s for share in result.utilisation.values())
    assert busy_s == pytest.approx(sum(worker.working_s for worker in result.workers))
    for again in (result, run_on_host(case, arena, method)):  # each run clears all of it: each base page is a fault
        n_faults = sum(worker.page_faults for worker in again.workers if isinstance(worker, RealWorkerTotals))
        assert n_faults >= n_pages * page_bytes // machine.base_page_bytes
    assert result.imbalance >= 1
    assert result.extra["hold_s"] > 0 and result.extra["overhead_s"] >= result.extra["hold_s"]


def test_time_goes_from_task_to_task(machine: Machine, arena: NotingArena, method: Method) -> None:
    """Slices begin before they end, none before the run; tasks follow each other; a run lasts as long as its tasks."""
    result = run_on_host(case_of(machine, kernel_of(len(machine.cpus)), MIB, 8), arena, method)
    assert all(0 <= item.begin_s <= item.end_s for item in result.slices)
    tasks = [[item for item in result.slices if item.task == number] for number in range(8)]
    for task, following in itertools.pairwise(tasks):
        assert max(item.end_s for item in task) <= min(item.begin_s for item in following)
    lasted_s = sum(max(item.end_s for item in task) - min(item.begin_s for item in task) for task in tasks)
    assert lasted_s <= result.time_s


def test_nobody_does_two_things_at_once(machine: Machine, arena: NotingArena, method: Method) -> None:
    """The slices of a worker don't overlap, nor do chunks on one CPU, as each worker has one of its own."""
    result = run_on_host(case_of(machine, kernel_of(len(machine.cpus), 16 * KIB), MIB, 8), arena, method)
    cpus_of: dict[int, set[int | None]] = {}
    for item in result.slices:
        if item.kind == "chunk":
            cpus_of.setdefault(item.worker, set()).add(item.cpu)
    assert all(len(cpus) == 1 for cpus in cpus_of.values())
    groups: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for item in result.slices:
        if item.cpu is not None:
            for key in (("worker", item.worker), ("cpu", item.cpu)):
                groups.setdefault(key, []).append((item.begin_s, item.end_s))
    for own in groups.values():
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(own)))


def test_the_caller_takes_part_and_helpers_sit_where_they_are_placed(
    machine: Machine, arena: NotingArena, method: Method
) -> None:
    """Caller and helpers are bound to the CPUs that the placement chooses in that order, in each of many tasks."""
    nid = machine.cpu_nids[0]
    n_cpus = len(machine.cpus_of(nid))
    case = case_of(machine, kernel_of(n_cpus, 4 * KIB, 8), MIB, 20)
    placement = Placement(machine)
    expected = [placement.occupy(nid).cpu_id for _ in range(n_cpus)]
    assert len(set(expected)) == n_cpus
    with Workers(machine, arena, n_cpus - 1) as workers:
        for _ in range(2):
            arena.calls.clear()
            result = run_on_host(case, arena, method, workers)
            on = {(item.worker, item.cpu) for item in result.slices if item.kind == "chunk"}
            assert (0, expected[0]) in on
            if len(machine.cpu_nids) == 1:
                assert on <= set(enumerate(expected))
                bound = {call.thread_id: call.cpu_ids for call in arena.calls}
                assert bound[threading.get_native_id()] == {expected[0]}
                assert set(bound.values()) <= {frozenset({cpu_id}) for cpu_id in expected}
                assert len(set(bound.values())) == len(bound)


def test_busy_cpus_are_taken_last(machine: Machine, arena: NotingArena, method: Method) -> None:
    """With load on the CPU that would be the caller's, the caller goes elsewhere if there is another CPU."""
    first = Placement(machine).occupy(machine.cpu_nids[0])
    result = run_on_host(case_of(machine, kernel_of(1), MIB, 1, busy=[first.cpu_id]), arena, method)
    placement = Placement(machine)
    placement.put(first, of_job=False)
    expected = placement.occupy(machine.cpu_nids[0]).cpu_id
    assert {item.cpu for item in result.slices if item.kind == "chunk"} == {expected}
    assert (expected == first.cpu_id) == (len(machine.cpus_of(machine.cpu_nids[0])) == 1)


def test_the_caller_keeps_to_its_cpus_and_helpers_do_if_they_are_to(
    machine: Machine, arena: NotingArena, method: Method
) -> None:
    """With all CPUs but the first for the caller, its thread is bound to one of them, and so are helpers if told to."""
    cpus = [cpu.cpu_id for cpu in machine.cpus_of(machine.cpu_nids[0])][1:]
    if not cpus:
        pytest.skip("needs two CPUs of a node")
    n_cpus = len(machine.cpus)
    with Workers(machine, arena, n_cpus - 1) as workers:
        for helper_node, n_works, allowed in (("caller-cpus", len(cpus), cpus), ("any", n_cpus, CPU_IDS)):
            arena.calls.clear()
            kernel = kernel_of(n_cpus, 4 * KIB, 64).model_copy(update={"helper_node": helper_node})
            result = run_on_host(case_of(machine, kernel, MIB, 20, cpus=cpus), arena, method, workers)
            assert {task.n_works for task in workers.tasks} == {n_works}
            bound = {call.thread_id: call.cpu_ids for call in arena.calls}
            assert bound.pop(threading.get_native_id()) <= set(cpus)
            assert all(cpu_ids <= set(allowed) for cpu_ids in bound.values())
            assert {item.cpu for item in result.slices if item.worker == 0 and item.kind == "chunk"} <= set(cpus)
            if helper_node == "any" and len(cpus) == 1:
                assert set(bound.values()) <= {frozenset({CPU_IDS[0]})}


def two_nodes() -> Machine:
    """Return the first two CPUs of this host as if each were a node of its own."""
    if CPU_IDS[:2] != [0, 1]:
        pytest.skip("needs CPUs 0 and 1")
    node = "{memory: 1GiB, cores: [{count: 1}], source: made up}"
    rates = {"clear_rate": "1GiB/s", "clear_traffic": 1, "memory_bandwidth": "2GiB/s", "chunk_noise": 0}
    rates["core_throughput"] = 1
    lines = [
        "machine: two",
        "title: two nodes",
        f"nodes: [{node}, {node}]",
        "links: [{between: [[0, 1]], bandwidth: 1GiB/s, source: made up}]",
        "distances: {value: [10, 20], source: made up}",
        "rates:",
        *(f"  {name}: {{value: {value}, source: made up}}" for name, value in rates.items()),
        '  remote_factors: {value: {"20": 0.5}, source: made up}',
    ]
    machine = build_machine(parse("\n".join(lines), "two.yaml"), "two.yaml")
    assert [(cpu.cpu_id, cpu.nid) for cpu in machine.cpus] == [(0, 0), (1, 1)]
    return machine


@pytest.mark.parametrize("helper_node", ["page", "caller"])
def test_helpers_move_to_the_node_of_their_chunks(arena: NotingArena, helper_node: str) -> None:
    """With memory on two nodes all of it is taken once; helpers are bound to the node of each chunk they take."""
    machine = two_nodes()
    kernel = kernel_of(2, 4 * KIB, 8).model_copy(update={"helper_node": helper_node})
    for sizes in ([200, 100], [8, 300], [300, 8], [0, 64]):
        entries = [NodeEntry(0, 0, sizes[0]), NodeEntry(1, sizes[0], sizes[1])]
        record, total = Record(with_slices=True), sum(sizes)
        with Workers(machine, arena, 1) as workers:
            workers.begin_run(0, record)
            assert os.sched_getaffinity(0) == {0, 1}  # with several nodes the kernel puts the caller where it likes
            for number in range(10):
                arena.calls.clear()
                arena.give_back(0, arena.size_bytes)
                workers.run_task(Policy(kernel, machine, random.Random(number).randrange), entries, MIB)
                assert arena.cleared_bytes() == total * 4 * KIB
                chunks = [item for item in record.slices if item.kind == "chunk" and item.task == number]
                (covered,) = chunks_of(chunks).values()
                assert covered[0][0] == 0 and sum(covered[-1]) == total * 4 * KIB
                assert all(sum(a) == b[0] for a, b in itertools.pairwise(covered))
                calls = {call.start - MIB: call for call in arena.calls}
                for item in chunks:
                    assert item.start_bytes is not None
                    assert item.memory_node == int(item.start_bytes >= sizes[0] * 4 * KIB)
                    if item.worker:
                        assert item.cpu == item.memory_node
                        assert calls[item.start_bytes].cpu_ids == {item.cpu}
            workers.end_run()


@pytest.mark.parametrize("cpus", [(0,), (1,), (0, 1)])
def test_on_several_nodes_all_keep_to_the_callers_cpus(arena: NotingArena, cpus: tuple[int, ...]) -> None:
    """The kernel may put the caller on each of its CPUs and no other; no helper follows a page to another."""
    machine = two_nodes()
    kernel = kernel_of(2, 4 * KIB, 8).model_copy(update={"helper_node": "caller-cpus"})
    policy = Policy(kernel, machine, random.Random(1).randrange, caller_cpus=cpus)
    with Workers(machine, arena, 1) as workers:
        workers.begin_run(cpus[0], Record(), allowed=cpus)
        assert os.sched_getaffinity(0) == set(cpus)
        for _ in range(10):
            workers.run_task(policy, [NodeEntry(0, 0, 100), NodeEntry(1, 100, 100)], 0)
        workers.end_run()
        assert {task.n_works for task in workers.tasks} == {len(cpus)}
        assert all(call.cpu_ids <= set(cpus) for call in arena.calls)
    assert os.sched_getaffinity(0) == set(CPU_IDS)


class TwoWorks(Policy):
    """Two works, however few the CPUs."""

    def n_works(self, size: int, nid: int | None) -> int:  # noqa: ARG002
        return 2


def test_a_helper_that_keeps_to_the_callers_cpu_shares_it(arena: NotingArena) -> None:
    """With one CPU for both, the helper starts and stays there, whatever node its chunks are on."""
    machine = two_nodes()
    kernel = kernel_of(2, 4 * KIB, 64).model_copy(update={"helper_node": "caller-cpus"})
    policy = TwoWorks(kernel, machine, random.Random(1).randrange, caller_cpus=(1,))
    helped_on: set[int | None] = set()
    with Workers(machine, arena, 1) as workers:
        record = Record(with_slices=True)
        workers.begin_run(1, record, allowed=(1,))
        for _ in range(1000):  # until the helper gets chunks of both nodes before the caller has taken all
            arena.calls.clear()
            workers.run_task(policy, [NodeEntry(0, 0, 1000), NodeEntry(1, 1000, 1000)], 0)
            assert {call.cpu_ids for call in arena.calls} == {frozenset({1})}
            helped_on |= {item.memory_node for item in record.slices if item.worker and item.kind == "chunk"}
            if helped_on == {0, 1}:
                break
    assert helped_on == {0, 1}


@pytest.mark.parametrize("caller_fails", [False, True])
def test_an_error_of_a_worker_reaches_the_caller_and_the_team_goes_on(
    machine: Machine, arena: NotingArena, method: Method, caller_fails: bool
) -> None:
    """What a thread raises is raised by run_task once all have stopped; the next task is done as if nothing was."""
    if len(machine.cpus) < 2 and not caller_fails:
        pytest.skip("with one CPU there is no helper")
    case = case_of(machine, kernel_of(len(machine.cpus), 4 * KIB, 64), 4 * MIB, 1)
    who = "MainThread" if caller_fails else "helper"
    with Workers(machine, arena, len(machine.cpus) - 1) as workers:
        for _ in range(3):
            arena.fail_from, arena.caller_fails = 0, caller_fails
            with pytest.raises(MemoryError, match=f"nothing is left for {who}"):
                for _ in range(1000):  # until a helper gets a chunk before the others have taken all
                    run_on_host(case, arena, method, workers)
            arena.fail_from = None
            covered = chunks_of(run_on_host(case, arena, method, workers).slices)[0]
            assert covered[0][0] == 0 and all(sum(a) == b[0] for a, b in itertools.pairwise(covered))
            assert arena.cleared_bytes() == 4 * MIB


def test_after_an_error_no_more_chunks_are_taken(machine: Machine, arena: NotingArena, method: Method) -> None:
    """When the caller fails with its first chunk, a task of one work ends there."""
    arena.fail_from, arena.caller_fails = 0, True
    with pytest.raises(MemoryError), Workers(machine, arena, 0) as workers:
        run_on_host(case_of(machine, kernel_of(1), MIB, 5), arena, method, workers)
    assert len(arena.calls) == 1


def test_nothing_of_the_team_is_left(machine: Machine, arena: NotingArena, method: Method) -> None:
    """After the block, also after an error in it, no helper is left, and the caller may run where it could before."""
    before = os.sched_getaffinity(0)
    case = case_of(machine, kernel_of(len(machine.cpus)), MIB, 2)
    n_threads = len(list(Path("/proc/self/task").iterdir()))
    with Workers(machine, arena, len(machine.cpus) + 2) as workers:
        assert len(own_threads()) == len(machine.cpus) + 2
        run_on_host(case, arena, method, workers)
    assert own_threads() == []
    assert os.sched_getaffinity(0) == before
    arena.fail_from, arena.caller_fails = 0, True
    with pytest.raises(MemoryError):
        run_on_host(case, arena, method)
    assert own_threads() == []
    assert os.sched_getaffinity(0) == before
    # A thread that has been joined may still be on its way out of the system.
    until_s = time.monotonic() + 30
    while len(list(Path("/proc/self/task").iterdir())) > n_threads and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(list(Path("/proc/self/task").iterdir())) <= n_threads


def test_a_team_too_small_for_a_task_is_an_error(machine: Machine, arena: NotingArena, method: Method) -> None:
    """More works than there are threads is told, and not hung on."""
    if len(machine.cpus) < 2:
        pytest.skip("with one CPU there is never more than one work")
    with Workers(machine, arena, 0) as workers, pytest.raises(ValueError, match="2 works asked for; there are 1"):
        run_on_host(case_of(machine, kernel_of(2), MIB, 1), arena, method, workers)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt may meet a callback
def test_an_interrupt_at_any_moment_ends_the_team(arena: NotingArena) -> None:
    """Whenever Ctrl-C comes, nothing but KeyboardInterrupt is raised; threads end, the caller is where it was."""
    machine = real.host_machine()
    before, chance = os.sched_getaffinity(0), random.Random(1)
    policy = Policy(kernel_of(len(machine.cpus), 4 * KIB), machine, chance.randrange)
    to_come = False

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - as handlers are called
        nonlocal to_come
        if to_come:
            to_come = False
            raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(150):
            with suppress(KeyboardInterrupt), Workers(machine, arena, len(machine.cpus) - 1) as workers:
                workers.begin_run(machine.cpu_nids[0], Record())
                to_come = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 2e-3))
                while to_come:  # an interrupt that meets a callback of the interpreter is not raised here
                    arena.calls.clear()
                    workers.run_task(policy, [NodeEntry(machine.cpu_nids[0], 0, 16)], 0)
            assert own_threads() == []
            assert os.sched_getaffinity(0) == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        os.sched_setaffinity(0, before)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    page_pages=st.integers(1, 1024),
    n_pages=st.integers(1, 5),
    min_chunk_pages=st.integers(1, 64),
    chunks_per_work=st.integers(1, 9),
    threads=st.integers(1, len(CPU_IDS) or 1),
)
def test_the_simulation_decides_the_same(
    arena: NotingArena,
    method: Method,
    page_pages: int,
    n_pages: int,
    min_chunk_pages: int,
    chunks_per_work: int,
    threads: int,
) -> None:
    """Of any case, works, tasks and chunks of each task are the very same on this host as simulated."""
    machine = real.host_machine()
    base = machine.base_page_bytes
    kernel = kernel_of(threads, min(min_chunk_pages, page_pages) * base, chunks_per_work)
    case = case_of(machine, kernel, page_pages * base, n_pages)
    simulated, found = simulate_case(case, 0, with_slices=True), run_on_host(case, arena, method)
    assert chunks_of(found.slices) == chunks_of(simulated.slices)
    assert (found.n_tasks, found.n_chunks) == (simulated.n_tasks, simulated.n_chunks)
    assert len(found.workers) == len(simulated.workers)
    assert sum(worker.size_bytes for worker in found.workers) == case.task.size
