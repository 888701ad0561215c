"""Moving memory to another node: times worked by hand, and what was told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.clients.page_migration import PageMigration
from models.files.machine import load_machine
from models.machine import Machine
from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import parse
from models.text.problems import InputError
from models.text.units import GIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL


def time_of(machine: Machine, threads: int, **task: object) -> float:
    """The time to move 1 GiB with machinery that costs nothing."""
    job = PageMigration.model_validate({"client": "page_migration", "size": "1GiB", "caller_node": 0, **task})
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, job, kernel, 1, 1), 0).time_s


def test_time(quiet_machine: Machine) -> None:
    """262144 pages of 1 us, and 1 GiB copied at half of 2 GiB/s by each of 4 threads: 0.262 + 0.25 s."""
    costs = {"move_page": "1us", "copy_base": 0.5}
    assert time_of(quiet_machine, 1, costs=costs) == pytest.approx(0.262144 + 1.0, rel=1e-6)
    assert time_of(quiet_machine, 4, costs=costs) == pytest.approx(0.262144 + 0.25, rel=1e-6)


def test_memory_of_both_nodes_is_used(quiet_machine: Machine) -> None:
    """A byte is read on one node, read and written on the other: 1.5 each, so 40 GiB/s let 1 GiB through in 37.5 ms."""
    fast = replace(quiet_machine, links=())
    assert time_of(fast, 64, thp=True, costs={"move_huge": "0s", "copy_huge": 4.0}) >= 1.5 / 40


@pytest.mark.parametrize(("thp", "gb_per_s"), [(False, 3.31), (True, 11.02)])
def test_one_thread_of_zen_3(thp: bool, gb_per_s: float) -> None:
    """3.31 GB/s of base pages, 11.02 of huge ones: the source of the figures."""
    assert GIB / time_of(load_machine("epyc-7j13-2s"), 1, thp=thp) / 1e9 == pytest.approx(gb_per_s, rel=0.15)


def test_base_pages_gain_little() -> None:
    """8 threads gain up to 60 % with pages of 4 KiB (Zi Yan, 2025): what one thread does decides."""
    machine = load_machine("epyc-7j13-2s")
    assert time_of(machine, 1) / time_of(machine, 8) == pytest.approx(1.6, rel=0.1)


def test_nodes_are_checked() -> None:
    """It goes to another node, which has the room."""
    text = "title: t\nquestion: q\nmachine: epyc-7j13-2s\ntask: {}\nkernel: ktask-v4\nseed: 7\n"
    task = "{client: page_migration, size: 1GiB, memory_node: 0}"
    with pytest.raises(InputError, match=r"task.memory_node: found 0, which is source_node too"):
        build_scenario(parse(text.replace("task: {}", f"task: {task}"), "s"), Path("s"))
