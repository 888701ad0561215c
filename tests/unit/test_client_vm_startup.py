"""The start of a virtual machine, against times worked by hand: 8 GiB, cleared at 2 GiB/s and pinned at 4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.clients.vm_startup import VmStartup
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from models.text.units import GIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

TASK = VmStartup.model_validate(
    {
        "client": "vm_startup",
        "size": "8GiB",
        "caller_node": 0,
        "costs": {"program": "0.992s", "program_per_gib": "1ms", "devices": "2s", "boot": "3s"},
    }
)


@pytest.fixture
def machine(quiet_machine: Machine) -> Machine:
    """The quiet machine, on which a huge page costs nothing but its clearing, and pinning 4 GiB/s."""
    locks = dict.fromkeys(("pool_hold", "pool_transfer", "pool_handover"), 0.0)
    costs = {"hugetlbfs_fallocate": {"hugetlb_page": 0.0, **locks}, "vfio_pin": {"pin_rate": 4.0 * GIB, "before": 99.0}}
    return replace(quiet_machine, clients=costs)


def run(machine: Machine, threads: int) -> RunResult:
    """Start the virtual machine."""
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, TASK, kernel, 1, 1), 0, with_slices=True)


def test_a_start_is_the_sum_of_its_parts(machine: Machine) -> None:
    """1 s program + 8 / 2 s clearing + 2 s devices + 8 / 4 s pinning + 3 s boot = 12 s, half the kernel's."""
    result = run(machine, 1)
    assert result.time_s == pytest.approx(12.0, rel=1e-9)
    assert result.n_tasks == 2
    assert result.extra == pytest.approx({"alone_s": 6.0, "kernel_share": 0.5, "speedup_limit": 2.0}, rel=1e-9)
    alone = [(item.begin_s, item.end_s) for item in result.slices if item.kind == "alone"]
    assert sum(alone, ()) == pytest.approx((0.0, 1.0, 5.0, 7.0, 9.0, 12.0), rel=1e-9)


def test_helpers_shorten_the_kernels_part_only(machine: Machine) -> None:
    """Four threads: 6 s of its own + 1 s clearing + 0.5 s pinning = 7.5 s: under twice as fast."""
    result = run(machine, 4)
    assert result.time_s == pytest.approx(7.5, rel=1e-3)  # some workers pick the same mutex: 0.04 % of clearing
    assert result.extra["kernel_share"] == pytest.approx(0.2, rel=1e-2)
    assert run(machine, 1).time_s / result.time_s < 2.0


def test_words_tell_the_share_and_the_limit(machine: Machine) -> None:
    """In words: 8 / 1 s clearing without helpers, 2 s pinning, 6 s of its own: at most 16 / 6 times as fast."""
    machine = replace(machine, rates=replace(machine.rates, serial_clear_bytes_per_s=1.0 * GIB))
    words = TASK.words(machine)
    assert "it takes 16 s, 62.5% of it in the kernel's tasks: helpers make it at most 2.67 times as fast" in words


def test_a_start_without_anything_else_has_no_limit(machine: Machine) -> None:
    """Where the kernel's tasks are all, no limit is told."""
    bare = {"program": "0s", "program_per_gib": "0s", "devices": "0s", "boot": "0s"}
    words = VmStartup.model_validate({"client": "vm_startup", "size": "8GiB", "costs": bare}).words(machine)
    assert words.endswith("it takes 6 s, 100.0% of it in the kernel's tasks.")
