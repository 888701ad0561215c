"""Background load, and threads that take turns on a CPU, against sums worked by hand.

The quiet machine: one thread clears 2 GiB/s of local memory, a node takes 20 GiB/s of clearing unless a test says so;
the kernel's machinery costs nothing; a turn is 4 ms; a page is 1 GiB. Node 0 has CPUs 0 to 17 and 144 to 161.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.machine import Machine
from models.run import Slice
from models.scenario import Background, Case
from models.streams import Streams
from models.units import GIB
from sim.run import run_case

MakeCase = Callable[..., Case]


def with_load(case: Case, load: str, *cpus: int) -> Case:
    """Return the case with background load on CPUs."""
    return replace(case, background=Background(load=load).model_copy(update={"cpus": cpus}))  # type: ignore[arg-type]


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
def test_half_of_a_shared_cpu(case_of: MakeCase, load: str) -> None:
    """One CPU for the job and a load: turns of 4 ms each, so 1 GiB at half of 2 GiB/s takes 1 s.

    Give or take two turns, and a sixteenth of each, which is how exactly they end.
    """
    case = with_load(with_cpus(case_of(1), 0), load, 0)
    assert time_of(case) == pytest.approx(1.0, abs=0.008 + 1.0 / 16)
    assert time_of(with_cpus(case_of(1), 0)) == pytest.approx(0.5, rel=1e-9)


def test_short_turns_give_half_more_exactly(case_of: MakeCase) -> None:
    """With turns of 0.1 ms the same job takes 1 s within those of a few turns and a sixteenth of the load's."""
    case = with_load(with_cpus(case_of(1, time_slice=1e-4), 0), "spin", 0)
    assert time_of(case) == pytest.approx(1.0, rel=1 / 16)


def test_a_woken_thread_starts_at_once_and_its_first_turn_ends_at_a_tick(case_of: MakeCase) -> None:
    """One chunk of 16 ms of work on a busy CPU: it begins within a sixteenth of a turn, and ends 16 ms and 4 turns on.

    Work of 32 MiB at 2 GiB/s = 15.625 ms: a first turn of u * 4 ms, where u is the first number of the stream of ticks,
    4 ms of the load, 4 of the job, and so on: the rest of 15.625 - 4u takes ceil(that / 4) turns, each after one of the
    load. T = 15.625 + 4 * ceil((15.625 - 4 u) / 4) ms, give or take what the ends of turns are off: 1/16 for each.
    """
    case = with_load(with_cpus(case_of(1), 0), "spin", 0)
    task = case.task.model_copy(update={"size": GIB // 32, "page_size": GIB // 32, "pool": None})
    found = []
    for seed in range(12):
        # The load is a thread that was woken as well: it takes the first number, the job the second.
        stream = Streams(seed, 0)["ticks"]
        stream.random()
        u = stream.random()
        rest_ms = 15.625 - 4 * u
        turns = -(-rest_ms // 4)
        slack_ms = 4 / 16 * (2 * turns + 2)
        if min(rest_ms % 4, 4 - rest_ms % 4) < slack_ms / 2:
            continue  # whether the last turn is long enough hangs on the slack
        got_ms = 1e3 * time_of(replace(case, task=task, seed=seed))
        assert got_ms == pytest.approx(15.625 + 4 * turns, abs=slack_ms), seed
        found.append(got_ms)
    assert len(found) > 4


def test_a_helper_on_a_busy_cpu_starts_at_once(case_of: MakeCase) -> None:
    """Two works, two CPUs, a spin on one: the helper's chunk begins within a sixteenth of a turn of its wake-up."""
    case = with_load(with_cpus(case_of(2, chunks_per_work=64), 0, 1), "spin", 1)
    chunks = chunks_of(case)
    helper = [item for item in chunks if item.worker == 1]
    assert {item.cpu for item in helper} == {1}
    # 8 MiB a chunk, 3.90625 ms alone. A chunk's time has the wait for its turn in it.
    first = helper[0]
    assert first.begin_s == 0.0
    assert first.end_s == pytest.approx(3.90625e-3, abs=4e-3 + 1e-3)
    # The helper has half of a CPU and the caller one: a third of the chunks, T = 1 GiB / (1.5 * 2 GiB/s) = 0.333 s.
    assert time_of(case) == pytest.approx(1 / 3, rel=0.05)
    assert len(helper) / len(chunks) == pytest.approx(1 / 3, abs=0.04)


def test_turns_are_of_the_kernels_time_slice(case_of: MakeCase) -> None:
    """A helper on a busy CPU waits for whole turns: with turns of 100 ms, its first two chunks are 100 ms apart."""
    case = with_load(with_cpus(case_of(2, chunks_per_work=64, time_slice=0.1), 0, 1), "spin", 1)
    helper = sorted(item.end_s for item in chunks_of(case) if item.worker == 1)
    gaps = [b - a for a, b in itertools.pairwise(helper)]
    assert max(gaps) == pytest.approx(0.1 + 3.90625e-3, rel=0.1)


def test_nothing_is_left_to_chance_beside_the_ticks(case_of: MakeCase) -> None:
    """The same seed gives the same times to the last digit, another seed others, by less than a turn and its slack."""
    case = with_load(with_cpus(case_of(1), 0), "spin", 0)
    assert time_of(case) == time_of(case)
    other = time_of(replace(case, seed=2))
    assert other != time_of(case)
    assert other == pytest.approx(time_of(case), abs=0.01)


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
