"""fallocate on hugetlbfs with gigantic pages: each page is cleared as one synchronous task, one after the other.

Each page is taken by the default memory policy from where the caller runs at that moment (its node, then by distance),
and cleared by one task with one entry, the page's node. Nothing runs in parallel across pages. Source: ktask RFC v1,
5/6 (clear_gigantic_page), and D. Jordan's reply to D. Hansen (msgid c73eabca-4c8c-8fb1-36c7-1f887f56689a@oracle.com).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Step, Task, check_caller, stream
from models.clients.huge_pages import check_huge_pages
from models.machine import Machine
from models.memory.figures import ClearFigures, HostFigures
from models.memory.pool import free_pages, spread_pool
from models.memory.stages import by_host, clear, kind_of
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import GIB, Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel


CLEARING = "pieces: 4 KiB at a time; ranges: many pages at once, as since Linux 7.0"


class ClearGiganticCosts(ClearFigures, HostFigures):
    """The costs of clearing pages."""


class ClearGigantic(Client):
    """Clear huge pages one by one. The rates of clearing are the machine's."""

    clears: ClassVar[bool] = True

    client: Annotated[
        Literal["clear_gigantic_page"], Field(description="the kernel code or program that has the job done")
    ]
    size: Annotated[Size, Field(gt=0, description="memory to clear")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page; each page is one synchronous task")] = GIB
    pool: Annotated[
        Size | None,
        Field(description="huge pages set aside, spread evenly over the nodes; default: all memory of every node"),
    ] = None
    page_node: Annotated[
        int | None,
        Field(
            ge=0, description="node that all pages come from, as numactl --membind; default: the caller's, then near"
        ),
    ] = None

    clearing: Annotated[Literal["pieces", "ranges"], Field(description=CLEARING)] = "pieces"
    costs: Annotated[ClearGiganticCosts, Field(description="costs of its steps")] = ClearGiganticCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def task_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.page_size

    def data_nid(self, machine: Machine) -> int:
        return super().data_nid(machine) if self.page_node is None else self.page_node

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        kind, figures, ranges = kind_of(machine, self.page_size), self.costs_on(machine), self.clearing == "ranges"
        host = by_host(machine, figures, clears_ranges=ranges)
        alone, shared = (
            stream("clear", clear(machine.rates, kind, figures, ranges=ranges, serial=serial) + host)
            for serial in (True, False)
        )

        def steps(caller: CallingThread) -> Iterator[Step]:
            pool = free_pages(machine, self.page_size, self.pool)
            base_pages = self.page_size // machine.base_page_bytes
            for _ in range(self.size // self.page_size):
                nid = pool.take(caller.nid if self.page_node is None else self.page_node)
                yield Task([NodeEntry(nid, 0, base_pages)], shared, alone)

        return [Caller(self.start_nid(machine, random), steps)]

    def words(self, machine: Machine) -> str:
        room = sum(node.memory_bytes // self.page_size for node in machine.nodes)
        pool = spread_pool(machine, room if self.pool is None else self.pool // self.page_size, self.page_size)
        n_pages = sum(pool.values())
        shares = sorted(set(pool.values()))
        share = f"{shares[0]}" if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"
        return (
            f"It clears pages of {format_size(self.page_size)} one by one, each as one synchronous task. Pages come "
            f"from where it runs at that moment: its own node first, then by distance. The pool has {n_pages:,} "
            f"page{'s' * (n_pages != 1)}, {share} on each node."
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(check_huge_pages(machine, self.size, self.page_size, self.pool))
        yield from found
        if any(path == ("page_size",) for path, _ in found):
            return  # what else is wrong may follow from this
        if self.page_node is not None:
            yield from self._check_page_node(machine)
        yield from check_caller(self, machine)

    def _check_page_node(self, machine: Machine) -> Iterator[Finding]:
        node = next((node for node in machine.nodes if node.nid == self.page_node), None)
        if node is None or not node.memory_bytes:
            nids = ", ".join(map(str, machine.memory_nids))
            message = (
                f"found node {self.page_node}; allowed are the nodes with memory of machine {machine.name}: {nids}"
            )
            yield (("page_node",), message)
            return
        room = sum(node.memory_bytes // self.page_size for node in machine.nodes)
        n_pages = room if self.pool is None else min(room, self.pool // self.page_size)
        here = spread_pool(machine, n_pages, self.page_size)[node.nid] * self.page_size
        if self.size > here:
            what = format_size(here) if self.pool is None else f"{format_size(here)} of the pool"
            yield (("size",), f"found {{size}}; the page_node, {node.nid}, has {what}")
