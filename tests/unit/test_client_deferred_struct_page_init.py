"""Deferred struct page init, against times worked by hand.

The quiet machine: 8 nodes of 128 GiB, each with 18 cores of two threads. One thread goes over 32 GiB of a node in 1 s,
with 1 GiB of traffic (64 bytes read and written for each 4 KiB), of which a node carries 40 GiB/s.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from models.clients.deferred_struct_page_init import DeferredInit
from models.machine import Machine
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

FREE_LOCK = {"block_hold": "0s", "block_lines": 0.0, "line_time": "0s", "zero_share": 0.0}


def time_of(machine: Machine, threads: int, version: str = "ktask-v1", **task: object) -> float:
    """The time until all nodes are initialised, with padata's chunks of whole sections."""
    costs = {"init_rate": "32GiB/s", **FREE_LOCK, **task.pop("costs", {})}  # type: ignore[dict-item]
    client = DeferredInit.model_validate({"client": "deferred_struct_page_init", "costs": costs, **task})
    changes = {"max_threads": threads, "version": version, "policy": "padata", "min_chunk": 128 * MIB}
    kernel = QUIET_KERNEL.model_copy(update=changes | {"align": 128 * MIB, "node_share": None, "system_share": None})
    return run_case(Case(machine, client, kernel, 1, 1), 0).time_s


def test_all_nodes_at_once(quiet_machine: Machine) -> None:
    """One thread a node: 128 / 32 = 4 s, not 8 times that; four: 1 s."""
    assert time_of(quiet_machine, 1) == pytest.approx(4.0, rel=1e-9)
    assert time_of(quiet_machine, 4) == pytest.approx(1.0, rel=1e-9)


def test_boot_waits_for_the_slowest_node(quiet_machine: Machine) -> None:
    """With 256 GiB on one node: 8 s."""
    nodes = tuple(replace(node, memory_bytes=256 * GIB) if node.nid == 5 else node for node in quiet_machine.nodes)
    assert time_of(replace(quiet_machine, nodes=nodes), 1) == pytest.approx(8.0, rel=1e-9)


@pytest.mark.parametrize(
    ("version", "passes", "time_s"),
    [("ktask-v2", None, 4), ("ktask-v3", None, 8), ("ktask-v4", None, 8), ("ktask-v3", 1, 4), ("padata-5.8", 2, 8)],
)
def test_two_passes_take_twice_as_long(quiet_machine: Machine, version: str, passes: int | None, time_s: float) -> None:
    """ktask v3 and v4 go over the struct pages twice, the others once, if the scenario says nothing else."""
    assert time_of(quiet_machine, 1, version, passes=passes) == pytest.approx(time_s, rel=1e-9)


@pytest.mark.parametrize(
    ("version", "passes", "time_s"),
    [("ktask-v2", None, 3), ("ktask-v2", 2, 6), ("ktask-v3", None, 7), ("padata-5.8", None, 4)],
)
def test_the_first_pass_zeroes(quiet_machine: Machine, version: str, passes: int | None, time_s: float) -> None:
    """A quarter of 128 / 32 = 4 s is zeroing: a second pass doesn't, and none does before Linux 4.15."""
    costs = {"zero_share": 0.25}
    assert time_of(quiet_machine, 1, version, passes=passes, costs=costs) == pytest.approx(time_s, rel=1e-9)


def test_the_memory_of_a_node_is_the_limit(quiet_machine: Machine) -> None:
    """36 threads of 128 GiB/s ask for more than 40 GiB/s: 128 / 32 = 4 GiB of traffic take 0.1 s."""
    assert time_of(quiet_machine, 36, costs={"init_rate": "128GiB/s"}) == pytest.approx(0.1, rel=1e-9)


def test_each_node_has_a_zone_lock_of_its_own(quiet_machine: Machine) -> None:
    """Half of a pageblock's 61.035 us under the lock: two threads a node do 1.6 of one, 4 / 1.6 = 2.5 s.

    Chain of the number at the lock, times in cycles: weights 1, 2 x 0.5 / 0.5 = 2 and 2 x 0.5 / 0.5 = 2, so it is in
    use for 4/5 of the time, 1.6 sections of 0.5 in each cycle; with one thread, for half.
    """
    costs = {"block_hold": f"{0.5 * 2 / 32 / 1024 * 1e6}us"}
    assert time_of(quiet_machine, 2, costs=costs) == pytest.approx(2.5, rel=1e-6)
    assert time_of(quiet_machine, 1, costs=costs) == pytest.approx(4.0, rel=1e-9)


def test_lines_are_fetched_under_the_zone_lock(quiet_machine: Machine) -> None:
    """4 lines of an eighth of a pageblock's 61.035 us, one more to who waited: two threads need 2.9 s, not 2.

    One thread fetches none. Chain of the number at the lock, times in cycles: who comes to a free lock fetches
    with probability 1/2, 1/4; who waited 1/2 + 1/8 = 5/8. Weights 1, 2 x 1/4 and 1/2 x 5/8 = 5/16: in a cycle
    (1/2 / (1/4) + 5/16 / (5/8)) / (29/16) = 40/29 sections: 4 / (40/29) = 2.9 s.
    """
    eighth_us = 2 / 32 / 1024 * 1e6 / 8
    costs = {"block_lines": 4.0, "line_time": f"{eighth_us}us"}
    assert time_of(quiet_machine, 2, costs=costs) == pytest.approx(2.9, rel=1e-6)
    assert time_of(quiet_machine, 1, costs=costs) == pytest.approx(4.0, rel=1e-9)


def test_chunks_end_at_the_same_addresses_on_every_node(quiet_machine: Machine) -> None:
    """100 GiB a node, 3 threads: chunks of 8.375 GiB (67 sections). From node 1, at 100 GiB, to an edge: 0.5 GiB."""
    nodes = tuple(replace(node, memory_bytes=100 * GIB) for node in quiet_machine.nodes)
    changes = {"max_threads": 3, "policy": "padata", "min_chunk": 128 * MIB, "align": 128 * MIB}
    client = DeferredInit(client="deferred_struct_page_init")
    case = Case(replace(quiet_machine, nodes=nodes), client, QUIET_KERNEL.model_copy(update=changes), 1, 1)
    slices = run_case(case, 0, with_slices=True).slices
    sizes = {nid: [item.size_bytes for item in slices if item.memory_node == nid] for nid in (0, 1)}
    assert 0.5 * GIB not in sizes[0]
    assert next(size for size in sizes[1] if size != 8.375 * GIB) == 0.5 * GIB


def test_no_wake_up_moves_the_calling_thread(quiet_machine: Machine) -> None:
    """Callers are bound to their nodes, and kernel threads."""
    client = DeferredInit(client="deferred_struct_page_init")
    callers = client.callers(quiet_machine, QUIET_KERNEL, Random(1))
    assert [(caller.nid, caller.is_kthread) for caller in callers] == [(nid, True) for nid in range(8)]


def test_a_node_without_cpus_is_done_from_the_nearest(quiet_machine: Machine) -> None:
    """The memory of node 7 is done from one link away, at 0.8 of the rate: 5 s."""
    machine = replace(quiet_machine, cpus=tuple(cpu for cpu in quiet_machine.cpus if cpu.nid != 7))
    assert time_of(machine, 1) == pytest.approx(5.0, rel=1e-9)
    assert DeferredInit(client="deferred_struct_page_init").words(machine) == (
        "It initialises the struct pages of all memory: 8 threads at once, each bound to its node, with a task of "
        "128 GiB."
    )


def test_jobs_of_a_node_come_one_after_the_other(quiet_machine: Machine) -> None:
    """Node 1: 32 GiB and then 16 GiB at their addresses; node 2: 64 GiB, which takes 2 s; one thread each."""
    jobs = [(1, 8, 32), (1, 64, 16), (2, 256, 64)]
    given = [{"node": node, "start": f"{start}GiB", "size": f"{size}GiB"} for node, start, size in jobs]
    assert time_of(quiet_machine, 1, jobs=given) == pytest.approx(2.0, rel=1e-9)
    client = DeferredInit.model_validate({"client": "deferred_struct_page_init", "jobs": given})
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": 1, "policy": "padata", "min_chunk": 128 * MIB})
    slices = run_case(Case(quiet_machine, client, kernel, 1, 1), 0, with_slices=True).slices
    chunks = [(item.memory_node, item.start_bytes, item.size_bytes) for item in slices if item.kind == "chunk"]
    assert sorted(chunks) == [(node, start * GIB, size * GIB) for node, start, size in jobs]
    assert "112 GiB in 3 tasks, with 2 threads at once" in client.words(quiet_machine)
