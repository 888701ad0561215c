"""fallocate on hugetlbfs with huge pages: one task over the whole file, whose chunks are stretches of pages.

Each page is taken by the local policy of the worker (its node first, then by distance), cleared at the machine's rate
of clearing, and put into the page cache, under one of a table of mutexes that the page's index picks by its hash.
Source: ktask RFC v4, 13/13 (msgid 20181105165558.11698-14-daniel.m.jordan@oracle.com;
models/published/hugetlbfs_fallocate_xeon_e7-8895v3.csv).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import clearing
from models.clients.client import Caller, Costs, FromPool, Step, Stream, Task, Thread
from models.clients.huge_pages import HugePages
from models.machine import Machine
from models.memory.locks import Lock
from models.memory.pool import free_pages
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Time, format_size, format_time

if TYPE_CHECKING:
    from models.kernels import Kernel

_AT_ONCE = 128 * MIB  # of pages that the simulation takes from the pool in one go
_MUTEXES_PER_CPU = (
    8  # num_fault_mutexes is this times the CPUs, rounded up to a power of two (Linux 4.20, mm/hugetlb.c)
)


class HugetlbfsFallocateCosts(Costs):
    """What a huge page costs beside its clearing."""

    page: Annotated[
        Time,
        Field(ge=0, description="to allocate a page, account for it and put it into the page cache; an estimate"),
    ] = 20e-6
    lock_hold: Annotated[
        Time,
        Field(
            ge=0,
            description="of that time, under locks that all workers share (hugetlb_lock, the file's reservations, its "
            "page cache): three sections, their lines at hand; an estimate",
        ),
    ] = 0.3e-6
    lock_transfer: Annotated[
        Time,
        Field(ge=0, description="more if another CPU had them: transfers within a socket, 80 ns for a line; estimate"),
    ] = 0.5e-6
    lock_handover: Annotated[Time, Field(ge=0, description="more if others wait for them; an estimate")] = 0.3e-6


class HugetlbfsFallocate(HugePages):
    """Allocate and clear the huge pages of a file."""

    client: Annotated[
        Literal["hugetlbfs_fallocate"], Field(description="the kernel code or program that has the job done")
    ]
    costs: Annotated[HugetlbfsFallocateCosts, Field(description="what it costs")] = HugetlbfsFallocateCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            yield self.task(machine)

        return [Caller(self.start_nid(machine, random), steps)]

    def task(self, machine: Machine) -> Task:
        """Return the one task, in huge pages, with the pool as yet untouched."""
        task_stream, serial = (self._stream(machine, clear) for clear in clearing(machine.rates))
        memory = FromPool(free_pages(machine, self.page_size, self.pool), max(1, _AT_ONCE // self.page_size))
        return Task([NodeEntry(None, 0, self.size // self.page_size)], task_stream, serial, memory)

    def _stream(self, machine: Machine, clear: Stream) -> Stream:
        """Return what a page asks of a machine, with the work of clearing it."""
        costs: HugetlbfsFallocateCosts = self.costs_on(machine)
        clear_s = self.page_size / clear.rate_bytes_per_s
        page_s = clear_s + costs.page
        n_mutexes = 1 << (_MUTEXES_PER_CPU * len(machine.cpus) - 1).bit_length()
        # A worker whose page hashes to the mutex of another's waits for half of that one's time, in the mean.
        mutex = Lock("hugetlb_fault_mutex_table", self.page_size, stall_s=page_s / n_mutexes / 2)
        shared = Lock("hugetlbfs", self.page_size, costs.lock_hold, costs.lock_transfer, costs.lock_handover)
        return Stream("fallocate", self.page_size / page_s, clear.traffic, (mutex, shared), clear_s / page_s)

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        pool = "all memory" if self.pool is None else format_size(self.pool)
        return (
            f"It allocates and clears {format_size(self.size)} in pages of {format_size(self.page_size)}, all in one "
            f"task. Each worker takes pages of its own node first, then by distance, from a pool of {pool}."
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: HugetlbfsFallocateCosts = self.costs_on(machine)
        if costs.lock_hold > costs.page:
            yield (
                ("costs", "lock_hold"),
                f"found {{costs.lock_hold:{format_time(costs.lock_hold)}}}; allowed is at "
                f"most the time for a page of which it is part, {format_time(costs.page)}",
            )
