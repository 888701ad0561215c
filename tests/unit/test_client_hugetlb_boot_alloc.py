"""Huge pages at boot, against times worked by hand.

The quiet machine: every node has 3 near nodes (0.8 of the rate) and 4 far ones (0.5), so that memory of all in turn
takes (1 + 3 / 0.8 + 4 / 0.5) / 8 = 1.59375 times as long as local memory.
"""

from __future__ import annotations

import pytest

from models.clients.hugetlb_boot_alloc import HugetlbBoot
from models.machine import Machine
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL


def boot(**task: object) -> HugetlbBoot:
    """8 GiB of huge pages, 12.75 GiB/s of local memory, so 1 s for memory of all nodes; and 100 us for each page."""
    costs = {"boot_rate": "12.75GiB/s", "list_time": "100us", "gigantic_factor": 0.5, "boot_before": "0s"}
    values = {"client": "hugetlb_boot_alloc", "size": "8GiB", "caller_node": 0, **task}
    return HugetlbBoot.model_validate(values | {"costs": costs | task.get("costs", {})})  # type: ignore[operator]


def time_of(machine: Machine, threads: int, **task: object) -> float:
    """The time of a boot with helpers on one node after the other."""
    changes = {"max_threads": threads, "policy": "hugetlb-boot-2024", "works": "padata", "min_chunk": 1}
    kernel = QUIET_KERNEL.model_copy(update=changes)
    return run_case(Case(machine, boot(**task), kernel, 1, 1), 0).time_s


def test_lists_are_serial(quiet_machine: Machine) -> None:
    """4096 pages: 1 + 0.4096 s with one thread, 1/4 + 0.4096 s with four, whose lists wait for each other."""
    assert time_of(quiet_machine, 1) == pytest.approx(1.4096, rel=1e-9)
    assert time_of(quiet_machine, 4) == pytest.approx(0.6596, rel=1e-9)


@pytest.mark.parametrize(("page_size", "time_s"), [("2MiB", 1.4096), ("1GiB", 2.0)])
def test_nobody_helps_with_what_is_before(quiet_machine: Machine, page_size: str, time_s: float) -> None:
    """0.5 s more, with one thread and with four, of pages of any size."""
    costs = {"boot_before": "0.5s"}
    assert time_of(quiet_machine, 1, page_size=page_size, costs=costs) == pytest.approx(time_s + 0.5, rel=1e-9)
    alone = time_of(quiet_machine, 4, page_size=page_size)
    assert time_of(quiet_machine, 4, page_size=page_size, costs=costs) == pytest.approx(alone + 0.5, rel=1e-9)


def test_pages_come_from_all_nodes_wherever_the_thread_runs(quiet_machine: Machine) -> None:
    """From node 5 it takes as long as from node 0."""
    assert time_of(quiet_machine, 1, caller_node=5) == pytest.approx(1.4096, rel=1e-9)


def test_gigantic_pages_are_a_unit_for_each_node(quiet_machine: Machine) -> None:
    """A page of 1 GiB a node at 6.375 GiB/s: one thread needs 8 x 1.59375 / 6.375 = 2 s, eight local ones 1 / 6.375."""
    assert time_of(quiet_machine, 1, page_size="1GiB") == pytest.approx(2.0, rel=1e-9)
    assert time_of(quiet_machine, 8, page_size="1GiB") == pytest.approx(1 / 6.375, rel=1e-9)
    assert time_of(quiet_machine, 16, page_size="1GiB") == pytest.approx(1 / 6.375, rel=1e-9)


def test_works_take_the_nodes_in_order(quiet_machine: Machine) -> None:
    """A caller on node 3 takes node 0, two links away: 1 / 3.1875 s; the others are on the node that they take."""
    assert time_of(quiet_machine, 8, page_size="1GiB", caller_node=3) == pytest.approx(1 / 3.1875, rel=1e-9)


def test_a_run_can_be_repeated(quiet_machine: Machine) -> None:
    """The order of the nodes begins anew with each run of a case."""
    changes = {"max_threads": 2, "policy": "hugetlb-boot-2024", "works": "padata", "min_chunk": 1}
    case = Case(quiet_machine, boot(page_size="1GiB"), QUIET_KERNEL.model_copy(update=changes), 2, 1)
    assert run_case(case, 0).time_s == run_case(case, 1).time_s


def test_words(quiet_machine: Machine) -> None:
    """What is set aside is told in pages."""
    assert boot().words(quiet_machine) == (
        "It sets 4,096 pages of 2 MiB aside at boot, in one task; they come from 8 nodes in turn."
    )
    assert boot(page_size="1GiB").words(quiet_machine) == (
        "It initialises the struct pages of 8 pages of 1 GiB at boot, a unit for each of 8 nodes."
    )
