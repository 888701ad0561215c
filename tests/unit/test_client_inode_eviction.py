"""Eviction of inodes, against times worked by hand: 2^20 inodes of 1 KiB, in memory of node 0."""

from __future__ import annotations

import pytest

from models.clients.inode_eviction import InodeEviction
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

FREE = {"lru_hold": "0s", "lru_transfer": "0s", "lru_handover": "0s"}


def run(machine: Machine, threads: int, costs: dict[str, str], **task: object) -> RunResult:
    """Evict them, at 2 us each and with a list and an LRU that cost nothing unless a test says so."""
    own = {"evict": "2us", "step": "0s", **FREE, **costs}
    values = {"client": "inode_eviction", "inodes": 2**20, "caller_node": 0, "costs": own, **task}
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, InodeEviction.model_validate(values), kernel, 1, 1), 0)


@pytest.mark.parametrize(("threads", "time_s"), [(1, 2.097152), (4, 0.524288)])
def test_inodes_are_shared_out(quiet_machine: Machine, threads: int, time_s: float) -> None:
    """T = 2^20 x 2 us / threads."""
    assert run(quiet_machine, threads, {}).time_s == pytest.approx(time_s, rel=1e-9)


def test_the_list_is_walked_by_one_at_a_time(quiet_machine: Machine) -> None:
    """Two threads, 8 chunks of 131,072 inodes, each walked in 65.536 ms under the lock, evicted in 262.144 ms.

    The caller walks at 0 and comes back every 327.68 ms, the helper 65.536 ms later: T = 65.536 + 4 x 327.68 ms.
    """
    result = run(quiet_machine, 2, {"step": "500ns"})
    assert result.time_s == pytest.approx(1.376256, rel=1e-9)
    assert sum(worker.lock_wait_s for worker in result.workers) == pytest.approx(0.065536, rel=1e-9)


def test_more_threads_than_walks_fit_in_wait_for_the_list(quiet_machine: Machine) -> None:
    """The walk at 500 ns a step takes 524.288 ms; 16 threads end it, and the last chunk of 32.768 ms after it."""
    result = run(quiet_machine, 16, {"step": "500ns"})
    assert result.time_s == pytest.approx(0.524288 + 0.032768, rel=1e-9)


@pytest.mark.parametrize("threads", [2, 16])
def test_the_lru_lock_bounds_all(quiet_machine: Machine, threads: int) -> None:
    """Of 2 us, 1 us is under the lock of the LRU: alone 2.097 s, and never less than half of it with any number."""
    costs = {"lru_hold": "1us"}
    assert run(quiet_machine, 1, costs).time_s == pytest.approx(2.097152, rel=1e-9)
    result = run(quiet_machine, threads, costs)
    assert result.time_s >= 2.097152 / 2
    assert result.time_s > 1.1 * 2.097152 / threads


def test_chunks_are_stretches_of_the_list(quiet_machine: Machine) -> None:
    """A million on 16 threads: a 64th is 15,625, rounded down to whole least chunks of 1 MiB 15,360: 66 chunks."""
    result = run(quiet_machine, 16, {}, inodes=1_000_000)
    assert result.n_chunks == 66
    assert sum(worker.size_bytes for worker in result.workers) == 1_000_000 * 1024
