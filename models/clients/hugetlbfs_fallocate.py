"""fallocate on hugetlbfs with huge pages: one task over the whole file, each worker with a piece of its own.

Each page is allocated by the local policy of the worker (its node first, then by distance), cleared at the machine's
rate of clearing, and put into the page cache. A page has its mutex meanwhile, of a table that is hashed by index
(hugetlb_fault_mutex_table). Source: ktask RFC v4, 13/13 (msgid 20181105165558.11698-14-daniel.m.jordan@oracle.com;
models/published/hugetlbfs_fallocate_xeon_e7-8895v3.csv).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import clearing
from models.clients.client import Caller, Client, Costs, FromPool, Step, Stream, Task, Thread, check_caller_node
from models.locks import Lock
from models.machine import Machine
from models.memory import free_pages
from models.policies import NodeEntry
from models.units import MIB, Size, Time, format_size
from models.validation import Checker

if TYPE_CHECKING:
    from models.kernels import Kernel

BATCH_BYTES = 128 * MIB  # simulated at once; pages are taken one by one


class HugetlbfsFallocateCosts(Costs):
    """What a huge page costs besides its clearing."""

    page: Annotated[
        Time, Field(ge=0, description="to allocate a page, account for it and put it into the page cache; an estimate")
    ] = 10e-6
    lock_hold: Annotated[
        Time, Field(ge=0, description="of it under locks that all workers of the file share; an estimate")
    ] = 1e-6
    lock_transfer: Annotated[
        Time,
        Field(ge=0, description="more if another CPU had the lock: some lines, a transfer each; an estimate"),
    ] = 0.5e-6
    lock_handover: Annotated[Time, Field(ge=0, description="more if others wait for it; an estimate")] = 0.2e-6


class HugetlbfsFallocate(Client):
    """Allocate and clear the huge pages of one file."""

    client: Annotated[Literal["hugetlbfs_fallocate"], Field(description="the kernel code that has the job done")]
    size: Annotated[Size, Field(gt=0, description="of the file")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page")] = 2 * MIB
    pool: Annotated[
        Size | None,
        Field(description="huge pages set aside, spread evenly over the nodes; default: all memory of every node"),
    ] = None
    costs: Annotated[HugetlbfsFallocateCosts, Field(description="what it costs")] = HugetlbfsFallocateCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.page_size

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: HugetlbfsFallocateCosts = self.costs_on(machine)
        lock = Lock("hugetlbfs", self.page_size, costs.lock_hold, costs.lock_transfer, costs.lock_handover)
        streams = []
        for clear in clearing(machine.rates):
            clear_s = self.page_size / clear.rate_bytes_per_s
            page_s = clear_s + costs.page
            streams.append(Stream("fallocate", self.page_size / page_s, clear.traffic, (lock,), clear_s / page_s))

        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            pool = free_pages(machine, self.page_size, self.pool)
            memory = FromPool(pool, max(1, BATCH_BYTES // self.page_size))
            yield Task([NodeEntry(None, 0, self.size // self.page_size)], *streams, memory)

        return [Caller(self.start_nid(machine, random), steps)]
