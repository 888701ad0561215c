"""ktask v1 against sums worked by hand.

The quiet machine: one thread clears 2 GiB/s of local memory, 0.8 of that one link away and 0.5 two links away; a node
takes 20 GiB/s of clearing. The kernel's machinery costs nothing unless a test says so. A page is 1 GiB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from simpy import Environment

from models.clients import Task
from models.policies import NodeEntry
from models.results.run import Record, Slice
from models.scenario.case import Case
from models.scenario.streams import Streams
from models.text.units import GIB
from sim.engine.framework import Framework
from sim.engine.hardware import Hardware
from sim.engine.run import run_case
from sim.engine.scheduler import Scheduler
from tests.conftest import clearing

MakeCase = Callable[..., Case]


def time_of(case: Case) -> float:
    """The time of one run, in seconds."""
    return run_case(case, 0).time_s


def test_one_local_worker(case_of: MakeCase) -> None:
    """T = size / r = 1 GiB / 2 GiB/s = 0.5 s."""
    assert time_of(case_of(1)) == pytest.approx(0.5, rel=1e-9)


def test_one_remote_worker(case_of: MakeCase) -> None:
    """Pool of one page a node: 1 local, 3 one link away, 4 two away: 0.5 + 3 * 0.5/0.8 + 4 * 0.5/0.5 = 6.375 s."""
    assert time_of(case_of(1, size_gib=8, pool="8GiB")) == pytest.approx(6.375, rel=1e-9)


def test_four_local_workers(case_of: MakeCase) -> None:
    """16 equal chunks on 4 works of 2 GiB/s: T = 1 GiB / (4 * 2 GiB/s) = 0.125 s."""
    assert time_of(case_of(4)) == pytest.approx(0.125, rel=1e-9)


def test_sixteen_workers_share_the_node(case_of: MakeCase) -> None:
    """16 works ask for 32 GiB/s of a node that takes 20: T = 1 GiB / 20 GiB/s = 0.05 s."""
    assert time_of(case_of(16)) == pytest.approx(0.05, rel=1e-9)


def test_the_node_takes_half_without_read_before_write(case_of: MakeCase) -> None:
    """With a traffic of 1 byte a byte the same node takes 40 GiB/s, more than 16 works ask for: T = 1/32 s."""
    case = case_of(16)
    machine = replace(case.machine, rates=replace(case.machine.rates, clear_traffic=1.0))
    assert time_of(replace(case, machine=machine)) == pytest.approx(1 / 32, rel=1e-9)


def test_remote_caller_with_three_helpers_ends_late(case_of: MakeCase) -> None:
    """The second page is one link away: 16 chunks of 64 MiB, 31.25 ms for a helper, 39.0625 ms for the caller.

    Helpers take chunks at 0, 1, 2, 3 (x 31.25 ms), 12 in all; the caller at 0, 1.25, 2.5 and, the 16th, at 3.75, which
    it ends at 5: 156.25 ms. With 125 ms for the local page: 281.25 ms.
    """
    assert time_of(case_of(4, size_gib=2, pool="8GiB")) == pytest.approx(0.28125, rel=1e-9)


def test_tail_shrinks_with_the_chunk(case_of: MakeCase) -> None:
    """With 64 chunks a work the same remote page ends within a chunk of the fluid bound 1 GiB / 7.6 GiB/s."""
    remote_s = time_of(case_of(4, size_gib=2, pool="8GiB", chunks_per_work=64)) - 0.125
    fluid_s, last_chunk_s = 1 / 7.6, (1 / 256) / 1.6
    assert fluid_s <= remote_s <= fluid_s + last_chunk_s


def test_late_helper(case_of: MakeCase) -> None:
    """Two works, 8 chunks of 62.5 ms; the helper starts 10 ms late: it ends its 4 at 10 + 250 = 260 ms."""
    case = case_of(2, start_latency=0.010, start_latency_cv=0.0)
    assert time_of(case) == pytest.approx(0.260, rel=1e-9)


def test_helper_later_than_the_work_is_still_waited_for(case_of: MakeCase) -> None:
    """The caller clears all of the page in 0.5 s, then waits for the helper that starts at 0.7 s and finds nothing."""
    case = case_of(2, start_latency=0.7, start_latency_cv=0.0)
    result = run_case(case, 0)
    assert result.time_s == pytest.approx(0.7, rel=1e-9)
    assert [worker.n_chunks for worker in result.workers] == [8, 0]
    assert result.workers[0].end_wait_s == pytest.approx(0.2, rel=1e-9)


def test_setup_and_wake_up_add_to_the_critical_path(case_of: MakeCase) -> None:
    """1 ms of set-up before the first chunk and 2 ms from the last helper's end to the caller: 250 + 1 + 10 + 2 ms."""
    case = case_of(2, setup_time=0.001, start_latency=0.010, start_latency_cv=0.0, wake_latency=0.002)
    assert time_of(case) == pytest.approx(0.263, rel=1e-9)


def test_lock_serialises(case_of: MakeCase) -> None:
    """A lock held 5 ms for each chunk, two works at 0: the second gets it at 5 ms, having waited for 5 ms."""
    result = run_case(case_of(2, lock_hold_time=0.005, chunks_per_work=1), 0, with_slices=True)
    # Caller: lock 0-5, chunk 5-255, lock 255-260 (free). Helper: lock 0-10, chunk 10-260, lock 260-265. End: 265 ms.
    assert result.time_s == pytest.approx(0.265, rel=1e-9)
    assert [worker.lock_wait_s for worker in result.workers] == pytest.approx([0.0, 0.005], abs=1e-12)


def test_stray_wake_up_pulls_the_caller_one_link(case_of: MakeCase) -> None:
    """Two pages a node: 125 + 125 local, 156.25 one link away; then pulled, 125 local, else 156.25 again."""
    pulled = case_of(4, size_gib=4, pool="16GiB", stray_block=1.0, wake_pull=1.0)
    assert time_of(pulled) == pytest.approx(0.125 + 0.125 + 0.15625 + 0.125, rel=1e-9)
    for change in ({"stray_block": 0.0}, {"wake_pull": 0.0}, {"wake_pull_max_distance": 20}):
        kernel = pulled.kernel.model_copy(update=change)
        assert time_of(replace(pulled, kernel=kernel)) == pytest.approx(0.125 + 0.125 + 2 * 0.15625, rel=1e-9)


def test_helpers_on_the_callers_node_are_remote_too(case_of: MakeCase) -> None:
    """With helpers on the caller's node, all four clear the page one link away at 1.6 GiB/s: 1 / 6.4 = 156.25 ms."""
    case = case_of(4, size_gib=2, pool="8GiB", helper_node="caller")
    assert time_of(case) == pytest.approx(0.125 + 0.15625, rel=1e-9)
    assert run_case(case, 0).workers[0].working_s == pytest.approx(0.28125, rel=1e-9)


def test_a_link_limits_remote_streams(case_of: MakeCase) -> None:
    """A link of 4 GiB/s carries 4 remote callers' worth of 1.6 at most as 4 in all: the page takes 1/4 s."""
    case = case_of(4, size_gib=2, pool="8GiB", helper_node="caller")
    links = tuple(replace(link, rate_bytes_per_s=4.0 * GIB) for link in case.machine.links)
    assert time_of(replace(case, machine=replace(case.machine, links=links))) == pytest.approx(0.375, rel=1e-9)


def test_hardware_threads_of_a_core_share_it(case_of: MakeCase) -> None:
    """A node with one core of two threads that do 1.2 of one: two works, 1 GiB / (1.2 * 2 GiB/s) = 0.41667 s."""
    case = case_of(2)
    cpus = tuple(cpu for cpu in case.machine.cpus if cpu.core_id == 0)
    machine = replace(case.machine, cpus=cpus, rates=replace(case.machine.rates, core_throughput=1.2))
    assert time_of(replace(case, machine=machine)) == pytest.approx(1 / 2.4, rel=1e-9)


def test_threads_over_the_cpus_share_them(case_of: MakeCase) -> None:
    """v1 makes no more works than CPUs; with one CPU, 16 threads allowed give one work: 0.5 s."""
    case = case_of(16)
    machine = replace(case.machine, cpus=case.machine.cpus[:1])
    assert time_of(replace(case, machine=machine)) == pytest.approx(0.5, rel=1e-9)


def on_cpus(case: Case, cpus: tuple[int, ...], **kernel: object) -> Case:
    """Return a case whose caller may use just these CPUs."""
    task = case.task.model_copy(update={"cpus": cpus})
    return replace(case, task=task, kernel=case.kernel.model_copy(update=kernel))


def test_helpers_that_keep_to_the_callers_cpus_are_as_many(case_of: MakeCase) -> None:
    """Eight threads clear 1 GiB in 1 / (8 * 2) = 62.5 ms; kept to two CPUs they are two, and take 250 ms."""
    two = (0, 1)
    assert time_of(on_cpus(case_of(8), two)) == pytest.approx(0.0625, rel=1e-9)
    assert time_of(on_cpus(case_of(8), two, helper_node="caller-cpus")) == pytest.approx(0.25, rel=1e-9)


def test_helpers_that_keep_to_the_callers_cpus_are_remote_with_it(case_of: MakeCase) -> None:
    """Pages come from node 1; the caller's four CPUs are on node 0: 1 GiB / (4 * 1.6) = 156.25 ms, not 125 and less."""
    case = case_of(4)
    case = replace(case, task=case.task.model_copy(update={"page_node": 1}))
    kept = on_cpus(case, (0, 1, 2, 3), helper_node="caller-cpus")
    assert time_of(kept) == pytest.approx(0.15625, rel=1e-9)
    assert {item.cpu for item in run_case(kept, 0, with_slices=True).slices if item.kind == "chunk"} == {0, 1, 2, 3}


def test_a_caller_is_not_pulled_off_its_cpus(case_of: MakeCase) -> None:
    """Woken from node 3, the caller goes there if it may; else it stays on node 2, though its other CPU is as near."""
    case = case_of(4, size_gib=4, caller_node=2, stray_block=1.0, wake_pull=1.0)
    case = replace(case, task=case.task.model_copy(update={"page_node": 3}))
    assert case.machine.distances[1, 3] == case.machine.distances[2, 3]
    for cpus, expected in (((18, 36), {36}), ((36, *range(54, 72)), {36, 54})):  # CPU 18 is on node 1, 54 to 71 on 3
        found = run_case(on_cpus(case, cpus), 0, with_slices=True).slices
        assert {item.cpu for item in found if item.worker == 0 and item.kind == "chunk"} == expected


def test_cpu_seconds_count_occupied_cpus(case_of: MakeCase) -> None:
    """Four works busy for 125 ms each spend 0.5 CPU-seconds."""
    assert run_case(case_of(4), 0).cpu_s == pytest.approx(0.5, rel=1e-9)


def run_entries(case: Case, sizes_gib: dict[int, float]) -> tuple[float, list[Slice]]:
    """Run one task with an entry for each node (ktask_run_numa), the caller on its node; return (time, chunks)."""
    env = Environment()
    hardware = Hardware(env, case.machine)
    record = Record(with_slices=True)
    streams = Streams(1, 0)
    cpus = Scheduler(hardware, 4e-3, 16, {}, Random(1))
    ktask = Framework(hardware, cpus, case.kernel, case.policy(streams["next_entry"].randrange), streams, record)
    assert case.task.caller_node is not None
    caller = cpus.thread()
    caller.wake(case.task.caller_node)
    entries = [NodeEntry(nid, 0, int(size * GIB) // 4096) for nid, size in sizes_gib.items()]
    env.run(until=env.process(ktask.run(caller, Task(entries, *clearing(case.machine.rates)))))
    return float(env.now), [item for item in record.slices if item.kind == "chunk"]


def test_helpers_are_queued_on_the_nodes_in_turn(case_of: MakeCase) -> None:
    """Half a GiB on each of two nodes, 4 works, all local: 16 chunks of 31.25 ms, T = 4 x 31.25 = 125 ms."""
    time_s, chunks = run_entries(case_of(4), {0: 0.5, 1: 0.5})
    assert time_s == pytest.approx(0.125, rel=1e-9)
    assert {(item.worker, item.memory_node) for item in chunks} == {(0, 0), (1, 1), (2, 0), (3, 1)}


def test_helpers_move_to_the_node_that_has_work_left(case_of: MakeCase) -> None:
    """12 chunks on node 0, 4 on node 1: after 2 rounds all four are local to node 0: again 125 ms."""
    case = case_of(4)
    time_s, chunks = run_entries(case, {0: 0.75, 1: 0.25})
    assert time_s == pytest.approx(0.125, rel=1e-9)
    node_of = {cpu.cpu_id: cpu.nid for cpu in case.machine.cpus}
    assert all(item.cpu is not None and node_of[item.cpu] == item.memory_node for item in chunks)
    assert {item.memory_node for item in chunks if item.worker == 1} == {0, 1}


def test_helpers_move_to_no_cpu_that_the_caller_may_not_use(case_of: MakeCase) -> None:
    """The caller's two CPUs are on node 0: half of a task at 2 GiB/s each, half at 1.6: 125 + 156.25 ms."""
    case = on_cpus(case_of(4), (0, 1), helper_node="caller-cpus")
    time_s, chunks = run_entries(case, {0: 0.5, 1: 0.5})
    assert time_s == pytest.approx(0.28125, rel=1e-9)
    assert {(item.worker, item.cpu) for item in chunks} == {(0, 0), (1, 1)}
    assert {item.memory_node for item in chunks if item.worker == 1} == {0, 1}


def test_the_caller_is_never_moved(case_of: MakeCase) -> None:
    """A caller on node 1 takes chunks of node 0 from where it is; the helpers go to the chunks."""
    case = case_of(4, caller_node=1)
    _, chunks = run_entries(case, {0: 0.9375, 1: 0.0625})
    node_of = {cpu.cpu_id: cpu.nid for cpu in case.machine.cpus}
    assert {node_of[item.cpu] for item in chunks if item.worker == 0 and item.cpu is not None} == {1}
    assert {item.memory_node for item in chunks if item.worker == 0} == {0, 1}
    helpers = [item for item in chunks if item.worker]
    assert all(item.cpu is not None and node_of[item.cpu] == item.memory_node for item in helpers)
    assert sum(item.size_bytes or 0 for item in chunks) == GIB


def test_who_waited_for_the_tasks_lock_gets_it_a_handover_later(case_of: MakeCase) -> None:
    """Two works, 8 chunks of T = 62.5 ms, a lock held for h = 2 ms and handed over in w = 5 ms.

    Both ask at 0. The caller holds the lock until h; the helper gets it at h + w, and from then on is so much behind
    that nobody waits again. It takes 4 chunks and asks a fifth time, in vain: (h + w) + 4 (h + T) + h = 267 ms.
    """
    with_handover = case_of(2, lock_hold_time=2e-3, lock_handover_time=5e-3)
    result = run_case(with_handover, 0)
    assert result.time_s == pytest.approx(0.267, rel=1e-9)
    assert sum(worker.lock_wait_s for worker in result.workers) == pytest.approx(7e-3, rel=1e-9)
    at_once = case_of(2, lock_hold_time=2e-3, lock_handover_time=0.0)
    assert time_of(at_once) == pytest.approx(0.262, rel=1e-9)
