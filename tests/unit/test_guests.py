"""A guest whose memory the host has not prepared: what its first use costs more, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.clients.populate import Populate
from models.files.families import family_named, machine_of
from models.files.machine import build_machine
from models.machine import Machine
from models.memory.figures import HostFigures
from models.memory.stages import by_host
from models.scenario.case import Case
from models.text.document import locate
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from sim.show.describe import describe_machine
from tests.conftest import QUIET_KERNEL
from tests.unit.test_client_populate import COSTS


def guest_of(machine: Machine, host_page_bytes: int | None) -> Machine:
    """The machine as a guest. Its host takes 1 us for a page of either size, beside its clearing."""
    return replace(machine, host_page_bytes=host_page_bytes, pages={"base_page": 1e-6, "huge_page": 1e-6})


def test_nothing_on_bare_metal(quiet_machine: Machine) -> None:
    """Without a host there is nothing to do."""
    assert by_host(quiet_machine, HostFigures()).seconds == 0.0


@pytest.mark.parametrize("page", [4096, 2 * MIB])
def test_the_host_clears_takes_and_maps(quiet_machine: Machine, page: int) -> None:
    """A page is cleared at the machine's rate, taken in 1 us, and a violation takes 6.4 us."""
    stage = by_host(guest_of(quiet_machine, page), HostFigures())
    cleared_s = page / quiet_machine.rates.clear_bytes_per_s
    assert stage.seconds * page == pytest.approx(cleared_s + 1e-6 + 6.4e-6)
    assert stage.memory_s * page == pytest.approx(cleared_s)
    assert stage.traffic == quiet_machine.rates.clear_traffic


def test_a_guest_populates_after_its_host(quiet_machine: Machine) -> None:
    """1 GiB takes 1 s by itself; 262144 violations of 6.4 us, and pages of 1 us and 1.907 to clear, 2.44 s more."""
    task = Populate.model_validate({"client": "populate", "size": "1GiB", "caller_node": 0, "costs": COSTS})
    one = QUIET_KERNEL.model_copy(update={"max_threads": 1})
    times = [run_case(Case(guest_of(quiet_machine, page), task, one, 1, 1), 0).time_s for page in (None, 4096)]
    page_s = 6.4e-6 + 1e-6 + 4096 / quiet_machine.rates.clear_bytes_per_s
    assert times[1] - times[0] == pytest.approx(GIB / 4096 * page_s, rel=1e-6)


def test_a_machine_file_says_so() -> None:
    """Its section `guest` has the host's page, and the description tells it."""
    shape = {"sockets": 1, "cores": 4, "memory": "8GiB", "host_page": "2MiB", "source": "a test"}
    document = machine_of(family_named("zen3"), "guest", **shape)  # type: ignore[arg-type]
    machine = build_machine(locate(document), "guest")
    assert machine.host_page_bytes == 2 * MIB
    assert "as the guest first uses it, 2 MiB at a time" in describe_machine(machine)
