"""Eviction of inodes when a file system is unmounted or memory is short: each worker takes a stretch of a list.

The inodes are a linked list: to take a chunk of them, it is walked under the task's lock (the task's iterator). Each is
then evicted: its pages are dropped, it leaves hash, lists and the LRU of unused inodes, and is freed. No figures are
published with ktask. Its author names inode teardown as a client to come (ktask RFC v4, cover). So all costs here are
estimates: of the cache misses that an inode takes, at 80 ns each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Step, Stream, Task, check_caller
from models.clients.vfio_pin import check_section
from models.machine import Machine
from models.memory.figures import Costs
from models.memory.locks import Lock
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import KIB, Size, Time, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel


class InodeEvictionCosts(Costs):
    """The costs of an inode. No figures are published."""

    step: Annotated[
        Time, Field(ge=0, description="to walk over it under the task's lock: an estimate, one miss in the cache")
    ] = 80e-9
    evict: Annotated[
        Time,
        Field(gt=0, description="to evict it, without its pages: an estimate, some 20 misses in the cache"),
    ] = 1.6e-6
    lru_hold: Annotated[
        Time, Field(ge=0, description="of that, under the lock of the LRU of inodes: an estimate, its line at hand")
    ] = 30e-9
    lru_transfer: Annotated[
        Time,
        Field(ge=0, description="more if another CPU had it: an estimate, the lock's line and both neighbours'"),
    ] = 240e-9
    lru_handover: Annotated[Time, Field(ge=0, description="more if others wait for it: an estimate, one transfer")] = (
        80e-9
    )


class InodeEviction(Client):
    """Evict a list of inodes."""

    client: Annotated[Literal["inode_eviction"], Field(description="the kernel code or program that has the job done")]
    inodes: Annotated[int, Field(gt=0, description="number of inodes in the list")]
    inode_size: Annotated[
        Size, Field(gt=0, description="memory of an inode: 1 KiB with a common file system's part; an assumption")
    ] = KIB
    costs: Annotated[InodeEvictionCosts, Field(description="costs of its steps")] = InodeEvictionCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.inodes * self.inode_size

    def unit_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.inode_size

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: InodeEvictionCosts = self.costs_on(machine)
        lru = Lock("inode LRU", self.inode_size, costs.lru_hold, costs.lru_transfer, costs.lru_handover)
        # An inode is read, and written back as it is unlinked and freed.
        stream = Stream("evict", self.inode_size / costs.evict, traffic=2.0, locks=(lru,))
        start = self.start_nid(machine, random)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield Task([NodeEntry(start, 0, self.inodes)], stream, iterate_s=costs.step)

        return [Caller(start, steps)]

    def words(self, machine: Machine) -> str:  # noqa: ARG002
        return (
            f"It evicts {self.inodes:,} inodes of {format_size(self.inode_size)}, in memory of its own node, in one "
            "task; the list is walked under the task's lock."
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        costs: InodeEvictionCosts = self.costs_on(machine)
        yield from check_section("lru_hold", costs.lru_hold, costs.evict)
        start = machine.cpu_nids if self.caller_node is None else (self.caller_node,)
        memory = [node.memory_bytes for node in machine.nodes if node.nid in start]
        room = min(memory, default=self.size_bytes(machine))
        if self.size_bytes(machine) > room:
            yield (
                ("inodes",),
                f"found {{inodes}}, {format_size(self.size_bytes(machine))} in all; allowed is "
                f"at most the memory of the caller's node, {format_size(room)}",
            )
