"""Pinning a guest's memory, against times worked by hand: one thread pins 4 GiB/s, and 8 GiB are pinned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from models.clients import Caller
from models.clients.vfio_pin import VfioPin
from models.kernels import Kernel
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

FREE = {"line_hold": "0s", "line_transfer": "0s", "line_handover": "0s", "wake": "0s", "deep_wake": "0s"}


def run(machine: Machine, threads: int, *, undo: bool = False, costs: dict[str, str] | None = None,
        **task: object) -> RunResult:  # fmt: skip
    """Pin 8 GiB on node 0 at 4 GiB/s, with locks that cost nothing unless a test says so."""
    own = {"pin_rate": "4GiB/s", "unpin_rate": "8GiB/s", **FREE, **(costs or {})}
    values = {"client": "vfio_pin", "size": "8GiB", "caller_node": 0, "costs": own, **task}
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads, "undo": undo})
    return run_case(Case(machine, VfioPin.model_validate(values), kernel, 1, 1), 0)


@pytest.mark.parametrize(("threads", "time_s"), [(1, 2.0), (4, 0.5)])
def test_pinning_without_locks_is_shared_evenly(quiet_machine: Machine, threads: int, time_s: float) -> None:
    """T = 8 GiB / (4 GiB/s x threads)."""
    assert run(quiet_machine, threads).time_s == pytest.approx(time_s, rel=1e-9)


def test_what_comes_before_is_no_share_of_the_kernel(quiet_machine: Machine) -> None:
    """3 s before 1 s of pinning: a quarter is the kernel's, and without it the start were 4/3 times as fast."""
    result = run(quiet_machine, 2, costs={"before": "3s"})
    assert result.time_s == pytest.approx(4.0, rel=1e-9)
    assert result.extra == pytest.approx({"alone_s": 3.0, "kernel_share": 0.25, "speedup_limit": 4 / 3}, rel=1e-9)


class TwoGuests(VfioPin):
    """Two programs that start at once."""

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        return [*super().callers(machine, kernel, random), *super().callers(machine, kernel, random)]


def test_several_callers_have_no_share(quiet_machine: Machine) -> None:
    """Where callers run at once, what they do alone overlaps, and is no share of the time: none is told."""
    costs = {"before": "3s", "pin_rate": "4GiB/s"}
    task = TwoGuests.model_validate({"client": "vfio_pin", "size": "8GiB", "caller_node": 0, "costs": costs})
    result = run_case(Case(quiet_machine, task, QUIET_KERNEL.model_copy(update={"max_threads": 1}), 1, 1), 0)
    assert (result.time_s, result.n_tasks, result.extra) == (pytest.approx(5.0, rel=1e-9), 2, {})


def test_a_run_that_is_all_tasks_has_no_share(quiet_machine: Machine) -> None:
    """Where the caller does nothing but call the kernel there is no limit to tell."""
    assert run(quiet_machine, 2).extra == {}


@pytest.mark.parametrize(
    ("state", "time_s"),
    [("mmap_sem", 1.0992), ("atomic", 1.0), ("batched", 1.0)],
)
def test_a_writer_of_mmap_sem_keeps_the_other_out(quiet_machine: Machine, state: str, time_s: float) -> None:
    """2 MiB take 488.28 us, a page 953.7 ns. The other's writer waits for half a page, and two are woken in 24 us each.

    In one state of the code, T = 1 s x (1 + (0.475 + (1 + 512 / 513) x 24) / 488.28).
    """
    result = run(quiet_machine, 2, state=state, costs={"wake": "24us"})
    assert result.time_s == pytest.approx(time_s, rel=1e-4)


@pytest.mark.parametrize(("state", "slower"), [("mmap_sem", True), ("atomic", True), ("batched", False)])
def test_a_contended_line_costs_time_until_it_is_batched(quiet_machine: Machine, state: str, slower: bool) -> None:
    """80 ns to fetch the line, once for each page of 954 ns, slow down all states but the last."""
    result = run(quiet_machine, 8, state=state, costs={"line_transfer": "80ns"})
    assert (result.time_s > 0.25 * 1.05) == slower
    assert (sum(worker.client_lock_wait_s for worker in result.workers) > 0.1) == slower


def test_memory_of_another_node_takes_longer(quiet_machine: Machine) -> None:
    """0.3 of the time is memory's, which takes 1 / 0.8 as long one link away: T = 2 s x (1 + 0.3 x 0.25)."""
    assert run(quiet_machine, 1, memory_node=1).time_s == pytest.approx(2.15, rel=1e-9)


@pytest.mark.parametrize(("undo", "time_s"), [(False, 1.0), (True, 1.875)])
def test_an_error_stops_the_task_and_is_undone(quiet_machine: Machine, undo: bool, time_s: float) -> None:
    """Two threads, chunks of 1 GiB in 250 ms: the seventh fails half way, the eighth ends at 1 s; 7 are undone.

    They are undone by the caller at 8 GiB/s, in 875 ms, where the version of the kernel does that.
    """
    result = run(quiet_machine, 2, undo=undo, fail_at="6656MiB")
    assert result.time_s == pytest.approx(time_s, rel=1e-9)
    assert result.extra == {"n_failed": 1, "undo_s": time_s - 1.0}
    assert sum(worker.size_bytes for worker in result.workers) == 7.5 * 2**30


def test_a_chunk_that_fails_leaves_nothing_of_its_own_to_undo(quiet_machine: Machine) -> None:
    """Alone, with all in one chunk, pinning fails after 1 GiB, 250 ms; the client itself undoes its chunk."""
    result = run(quiet_machine, 1, undo=True, fail_at="1GiB")
    assert result.time_s == pytest.approx(0.25, rel=1e-9)
    assert result.extra == {"n_failed": 1, "undo_s": 0.0}


def test_costs_of_the_machine_stand_unless_the_scenario_has_its_own(quiet_machine: Machine) -> None:
    """2 GiB/s in the machine's file: 4 s; a scenario's 4 GiB/s go before it."""
    machine = replace(quiet_machine, pages={"pin_rate": 2.0 * 2**30})
    task = VfioPin.model_validate({"client": "vfio_pin", "size": "8GiB", "caller_node": 0})
    assert run_case(Case(machine, task, QUIET_KERNEL.model_copy(update={"max_threads": 1}), 1, 1), 0).time_s == 4.0
    assert run(machine, 1).time_s == 2.0
