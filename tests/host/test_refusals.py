"""Scenarios that this host can't run: refused before anything is done, with their place in the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import real
from models.files.machine import load_machine
from models.scenario import load_scenario
from models.text.cpu_list import format_cpu_list
from models.text.problems import InputError
from models.text.units import GIB, MIB, format_size
from real.background import REGION_BYTES, budget_bytes
from real.huge_pages import GrownPool
from real.limits import free_huge_pages, huge_page_sizes
from real.zeroing import methods
from tests.host.conftest import BUSY, CPU_IDS, SMALL
from tests.host.test_huge_pages import PAGE_BYTES
from tests.host.test_workers import two_nodes

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]


def refused(scenario: Path, **usage: object) -> str:
    """Return the one problem that a scenario has on this host, without the file's folder."""
    loaded = load_scenario(scenario)
    with pytest.raises(InputError) as error:
        real.plan(loaded, method="memset", **usage)  # type: ignore[arg-type]
    (problem,) = error.value.problems
    return str(problem).removeprefix(f"{scenario.parent}/")


def test_memory_that_the_host_does_not_have_is_refused(write: Callable[..., Path]) -> None:
    """A job larger than the host's memory is refused with the room there is; so is a pool."""
    memory = real.host_machine().memory_bytes
    if memory > 900 * GIB:
        pytest.skip("this host has as much memory as the scenario's machine")
    room = f"this host has room for {format_size(memory // (8 * MIB) * 8 * MIB)} in pages of 8 MiB"
    if len(real.host_machine().nids) == 1:
        assert refused(write(("16MiB", "1000GiB"))) == f"small.yaml:6:9: task.size: found 1000 GiB; {room}"
        assert refused(write(("16MiB", "16MiB\n  pool: 1000GiB"))) == (
            f"small.yaml:7:9: task.pool: found 1000 GiB; {room}"
        )
    assert "task.size: found 1000 GiB; this host has room for" in refused(write(("16MiB", "1000GiB")))


def test_more_threads_than_cpus_are_refused(write: Callable[..., Path]) -> None:
    """Each count of threads that is too high is named at its own place in the list."""
    n_cpus = len(CPU_IDS)
    cpus = f"this host has CPUs {format_cpu_list(CPU_IDS)} for you, so allowed is at most {n_cpus}"
    threads = SMALL.partition("max_threads: ")[2].partition("\n")[0]
    found = refused(write((threads, f"[1, {n_cpus + 1}]")))
    assert found == f"small.yaml:10:20: kernel.max_threads: found {n_cpus + 1}; {cpus}"


def test_a_node_that_the_host_does_not_have_is_refused(write: Callable[..., Path]) -> None:
    """The caller's node and the pages' node must be the host's."""
    machine = real.host_machine()
    if 7 in machine.nids:
        pytest.skip("this host has as many nodes as the scenario's machine")
    nids = ", ".join(map(str, machine.cpu_nids))
    assert refused(write(("16MiB", "16MiB\n  caller_node: 7"))) == (
        f"small.yaml:7:16: task.caller_node: found node 7; this host's nodes with CPUs are {nids}"
    )
    nids = ", ".join(str(node.nid) for node in machine.nodes if node.memory_bytes)
    assert refused(write(("16MiB", "16MiB\n  page_node: 7"))) == (
        f"small.yaml:7:14: task.page_node: found node 7; this host's nodes with memory are {nids}"
    )


def test_cpus_of_the_caller_that_the_host_does_not_have_are_refused(write: Callable[..., Path]) -> None:
    """The first CPU that isn't there is named; so is a node for the caller that none of its CPUs is on."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    found = refused(write(("16MiB", f"16MiB\n  cpus: '{CPU_IDS[0]},287'")))
    expected = f"found CPU 287; this host has CPUs {format_cpu_list(CPU_IDS)} for you"
    assert found == f"small.yaml:7:9: task.cpus: {expected}"
    found = refused(write(("16MiB", "16MiB\n  cpus: 1\n  caller_node: 0")), machine=two_nodes())
    expected = "found node 0; on this host allowed are the nodes of task.cpus, 1: 1"
    assert found == f"small.yaml:8:16: task.caller_node: {expected}"


def test_background_on_a_cpu_that_is_not_there_is_refused(write: Callable[..., Path]) -> None:
    """The first CPU that isn't there is named."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    found = refused(write(("background: {}", f"background: {{other: {{load: spin, cpus: '{CPU_IDS[0]},287'}}}}")))
    expected = f"found CPU 287; this host has CPUs {format_cpu_list(CPU_IDS)} for you"
    assert found == f"small.yaml:12:40: background.other.cpus: {expected}"


def test_a_machine_file_of_another_host_is_refused(write: Callable[..., Path]) -> None:
    """A machine with CPUs that this process may not use is no description of this host."""
    machine = real.host_machine()
    other = load_machine("xeon-e7-8895v3-8s")
    strange = format_cpu_list(cpu.cpu_id for cpu in other.cpus if cpu.cpu_id not in CPU_IDS)
    if not strange:
        pytest.skip("this host has all the CPUs of the scenario's machine")
    loaded = load_scenario(write())
    with pytest.raises(InputError) as error:
        real.plan(loaded, machine=other, method="memset")
    assert f"small.yaml:3:10: machine: found CPUs {strange} in machine xeon-e7-8895v3-8s; this host lets" in str(
        error.value
    )
    renamed = replace(machine, name="renamed")
    plan = real.plan(loaded, machine=renamed, method="memset")
    assert {case.machine.name for case in plan.scenario.cases} == {"renamed"}


def test_load_is_budgeted_in_whole_pages() -> None:
    """Each CPU's load has an arena of its own: two of 512 MiB are two pages of 1 GiB, not one."""
    assert (budget_bytes(0), budget_bytes(2)) == (0, 2 * REGION_BYTES)
    assert budget_bytes(2, 2 * MIB) == 2 * REGION_BYTES
    assert budget_bytes(2, REGION_BYTES * 2) == 4 * REGION_BYTES


def test_several_machines_are_refused(write: Callable[..., Path]) -> None:
    """Two machines can't both be this host."""
    both = "[xeon-e7-8895v3-8s, epyc-7742-2s-nps4]"
    assert refused(write(("machine: xeon-e7-8895v3-8s", f"machine: {both}"))) == (
        "small.yaml:3:10: machine: found 2 machines; on this host there is one, so give one"
    )


def test_all_problems_are_told_at_once(write: Callable[..., Path]) -> None:
    """A scenario that is wrong in two ways says both, in the order of the file."""
    if 287 in CPU_IDS:
        pytest.skip("this host has as many CPUs as the scenario's machine")
    loaded = load_scenario(
        write(
            ("max_threads: [", "max_threads: [288, "),
            ("background: {}", "background: {other: {load: spin, cpus: '287'}}"),
        )
    )
    with pytest.raises(InputError) as error:
        real.plan(loaded, method="memset")
    assert [(problem.line, problem.path) for problem in error.value.problems] == [
        (10, "kernel.max_threads"),
        (12, "background.other.cpus"),
    ]


def test_an_unknown_method_and_one_that_cannot_do_it_are_refused(write: Callable[..., Path]) -> None:
    """The method asked for is taken or refused, never replaced by another."""
    loaded = load_scenario(write())
    with pytest.raises(real.NoMethodError, match=r"found method 'bzero'; this host has .*memset"):
        real.plan(loaded, method="bzero")
    sizes = [size for size in huge_page_sizes() if size > MIB]
    if not sizes:
        pytest.skip("this kernel has no huge pages of more than 1 MiB")
    name = next(method.name for method in methods() if method.from_pool and method.page_bytes == max(sizes))
    with pytest.raises(real.NoMethodError, match=rf"^{name} can't be used: chunks of [12] MiB would be cut out of"):
        real.plan(loaded, method=name)


def test_a_share_that_is_too_small_is_refused(write: Callable[..., Path]) -> None:
    """The share of the memory that may be used counts for the job with its load."""
    loaded = load_scenario(write())
    with pytest.raises(real.NotEnoughMemoryError, match="the job with its background load needs 16 MiB of memory"):
        real.plan(loaded, method="memset", share=1e-6)
    loaded = load_scenario(write(("background: {}", BUSY.replace("LOAD", "clear"))))
    needed = format_size(16 * MIB + REGION_BYTES)
    with pytest.raises(real.NotEnoughMemoryError, match=f"the job with its background load needs {needed} of"):
        real.plan(loaded, method="memset", share=1e-6)


def test_load_of_every_case_is_budgeted(write: Callable[..., Path]) -> None:
    """Load of all cases is there all the time, so cases with load on other CPUs add up."""
    if len(real.host_machine().cpus) < 2:
        pytest.skip("one CPU has load of one kind only")
    first, second = (cpu.cpu_id for cpu in real.host_machine().cpus[:2])
    load = f'background: {{other: {{load: clear, cpus: ["{first}", "{second}"]}}}}'
    loaded = load_scenario(write(("background: {}", load)))
    needed = format_size(16 * MIB + 2 * REGION_BYTES)
    with pytest.raises(real.NotEnoughMemoryError, match=f"the job with its background load needs {needed} of"):
        real.plan(loaded, method="memset", share=1e-6)


def test_huge_pages_must_do_for_the_load_too(pool: int, write: Callable[..., Path], tmp_path: Path) -> None:
    """Where a method needs huge pages, its background load does; a pool for the job alone is too small."""
    assert pool >= 0
    loaded = load_scenario(write(("16MiB", "16MiB\n  caller_node: 0"), ("min_chunk: 1MiB", "min_chunk: 2MiB")))
    busy = load_scenario(
        write(("min_chunk: 1MiB", "min_chunk: 2MiB"), ("background: {}", BUSY.replace("LOAD", "clear")))
    )
    name = next(method.name for method in methods() if method.from_pool and method.page_bytes == PAGE_BYTES)
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES > 256 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    with GrownPool(PAGE_BYTES, 16 * MIB // PAGE_BYTES, state_dir=tmp_path / "pool"):
        assert real.plan(loaded, method=name).choice.method.name == name
        n_pages = budget_bytes(1) // PAGE_BYTES
        with pytest.raises(real.NoMethodError, match=f"need {n_pages + 8} free pages, but the pool has"):
            real.plan(busy, method=name)
