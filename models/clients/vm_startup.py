"""The start of a virtual machine with a passed-through device, as its user waits for it.

The program starts. The guest's memory is allocated and cleared in huge pages (hugetlbfs_fallocate, an assumption). Its
devices are set up. All of the memory is pinned for one of them (vfio_pin). The guest boots. The published times
(models/published/vfio_pin_xeon_8160.csv) cover all this but the clearing. With 16 threads 320 GiB are pinned in 4 s,
sooner than a node's memory can be cleared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Pause, Step, Task, check_caller
from models.clients.guest_start import GuestStartCosts, program
from models.clients.huge_pages import check_huge_pages
from models.clients.hugetlbfs_fallocate import HugetlbfsFallocate
from models.clients.vfio_pin import STATES, State, VfioPin
from models.machine import Machine
from models.text.problems import Finding
from models.text.units import MIB, Size, format_size, format_time

if TYPE_CHECKING:
    from models.kernels import Kernel


class VmStartup(Client):
    """Start a virtual machine."""

    clears: ClassVar[bool] = True

    client: Annotated[Literal["vm_startup"], Field(description="the kernel code or program that has the job done")]
    size: Annotated[Size, Field(gt=0, description="guest memory")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page of the guest's memory")] = 2 * MIB
    state: Annotated[State, Field(description=STATES)] = "batched"
    costs: Annotated[GuestStartCosts, Field(description="costs of its steps")] = GuestStartCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.page_size

    def n_tasks(self, machine: Machine) -> int:  # noqa: ARG002
        return 2

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        start = self.start_nid(machine, random)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield from self._steps(machine, start)

        return [Caller(start, steps)]

    def _steps(self, machine: Machine, start_nid: int) -> Iterator[Step]:
        costs: GuestStartCosts = self.costs_on(machine)
        parts = {"size": f"{self.size}B", "page_size": f"{self.page_size}B"}
        memory = HugetlbfsFallocate.model_validate({"client": "hugetlbfs_fallocate", **parts})
        pinned = {"client": "vfio_pin", "state": self.state, **parts}
        pin = VfioPin.model_validate(pinned)
        yield program(costs, self.size, of_pool=True)
        yield memory.task(machine)
        yield Pause(costs.devices, "devices")
        yield pin.task(machine, start_nid, self.page_size)
        yield Pause(costs.boot, "boot")

    def words(self, machine: Machine) -> str:
        return (
            f"A guest of {format_size(self.size)} starts: its memory is allocated and cleared in pages of "
            f"{format_size(self.page_size)}, then pinned for a device, each in one task; mmap_sem and locked_vm as in "
            f"state {self.state}. {amdahl(self._steps(machine, self.data_nid(machine)), self.page_size)}"
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        yield from check_huge_pages(machine, self.size, self.page_size, None)


def amdahl(steps: Iterable[Step], unit_bytes: int) -> str:
    """Return in words the share of a job in its tasks, with one thread and near memory, and Amdahl's limit."""
    alone_s = tasks_s = 0.0
    for step in steps:
        if isinstance(step, Task):
            stream = step.serial or step.stream
            tasks_s += sum(entry.size for entry in step.entries) * unit_bytes / stream.rate_bytes_per_s
        else:
            alone_s += step.seconds
    time_s = tasks_s + alone_s
    limit = f": helpers make it at most {time_s / alone_s:.3g} times as fast (Amdahl)" if alone_s else ""
    return (
        f"With one thread and near memory it takes {format_time(time_s)}, {tasks_s / time_s:.1%} of it in the kernel's "
        f"tasks{limit}."
    )
