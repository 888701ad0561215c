"""fallocate on hugetlbfs with huge pages: one task over the whole file, whose chunks are stretches of pages.

Each page is taken by the local policy of the worker (its node first, then by distance), cleared at the machine's rate
of clearing, and put into the page cache. This is done under one of a table of mutexes, by the hash of the page's index.
Source: ktask RFC v4, 13/13 (msgid 20181105165558.11698-14-daniel.m.jordan@oracle.com) and
models/published/hugetlbfs_fallocate_xeon_e7-8895v3.csv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import CLEARING
from models.clients.client import Caller, CallingThread, Step, Stream, Task, stream
from models.clients.huge_pages import HugePages
from models.machine import Machine
from models.memory.figures import ClearFigures, HostFigures, PoolFigures
from models.memory.placement import FromPool
from models.memory.pool import free_pages
from models.memory.stages import by_host, clear, kind_of, take_pool
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, format_size, format_time

if TYPE_CHECKING:
    from models.kernels import Kernel

_AT_ONCE = 128 * MIB  # of pages that the simulation takes from the pool in one go


class HugetlbfsFallocateCosts(ClearFigures, HostFigures, PoolFigures):
    """The costs of a huge page."""

    renamed: ClassVar[Mapping[str, str]] = {
        "page": "hugetlb_page",
        "lock_hold": "pool_hold",
        "lock_transfer": "pool_transfer",
        "lock_handover": "pool_handover",
    }


class HugetlbfsFallocate(HugePages):
    """Allocate and clear the huge pages of a file."""

    client: Annotated[
        Literal["hugetlbfs_fallocate"], Field(description="the kernel code or program that has the job done")
    ]
    clearing: Annotated[Literal["pieces", "ranges"], Field(description=CLEARING)] = "pieces"
    costs: Annotated[HugetlbfsFallocateCosts, Field(description="costs of its steps")] = HugetlbfsFallocateCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield self.task(machine)

        return [Caller(self.start_nid(machine, random), steps)]

    def task(self, machine: Machine) -> Task:
        """Return the one task, in huge pages, with the pool as yet untouched."""
        task_stream, serial = (self._stream(machine, serial=serial) for serial in (False, True))
        memory = FromPool(free_pages(machine, self.page_size, self.pool), max(1, _AT_ONCE // self.page_size))
        return Task([NodeEntry(None, 0, self.size // self.page_size)], task_stream, serial, memory)

    def _stream(self, machine: Machine, *, serial: bool) -> Stream:
        costs: HugetlbfsFallocateCosts = self.costs_on(machine)
        ranges = self.clearing == "ranges"
        cleared = clear(machine.rates, kind_of(machine, self.page_size), costs, ranges=ranges, serial=serial)
        cleared += by_host(machine, costs, clears_ranges=ranges)
        taken = take_pool(costs, machine, self.page_size, cleared.seconds * self.page_size)
        return stream("fallocate", cleared + taken)

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        pool = "all memory" if self.pool is None else format_size(self.pool)
        return (
            f"It allocates and clears {format_size(self.size)} in pages of {format_size(self.page_size)}, all in one "
            f"task. Each worker takes pages of its own node first, then by distance, from a pool of {pool}."
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from super().check(machine)
        costs: HugetlbfsFallocateCosts = self.costs_on(machine)
        if costs.pool_hold > costs.hugetlb_page:
            yield (
                ("costs", "pool_hold"),
                f"found {{costs.pool_hold:{format_time(costs.pool_hold)}}}; allowed is at "
                f"most the time for a page of which it is part, {format_time(costs.hugetlb_page)}",
            )
