"""A pinned pool: memory that many threads touch, and that is then registered with a device, in one call or several.

Buffers for GPUs (cudaHostRegister), for RDMA (ibv_reg_mr) and for storage in user space start in this way. Pages are
made present by faults or MADV_POPULATE_WRITE, in parallel. Then a driver looks each up, pins it and keeps a list of
base pages, huge or not, by the one thread that calls it. iommufd's map call is one thread as well, and keeps no such
list. Reports: 8 GiB of base pages took 1.55, 1.09, 1.03 and 0.92 s with 4 to 32 threads. 466 GiB on 240 CPUs took 21.3
s in base pages and 14.8 s in huge ones. Several calls at once meet at the IOMMU's lock, as registering for RDMA does
(ib_umem).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Step, Task, stream
from models.clients.ib_umem import dma_lock, release
from models.clients.page_faults import PageFaultCosts, Populated
from models.machine import Machine
from models.memory.figures import PinFigures, RegisterFigures
from models.memory.placement import Filled
from models.memory.stages import ON_MEMORY, Stage, pin
from models.policies import NodeEntry

if TYPE_CHECKING:
    from models.kernels import Kernel


class PinnedPoolCosts(PageFaultCosts, PinFigures, RegisterFigures):
    """The costs of touching and registering."""


class PinnedPool(Populated):
    """Touch memory with many threads and then register it, or release it."""

    client: Annotated[Literal["pinned_pool"], Field(description="any program with buffers that a device reaches")]
    populate: Annotated[
        bool, Field(description="true: MADV_POPULATE_WRITE; false: a write to each page, and a fault")
    ] = False
    registered_by: Annotated[
        Literal["one", "threads", "iommufd"],
        Field(description="one call of a driver, calls of all threads for their parts, or one map call of iommufd"),
    ] = "one"
    operation: Annotated[
        Literal["start", "release"], Field(description="start: touch and register; release: unpin, by who registered")
    ] = "start"
    costs: Annotated[PinnedPoolCosts, Field(description="costs of its steps")] = PinnedPoolCosts()

    def n_tasks(self, machine: Machine) -> int:  # noqa: ARG002
        return 2 if self.operation == "start" else 1

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        start = self.start_nid(machine, random)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            if self.operation == "start":
                yield self.part(machine, self.size, None, self.first_touch(machine))
            yield self._device(machine, start)

        return [Caller(start, steps)]

    def _device(self, machine: Machine, start_nid: int) -> Task:
        costs: PinnedPoolCosts = self.costs_on(machine)
        unit = self.unit_bytes(machine)
        units = self.size // unit
        stage = release(costs, machine) if self.operation == "release" else self._registered(machine, costs)
        name = "release" if self.operation == "release" else "register"
        memory = Filled(machine, start_nid, units, unit)
        helps = self.registered_by == "threads"
        return Task([NodeEntry(None, 0, units)], stream(name, stage), memory=memory, helps=helps)

    def _registered(self, machine: Machine, costs: PinnedPoolCosts) -> Stage:
        kind = self.kind(machine)
        stage = pin(costs, kind)
        if self.registered_by != "iommufd":
            listed_s = costs.list_page / kind.base_bytes
            stage += Stage(listed_s, ON_MEMORY * listed_s)
        if self.registered_by == "threads":
            stage += Stage(0.0, locks=(dma_lock(costs, machine),))
        return stage

    def words(self, machine: Machine) -> str:
        who = {"one": "in one call", "threads": "by all threads", "iommufd": "in one call of iommufd"}[
            self.registered_by
        ]
        if self.operation == "release":
            return f"It releases {self.what(machine)} before, registered {who}."
        return f"It touches {self.what(machine)}, and then registers it with a device {who}."
