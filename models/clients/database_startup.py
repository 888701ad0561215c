"""The start of a database whose shared memory is in huge pages, as its user waits for it.

The shared memory is allocated and cleared (hugetlbfs_fallocate). The engine touches each page once, which maps it. Then
it starts its files, its processes and its recovery. No figures are published. All but those of hugetlbfs_fallocate are
assumptions, to be replaced by figures of your own database (task.costs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Pause, Step
from models.clients.huge_pages import HugePages
from models.clients.hugetlbfs_fallocate import HugetlbfsFallocate
from models.clients.vm_startup import amdahl
from models.machine import Machine
from models.memory.figures import Costs
from models.text.units import Time, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel


class DatabaseStartupCosts(Costs):
    """The costs of a start beside the kernel's work on memory."""

    touch: Annotated[
        Time, Field(ge=0, description="to map a page at its first touch: a page fault without clearing; an estimate")
    ] = 1e-6
    engine: Annotated[Time, Field(ge=0, description="the engine's own start; an assumption")] = 20.0


class DatabaseStartup(HugePages):
    """Start a database."""

    client: Annotated[
        Literal["database_startup"], Field(description="the kernel code or program that has the job done")
    ]
    costs: Annotated[DatabaseStartupCosts, Field(description="costs of its steps")] = DatabaseStartupCosts()

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield from self._steps(machine)

        return [Caller(self.start_nid(machine, random), steps)]

    def _steps(self, machine: Machine) -> Iterator[Step]:
        costs: DatabaseStartupCosts = self.costs_on(machine)
        values = {"size": self.size, "page_size": self.page_size, "pool": self.pool}
        sizes = {name: f"{size}B" for name, size in values.items() if size is not None}
        yield HugetlbfsFallocate.model_validate({"client": "hugetlbfs_fallocate", **sizes}).task(machine)
        yield Pause(self.size // self.page_size * costs.touch, "touch")
        yield Pause(costs.engine, "engine")

    def words(self, machine: Machine) -> str:
        return (
            f"A database starts: {format_size(self.size)} of shared memory are allocated and cleared in pages of "
            f"{format_size(self.page_size)}, in one task, then touched; the engine starts by itself. "
            f"{amdahl(self._steps(machine), self.page_size)}"
        )
