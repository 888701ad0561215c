"""Pinning a guest's memory for a passed-through device: VFIO_IOMMU_MAP_DMA over one range, as one task.

Memory that is not there yet is taken, cleared and mapped as it is pinned, by the same thread. Each state of the code
was measured (ktask RFC v4, 9/13, and the patches before it, models/published/vfio_pin_xeon_8160.csv, and padata RFC of
2022):

* ``mmap_sem``: page by page, each looked up under the process's mmap_sem. The count of locked pages (locked_vm) goes up
  once for each contiguous stretch, under mmap_sem held for writing, which keeps out all who pin.
* ``atomic``: locked_vm is atomic. Only mmap_sem's cache line remains, fetched for each page.
* ``batched``: mmap_sem is taken once for a stretch of pages. No contention remains.
* ``bulk``: Linux 5.12 and later. 512 pages are looked up at once under mmap_lock. locked_vm is counted under mmap_lock
  for writing, each time, or in advance for many pages (`locked_vm_batch`, the RFC of 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import CLEARING
from models.clients.client import Caller, CallingThread, Client, Pause, Step, Task, check_caller, stream
from models.machine import Machine
from models.memory.figures import (
    ClearFigures,
    HostFigures,
    PinFigures,
    PoolFigures,
    TakeFigures,
    WakeFigures,
)
from models.memory.locks import SPINS_S, Handover, Lock
from models.memory.placement import Filled, FromPool, Memory, Spread
from models.memory.pool import free_pages
from models.memory.stages import (
    Kind,
    Stage,
    by_host,
    clear,
    kind_of,
    line,
    pin,
    take_base,
    take_huge,
    take_pool,
)
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Size, Time, format_size, format_time

if TYPE_CHECKING:
    from models.kernels import Kernel

STRETCH = 2 * MIB  # contiguous: a transparent huge page
BULK = 512  # pages that are looked up at once (VFIO_BATCH_MAX_CAPACITY, drivers/vfio/vfio_iommu_type1.c)
_IN_ADVANCE = 65_536  # pages of locked_vm that a thread counts at once (padata RFC of 2022)
_AT_ONCE = 128 * MIB  # of pages that the simulation takes from the free ones in one go

State = Literal["mmap_sem", "atomic", "batched", "bulk"]
STATES = (
    "of the code: locked_vm under mmap_sem, atomic, mmap_sem held for many pages, or pages looked up 512 at a time "
    "(Linux 5.12)"
)


class VfioPinCosts(ClearFigures, TakeFigures, HostFigures, PoolFigures, PinFigures, WakeFigures):
    """The costs of pinning."""

    renamed: ClassVar[Mapping[str, str]] = {
        "rate": "pin_rate",
        "write_stall": "wake, half as long: the writer is woken, and then the readers",
    }

    before: Annotated[
        Time,
        Field(ge=0, description="from the start of the program to the first page, and from the last to the end"),
    ] = 0.0


class Pinned(Client):
    """Memory of one process that is pinned for a device."""

    size: Annotated[Size, Field(gt=0, description="memory to pin")]
    page_size: Annotated[
        Size | None, Field(gt=0, description="size of its pages: of hugetlbfs, if huge; default the base page")
    ] = None
    thp: Annotated[
        bool, Field(description="base pages come as transparent huge pages (2 MiB where the base page is 4 KiB)")
    ] = False
    memory_node: Annotated[int | None, Field(ge=0, description="node of that memory; default the caller's")] = None
    fail_at: Annotated[
        Size | None, Field(gt=0, description="how much comes before the page that can't be pinned; default: all can")
    ] = None

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def kind(self, machine: Machine) -> Kind:
        """Return the kind of the memory."""
        return kind_of(machine, self.page_size, thp=self.thp)

    def memory(self, machine: Machine, start_nid: int, unit_bytes: int, *, present: bool = True) -> Memory:
        """Return where the memory is of a caller that starts on a node, filled by it or taken as it is pinned."""
        if self.memory_node is None and not present:
            return FromPool(free_pages(machine, unit_bytes, None), max(1, _AT_ONCE // unit_bytes))
        start = start_nid if self.memory_node is None else self.memory_node
        if self.size <= next(node.memory_bytes for node in machine.nodes if node.nid == start):
            return Spread((start,))
        return Filled(machine, start, self.size // unit_bytes, unit_bytes)

    def task_of(self, stage: Stage, name: str, undo_bytes_per_s: float, memory: Memory, unit_bytes: int) -> Task:
        """Return the one task, in units of this many bytes."""
        return Task(
            [NodeEntry(None, 0, self.size // unit_bytes)],
            stream(name, stage),
            memory=memory,
            fails_at=None if self.fail_at is None else self.fail_at // unit_bytes,
            undo_bytes_per_s=undo_bytes_per_s,
        )

    def what(self) -> str:
        """Return in words the amount and node of the memory, and the step that fails."""
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
        base = machine.base_page_bytes
        page = base if self.page_size is None else self.page_size
        if self.thp and page != base:
            yield (
                ("thp",),
                f"found true beside page_size: {format_size(page)}; transparent huge pages are made of base pages, "
                f"{format_size(base)}: leave out one of the two",
            )
        if page % base or page > max(memory.values()):
            yield (
                ("page_size",),
                f"found {{page_size}}; allowed is a multiple of the base page, {format_size(base)}, up to the memory "
                "of "
                f"a node, {format_size(max(memory.values()))}",
            )
            return
        one = self.memory_node is not None
        room = memory[nids[0]] if one else sum(size // page for size in memory.values()) * page
        pages = "the base page" if page == base else "its pages"
        if self.size % page or self.size > room:
            where = "of that node" if one else f"of machine {machine.name}"
            yield (
                ("size",),
                f"found {{size}}; allowed is a multiple of {pages}, {format_size(page)}, up to the memory {where}, "
                f"{format_size(room)}",
            )
        elif self.fail_at is not None and (self.fail_at % base or self.fail_at >= self.size):
            yield (
                ("fail_at",),
                f"found {{fail_at}}; allowed is a multiple of the base page, {format_size(base)}, less than the size, "
                f"{format_size(self.size)}",
            )


class VfioPin(Pinned):
    """Pin memory of one process for a device of its guest."""

    client: Annotated[Literal["vfio_pin"], Field(description="the kernel code or program that has the job done")]
    state: Annotated[State, Field(description=STATES)] = "batched"
    present: Annotated[
        bool, Field(description="false: the memory is not there yet; who pins it takes, clears and maps it first")
    ] = True
    locked_vm_batch: Annotated[
        int | None,
        Field(
            ge=0,
            description="pages that a thread counts in locked_vm at once, in state bulk; 0: those of each lookup. "
            "Default "
            f"{_IN_ADVANCE} in padata-rfc-2022, else 0",
        ),
    ] = None
    clearing: Annotated[Literal["pieces", "ranges"], Field(description=CLEARING)] = "pieces"
    costs: Annotated[VfioPinCosts, Field(description="costs of its steps")] = VfioPinCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        before: float = self.costs_on(machine).before
        start = self.start_nid(machine, random)
        default = _IN_ADVANCE if kernel.version == "padata-rfc-2022" else 0
        batch = default if self.locked_vm_batch is None else self.locked_vm_batch

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            if before:
                yield Pause(before, "start and boot")
            yield self.task(machine, start, machine.base_page_bytes, batch)

        return [Caller(start, steps)]

    def task(self, machine: Machine, start_nid: int, unit_bytes: int, batch: int = 0) -> Task:
        """Return the one task, in units of this many bytes, of a caller that starts on a node."""
        costs: VfioPinCosts = self.costs_on(machine)
        base, kind = machine.base_page_bytes, self.kind(machine)
        stage = pin(costs, kind, by_page=self.state != "bulk")
        if not self.present:
            stage = self._make_present(machine, kind, costs) + stage
        if self.state in ("mmap_sem", "atomic"):
            stage += Stage(0.0, locks=(line(costs, base, "mmap_sem line"),))
        if self.state in ("mmap_sem", "bulk"):
            bulk = self.state == "bulk"
            section = (BULK if bulk else 1) * base
            per = max(batch, BULK) * base if bulk else STRETCH
            stage += account(machine, costs, stage, section, per, spins=bulk, clears=not self.present)
        memory = self.memory(machine, start_nid, unit_bytes, present=self.present)
        return self.task_of(stage, "pin", costs.unpin_rate, memory, unit_bytes)

    def _make_present(self, machine: Machine, kind: Kind, costs: VfioPinCosts) -> Stage:
        ranges = self.clearing == "ranges"
        cleared = clear(machine.rates, kind, costs, ranges=ranges) + by_host(machine, costs, clears_ranges=ranges)
        if kind.is_base:
            return cleared + take_base(costs, kind)
        if not kind.is_pool:
            return cleared + take_huge(costs, kind)
        return cleared + take_pool(costs, machine, kind.page_bytes, cleared.seconds * kind.page_bytes)

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        absent = "" if self.present else ", which is not there yet,"
        return f"It pins {self.what()}{absent} in one task; mmap_sem and locked_vm as in state {self.state}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: VfioPinCosts = self.costs_on(machine)
        yield from check_section("line_hold", costs.line_hold, machine.base_page_bytes / costs.pin_rate)
        if self.locked_vm_batch is not None and self.state != "bulk":
            yield (
                ("locked_vm_batch",),
                f"found {{locked_vm_batch}} beside state: {self.state}; allowed with state: bulk, as locked_vm is "
                "counted "
                "in advance there only",
            )


def account(
    machine: Machine, costs: VfioPinCosts, work: Stage, section_bytes: int, per_bytes: int, *, spins: bool, clears: bool
) -> Stage:
    """Return counting locked_vm once for `per_bytes` of a work, which holds mmap_lock for reading for each section.

    While all wait for each other, the memory rests. That rest counts as traffic, because a full memory loses it then.
    """
    section_s = work.seconds * section_bytes
    sections = per_bytes / section_bytes
    handover = Handover(
        section_s, sections, costs.wake, costs.deep_wake, costs.deep_after, costs.line_transfer, spins=spins
    )
    rests_s = 0.0
    if not spins or section_s > SPINS_S:
        rests_s = 2.0 * (costs.wake + costs.deep_wake) * (1.0 - 1.0 / sections) / per_bytes
    traffic = machine.rates.memory_bytes_per_s * rests_s if clears else 0.0
    return Stage(0.0, traffic=traffic, locks=(Lock("mmap_lock for writing", per_bytes, handover=handover),))


def check_section(name: str, section_s: float, work_s: float) -> Iterator[Finding]:
    """Find a section of a lock (a cost, by its name) that takes as long as the work that it is part of."""
    if section_s >= work_s:
        yield (
            ("costs", name),
            f"found {{costs.{name}:{format_time(section_s)}}}; allowed is less than the work that it is part of, "
            f"{format_time(work_s)}",
        )
