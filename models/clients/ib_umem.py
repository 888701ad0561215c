"""Memory registered for InfiniBand, and released: ib_umem_get pins pages and maps them for DMA, ib_umem_release unpins.

No figures are published of either with ktask. Its author names the release as a client to come (ktask RFC v4, cover).
The figures come from a report on a 2-socket server. There 500 GB of present memory were registered in 46 to 49 s with
one thread, and in 9.8 to 11.7 s in parallel. They were released in 11.8 s with one thread, and in 1.5 to 1.8 s in
parallel. It is an assumption that the IOMMU's lock limits registering. mmap_sem is taken once for a list of pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Step
from models.clients.vfio_pin import Pinned, check_section
from models.machine import Machine
from models.memory.figures import RegisterFigures
from models.memory.locks import Lock
from models.memory.stages import ON_MEMORY, STRUCT_PAGE, Stage, line
from models.text.problems import Finding

if TYPE_CHECKING:
    from models.kernels import Kernel

_POINTER, _SCATTERLIST = 8, 32  # bytes, on a 64-bit kernel


class IbUmemCosts(RegisterFigures):
    """The costs of registering and releasing."""

    renamed: ClassVar[Mapping[str, str]] = {"rate": "register_rate"}


class IbUmem(Pinned):
    """Register memory of one process for a device, or release it."""

    client: Annotated[Literal["ib_umem"], Field(description="the kernel code or program that has the job done")]
    operation: Annotated[
        Literal["register", "release"], Field(description="register: pin and map for DMA; release: unpin")
    ] = "register"
    costs: Annotated[IbUmemCosts, Field(description="costs of its steps")] = IbUmemCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        start = self.start_nid(machine, random)
        costs: IbUmemCosts = self.costs_on(machine)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            unit = self.unit_bytes(machine)
            stage = register(costs, machine) if self.operation == "register" else release(costs, machine)
            memory = self.memory(machine, start, unit)
            yield self.task_of(stage, self.operation, costs.release_rate, memory, unit)

        return [Caller(start, steps)]

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        return f"It {self.operation}s {self.what()} in one task."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: IbUmemCosts = self.costs_on(machine)
        yield from check_section("line_hold", costs.line_hold, _list_bytes(machine) / costs.register_rate)
        base_s = machine.base_page_bytes / costs.register_rate
        yield from check_section("dma_hold", costs.dma_hold, base_s - costs.line_hold / _list_pages(machine))
        if self.fail_at is not None and self.operation == "release":
            yield (("fail_at",), "found beside operation: release, which never fails; leave it out")


def register(costs: RegisterFigures, machine: Machine) -> Stage:
    """Return looking pages up, pinning them, and mapping them for the device, under the lock of its IOMMU."""
    base = machine.base_page_bytes
    seconds = 1.0 / costs.register_rate
    traffic = (2 * STRUCT_PAGE + 2 * _SCATTERLIST + _POINTER) / base
    return Stage(
        seconds,
        ON_MEMORY * seconds,
        traffic,
        (line(costs, _list_bytes(machine), "mmap_sem line"), dma_lock(costs, machine)),
    )


def dma_lock(costs: RegisterFigures, machine: Machine) -> Lock:
    """Return the IOMMU's lock as it is taken for mappings: they come in lists, and a list is one section."""
    return Lock("IOMMU", _list_bytes(machine), costs.dma_hold * _list_pages(machine))


def release(costs: RegisterFigures, machine: Machine) -> Stage:
    """Return unpinning: each struct page and its place in the list are read, the first is written."""
    seconds = 1.0 / costs.release_rate
    return Stage(seconds, ON_MEMORY * seconds, (2 * STRUCT_PAGE + _SCATTERLIST) / machine.base_page_bytes)


def _list_pages(machine: Machine) -> int:
    """Return how many pages are looked up at once: the number of pointers that fit in one page."""
    return machine.base_page_bytes // _POINTER


def _list_bytes(machine: Machine) -> int:
    return _list_pages(machine) * machine.base_page_bytes
