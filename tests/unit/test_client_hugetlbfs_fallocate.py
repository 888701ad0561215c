"""fallocate on hugetlbfs, against times worked by hand.

The quiet machine: a page of 2 MiB is cleared in 976.5625 us (2 GiB/s), and with 244.140625 us for all else a worker
does 1.6 GiB/s. It has 288 CPUs, so 8 x 288 mutexes, rounded up to 4096. A node takes 20 GiB/s of clearing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.clients.hugetlbfs_fallocate import HugetlbfsFallocate
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from models.text.units import GIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

FREE = {"pool_hold": "0s", "pool_transfer": "0s", "pool_handover": "0s"}


def run(machine: Machine, threads: int, *, costs: dict[str, str] | None = None, **task: object) -> RunResult:
    """Allocate a file of 8 GiB from node 0, with shared locks that cost nothing unless a test says so."""
    own = {"hugetlb_page": "244.140625us", **FREE, **(costs or {})}
    values = {"client": "hugetlbfs_fallocate", "size": "8GiB", "caller_node": 0, "costs": own, **task}
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, HugetlbfsFallocate.model_validate(values), kernel, 1, 1), 0)


def collisions(threads: int) -> float:
    """The factor on the time of a page: each other worker has its mutex once in 4096, for half of the page's time."""
    return 1 + (threads - 1) / 4096 / 2


@pytest.mark.parametrize(("threads", "time_s"), [(1, 5.0), (4, 1.25)])
def test_pages_of_the_own_node(quiet_machine: Machine, threads: int, time_s: float) -> None:
    """T = 8 GiB / (1.6 GiB/s x threads), and a little for workers that pick the same mutex."""
    assert run(quiet_machine, threads).time_s == pytest.approx(time_s * collisions(threads), rel=1e-9)


def test_without_helpers_the_serial_loop_clears(quiet_machine: Machine) -> None:
    """At 1 GiB/s alone a page takes 1953.125 + 244.140625 us, so 8 GiB 9 s; two threads are as fast as before."""
    machine = replace(quiet_machine, rates=replace(quiet_machine.rates, serial_clear_bytes_per_s=1.0 * GIB))
    assert run(machine, 1).time_s == pytest.approx(9.0, rel=1e-9)
    assert run(machine, 2).time_s == pytest.approx(2.5 * collisions(2), rel=1e-9)


def test_pages_fall_over_to_the_next_node(quiet_machine: Machine) -> None:
    """1 GiB a node: the first takes 0.625 s; for the second, clearing takes 1 / 0.8 as long: 512 x 1464.84 us."""
    assert run(quiet_machine, 1, size="2GiB", pool="8GiB").time_s == pytest.approx(0.625 + 0.75, rel=1e-9)


def test_all_workers_fill_one_neighbour_over_one_link(quiet_machine: Machine) -> None:
    """16 threads, all on node 0: 2 GiB at the 20 GiB/s of its memory, then 2 GiB over a link of 4 GiB/s."""
    links = tuple(replace(link, rate_bytes_per_s=4.0 * GIB) for link in quiet_machine.links)
    machine = replace(quiet_machine, links=links)
    result = run(machine, 16, costs={"hugetlb_page": "0s"}, size="4GiB", pool="16GiB")
    # The last pages of a node are taken in pieces that are not all of one size: none is longer than 128 MiB at 4 GiB/s.
    assert result.time_s == pytest.approx(0.1 + 0.5, abs=0.04)


def test_a_node_takes_no_more_than_its_memory_can(quiet_machine: Machine) -> None:
    """16 workers ask for 25.6 GiB/s of the 20: T = 8 / 20 s."""
    assert run(quiet_machine, 16).time_s == pytest.approx(0.4, rel=1e-3)


def test_shared_locks_cost_more_the_more_threads_there_are(quiet_machine: Machine) -> None:
    """Sections of 100 us a page, handed on: the page can't be put in faster than one by one."""
    pages = 8 * GIB // (2 * 2**20)
    costs = {"pool_hold": "100us"}
    assert run(quiet_machine, 1, costs=costs).time_s == pytest.approx(5.0, rel=1e-9)
    assert run(quiet_machine, 32, costs=costs).time_s >= pages * 100e-6
