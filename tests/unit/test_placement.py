"""Placement: which CPU of a node a thread gets."""

from __future__ import annotations

import pytest

from models.files.machine import build_machine, load_machine
from models.machine import Machine
from models.machine.placement import Placement
from models.text.document import locate
from tests.unit.test_calibration import document_of, host


@pytest.fixture
def machine() -> Machine:
    """Node 0: CPUs 0 to 3 are cores 0 to 3, 0 and 1 behind one cache; 6 to 9 their siblings. Node 1: 4 (slow), 5."""
    cores = ([{"count": 4, "threads_per_core": 2, "cache_domains": 2}], [{"count": 1, "speed": 0.5}, {"count": 1}], [])
    nodes = [{"memory": "4GiB", "cores": kinds, "source": "test"} for kinds in cores]
    distances = {"value": [[10, 20, 30], [20, 10, 15], [30, 15, 10]], "source": "test"}
    return build_machine(locate({**document_of(), "nodes": nodes, "distance_matrix": distances}), "small")


def taken(placement: Placement, nid: int, n: int) -> list[int]:
    """Put n threads on a node; return their CPUs."""
    return [placement.occupy(nid).cpu_id for _ in range(n)]


def test_ties_go_to_the_lowest_number(machine: Machine) -> None:
    """Cores of the idle cache first, then the others by number, then siblings likewise, then all again."""
    assert [cpu.core_id for cpu in machine.cpus] == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    placement = Placement(machine)
    assert taken(placement, 0, 4) == [0, 2, 1, 3]
    assert taken(placement, 0, 4) == [6, 8, 7, 9]
    assert taken(placement, 0, 4) == [0, 2, 1, 3]
    assert placement.weight_on == {cpu_id: 1024 * n for cpu_id, n in enumerate([2, 2, 2, 2, 0, 0, 1, 1, 1, 1])}


def test_a_fast_core_comes_before_a_slow_one(machine: Machine) -> None:
    """Of two idle cores behind caches alike, the faster one is taken, though its number is higher."""
    assert taken(Placement(machine), 1, 2) == [5, 4]


def test_background_load_counts(machine: Machine) -> None:
    """A core with somebody else's thread is busy: the others come first, then its sibling, and its CPU last."""
    placement = Placement(machine)
    placement.put(machine.cpus[0], of_job=False)
    assert taken(placement, 0, 3) == [2, 1, 3]  # the idle cache first; then both have one, and the number tells
    assert taken(placement, 0, 1) == [6]


def test_own_threads_count_more_than_others_on_a_tie(machine: Machine) -> None:
    """Between two CPUs with a thread each, the one whose thread is not the job's is taken."""
    placement = Placement(machine)
    placement.put(machine.cpus[5], of_job=False)
    placement.put(machine.cpus[4])
    assert placement.occupy(1).cpu_id == 5
    assert placement.occupy(1).cpu_id == 4  # now 5 has two


def test_the_previous_cpu_is_kept_if_idle(machine: Machine) -> None:
    """A thread goes back to its CPU if that core is idle and on the node wanted, else as any other thread."""
    placement = Placement(machine)
    by_id = {cpu.cpu_id: cpu for cpu in machine.cpus}
    assert placement.occupy(0, previous=by_id[9]).cpu_id == 9
    assert placement.occupy(0, previous=by_id[3]).cpu_id == 0  # its core is busy with CPU 9
    assert placement.occupy(1, previous=by_id[2]).cpu_id == 5  # it is on another node


def test_what_is_released_is_free_again(machine: Machine) -> None:
    """A released CPU is taken again as if nobody had been there."""
    placement = Placement(machine)
    cpu = placement.occupy(0)
    placement.release(cpu)
    assert set(placement.weight_on.values()) == {0}
    assert placement.occupy(0) == cpu


def test_a_node_without_cpus_lends_those_of_the_nearest(machine: Machine) -> None:
    """Node 2 has memory only; node 1 is at distance 15, node 0 at 30."""
    assert taken(Placement(machine), 2, 2) == [5, 4]


def test_only_allowed_cpus_are_taken(machine: Machine) -> None:
    """Of three CPUs those of idle cores come first; threads on others count; where none are given, all are allowed."""
    placement = Placement(machine)
    assert placement.occupy(0).cpu_id == 0
    found = [placement.occupy(None, allowed=(3, 5, 6)).cpu_id for _ in range(4)]
    assert found == [3, 5, 6, 3]  # 6 is on the core of 0
    assert taken(placement, 0, 2) == [1, 2]


def test_a_node_without_an_allowed_cpu_lends_those_of_the_nearest_with_one(machine: Machine) -> None:
    """Node 1 is at distance 20 of node 0; node 2 has no CPU, and is nearer to node 1 if that has an allowed one."""
    placement = Placement(machine)
    assert [placement.occupy(nid, allowed=(1, 7)).cpu_id for nid in (1, 2, 0)] == [1, 7, 1]
    assert placement.occupy(2, allowed=(3, 4)).cpu_id == 4


def test_one_cpu_takes_all() -> None:
    """On one CPU every thread is on it."""
    assert taken(Placement(host(1)), 0, 3) == [0, 0, 0]


@pytest.mark.parametrize(("n", "n_cores"), [(18, 18), (36, 18), (10, 10)])
def test_cores_fill_before_siblings(n: int, n_cores: int) -> None:
    """On the 8-socket machine 18 threads of a node are on 18 cores, and 36 on all its CPUs once."""
    placement = Placement(load_machine("xeon-e7-8895v3-8s"))
    cpus = [placement.occupy(3) for _ in range(n)]
    assert len({cpu.core_id for cpu in cpus}) == n_cores
    assert len({cpu.cpu_id for cpu in cpus}) == n
    assert {cpu.nid for cpu in cpus} == {3}
