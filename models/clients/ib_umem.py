"""Memory registered for InfiniBand, and released: ib_umem_get pins pages and maps them for DMA, ib_umem_release unpins.

No figures are published of either with ktask; its author names the release as a client to come (ktask RFC v4, cover).
So all costs here are estimates, from those of the nearest relative that was measured, VFIO's pinning: the same lookup
of pages (get_user_pages) and mapping for the device, but mmap_sem is taken once for a list of pages, not for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, Costs, Step, Stream, Thread
from models.clients.vfio_pin import Pinned, VfioPinCosts, check_section
from models.machine import Machine
from models.memory.locks import Lock
from models.text.problems import Finding
from models.text.units import Rate, Time

if TYPE_CHECKING:
    from models.kernels import Kernel

_VFIO = VfioPinCosts()
_POINTER, _STRUCT_PAGE, _SCATTERLIST = 8, 64, 32  # bytes, on a 64-bit kernel


class IbUmemCosts(Costs):
    """What registering and releasing cost; no figures are published."""

    rate: Annotated[
        Rate,
        Field(gt=0, description="memory that one thread registers alone: an estimate, what it pins for VFIO"),
    ] = _VFIO.rate
    release_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that one thread releases alone, or undoes after an error: an estimate, what it unpins "
            "for VFIO",
        ),
    ] = _VFIO.unpin_rate
    line_hold: Annotated[
        Time, Field(ge=0, description="mmap_sem for a list of pages, its line at hand: an estimate, as for VFIO")
    ] = _VFIO.line_hold
    line_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had the line: an estimate, as for VFIO")
    ] = _VFIO.line_transfer
    line_handover: Annotated[
        Time, Field(ge=0, description="more if others wait for the line: an estimate, as for VFIO")
    ] = _VFIO.line_handover


class IbUmem(Pinned):
    """Register memory of one process for a device, or release it."""

    client: Annotated[Literal["ib_umem"], Field(description="the kernel code or program that has the job done")]
    operation: Annotated[
        Literal["register", "release"], Field(description="register: pin and map for DMA; release: unpin")
    ] = "register"
    costs: Annotated[IbUmemCosts, Field(description="what it costs")] = IbUmemCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        start = self.start_nid(machine, random)
        costs: IbUmemCosts = self.costs_on(machine)

        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            yield self.task_of(self._stream(costs, machine), costs.release_rate, start, self.unit_bytes(machine))

        return [Caller(start, steps)]

    def _stream(self, costs: IbUmemCosts, machine: Machine) -> Stream:
        base = machine.base_page_bytes
        if self.operation == "release":  # each struct page and its place in the list are read, the first is written
            return Stream("release", costs.release_rate, (2 * _STRUCT_PAGE + _SCATTERLIST) / base, memory_share=0.3)
        line = Lock("mmap_sem line", _list_bytes(machine), costs.line_hold, costs.line_transfer, costs.line_handover)
        traffic = (2 * _STRUCT_PAGE + 2 * _SCATTERLIST + _POINTER) / base
        return Stream("register", costs.rate, traffic, (line,), memory_share=0.3)

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        return f"It {self.operation}s {self.what()} in one task."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: IbUmemCosts = self.costs_on(machine)
        yield from check_section("line_hold", costs.line_hold, _list_bytes(machine) / costs.rate)
        if self.fail_at is not None and self.operation == "release":
            yield (("fail_at",), "found beside operation: release, which never fails; leave it out")


def _list_bytes(machine: Machine) -> int:
    """Return the size of what is looked up at once: as many pages as one page has room for pointers to them."""
    return machine.base_page_bytes // _POINTER * machine.base_page_bytes
