"""Memory of a process that is made present before it is used: page by page, by faults or by MADV_POPULATE_WRITE.

A huge page is hardly more than its clearing. A base page is far more: it is allocated, charged to its cgroup, put on
an LRU list and into a page table, which takes longer than to clear it, and two locks limit how many threads can do so:

* the node's zone lock, taken once for the pages of a CPU's own list (batches of 63 since Linux 4.19, recalled);
* with faults, the cache line of the lock for reading that each takes: mmap_lock's, or since Linux 6.4 the mapping's
  own, which is one line too. MADV_POPULATE_WRITE (Linux 5.14) takes it once for the whole call.

Left out as small: page tables (one lock for each, so one section for 512 base pages of 4 KiB), and the lock of the LRU
lists, in batches too, whose time is in that of the zone lock.

Measured on a virtual machine with 2 CPUs (AMD EPYC, Zen 5, Linux 6.18): CPU time of one thread for 1 GiB, median of two
rounds of 15: 0.344 s touched, 0.308 s populated, 0.048 s populated in transparent huge pages. `ktask-sim
calibrate` measures these costs on a host, for its machine file (`page_faults:`); VALIDATION.md has QEMU and Java there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from models.clients.client import (
    Caller,
    Client,
    Costs,
    FromPool,
    Memory,
    Spread,
    Step,
    Stream,
    Task,
    Thread,
    check_caller,
)
from models.clients.huge_pages import check_huge_pages
from models.clients.vfio_pin import check_section
from models.machine import Machine
from models.memory.locks import Lock
from models.memory.pool import free_pages
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Size, Time, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

_AT_ONCE = 128 * MIB  # of pages that the simulation takes from the free ones in one go
_BATCH = 63  # pages that a CPU's list of free ones is filled up with


class PageFaultCosts(Costs):
    """What a page costs beside its clearing. Those of locks are estimates: no figures were found or measured."""

    base_page: Annotated[
        Time,
        Field(
            ge=0,
            description="to populate a base page: (0.308 s - 0.048 s of clearing) / 262144 pages, measured on a "
            "virtual machine with 2 CPUs",
        ),
    ] = 0.99e-6
    touch: Annotated[
        Time,
        Field(ge=0, description="more for a fault: the exception, (0.344 s - 0.308 s) / 262144 pages, measured there"),
    ] = 0.14e-6
    huge_page: Annotated[
        Time,
        Field(ge=0, description="to populate a huge page: an estimate; measured it is lost in its clearing, 94 us"),
    ] = 2e-6
    write: Annotated[
        Time,
        Field(
            ge=0,
            description="for each base page of a transparent huge one that is touched page by page: "
            "(0.0485 s - 0.0458 s) / 262144 pages, measured there",
        ),
    ] = 10e-9
    line_hold: Annotated[
        Time, Field(ge=0, description="to take a lock for reading and give it back, its line at hand; an estimate")
    ] = 15e-9
    line_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had the line: a transfer within a socket; an estimate")
    ] = 80e-9
    line_handover: Annotated[Time, Field(ge=0, description="more if others wait for the line; an estimate")] = 65e-9
    zone_hold: Annotated[
        Time, Field(ge=0, description="zone lock: to take 63 pages off the free lists, 24 ns each; an estimate")
    ] = 1.5e-6
    zone_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had it: ten lines of lock and lists; an estimate")
    ] = 0.8e-6
    zone_handover: Annotated[Time, Field(ge=0, description="more if others wait for it; an estimate")] = 0.5e-6


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
    costs: Annotated[PageFaultCosts, Field(description="what it costs")] = PageFaultCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:
        return machine.base_page_bytes if self.page_size is None else self.page_size

    def present_bytes(self, machine: Machine) -> int:
        """Return what becomes present at once: a page, or a transparent huge one, all that one page table maps."""
        base = machine.base_page_bytes
        return base * (base // 8) if self.thp else self.unit_bytes(machine)  # a table is a page, an entry 8 bytes

    def part(self, machine: Machine, size_bytes: int, nid: int | None, free: FromPool) -> Task:
        """Return one call for so much memory, bound to a node, or free memory of no node in particular."""
        memory: Memory = free if nid is None else Spread((nid,))
        return Task(
            [NodeEntry(nid, 0, size_bytes // self.unit_bytes(machine))],
            self.stream(machine),
            memory=memory,
            keeps_mmap_lock=self.populate,
        )

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            yield self.part(machine, self.size, self.bound_nid(), self.first_touch(machine))

        return [Caller(self.start_nid(machine, random), steps)]

    def bound_nid(self) -> int | None:
        """Return the node that the memory is bound to; None: it is of the node of the thread that comes first."""
        return None

    def data_nid(self, machine: Machine) -> int:
        nid = self.bound_nid()
        return super().data_nid(machine) if nid is None else nid

    def first_touch(self, machine: Machine) -> FromPool:
        """Return all memory of the machine, untouched, taken by the local policy of the thread that comes first."""
        unit = self.unit_bytes(machine)
        return FromPool(free_pages(machine, unit, None), max(1, _AT_ONCE // unit))

    def stream(self, machine: Machine) -> Stream:
        """Return what a byte asks of a machine, by one thread alone."""
        costs: PageFaultCosts = self.costs_on(machine)
        present, rates = self.present_bytes(machine), machine.rates
        is_base = present == machine.base_page_bytes
        clear_s = present / rates.clear_bytes_per_s
        page_s = clear_s + (costs.base_page if is_base else costs.huge_page)
        if not self.populate:
            page_s += costs.touch + (costs.write * (present // machine.base_page_bytes) if self.thp else 0.0)
        zone_costs = (costs.zone_hold, costs.zone_transfer, costs.zone_handover)
        zone = Lock("zone", _BATCH * present, *zone_costs, scope="node")
        line = Lock("mmap_lock line", present, costs.line_hold, costs.line_transfer, costs.line_handover)
        locks = ((zone,) if self.populate else (zone, line)) if is_base else ()
        return Stream("populate", present / page_s, rates.clear_traffic, locks, clear_s / page_s)

    def what(self, machine: Machine) -> str:
        """Return in words how much memory it is, and how it is made present."""
        how = "populated" if self.populate else "touched page by page"
        pages = f"pages of {format_size(self.unit_bytes(machine))}"
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
        stream, costs = self.stream(machine), self.costs_on(machine)
        if not stream.locks:
            return
        page_s = base / stream.rate_bytes_per_s
        yield from check_section("zone_hold", costs.zone_hold, _BATCH * page_s)
        if not self.populate:
            yield from check_section("line_hold", costs.line_hold, page_s - costs.zone_hold / _BATCH)


def check_node(machine: Machine, path: tuple[str, ...], nids: tuple[int, ...], share: int) -> Iterator[Finding]:
    """Find nodes (of the value at a path) that there are not, or that have less memory than a share in bytes."""
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
