"""Making memory present, against times worked by hand.

The quiet machine clears a base page of 4 KiB in 1.907 us (2 GiB/s); with as long again for all else, a thread does
1 GiB/s. 8 GiB are 2097152 pages. A node takes 20 GiB/s of clearing.
"""

from __future__ import annotations

import pytest

from models.clients.populate import Populate
from models.machine import Machine
from models.results.run import RunResult
from models.scenario.case import Case
from models.text.units import GIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL

PAGE_S = 4096 / (2 * GIB)
LOCKS = ("line", "zone", "pool", "tree")
FREE_COSTS = (
    *("write", "vma_transfer", "vma_handover"),
    *(f"{lock}_{what}" for lock in LOCKS for what in ("hold", "transfer", "handover")),
)
COSTS = {
    "base_page": f"{PAGE_S:.20f}s",
    "touch": f"{2 * PAGE_S:.20f}s",
    "huge_page": f"{512 * PAGE_S:.20f}s",
    "hugetlb_page": f"{512 * PAGE_S:.20f}s",
} | dict.fromkeys(FREE_COSTS, "0s")


def run(machine: Machine, threads: int, *, costs: dict[str, str] | None = None, **task: object) -> RunResult:
    """Make 8 GiB present from node 0, with locks that cost nothing unless a test says so."""
    values = {"client": "populate", "size": "8GiB", "caller_node": 0, "costs": COSTS | (costs or {}), **task}
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, Populate.model_validate(values), kernel, 1, 1), 0)


@pytest.mark.parametrize(("threads", "populate", "time_s"), [(1, True, 8.0), (4, True, 2.0), (1, False, 16.0)])
def test_base_pages(quiet_machine: Machine, threads: int, populate: bool, time_s: float) -> None:
    """T = 8 GiB / (1 GiB/s x threads); a fault takes two more times 1.907 us, so a thread does 0.5 GiB/s."""
    assert run(quiet_machine, threads, populate=populate).time_s == pytest.approx(time_s, rel=1e-9)


@pytest.mark.parametrize("pages", [{"page_size": "2MiB"}, {"thp": True}])
def test_huge_pages_know_no_locks(quiet_machine: Machine, pages: dict[str, object]) -> None:
    """Each 2 MiB takes 976.6 us to clear and as long again: 8 s alone, a sixteenth with 16, whatever locks cost.

    Pages of hugetlbfs have a mutex for each of thousands of hashes.
    """
    costs = {"line_hold": "1us", "zone_hold": "100us"}
    assert run(quiet_machine, 1, costs=costs, **pages).time_s == pytest.approx(8.0, rel=1e-9)
    assert run(quiet_machine, 16, costs=costs, **pages).time_s == pytest.approx(0.5, rel=1e-2)


def test_huge_pages_are_touched_once_each(quiet_machine: Machine) -> None:
    """4096 faults of 3.815 us more make 8 s into 8.0156 s."""
    assert run(quiet_machine, 1, thp=True, populate=False).time_s == pytest.approx(8.0 + 4096 * 2 * PAGE_S, rel=1e-9)


@pytest.mark.parametrize(("populate", "time_s"), [(True, 8.0), (False, 8.0 + 4096 * 2 * PAGE_S + 2097152e-6)])
def test_writing_to_pages_that_are_there(quiet_machine: Machine, populate: bool, time_s: float) -> None:
    """Touched page by page, each base page of a huge one is a write: 2097152 of 1 us are 2.1 s more."""
    found = run(quiet_machine, 1, costs={"write": "1us"}, thp=True, populate=populate)
    assert found.time_s == pytest.approx(time_s, rel=1e-9)


def test_far_memory_slows_the_clearing_alone(quiet_machine: Machine) -> None:
    """One hop away clearing takes 1 / 0.8 as long: 4 s for it become 5 s, the other 4 s stay."""
    assert run(quiet_machine, 1, memory_node=1).time_s == pytest.approx(9.0, rel=1e-9)


def test_memory_is_of_who_comes_first(quiet_machine: Machine) -> None:
    """132 GiB: a node has 128; the last 4 GiB, of the next node, take 4.5 s."""
    assert run(quiet_machine, 1, size="132GiB").time_s == pytest.approx(128.0 + 4.5, rel=1e-9)


def test_threads_queue_for_the_zone_lock(quiet_machine: Machine) -> None:
    """Sections of 63 us for 63 pages let through a page in 1 us: 2.1 s for all, where 16 threads need 0.5 s."""
    costs = {"zone_hold": "63us"}
    assert run(quiet_machine, 1, costs=costs).time_s == pytest.approx(8.0, rel=1e-9)
    assert run(quiet_machine, 16, costs=costs).time_s == pytest.approx(2 * 2**20 * 1e-6, rel=0.01)


def test_threads_that_touch_queue_for_a_line(quiet_machine: Machine) -> None:
    """A line that each fault holds for 1 us lets through 8 GiB in 2.1 s; who populates does not take it."""
    costs = {"line_hold": "1us"}
    assert run(quiet_machine, 16, costs=costs, populate=False).time_s == pytest.approx(2 * 2**20 * 1e-6, rel=0.01)
    assert run(quiet_machine, 16, costs=costs).time_s == pytest.approx(0.5, rel=1e-9)


def test_a_node_takes_no_more_than_its_memory_can(quiet_machine: Machine) -> None:
    """16 threads that only clear ask for 32 GiB/s of the 20: T = 8 / 20 s."""
    assert run(quiet_machine, 16, costs={"base_page": "0s"}).time_s == pytest.approx(0.4, rel=1e-3)


def test_a_task_knows_the_node_of_its_memory(quiet_machine: Machine) -> None:
    """Who asks for the node of the data gets that of memory_node, else the caller's."""
    values = {"client": "populate", "size": "8GiB", "caller_node": 3}
    assert Populate.model_validate(values).data_nid(quiet_machine) == 3
    assert Populate.model_validate({**values, "memory_node": 1}).data_nid(quiet_machine) == 1


def test_words(quiet_machine: Machine) -> None:
    """What is made present, in words."""
    task = Populate.model_validate({"client": "populate", "size": "8GiB", "thp": True, "memory_node": 2})
    assert task.words(quiet_machine) == (
        "It makes memory present: 8 GiB in pages of 4 KiB backed by huge ones of 2 MiB, populated. "
        "Memory is bound to node 2."
    )
