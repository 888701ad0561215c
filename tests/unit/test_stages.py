"""The stages of a page's life add up, and the hand-over of a lock among waiters that sleep, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.clients.vfio_pin import VfioPin
from models.machine import Machine
from models.memory.figures import PAGE_FIGURES, WIDTHS, PageFigures, width
from models.memory.locks import Handover
from models.memory.stages import clear, kind_of, pin, take_huge
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from tests.conftest import QUIET_KERNEL
from tests.validation.page_figures import figures_table, fits_of

FREE = dict.fromkeys(("wake", "deep_wake", "line_hold", "line_transfer", "line_handover"), "0s")
FREE |= dict.fromkeys(("zone_hold", "zone_transfer", "zone_handover"), "0s")


def test_stages_add_up(quiet_machine: Machine) -> None:
    """2 MiB cleared at 2 GiB/s, 976.6 us, taken in 20 and pinned in 10: pinning counts 3.2 times as memory's."""
    figures = PageFigures(huge_page="20us", pin_huge="10us")  # type: ignore[arg-type]
    kind = kind_of(quiet_machine, thp=True)
    stage = clear(quiet_machine.rates, kind, figures) + take_huge(figures, kind) + pin(figures, kind)
    assert stage.seconds * 2 * MIB == pytest.approx(976.5625e-6 + 20e-6 + 10e-6)
    assert stage.memory_s * 2 * MIB == pytest.approx(976.5625e-6 + 32e-6)


@pytest.mark.parametrize(("page", "ranges", "factor"), [("4KiB", 0, 1), ("2MiB", 0, 2), ("1GiB", 0, 3), ("2MiB", 1, 4)])
def test_clearing_has_a_rate_for_each_kind_of_page(
    quiet_machine: Machine, page: str, ranges: int, factor: float
) -> None:
    """Base pages have that of the machine, others a factor on it."""
    figures = PageFigures(clear_huge=2.0, clear_gigantic=3.0, ranges_huge=4.0)
    size = {"4KiB": 4096, "2MiB": 2 * MIB, "1GiB": GIB}[page]
    stage = clear(quiet_machine.rates, kind_of(quiet_machine, size), figures, ranges=bool(ranges))
    assert 1 / stage.seconds == pytest.approx(factor * quiet_machine.rates.clear_bytes_per_s)


def test_all_who_write_after_each_section_go_one_by_one() -> None:
    """8 threads, a write after each section: a round has 8 hand-overs of 50 us, but for a share of one."""
    handover = Handover(section_s=400e-6, sections=1.0, wake_s=50e-6)
    assert 7 * handover.stall_s(8) == pytest.approx((8 - 1 / 8) * 50e-6)


def test_a_rare_write_costs_half_a_section_and_two_hand_overs() -> None:
    """Readers that have left wait for those under way, the writer is woken, then the readers."""
    handover = Handover(section_s=400e-6, sections=1e9, wake_s=50e-6)
    assert handover.stall_s(8) == pytest.approx(200e-6 + 2 * 50e-6, rel=1e-6)


def test_who_waits_for_short_sections_spins() -> None:
    """A section of 10 us is spun for: with 8 threads each hand-over is 16 transfers of a line, 61 ns each."""
    assert Handover(10e-6, 1.0, 50e-6, line_s=61e-9, spins=True).one_s(8) == pytest.approx(16 * 61e-9)
    assert Handover(10e-6, 1.0, 50e-6, line_s=61e-9).one_s(8) == 50e-6


def test_cpus_that_have_idled_long_wake_late() -> None:
    """Rounds of 8 sections of 100 us are short; 32 of 400 us, 12.8 ms, are beyond 2.6 times 2.5 ms: all is added."""
    values = {"sections": 1.0, "wake_s": 50e-6, "deep_s": 150e-6, "deep_after_s": 2.5e-3}
    assert Handover(100e-6, **values).one_s(8) == 50e-6
    assert Handover(400e-6, **values).one_s(32) == pytest.approx(200e-6)


def absent(machine: Machine, threads: int, **task: object) -> float:
    """Return the time to pin 8 GiB of transparent huge pages that are not there, on node 0."""
    costs = {"huge_page": "20us", "pin_huge": "3.4375us", **FREE}
    values = {"client": "vfio_pin", "size": "8GiB", "caller_node": 0, "memory_node": 0, "thp": True, "costs": costs}
    client = VfioPin.model_validate({**values, "state": "bulk", "present": False, **task})
    kernel = QUIET_KERNEL.model_copy(update={"max_threads": threads})
    return run_case(Case(machine, client, kernel, 1, 1), 0).time_s


def test_pinning_absent_memory_clears_it(quiet_machine: Machine) -> None:
    """4096 huge pages of 976.56 + 20 + 3.44 us are 4.096 s alone; 16 threads are held up by the node's 20 GiB/s."""
    assert absent(quiet_machine, 1) == pytest.approx(4.096, rel=1e-6)
    assert absent(quiet_machine, 16) == pytest.approx(8 / 20, rel=0.01)
    assert absent(quiet_machine, 1, present=True) == pytest.approx(4096 * 3.4375e-6, rel=1e-6)


def test_more_threads_that_write_gain_little(quiet_machine: Machine) -> None:
    """A write after each section of 1 ms, 200 us to hand over: rounds of n threads take 1 + 0.2 (n - 1 / n) ms.

    4096 sections: 1.8 s with 4 threads, 1.08 s with 16, for 4.096 s alone. In batches of 256 MiB writes hardly matter.
    """
    late = FREE | {"wake": "200us", "huge_page": "20us", "pin_huge": "3.4375us"}
    found = [absent(quiet_machine, n, costs=late) for n in (4, 16)]
    assert found == pytest.approx([4.096 * (1 + 0.2 * (n - 1 / n)) / n for n in (4, 16)], rel=1e-3)
    assert absent(quiet_machine, 16, costs=late, locked_vm_batch=65536) < 0.5 * found[1]


def test_every_figure_has_a_source_and_a_width() -> None:
    """Each says where its value is from, and within which factor it is known."""
    for name in PAGE_FIGURES:
        assert len(PageFigures.model_fields[name].description or "") > 20
        assert 0.0 < width(name) <= 1.5
    assert set(WIDTHS) == set(PAGE_FIGURES)


def test_the_guide_has_all_figures(root: Path) -> None:
    """MODEL.md has the table of figures and jobs (`python -m tests.validation.study "page figures"` writes it)."""
    assert figures_table() in (root / "MODEL.md").read_text(encoding="utf-8")


def test_no_figure_is_fitted_twice_on_a_machine() -> None:
    """Each figure of a page stands for all jobs of a machine, and so is fitted to one table at most."""
    for name in PAGE_FIGURES:
        machines = [machine for machine, _ in fits_of(name)]
        assert len(set(machines)) == len(machines)
