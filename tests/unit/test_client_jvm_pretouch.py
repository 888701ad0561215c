"""Java's AlwaysPreTouch: its threads and chunks as tables, and times worked by hand, at 1 GiB/s for each thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.clients.jvm_pretouch import JvmPretouch
from models.kernels.jvm import Jvm
from models.machine import Machine
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from tests.unit.test_client_populate import COSTS
from tests.unit.test_client_qemu_prealloc import FREE


def case_of(machine: Machine, *, kernel: Mapping[str, object] | None = None, **task: Any) -> Case:
    """Touch a heap of 8 GiB from node 0, where a fault costs no more than populating, and locks nothing."""
    values = {"client": "jvm_pretouch", "size": "8GiB", "caller_node": 0, "costs": COSTS | {"touch": "0s"}, **task}
    version = Jvm.model_validate({**FREE, **(kernel or {})}).for_client("jvm_pretouch")
    return Case(machine, JvmPretouch.model_validate(values), version, 1, 1)


@pytest.mark.parametrize(
    ("n_cpus", "threads"),
    [(1, 1), (2, 2), (8, 8), (9, 8), (10, 9), (16, 13), (96, 63), (288, 183)],  # 8, 16 and 96 as Java 17 prints
)
def test_threads_by_cpus(quiet_machine: Machine, n_cpus: int, threads: int) -> None:
    """All CPUs up to 8, and 5/8 of the others, down."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus[:n_cpus])
    assert case_of(machine, caller_node=None).n_works == threads
    assert JvmPretouch.default_threads(machine, 8 * GIB) == threads


@pytest.mark.parametrize(
    ("size", "kernel", "works", "chunk_bytes", "n_chunks"),
    [
        ("8GiB", {"max_threads": 20}, 20, 4 * MIB, 2048),
        ("8GiB", {"max_threads": 200}, 200, 4 * MIB, 2048),  # more than the default
        ("10MiB", {}, 3, 4 * MIB, 3),  # a worker for each chunk
        ("8GiB", {"chunk_size": "1GiB"}, 8, GIB, 8),
        ("8GiB", {"chunk_size": "1GiB", "max_threads": 4}, 4, GIB, 8),
        ("64MiB", {"chunk_size": "1MiB"}, 64, MIB, 64),
    ],
)
def test_chunks(
    quiet_machine: Machine, size: str, kernel: dict[str, object], works: int, chunk_bytes: int, n_chunks: int
) -> None:
    """Chunks are of one size, and workers at most as many."""
    case = case_of(quiet_machine, size=size, kernel=kernel)
    chunks = case.chunk_bytes()
    assert (case.n_works, chunks[0], len(chunks)) == (works, chunk_bytes, n_chunks)


@pytest.mark.parametrize(("chunk_size", "time_s"), [("1GiB", 3.0), ("4MiB", 2.25)])
def test_large_chunks_leave_threads_idle(quiet_machine: Machine, chunk_size: str, time_s: float) -> None:
    """9 GiB and 4 threads: 9 chunks of 1 GiB take three turns of 1 s; of 4 MiB each thread gets 576, 2.25 s."""
    case = case_of(quiet_machine, size="9GiB", kernel={"max_threads": 4, "chunk_size": chunk_size})
    assert run_case(case, 0).time_s == pytest.approx(time_s, rel=1e-9)


def test_workers_are_made_one_after_the_other(quiet_machine: Machine) -> None:
    """Three clones of 10 ms each come before the last thread's two chunks of 1 s begin."""
    kernel = {"max_threads": 4, "chunk_size": "1GiB", "kthread_time": "10ms"}
    assert run_case(case_of(quiet_machine, kernel=kernel), 0).time_s == pytest.approx(2.03, rel=1e-9)


def test_a_chunk_is_claimed_from_one_counter(quiet_machine: Machine) -> None:
    """With 1 ms for each claim, one thread's 8 chunks and the last, empty one take 9 ms."""
    case = case_of(quiet_machine, kernel={"max_threads": 1, "chunk_size": "1GiB", "lock_hold_time": "1ms"})
    assert run_case(case, 0).time_s == pytest.approx(8.009, rel=1e-9)


def test_java_touches_unless_told_to_populate(quiet_machine: Machine) -> None:
    """With 3.815 us for a fault 8 GiB take 16 s, populated 8 s."""
    kernel = {"max_threads": 1}
    assert run_case(case_of(quiet_machine, costs=COSTS, kernel=kernel), 0).time_s == pytest.approx(16.0)
    assert run_case(case_of(quiet_machine, costs=COSTS, populate=True, kernel=kernel), 0).time_s == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("task", "chunk_bytes", "option"),
    [
        ({}, None, "-Xms8G -Xmx8G -XX:+AlwaysPreTouch -XX:ParallelGCThreads=6"),
        (
            {"thp": True},
            16 * MIB,
            "-Xms8G -Xmx8G -XX:+AlwaysPreTouch -XX:ParallelGCThreads=6 -XX:PreTouchParallelChunkSize=16M "
            "-XX:+UseTransparentHugePages",
        ),
        (
            {"page_size": "2MiB"},
            None,
            "-Xms8G -Xmx8G -XX:+AlwaysPreTouch -XX:ParallelGCThreads=6 -XX:+UseLargePages -XX:LargePageSizeInBytes=2M",
        ),
    ],
)
def test_option(quiet_machine: Machine, task: dict[str, Any], chunk_bytes: int | None, option: str) -> None:
    """The options to paste have heap, threads, chunks and pages."""
    case = case_of(quiet_machine, **task)
    assert case.task.advice_options(6, chunk_bytes, case.machine, case.kernel) == option
