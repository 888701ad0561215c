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

from models.clients.client import Caller, Client, Costs, Pause, Spread, Step, Stream, Task, Thread, check_caller
from models.machine import Machine
from models.memory.locks import Lock
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Rate, Size, Time, format_size, format_time

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
    unpin_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory that the caller unpins after an error: no lookups, about half of what pinning touches; "
            "an estimate, as no figures are published",
        ),
    ] = 2 * 5.1 * 2**30


class Pinned(Client):
    """Memory of one process, all on one node, that is pinned for a device."""

    size: Annotated[Size, Field(gt=0, description="memory to pin")]
    memory_node: Annotated[int | None, Field(ge=0, description="node of that memory; default the caller's")] = None
    fail_at: Annotated[
        Size | None, Field(gt=0, description="how much comes before the page that can't be pinned; default: all can")
    ] = None

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def task_of(self, stream: Stream, undo_bytes_per_s: float, start_nid: int, unit_bytes: int) -> Task:
        """Return the one task, in units of so many bytes, of a caller that starts on a node."""
        return Task(
            [NodeEntry(None, 0, self.size // unit_bytes)],
            stream,
            memory=Spread((start_nid if self.memory_node is None else self.memory_node,)),
            fails_at=None if self.fail_at is None else self.fail_at // unit_bytes,
            undo_bytes_per_s=undo_bytes_per_s,
        )

    def what(self) -> str:
        """Return in words how much memory of which node it is, and what fails."""
        node = "its own node" if self.memory_node is None else f"node {self.memory_node}"
        failing = "" if self.fail_at is None else f" (the page after {format_size(self.fail_at)} fails)"
        return f"{format_size(self.size)} of {node}{failing}"

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(check_caller(self, machine))
        yield from found
        if found:
            return  # what else is wrong may follow from this
        memory = {node.nid: node.memory_bytes for node in machine.nodes if node.memory_bytes}
        start = machine.cpu_nids if self.caller_node is None else (self.caller_node,)
        nids = start if self.memory_node is None else (self.memory_node,)
        without = [nid for nid in nids if nid not in memory]
        if without:
            yield (
                ("memory_node",),
                f"found node {without[0]}; allowed are the nodes with memory of machine {machine.name}: "
                f"{', '.join(map(str, memory))}",
            )
            return
        room = min(memory[nid] for nid in nids)
        if self.size % machine.base_page_bytes or self.size > room:
            yield (
                ("size",),
                f"found {{size}}; allowed is a multiple of the base page, "
                f"{format_size(machine.base_page_bytes)}, up to the memory of a node, {format_size(room)}",
            )
        elif self.fail_at is not None and (self.fail_at % machine.base_page_bytes or self.fail_at >= self.size):
            yield (
                ("fail_at",),
                f"found {{fail_at}}; allowed is a multiple of the base page, "
                f"{format_size(machine.base_page_bytes)}, less than the size, {format_size(self.size)}",
            )


class VfioPin(Pinned):
    """Pin memory of one process for a device of its guest."""

    client: Annotated[Literal["vfio_pin"], Field(description="the kernel code or program that has the job done")]
    state: Annotated[
        Literal["mmap_sem", "atomic", "batched"],
        Field(description="of the code: locked_vm under mmap_sem, atomic, or mmap_sem held for many pages at once"),
    ] = "batched"
    costs: Annotated[VfioPinCosts, Field(description="what it costs")] = VfioPinCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        before: float = self.costs_on(machine).before
        start = self.start_nid(machine, random)

        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            if before:
                yield Pause(before, "start and boot")
            yield self.task(machine, start, self.unit_bytes(machine))

        return [Caller(start, steps)]

    def task(self, machine: Machine, start_nid: int, unit_bytes: int) -> Task:
        """Return the one task, in units of so many bytes, of a caller that starts on a node."""
        costs: VfioPinCosts = self.costs_on(machine)
        base = machine.base_page_bytes
        line = Lock("mmap_sem line", base, costs.line_hold, costs.line_transfer, costs.line_handover)
        write = Lock("mmap_sem write", STRETCH, stall_s=costs.write_stall)
        locks = {"mmap_sem": (line, write), "atomic": (line,), "batched": ()}[self.state]
        # Per base page its struct page is written, and eight bytes each of page table and IOMMU table are touched.
        stream = Stream("pin", costs.rate, traffic=(64 * 2 + 16) / base, locks=locks, memory_share=0.3)
        return self.task_of(stream, costs.unpin_rate, start_nid, unit_bytes)

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        return f"It pins {self.what()} in one task; mmap_sem and locked_vm as in state {self.state}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: VfioPinCosts = self.costs_on(machine)
        yield from check_section("line_hold", costs.line_hold, machine.base_page_bytes / costs.rate)


def check_section(name: str, section_s: float, work_s: float) -> Iterator[Finding]:
    """Find a section of a lock (a cost, by its name) that takes as long as the work that it is part of."""
    if section_s >= work_s:
        yield (
            ("costs", name),
            f"found {{costs.{name}:{format_time(section_s)}}}; allowed is less than the work that "
            f"it is part of, {format_time(work_s)}",
        )
