"""Cloud Hypervisor's prefault: its threads as a table, and a time worked by hand, at 1 GiB/s for each thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.clients import CLIENTS, Advised
from models.clients.advised import suffixed
from models.clients.cloud_hypervisor_prefault import CloudHypervisorPrefault
from models.kernels import VERSIONS
from models.kernels.cloud_hypervisor import CloudHypervisor
from models.machine import Machine
from models.scenario.case import Case
from models.text.units import GIB, MIB
from sim.engine.run import run_case
from tests.unit.test_client_populate import COSTS
from tests.unit.test_client_qemu_prealloc import FREE


def case_of(machine: Machine, *, kernel: Mapping[str, object] | None = None, **task: Any) -> Case:
    """Prefault 8 GiB from node 0 with machinery and locks that cost nothing."""
    values = {"client": "cloud_hypervisor_prefault", "size": "8GiB", "caller_node": 0, "costs": COSTS, **task}
    version = CloudHypervisor.model_validate({**FREE, **(kernel or {})}).for_client("cloud_hypervisor_prefault")
    return Case(machine, CloudHypervisorPrefault.model_validate(values), version, 1, 1)


@pytest.mark.parametrize(
    ("size", "page_size", "as_posted", "works"),
    [
        ("7GiB", "4KiB", True, 1),
        ("8GiB", "4KiB", True, 2),
        ("100GiB", "4KiB", True, 16),
        ("64GiB", "32GiB", True, 2),  # pages
        ("8GiB", "4KiB", False, 16),
        ("128MiB", "4KiB", False, 2),
    ],
)
def test_threads(quiet_machine: Machine, size: str, page_size: str, as_posted: bool, works: int) -> None:
    """One for each whole 4 GiB, or the 64 MiB that are meant; at most 16 and the pages."""
    assert case_of(quiet_machine, size=size, page_size=page_size, kernel={"as_posted": as_posted}).n_works == works


def test_threads_are_at_most_the_cpus(quiet_machine: Machine) -> None:
    """100 GiB on 3 CPUs get 3, which is the default too."""
    machine = replace(quiet_machine, cpus=quiet_machine.cpus[:3])
    assert case_of(machine, size="100GiB").n_works == 3
    assert CloudHypervisorPrefault.default_threads(machine, 100 * GIB) == 3


@pytest.mark.parametrize(("as_posted", "time_s"), [(True, 4.0), (False, 0.5)])
def test_time(quiet_machine: Machine, as_posted: bool, time_s: float) -> None:
    """8 GiB take two threads 4 s, and 16 half a second."""
    assert run_case(case_of(quiet_machine, kernel={"as_posted": as_posted}), 0).time_s == pytest.approx(time_s)


def test_option(quiet_machine: Machine) -> None:
    """The option to paste has size and pages; there is none for threads."""
    case = case_of(quiet_machine, thp=True)
    assert case.task.advice_options(6, None, case.machine, case.kernel) == "--memory size=8G,prefault=on,thp=on"
    case = case_of(quiet_machine, page_size="1GiB")
    option = case.task.advice_options(6, None, case.machine, case.kernel)
    assert option == "--memory size=8G,prefault=on,thp=off,hugepages=on,hugepage_size=1G"


def test_what_advises_names_its_framework() -> None:
    """Each program has a framework that there is; a client of the kernel has none."""
    found = {
        name: getattr(client, "framework", None) for name, client in CLIENTS.items() if isinstance(client, Advised)
    }
    assert found == {"qemu_prealloc": "qemu", "jvm_pretouch": "jvm", "cloud_hypervisor_prefault": "cloud-hypervisor"}
    assert set(found.values()) <= set(VERSIONS)


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(64 * GIB, "64G"), (1536 * MIB, "1536M"), (5 * 1024, "5K"), (1001, "1001")]
)
def test_sizes_with_a_suffix(size_bytes: int, text: str) -> None:
    """A size has the largest suffix that leaves a whole number."""
    assert suffixed(size_bytes) == text
