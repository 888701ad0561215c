"""QEMU's preallocation: its threads as a table, and times worked by hand, at 1 GiB/s for each thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.clients.qemu_prealloc import QemuPrealloc
from models.kernels.qemu import Qemu
from models.machine import Machine
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from tests.unit.test_client_populate import COSTS

FREE = dict.fromkeys(("setup_time", "start_latency", "wake_latency", "lock_hold_time", "kthread_time"), "0s")


# One thread after the other has its own tests, at the end.
FREE_AND_TOGETHER = {**FREE, "late_start": 0.0}


def case_of(machine: Machine, *, kernel: Mapping[str, object] | None = None, **task: Any) -> Case:
    """Preallocate 8 GiB from node 0 with machinery and locks that cost nothing, unless a test says so."""
    values = {"client": "qemu_prealloc", "size": "8GiB", "caller_node": 0, "costs": COSTS, **task}
    version = Qemu.model_validate({**FREE_AND_TOGETHER, **(kernel or {})}).for_client("qemu_prealloc")
    return Case(machine, QemuPrealloc.model_validate(values), version, 1, 1)


@pytest.mark.parametrize(
    ("size", "page_size", "kernel", "works"),
    [
        ("8GiB", "4KiB", {"max_threads": 32}, 16),  # of 288 CPUs: MAX_MEM_PREALLOC_THREAD_COUNT
        ("8GiB", "4KiB", {"max_threads": 3}, 3),
        ("8GiB", "4KiB", {}, 1),  # -smp 1
        ("8GiB", "4KiB", {"smp": 4}, 4),
        ("8GiB", "4KiB", {"smp": 4, "max_threads": 2}, 2),
        ("100MiB", "4KiB", {"max_threads": 8}, 1),  # 1.6 times 64 MiB
        ("128MiB", "4KiB", {"max_threads": 8}, 2),
        ("8GiB", "1GiB", {"max_threads": 16}, 8),  # pages
    ],
)
def test_threads(quiet_machine: Machine, size: str, page_size: str, kernel: dict[str, object], works: int) -> None:
    """The least of prealloc-threads, 16, pages and one for each whole 64 MiB."""
    assert case_of(quiet_machine, size=size, page_size=page_size, kernel=kernel).n_works == works


def test_threads_are_at_most_the_online_cpus(quiet_machine: Machine) -> None:
    """Traced with QEMU 7.2 on 2 CPUs: 256 MiB with prealloc-threads=8 are two parts of 128 MiB."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus[:2])
    case = case_of(machine, size="256MiB", kernel={"max_threads": 8})
    assert case.chunk_bytes() == [128 * MIB, 128 * MIB]


def test_pages_are_split_evenly(quiet_machine: Machine) -> None:
    """10 pages of 1 GiB for 4 threads: the first two get one more."""
    case = case_of(quiet_machine, size="10GiB", page_size="1GiB", kernel={"max_threads": 4})
    assert case.chunk_bytes() == [3 * GIB, 3 * GIB, 2 * GIB, 2 * GIB]
    case = case_of(quiet_machine, size="9GiB", page_size="1GiB", kernel={"max_threads": 4})
    assert case.chunk_bytes() == [3 * GIB, 2 * GIB, 2 * GIB, 2 * GIB]


@pytest.mark.parametrize(("threads", "time_s"), [(1, 8.0), (4, 2.0), (64, 0.5)])
def test_time(quiet_machine: Machine, threads: int, time_s: float) -> None:
    """T = 8 GiB / (1 GiB/s x threads), with 16 at most."""
    assert run_case(case_of(quiet_machine, kernel={"max_threads": threads}), 0).time_s == pytest.approx(time_s)


@pytest.mark.parametrize(("page_size", "backends", "time_s"), [("4KiB", 1, 15.0), ("2MiB", 1, 23.0), ("4KiB", 2, 11.0)])
def test_a_whole_start(quiet_machine: Machine, page_size: str, backends: int, time_s: float) -> None:
    """The program takes 1 s and 1/8 for each of 8 GiB, 9/8 of a pool; memory 8 s, devices and boot 5: 15 and 23 s.

    Two backends of 4 GiB at once save 4 s.
    """
    start = {"program": "1s", "program_per_gib": "1125ms", "other_per_gib": "125ms", "devices": "3s", "boot": "2s"}
    task = {"page_size": page_size, "backends": backends, "concurrent": backends > 1, "whole_start": True}
    case = case_of(quiet_machine, costs={**COSTS, **start}, **task)
    assert run_case(case, 0).time_s == pytest.approx(time_s, rel=1e-9)


def test_threads_are_made_one_after_the_other(quiet_machine: Machine) -> None:
    """Three clones of 10 ms each come before the last part of 2 s begins."""
    kernel = {"max_threads": 4, "kthread_time": "10ms"}
    assert run_case(case_of(quiet_machine, kernel=kernel), 0).time_s == pytest.approx(2.03, rel=1e-9)


def test_a_thread_that_is_not_bound_may_be_far(quiet_machine: Machine) -> None:
    """Of memory on node 1, who is two hops away clears half as fast: 2 s + 1 s; bound threads are all near."""
    far = case_of(quiet_machine, host_nodes="1", kernel={"max_threads": 4})
    near = case_of(quiet_machine, host_nodes="1", kernel={"max_threads": 4, "helper_node": "page"})
    assert run_case(far, 0).time_s == pytest.approx(3.0, rel=1e-9)
    assert run_case(near, 0).time_s == pytest.approx(2.0, rel=1e-9)
    assert near.task.data_nid(quiet_machine) == 1


def test_backends_in_turn_or_at_once(quiet_machine: Machine) -> None:
    """Two backends of 4 GiB with 4 threads each: 1 s and 1 s, or 1 s."""
    kernel = {"max_threads": 4}
    assert run_case(case_of(quiet_machine, backends=2, kernel=kernel), 0).time_s == pytest.approx(2.0, rel=1e-9)
    at_once = run_case(case_of(quiet_machine, backends=2, concurrent=True, kernel=kernel), 0)
    assert at_once.time_s == pytest.approx(1.0, rel=1e-9)
    assert at_once.n_tasks == 2


def test_each_node_has_its_own_zone_lock(quiet_machine: Machine) -> None:
    """A zone lets through a page in 1 us: 2.1 s for 8 GiB of one node, half of that with two nodes at once."""
    kernel = {"max_threads": 16, "helper_node": "page"}
    costs = COSTS | {"zone_hold": "63us"}
    two: dict[str, object] = {"backends": 2, "concurrent": True}
    times = [
        run_case(case_of(quiet_machine, host_nodes=nodes, **two, costs=costs, kernel=kernel), 0).time_s
        for nodes in ("0", "0,1")
    ]
    pages = 8 * GIB // 4096
    assert times == pytest.approx([pages * 1e-6, pages / 2 * 1e-6], rel=0.02)


def test_default_threads(quiet_machine: Machine) -> None:
    """With -smp 1, QEMU's default, one; with 24 CPUs 16; a guest of 100 MiB has one."""
    found = [QemuPrealloc.default_threads(quiet_machine, size, smp) for size, smp in ((8 * GIB, 1), (8 * GIB, 24))]
    assert found == [1, 16]
    assert QemuPrealloc.default_threads(quiet_machine, 100 * MIB, 24) == 1


@pytest.mark.parametrize(
    ("task", "kernel", "option"),
    [
        (
            {},
            {},
            "-object memory-backend-ram,id=mem0,size=8G,prealloc=on,prealloc-threads=6 -machine memory-backend=mem0",
        ),
        (
            {"page_size": "1GiB", "host_nodes": "2"},
            {"helper_node": "page"},
            "-object thread-context,id=tc0,node-affinity=2 -object memory-backend-memfd,id=mem0,size=8G,hugetlb=on,"
            "hugetlbsize=1G,host-nodes=2,policy=bind,prealloc=on,prealloc-threads=6,prealloc-context=tc0 "
            "-machine memory-backend=mem0",
        ),
        (
            {"size": "3GiB", "backends": 2, "concurrent": True},
            {},
            "-object thread-context,id=tc0 -object memory-backend-ram,id=mem0,size=1536M,prealloc=on,"
            "prealloc-threads=6,prealloc-context=tc0 -numa node,nodeid=0,memdev=mem0 "
            "-object thread-context,id=tc1 -object memory-backend-ram,id=mem1,size=1536M,prealloc=on,"
            "prealloc-threads=6,prealloc-context=tc1 -numa node,nodeid=1,memdev=mem1",
        ),
    ],
)
def test_option(quiet_machine: Machine, task: dict[str, object], kernel: dict[str, object], option: str) -> None:
    """The option to paste has the backend's size, pages, node, threads and context."""
    case = case_of(quiet_machine, kernel=kernel, **task)
    assert case.task.advice_options(6, None, case.machine, case.kernel) == option


def test_words(quiet_machine: Machine) -> None:
    """The job in words says how many backends there are, in which order and where."""
    task = case_of(quiet_machine, backends=4, concurrent=True, host_nodes="0,1").task
    assert task.words(quiet_machine) == (
        "QEMU preallocates 8 GiB in pages of 4 KiB, populated: 4 memory backends, all at once, bound to node 0,1."
    )


@pytest.mark.parametrize(("threads", "time_s"), [(1, 8.0), (2, 8.0), (4, 4.0), (16, 1.0)])
def test_the_last_thread_starts_late(quiet_machine: Machine, threads: int, time_s: float) -> None:
    """It waits until the others' parts are present: two parts in a row, so that two threads are no faster than one."""
    case = case_of(quiet_machine, kernel={"max_threads": threads, "late_start": 1.0})
    assert run_case(case, 0).time_s == pytest.approx(time_s)


def test_touching_lets_threads_start(quiet_machine: Machine) -> None:
    """A fault keeps mmap_lock for a moment only: QEMU up to 6.2, which touches, has no late thread."""
    case = case_of(quiet_machine, populate=False, kernel={"max_threads": 2, "late_start": 1.0})
    together = case_of(quiet_machine, populate=False, kernel={"max_threads": 2})
    assert run_case(case, 0).time_s == run_case(together, 0).time_s


def test_qemu_has_a_late_thread() -> None:
    """By default, in half of the starts, as counted with 7.2."""
    assert Qemu().late_start == 0.5
