"""Background load, and threads that take turns on a CPU, against sums worked by hand.

The quiet machine: one thread clears 2 GiB/s of local memory, a node takes 20 GiB/s of clearing unless a test says so;
the kernel's machinery costs nothing; a turn is 4 ms; a page is 1 GiB. Node 0 has CPUs 0 to 17 and 144 to 161.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.loads import LOADS
from models.machine import Machine
from models.results.run import Slice
from models.scenario.case import Case
from models.scenario.streams import Streams
from models.text.units import GIB
from sim.engine.run import run_case

MakeCase = Callable[..., Case]


def with_load(case: Case, load: str, *cpus: int) -> Case:
    """Return the case with background load on CPUs."""
    listed = ",".join(map(str, cpus))
    return replace(case, background={"other": LOADS[load].model_validate({"load": load, "cpus": listed})})


def with_rates(case: Case, **rates: float) -> Case:
    """Return the case on a machine with other rates."""
    return replace(case, machine=replace(case.machine, rates=replace(case.machine.rates, **rates)))  # type: ignore[arg-type]


def with_cpus(case: Case, *cpu_ids: int) -> Case:
    """Return the case on a machine that has only these CPUs."""
    cpus = tuple(cpu for cpu in case.machine.cpus if cpu.cpu_id in cpu_ids)
    machine: Machine = replace(case.machine, cpus=cpus)
    return replace(case, machine=machine)


def time_of(case: Case) -> float:
    """The time of one run, in seconds."""
    return run_case(case, 0).time_s


def chunks_of(case: Case) -> list[Slice]:
    """The chunks of one run."""
    return [item for item in run_case(case, 0, with_slices=True).slices if item.kind == "chunk"]


# --- load on other CPUs ---------------------------------------------------------------------------------------------


def test_memory_is_shared_with_a_clearing_thread(case_of: MakeCase) -> None:
    """Two threads of 2 GiB/s on a node that takes 3: 1.5 GiB/s for each, T = 1 / 1.5 = 0.66667 s; alone 0.5 s.

    As much as two threads of the job get: 1 GiB by both at 3 GiB/s = 0.33333 s.
    """
    alone = with_rates(case_of(1), memory_bytes_per_s=6.0 * GIB)
    assert time_of(alone) == pytest.approx(0.5, rel=1e-9)
    assert time_of(with_load(alone, "clear", 1)) == pytest.approx(2 / 3, rel=1e-9)
    assert time_of(with_rates(case_of(2), memory_bytes_per_s=6.0 * GIB)) == pytest.approx(1 / 3, rel=1e-9)


def test_a_node_with_its_own_bandwidth(case_of: MakeCase) -> None:
    """Node 0 alone takes 3 GiB/s of clearing: two threads of 2 GiB/s clear 1 GiB in 1 / 3 s; twice as fast, in 1 / 4 s.

    With the bandwidth doubled, 6 GiB/s, the threads' 4 GiB/s are the limit.
    """
    case = case_of(2)
    nodes = tuple(replace(node, memory_bytes_per_s=6.0 * GIB if node.nid == 0 else None) for node in case.machine.nodes)
    slow = replace(case.machine, nodes=nodes)
    assert slow.bandwidths["memory0"] == 6.0 * GIB
    assert slow.bandwidths["memory1"] == case.machine.rates.memory_bytes_per_s
    assert time_of(replace(case, machine=slow)) == pytest.approx(1 / 3, rel=1e-9)
    assert time_of(replace(case, machine=slow.with_memory_rates(2.0))) == pytest.approx(1 / 4, rel=1e-9)


def test_three_clearing_threads(case_of: MakeCase) -> None:
    """Four threads on a node that takes 3 GiB/s: a quarter, 0.75 GiB/s, for the job: T = 1.33333 s."""
    case = with_load(with_rates(case_of(1), memory_bytes_per_s=6.0 * GIB), "clear", 1, 2, 3)
    assert time_of(case) == pytest.approx(4 / 3, rel=1e-9)


def test_a_clearing_thread_on_another_node_uses_its_memory(case_of: MakeCase) -> None:
    """CPU 18 is of node 1, and clears there: the job has its node for itself, T = 0.5 s."""
    case = with_rates(case_of(1), memory_bytes_per_s=6.0 * GIB)
    assert case.machine.cpus[18].nid == 1
    assert time_of(with_load(case, "clear", 18)) == pytest.approx(0.5, rel=1e-9)


def test_a_spin_elsewhere_changes_nothing(case_of: MakeCase) -> None:
    """A thread that computes on another core uses no memory: 16 works on 18 cores take 1 / 20 s as without it."""
    for threads, expected_s in ((1, 0.5), (4, 0.125), (16, 0.05)):
        case = case_of(threads)
        assert time_of(with_load(case, "spin", 17)) == pytest.approx(expected_s, rel=1e-9)
        assert time_of(with_load(case, "spin", 17)) == time_of(case)


def test_a_spin_on_the_other_thread_of_the_core(case_of: MakeCase) -> None:
    """One core of two threads that do 1.2 of one: each has 0.6, T = 1 / (0.6 * 2 GiB/s) = 0.83333 s."""
    case = with_rates(with_cpus(case_of(1), 0, 144), core_throughput=1.2)
    assert time_of(with_load(case, "spin", 144)) == pytest.approx(1 / 1.2, rel=1e-9)
    assert time_of(with_load(case, "clear", 144)) == pytest.approx(1 / 1.2, rel=1e-9)


def test_a_free_core_is_taken_first(case_of: MakeCase) -> None:
    """With a spin on CPU 0 the caller goes to core 1 and clears at its full rate."""
    case = with_load(case_of(1), "spin", 0)
    assert {item.cpu for item in chunks_of(case)} == {1}
    assert time_of(case) == pytest.approx(0.5, rel=1e-9)


def test_helpers_go_to_the_cpus_without_load(case_of: MakeCase) -> None:
    """4 CPUs, one with a spin: 3 works are on the other three, T = 1 GiB / (3 * 2 GiB/s), in 13 chunks of 80 MiB.

    chunk = 262144 / 3 / 4 = 21845 pages, down to a multiple of 256: 21760, 85 MiB. 12 chunks, 4 rounds of 42.5 ms (85 /
    2048 s = 41.504 ms), and 4 MiB for the first: 4 * 41.504 + 1.953 = 167.97 ms.
    """
    case = with_load(with_cpus(case_of(3), 0, 1, 2, 3), "spin", 0)
    assert {item.cpu for item in chunks_of(case)} == {1, 2, 3}
    assert time_of(case) == pytest.approx(4 * 85 / 2048 + 4 / 2048, rel=1e-9)


# --- turns on one CPU -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", ["spin", "clear"])
@pytest.mark.parametrize("time_slice", [4e-3, 1e-4])
def test_half_of_a_shared_cpu(case_of: MakeCase, load: str, time_slice: float) -> None:
    """One CPU for the job and a load: 0.5 s of work in turns of a tick, as much of the load: 1 s, within two turns."""
    case = with_load(with_cpus(case_of(1, time_slice=time_slice), 0), load, 0)
    assert time_of(case) == pytest.approx(1.0, abs=2 * time_slice)
    assert time_of(with_cpus(case_of(1), 0)) == pytest.approx(0.5, rel=1e-9)


def test_a_woken_thread_starts_at_once_and_its_first_turn_ends_at_a_tick(case_of: MakeCase) -> None:
    """One chunk of 15.625 ms of work (32 MiB at 2 GiB/s) on a busy CPU: T = 15.625 + 4 * ceil((15.625 - 4 u) / 4) ms.

    The CPU's first tick is at u * 4 ms, u the first number of the stream of ticks; until then the job runs. Then come 4
    ms of the load, 4 of the job, and so on: each turn of what is left after the first is behind one of the load.
    """
    case = with_load(with_cpus(case_of(1), 0), "spin", 0)
    task = case.task.model_copy(update={"size": GIB // 32, "page_size": GIB // 32, "pool": None})
    found = set()
    for seed in range(12):
        u = Streams(seed, 0)["ticks"].random()
        expected_ms = 15.625 + 4 * math.ceil((15.625 - 4 * u) / 4)
        assert 1e3 * time_of(replace(case, task=task, seed=seed)) == pytest.approx(expected_ms, rel=1e-9), seed
        found.add(expected_ms)
    assert found == {15.625 + 12, 15.625 + 16}


def test_a_helper_on_a_busy_cpu_starts_at_once(case_of: MakeCase) -> None:
    """Two works, two CPUs, a spin on one, no balancing: the helper begins at once and has half of that CPU.

    Its first chunk, 8 MiB or 3.90625 ms alone, ends one turn of the load later, at 7.90625 ms, as its first turn is
    shorter than that (u < 0.97). When the caller has no chunk left its idle CPU pulls whoever waits.
    """
    case = with_load(with_cpus(case_of(2, chunks_per_work=64, busy_factor=10**6), 0, 1), "spin", 1)
    chunks = chunks_of(case)
    helper = [item for item in chunks if item.worker == 1]
    caller_end_s = max(item.end_s for item in chunks if item.worker == 0)
    assert {item.cpu for item in helper if item.end_s <= caller_end_s} == {1}
    assert helper[0].begin_s == 0.0
    assert 1e3 * helper[0].end_s == pytest.approx(3.90625 + 4, rel=1e-9)
    # The helper has half of a CPU and the caller one: a third of the chunks, T = 1 GiB / (1.5 * 2 GiB/s) = 0.333 s.
    assert time_of(case) == pytest.approx(1 / 3, rel=0.02)
    assert len(helper) / len(chunks) == pytest.approx(1 / 3, abs=0.02)


def test_turns_are_of_the_kernels_time_slice(case_of: MakeCase) -> None:
    """A helper on a busy CPU waits for whole turns: with turns of 100 ms, two of its chunks end 103.90625 ms apart."""
    case = with_load(with_cpus(case_of(2, chunks_per_work=64, time_slice=0.1, busy_factor=10**6), 0, 1), "spin", 1)
    helper = sorted(item.end_s for item in chunks_of(case) if item.worker == 1)
    gaps = [b - a for a, b in itertools.pairwise(helper)]
    assert max(gaps) == pytest.approx(0.1 + 3.90625e-3, rel=1e-9)


def test_an_idle_cpu_pulls_who_waits(case_of: MakeCase) -> None:
    """Turns of 1 s, two CPUs, a spin on CPU 1: the helper waits there until the caller is done and its CPU idle.

    Chunks of 512 MiB, 250 ms each, one for each work. The helper is sent away at its CPU's first tick. With these seeds
    that is before its end; it waits for so long until 250 ms, and that much is left, on CPU 0: T = 250 ms + the wait.
    """
    case = with_load(with_cpus(case_of(2, chunks_per_work=1, time_slice=1.0, busy_factor=10**6), 0, 1), "spin", 1)
    waited = []
    for seed in range(20):
        found = run_case(replace(case, seed=seed), 0, with_slices=True)
        wait_s = found.workers[1].cpu_wait_s
        assert found.time_s == pytest.approx(0.25 + wait_s, rel=1e-9)
        if wait_s:
            waited.append(wait_s)
            assert [item.cpu for item in found.slices if item.kind == "chunk" and item.worker == 1] == [0]
    assert waited and max(waited) < 0.25


def test_nothing_is_left_to_chance_beside_the_ticks(case_of: MakeCase) -> None:
    """The same seed gives the same times to the last digit, another seed others, by less than two turns."""
    case = with_load(with_cpus(case_of(2, chunks_per_work=64, busy_factor=10**6), 0, 1), "spin", 1)
    assert time_of(case) == time_of(case)
    other = time_of(replace(case, seed=2))
    assert other != time_of(case)
    assert other == pytest.approx(time_of(case), abs=0.008)


# --- costs of a chunk, and where pages come from --------------------------------------------------------------------


def test_chunk_time_is_added_to_each_chunk(case_of: MakeCase) -> None:
    """Two works with 4 chunks of 62.5 ms and 1 ms for each: 4 * 63.5 = 254 ms; one with one chunk: 501 ms."""
    assert time_of(case_of(2, chunk_time=0.001)) == pytest.approx(0.254, rel=1e-9)
    assert time_of(case_of(1, chunk_time=0.001)) == pytest.approx(0.501, rel=1e-9)


def test_chunk_time_does_not_hold_the_lock(case_of: MakeCase) -> None:
    """It is spent beside the others: two works in 4 rounds take 4 * (62.5 + 10), not 8 times 10 more."""
    result = run_case(case_of(2, chunk_time=0.010), 0)
    assert result.time_s == pytest.approx(0.290, rel=1e-9)
    assert sum(worker.lock_wait_s for worker in result.workers) == 0.0


def test_pages_of_one_node(case_of: MakeCase) -> None:
    """8 pages of node 1, one link away, at 0.8 of 2 GiB/s: 8 / 1.6 = 5 s; of node 0: 4 s, though the pool is spread."""
    case = case_of(1, size_gib=8)
    for nid, expected_s in ((0, 4.0), (1, 5.0), (7, 8.0)):
        task = case.task.model_copy(update={"page_node": nid})
        assert case.machine.distances[0, nid] == {0: 10, 1: 21, 7: 31}[nid]
        assert time_of(replace(case, task=task)) == pytest.approx(expected_s, rel=1e-9)
        assert {item.memory_node for item in chunks_of(replace(case, task=task))} == {nid}
