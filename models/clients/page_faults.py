"""Memory of a process that is made present before it is used: page by page, by faults or by MADV_POPULATE_WRITE.

A huge page costs hardly more than its clearing. A base page costs far more. It is allocated, charged to its cgroup, put
on an LRU list and into a page table, which takes longer than to clear it. Two locks limit how many threads can do so:

* the node's zone lock, taken once for the pages of a CPU's own list (batches of 63 since Linux 4.19, recalled).
* with faults, the cache line of the lock for reading that each takes: mmap_lock's, or since Linux 6.4 the mapping's
  own, which is one line too. MADV_POPULATE_WRITE (Linux 5.14) takes it once for the whole call.

Left out as small: page tables (one lock for each, so one section for 512 base pages of 4 KiB), and the lock of the LRU
lists, in batches too, whose time is in that of the zone lock.

Measured on a virtual machine with 2 CPUs (AMD EPYC, Zen 5, Linux 6.18): CPU time of one thread for 1 GiB, median of two
rounds of 15: 0.344 s touched, 0.308 s populated, 0.048 s populated in transparent huge pages. `ktask-sim calibrate`
measures these costs on a host, for its machine file (`page_faults:`). VALIDATION.md has QEMU and Java there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import CLEARING
from models.clients.client import Caller, CallingThread, Client, Step, Task, check_caller, stream
from models.clients.huge_pages import check_huge_pages
from models.clients.vfio_pin import check_section
from models.machine import Machine
from models.memory.figures import CacheFigures, ClearFigures, FaultFigures, HostFigures, PoolFigures, TakeFigures
from models.memory.placement import FromPool, Memory, Spread
from models.memory.pool import free_pages
from models.memory.stages import (
    BATCH,
    Kind,
    Stage,
    by_host,
    cache,
    clear,
    fault,
    kind_of,
    take_base,
    take_huge,
    take_pool,
)
from models.policies import NodeEntry
from models.text.checks import FileKeys
from models.text.problems import Finding
from models.text.units import MIB, Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

_AT_ONCE = 128 * MIB  # of pages that the simulation takes from the free ones in one go


class PageFaultCosts(ClearFigures, TakeFigures, HostFigures, FaultFigures, CacheFigures, PoolFigures):
    """The costs of making memory present."""


class Populated(Client):
    """Make memory of a process present."""

    clears: ClassVar[bool] = True

    size: Annotated[Size, Field(gt=0, description="memory to make present")]
    page_size: Annotated[
        Size | None, Field(gt=0, description="size of its pages: of hugetlbfs, if huge; default the base page")
    ] = None
    thp: Annotated[
        bool, Field(description="base pages come as transparent huge pages (2 MiB where the base page is 4 KiB)")
    ] = False
    populate: Annotated[
        bool, Field(description="true: MADV_POPULATE_WRITE; false: a write to each page, and a fault")
    ] = True
    share: Annotated[
        bool,
        Field(description="shared memory (memfd, tmpfs, share=on): base pages go into the tree of a page cache, too"),
    ] = False
    vma_locks: Annotated[
        bool,
        Field(description="false: a fault takes mmap_lock, as before Linux 6.4; true: the lock of its mapping"),
    ] = True
    clearing: Annotated[Literal["pieces", "ranges"], Field(description=CLEARING)] = "pieces"
    costs: Annotated[PageFaultCosts, Field(description="costs of its steps")] = PageFaultCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:
        return machine.base_page_bytes if self.page_size is None else self.page_size

    def present_bytes(self, machine: Machine) -> int:
        """Return the memory that becomes present at once: a page, or a transparent huge one.

        A transparent huge page has all memory that one page table maps.
        """
        return self.kind(machine).present_bytes

    def part(self, machine: Machine, size_bytes: int, nid: int | None, free: FromPool) -> Task:
        """Return one call for so much memory, bound to a node, or free memory of no node in particular."""
        memory: Memory = free if nid is None else Spread((nid,))
        return Task(
            [NodeEntry(nid, 0, size_bytes // self.unit_bytes(machine))],
            stream("populate", self.stage(machine)),
            memory=memory,
            keeps_mmap_lock=self.populate,
        )

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield self.part(machine, self.size, self.bound_nid(), self.first_touch(machine))

        return [Caller(self.start_nid(machine, random), steps)]

    def bound_nid(self) -> int | None:
        """Return the node that the memory is bound to. None means the node of the thread that touches it first."""
        return None

    def data_nid(self, machine: Machine) -> int:
        nid = self.bound_nid()
        return super().data_nid(machine) if nid is None else nid

    def first_touch(self, machine: Machine) -> FromPool:
        """Return all memory of the machine, untouched, taken by the local policy of the thread that comes first."""
        unit = self.unit_bytes(machine)
        return FromPool(free_pages(machine, unit, None), max(1, _AT_ONCE // unit))

    def kind(self, machine: Machine) -> Kind:
        """Return the kind of the memory."""
        return kind_of(machine, self.page_size, thp=self.thp, shared=self.share)

    def stage(self, machine: Machine) -> Stage:
        """Return the use of a machine by a byte, by one thread alone: cleared, taken, put into a cache, mapped."""
        costs: PageFaultCosts = self.costs_on(machine)
        kind = self.kind(machine)
        ranges = self.clearing == "ranges"
        stage = clear(machine.rates, kind, costs, ranges=ranges) + by_host(machine, costs, clears_ranges=ranges)
        if kind.is_base:
            stage += take_base(costs, kind)
            if kind.shared:
                stage += cache(costs, kind)
        elif kind.is_pool:
            stage += take_pool(costs, machine, kind.page_bytes, stage.seconds * kind.page_bytes)
        else:
            stage += take_huge(costs, kind)
        return stage if self.populate else stage + fault(costs, kind, vma_locks=self.vma_locks)

    def what(self, machine: Machine) -> str:
        """Return in words how much memory it is, and how it is made present."""
        how = "populated" if self.populate else "touched page by page"
        pages = f"pages of {format_size(self.unit_bytes(machine))}"
        pages = f"shared {pages}" if self.share else pages
        huge = f" backed by huge ones of {format_size(self.present_bytes(machine))}" if self.thp else ""
        return f"{format_size(self.size)} in {pages}{huge}, {how}"

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        yield from check_huge_pages(machine, self.size, self.unit_bytes(machine), None)
        base = machine.base_page_bytes
        if self.thp and self.unit_bytes(machine) != base:
            yield (
                ("thp",),
                f"found true beside page_size: {format_size(self.unit_bytes(machine))}; transparent huge pages are "
                f"made of base pages, {format_size(base)}: leave out one of the two",
            )
        kind, costs = self.kind(machine), self.costs_on(machine)
        if not kind.is_base:
            return
        page_s = base * self.stage(machine).seconds
        yield from check_section("zone_hold", costs.zone_hold, BATCH * page_s)
        held_s = costs.zone_hold / BATCH
        if kind.shared:
            yield from check_section("tree_hold", costs.tree_hold, page_s - held_s)
            held_s += costs.tree_hold
        if not self.populate:
            yield from check_section("line_hold", costs.line_hold, page_s - held_s)


class Zone(FileKeys):
    """A part of a guest's memory that is bound to a node, with threads of its own there."""

    size: Annotated[Size, Field(gt=0, description="memory of the zone")]
    node: Annotated[int, Field(ge=0, description="node that it is bound to, and its threads")]


ZONES = (
    "parts of the memory, each bound to a node, with threads of its own there, all at once: "
    "[{size: 340GiB, node: 0}, {size: 340GiB, node: 1}]"
)


class Zoned(Populated):
    """Make memory present that may be of zones."""

    zones: Annotated[list[Zone] | None, Field(min_length=1, description=ZONES)] = None

    def zone_callers(self, machine: Machine) -> Sequence[Caller]:
        """Return the callers of all zones, each on its node."""

        def caller(zone: Zone) -> Caller:
            def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
                task = self.part(machine, zone.size, zone.node, self.first_touch(machine))
                yield replace(task, bound=True)

            return Caller(zone.node, steps)

        return [caller(zone) for zone in self.zones or ()]

    def task_bytes(self, machine: Machine) -> int:
        return self.zones[0].size if self.zones else super().task_bytes(machine)

    def zone_words(self) -> str:
        """Return the zones in words."""
        return ", ".join(f"{format_size(zone.size)} on node {zone.node}" for zone in self.zones or ())

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(super().check(machine))
        yield from found
        if found or self.zones is None:
            return
        page = self.unit_bytes(machine)
        total = sum(zone.size for zone in self.zones)
        if total != self.size or any(zone.size % page for zone in self.zones):
            yield (
                ("zones",),
                f"found {format_size(total)} in {len(self.zones)} zones; allowed are whole pages of "
                f"{format_size(page)}, "
                "{size} in all",
            )
        for nid in dict.fromkeys(zone.node for zone in self.zones):
            share = sum(zone.size for zone in self.zones if zone.node == nid)
            yield from check_node(machine, ("zones",), (nid,), share)
            if nid in machine.memory_nids and nid not in machine.cpu_nids:
                yield ("zones",), f"found node {nid}; allowed are nodes with CPUs, which the zone's threads run on"


def check_node(machine: Machine, path: tuple[str, ...], nids: tuple[int, ...], share: int) -> Iterator[Finding]:
    """Find nodes (of the value at a path) that don't exist, or that have less memory than a share in bytes."""
    memory = {node.nid: node.memory_bytes for node in machine.nodes if node.memory_bytes}
    strange = [nid for nid in nids if nid not in memory]
    if strange:
        yield (
            path,
            f"found node {strange[0]}; allowed are the nodes with memory of machine {machine.name}: "
            f"{', '.join(map(str, memory))}",
        )
        return
    small = next((nid for nid in nids if memory[nid] < share), None)
    if small is not None:
        yield (
            ("size",),
            f"found {{size}}, of which {format_size(share)} on node {small}; allowed there is "
            f"at most its memory, {format_size(memory[small])}",
        )
