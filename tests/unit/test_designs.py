"""Designs: cases that a host can run, and held-out ones that were not fitted to."""

from __future__ import annotations

import itertools

import pytest

from models.files.machine import load_machine
from models.machine import Machine
from models.measured.designs import calibration_design, method_design, thread_counts, validation_design
from models.scenario import Scenario
from models.scenario.case import Case
from models.text.units import KIB, MIB
from tests.unit.test_calibration import host

MACHINES = {
    "1 CPU": host(1),
    "2 CPUs": host(2),
    "2 threads of a core": host(1, 2),
    "8 CPUs": host(4, 2),
    "16 CPUs on 2 nodes": host(4, 2, 2),
    "laptop, 16 CPUs": load_machine("laptop-ryzen-4800u"),
    "288 CPUs": load_machine("xeon-e7-8895v3-8s"),
}
GRANULARITIES = [4 * KIB, 64 * KIB, 2 * MIB, 512 * MIB]
DESIGNS = (calibration_design, validation_design, method_design)


def chunk_bytes(case: Case) -> int:
    """Return the chunk size that the policy takes for a case."""
    return case.chunk_bytes()[0]


def told_apart(case: Case) -> tuple[object, ...]:
    """Return all that makes a case what it is, but its seed."""
    kernel = case.kernel
    task = (case.task.size, case.task.page_size, case.task.caller_node, case.task.page_node)
    loads = tuple((load.load, load.cpus) for load in case.background.values())
    return (*task, kernel.max_threads, kernel.chunks_per_work, kernel.min_chunk, *loads)


def designs_of(machine: Machine, granularity: int) -> list[Scenario]:
    """Return the three designs for a machine."""
    return [make(machine, granularity, 3) for make in DESIGNS]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", MACHINES)
def test_chunks_are_whole(name: str, granularity: int) -> None:
    """Chunks are whole multiples of what memory comes in, and tasks of chunks: all are of the size meant."""
    for design in designs_of(MACHINES[name], granularity):
        for case in design.cases:
            chunk = chunk_bytes(case)
            assert chunk >= granularity and chunk % granularity == 0
            assert case.kernel.min_chunk >= granularity
            assert case.task.page_size % chunk == 0
            assert case.task.size % case.task.page_size == 0
            # What the design means: this many chunks for each thread, no more and no fewer.
            assert case.task.page_size == chunk * case.kernel.max_threads * case.kernel.chunks_per_work


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", MACHINES)
def test_cases_fit_the_machine(name: str, granularity: int) -> None:
    """Threads are within the CPUs of the first node, where all run; sizes within a node; loads on CPUs of that node."""
    machine = MACHINES[name]
    first = machine.cpu_nids[0]
    cpus = {cpu.cpu_id for cpu in machine.cpus_of(first)}
    for design in designs_of(machine, granularity):
        assert {case.replications for case in design.cases} == {3}
        for case in design.cases:
            assert 1 <= case.kernel.max_threads <= len(cpus)
            assert case.task.size <= min(node.memory_bytes for node in machine.nodes if node.memory_bytes)
            assert all(set(load.cpus or ()) <= cpus for load in case.background.values())
            assert (case.task.page_node is None) == (len(machine.nodes) == 1)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", MACHINES)
def test_held_out_cases_are_held_out(name: str, granularity: int) -> None:
    """No case of the validation is one of the calibration, and no case of a design comes twice."""
    known, held_out, _ = (
        [told_apart(case) for case in design.cases] for design in designs_of(MACHINES[name], granularity)
    )
    assert not set(known) & set(held_out)
    assert len(set(known)) == len(known)
    assert len(set(held_out)) == len(held_out)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("1 CPU", []),
        ("2 CPUs", [2]),
        ("2 threads of a core", [2]),
        ("8 CPUs", [2, 4, 8]),
        ("16 CPUs on 2 nodes", [2, 4, 8]),
        ("laptop, 16 CPUs", [2, 4, 8, 16]),
        ("288 CPUs", [2, 4, 8, 16, 18, 32, 36]),
    ],
)
def test_thread_counts(name: str, counts: list[int]) -> None:
    """Powers of two, cores and CPUs of the first node, without one."""
    assert thread_counts(MACHINES[name]) == counts
    design = calibration_design(MACHINES[name], 2 * MIB, 3)
    assert {case.kernel.max_threads for case in design.cases} == {1, *counts}


def test_validation_has_other_thread_counts_and_loads() -> None:
    """The held-out cases of 8 CPUs have thread counts between those of the fit, and each load beside one and all."""
    cases = validation_design(MACHINES["8 CPUs"], 2 * MIB, 3).cases
    assert {case.kernel.max_threads for case in cases} == {1, 2, 3, 4, 6, 8}
    loads = {(load.load, case.kernel.max_threads) for case in cases for load in case.background.values()}
    assert loads == set(itertools.product(("clear", "spin", "read", "copy"), (1, 8)))
    assert {load.cpus for case in cases for load in case.background.values()} == {(7,)}


def test_one_cpu_is_validated_without_load() -> None:
    """With one CPU there is nothing beside the job."""
    cases = validation_design(MACHINES["1 CPU"], 2 * MIB, 3).cases
    assert [(case.kernel.max_threads, case.background) for case in cases] == [(1, {})] * len(cases)


def test_each_distance_is_measured_once() -> None:
    """One thread clears memory of another node for each distance that there is: 21 and 31."""
    machine = MACHINES["288 CPUs"]
    design = calibration_design(machine, 2 * MIB, 3)
    pairs = [(case.task.caller_node, case.task.page_node) for case in design.cases]
    remote = [pair for pair in pairs if pair[0] != pair[1]]
    assert [machine.distances[a, b] for a, b in remote if a is not None and b is not None] == [21, 31]
    assert {case.kernel.max_threads for case, pair in zip(design.cases, pairs, strict=True) if pair in remote} == {1}
    assert {pair for pair in pairs if pair not in remote} == {(0, 0)}
