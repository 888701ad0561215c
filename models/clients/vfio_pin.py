"""Pinning a guest's memory for a passed-through device: VFIO_IOMMU_MAP_DMA over one range, as one task.

Each page is looked up and pinned under the process's mmap_sem, and the process's count of locked pages (locked_vm) goes
up once for each contiguous stretch. Three states of the code were measured (ktask RFC v4, 9/13, and the patches before
it; models/published/vfio_pin_xeon_8160.csv):

* ``mmap_sem``: locked_vm under mmap_sem held for writing, which keeps out all who pin;
* ``atomic``: locked_vm is atomic; what is left is mmap_sem's cache line, fetched for each page;
* ``batched``: mmap_sem is taken once for a stretch of pages: nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, Client, Costs, Pause, Spread, Step, Stream, Task, Thread, check_caller_node
from models.locks import Lock
from models.machine import Machine
from models.policies import NodeEntry
from models.units import MIB, Rate, Size, Time, format_size
from models.validation import Checker

if TYPE_CHECKING:
    from models.kernels import Kernel

STRETCH = 2 * MIB  # contiguous: a transparent huge page


class VfioPinCosts(Costs):
    """What pinning costs."""

    before: Annotated[
        Time,
        Field(ge=0, description="from the start of the program to the first page, and from the last to the end"),
    ] = 0.0
    rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that one thread pins alone, with its lookups and IOMMU entries: 320 GiB in about "
            "63 s on a Xeon Platinum 8160 (ktask RFC v4, 9/13)",
        ),
    ] = 5.1 * 2**30
    line_hold: Annotated[
        Time, Field(ge=0, description="down_read and up_read of mmap_sem, its line at hand: two locked operations")
    ] = 15e-9
    line_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had the line: a transfer within a socket, for each page")
    ] = 80e-9
    line_handover: Annotated[Time, Field(ge=0, description="more if others wait for the line")] = 65e-9
    write_stall: Annotated[
        Time,
        Field(
            ge=0,
            description="for which a writer of mmap_sem, once for each 2 MiB, keeps all others out: readers leave, "
            "sleep and are woken",
        ),
    ] = 70e-6


class VfioPin(Client):
    """Pin memory of one process."""

    client: Annotated[Literal["vfio_pin"], Field(description="the kernel code that has the job done")]
    size: Annotated[Size, Field(gt=0, description="guest memory to pin")]
    state: Annotated[
        Literal["mmap_sem", "atomic", "batched"],
        Field(description="of the code: locked_vm under mmap_sem, atomic, or mmap_sem held for many pages at once"),
    ] = "batched"
    memory_node: Annotated[int | None, Field(ge=0, description="node of the guest's memory; default the caller's")] = (
        None
    )
    costs: Annotated[VfioPinCosts, Field(description="what it costs")] = VfioPinCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: VfioPinCosts = self.costs_on(machine)
        line = Lock("mmap_sem line", machine.base_page_bytes, costs.line_hold, costs.line_transfer, costs.line_handover)
        write = Lock("mmap_sem write", STRETCH, stall_s=costs.write_stall)
        locks = {"mmap_sem": (line, write), "atomic": (line,), "batched": ()}[self.state]
        # Per base page its struct page is written, and eight bytes each of page table and IOMMU table are touched.
        stream = Stream(
            "pin", costs.rate, traffic=(64 * 2 + 16) / machine.base_page_bytes, locks=locks, memory_share=0.3
        )
        start = self.start_nid(machine, random)
        nid = start if self.memory_node is None else self.memory_node

        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            if costs.before:
                yield Pause(costs.before, "start and boot")
            yield Task([NodeEntry(None, 0, self.size // machine.base_page_bytes)], stream, memory=Spread((nid,)))

        return [Caller(start, steps)]

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        where = "its own node" if self.memory_node is None else f"node {self.memory_node}"
        return (
            f"It pins {format_size(self.size)} of {where} in one task; mmap_sem and locked_vm as in state {self.state}."
        )

    def check(self, machine: Machine, check: Checker) -> None:
        check_caller_node(self, machine, check)
        with_memory = [node.nid for node in machine.nodes if node.memory_bytes]
        if self.memory_node is not None and self.memory_node not in with_memory:
            check.problem(
                ("task", "memory_node"),
                f"found node {self.memory_node}; allowed are the nodes with memory of machine {machine.name}: "
                f"{', '.join(map(str, with_memory))}",
            )
        if self.size % machine.base_page_bytes or self.size > machine.memory_bytes:
            check.problem(
                ("task", "size"),
                f"found {check.found(('task', 'size'))}; allowed is a multiple of the base page, up to the memory of "
                f"machine {machine.name}, {format_size(machine.memory_bytes)}",
            )
