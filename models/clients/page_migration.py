"""Moving memory of a process to another node: migrate_pages(), as move_pages(2) and memory tiers ask for it.

Pages are unmapped, copied and mapped again. The kernel does it in one thread (to Linux 7.1). Zi Yan's and S. Garg's
series of 2025 and 2026 have the copies of a batch done by several, and the rest by the caller. Here the rest of all
batches comes at one go, before the copies, for the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Pause, Step, Task, check_caller, stream
from models.clients.page_faults import check_node
from models.machine import Machine
from models.memory.figures import CopyFigures
from models.memory.placement import Spread
from models.memory.stages import Kind, copy, kind_of
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel


class PageMigration(Client):
    """Move memory from one node to another."""

    client: Annotated[Literal["page_migration"], Field(description="the kernel code or program that has the job done")]
    size: Annotated[Size, Field(gt=0, description="memory to move")]
    thp: Annotated[bool, Field(description="it is in transparent huge pages (2 MiB where the base page is 4 KiB)")] = (
        False
    )
    source_node: Annotated[int, Field(ge=0, description="node that it is on")] = 0
    memory_node: Annotated[int, Field(ge=0, description="node that it goes to")] = 1
    costs: Annotated[CopyFigures, Field(description="costs of its steps")] = CopyFigures()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def data_nid(self, machine: Machine) -> int:  # noqa: ARG002
        return self.memory_node

    def kind(self, machine: Machine) -> Kind:
        """Return the kind of the memory."""
        return kind_of(machine, thp=self.thp)

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: CopyFigures = self.costs_on(machine)
        kind = self.kind(machine)
        moved_s = costs.move_page if kind.is_base else costs.move_huge

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield Pause(self.size / kind.present_bytes * moved_s, "unmap and map")
            yield Task(
                [NodeEntry(self.memory_node, 0, self.size // machine.base_page_bytes)],
                stream("copy", copy(machine.rates, kind, costs)),
                memory=Spread((self.source_node, self.memory_node)),
            )

        return [Caller(self.start_nid(machine, random), steps)]

    def words(self, machine: Machine) -> str:
        pages = f"pages of {format_size(self.kind(machine).present_bytes)}"
        return (
            f"It moves {format_size(self.size)} in {pages} from node {self.source_node} to node {self.memory_node}: "
            "one thread unmaps and maps them, and all of the task copy."
        )

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(check_caller(self, machine))
        for name, nid in (("source_node", self.source_node), ("memory_node", self.memory_node)):
            found += check_node(machine, (name,), (nid,), self.size)
        yield from found
        if found:
            return  # what else is wrong may follow from this
        if self.source_node == self.memory_node:
            yield (("memory_node",), "found {memory_node}, which is source_node too; allowed is another node")
        present = self.kind(machine).present_bytes
        if self.size % present:
            yield (("size",), f"found {{size}}; allowed is a multiple of a page, {format_size(present)}")
