"""The start of a database, against times worked by hand: 8 GiB of shared memory, cleared at 2 GiB/s."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.clients.database_startup import DatabaseStartup
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL


@pytest.fixture
def machine(quiet_machine: Machine) -> Machine:
    """The quiet machine, on which a huge page costs nothing but its clearing."""
    locks = dict.fromkeys(("pool_hold", "pool_transfer", "pool_handover"), 0.0)
    return replace(quiet_machine, clients={"hugetlbfs_fallocate": {"hugetlb_page": 0.0, **locks}})


def start(**task: object) -> DatabaseStartup:
    """A database that touches a page in 250 us and needs 3 s for itself."""
    costs = {"touch": "250us", "engine": "3s"}
    values = {"client": "database_startup", "size": "8GiB", "caller_node": 0, "costs": costs, **task}
    return DatabaseStartup.model_validate(values)


def run(machine: Machine, threads: int, **task: object) -> RunResult:
    """Start the database."""
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, start(**task), kernel, 1, 1), 0)


def test_a_start_is_the_sum_of_its_parts(machine: Machine) -> None:
    """8 / 2 s clearing + 4096 x 250 us touching + 3 s of the engine = 8.024 s; 4 s of them are the task's."""
    result = run(machine, 1)
    assert result.time_s == pytest.approx(8.024, rel=1e-9)
    expected = {"alone_s": 4.024, "kernel_share": 4 / 8.024, "speedup_limit": 8.024 / 4.024}
    assert result.extra == pytest.approx(expected, rel=1e-9)


def test_helpers_shorten_the_allocation_only(machine: Machine) -> None:
    """Four threads: 1 s of clearing, 0.04 % more for workers that pick the same mutex, and 4.024 s as before."""
    assert run(machine, 4).time_s == pytest.approx(4.024 + 1 + 3 / 8192, rel=1e-9)


def test_larger_pages_are_touched_less_often(machine: Machine) -> None:
    """Pages of 1 GiB: 8 touches, 2 ms."""
    assert run(machine, 1, page_size="1GiB").time_s == pytest.approx(7.002, rel=1e-9)


def test_a_pool_on_all_nodes_is_far_away_for_the_most_part(machine: Machine) -> None:
    """1 GiB a node: 0.5 s near, 3 x 0.5 / 0.8 one link and 4 x 0.5 / 0.5 two links away, with 4.024 s: 10.399 s."""
    assert run(machine, 1, pool="8GiB").time_s == pytest.approx(4.024 + 6.375, rel=1e-9)


def test_words_tell_the_share_and_the_limit(machine: Machine) -> None:
    """In words: 8.024 s with one thread, 4 s of it in the task, so at most 8.024 / 4.024 times as fast."""
    assert (
        "it takes 8.024 s, 49.9% of it in the kernel's tasks: helpers make it at most 1.99 times as fast"
    ) in start().words(machine)
