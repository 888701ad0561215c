"""Setting huge pages aside at boot (hugepages=N), in one task (Gang Li's series of 2024, Linux 6.9).

* Pages of the buddy allocator (2 MiB): a unit is a huge page. The pages of a chunk come from all nodes with memory in
  turn, wherever the thread runs. Then the chunk's list is put into the pool under hugetlb_lock at one go
  (mm/hugetlb.c, prep_and_add_allocated_folios). All works come to that lock at about the same time, so that lists go in
  one after the other. The model has that time before the chunk instead of after it, for the same sum.
* Gigantic pages (1 GiB): they were set aside before. Only their struct pages are initialised in parallel, a unit for
  each node with memory. The works take the nodes in order, wherever they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.clear_gigantic_page import CLEARING
from models.clients.client import Caller, CallingThread, Client, Pause, Step, Task, check_caller, stream
from models.machine import Machine
from models.memory.figures import BootFigures, ClearFigures, HostFigures
from models.memory.placement import InOrder, Memory, Spread
from models.memory.stages import LARGEST_BLOCK, STRUCT_PAGE, Stage, by_host, clear, kind_of
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

GIGANTIC_RULES = "hugetlb_boot_alloc, gigantic pages"


class HugetlbBootCosts(ClearFigures, HostFigures, BootFigures):
    """The costs of huge pages at boot."""

    renamed: ClassVar[Mapping[str, str]] = {"before": "boot_before", "rate": "boot_rate"}


class HugetlbBoot(Client):
    """Set huge pages aside at boot."""

    client: Annotated[
        Literal["hugetlb_boot_alloc"], Field(description="the kernel code or program that has the job done")
    ]
    size: Annotated[Size, Field(gt=0, description="memory to set aside, the same on every node")]
    page_size: Annotated[Size, Field(gt=0, description="size of a huge page")] = 2 * MIB
    zeroed: Annotated[
        bool, Field(description="pages of the buddy allocator are cleared as they are taken (init_on_alloc=1)")
    ] = False
    clearing: Annotated[Literal["pieces", "ranges"], Field(description=CLEARING)] = "pieces"
    costs: Annotated[HugetlbBootCosts, Field(description="costs of its steps")] = HugetlbBootCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def unit_bytes(self, machine: Machine) -> int:
        return self.size // len(_nids(machine)) if self._gigantic(machine) else self.page_size

    def rules_on(self, machine: Machine) -> str:
        return GIGANTIC_RULES if self._gigantic(machine) else self.client

    def _gigantic(self, machine: Machine) -> bool:
        return self.page_size > LARGEST_BLOCK * machine.base_page_bytes

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: HugetlbBootCosts = self.costs_on(machine)
        gigantic = self._gigantic(machine)
        prepared_s = 1.0 / (costs.boot_rate * (costs.gigantic_factor if gigantic else 1.0))
        stage = Stage(prepared_s, prepared_s, 2 * STRUCT_PAGE / machine.base_page_bytes)  # read, and written back
        if self.zeroed and not gigantic:
            ranges = self.clearing == "ranges"
            stage += clear(machine.rates, kind_of(machine, self.page_size), costs, ranges=ranges)
            stage += by_host(machine, costs, clears_ranges=ranges)

        def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            before = costs.boot_before + (costs.gigantic_before if gigantic else 0.0)
            if before:
                yield Pause(before, "before the job")
            nids = _nids(machine)
            memory: Memory = InOrder(iter(nids)) if gigantic else Spread(nids)
            units = self.size // self.unit_bytes(machine)
            yield Task(
                [NodeEntry(None, 0, units)],
                stream("prepare", stage),
                memory=memory,
                iterate_s=0.0 if gigantic else costs.list_time,
            )

        return [Caller(self.start_nid(machine, random), steps)]

    def words(self, machine: Machine) -> str:
        n_pages, n_nodes = self.size // self.page_size, len(_nids(machine))
        pages = f"{n_pages:,} page{'s' * (n_pages != 1)} of {format_size(self.page_size)}"
        if self._gigantic(machine):
            return f"It initialises the struct pages of {pages} at boot, a unit for each of {n_nodes} nodes."
        zeroed = " and clears them" if self.zeroed else ""
        return f"It sets {pages} aside at boot{zeroed}, in one task; they come from {n_nodes} nodes in turn."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        base = machine.base_page_bytes
        if self.page_size % base or self.page_size == base:
            found = f"{{page_size:{format_size(self.page_size)}}}"
            allowed = f"two or more base pages, a multiple of {format_size(base)}"
            yield (("page_size",), f"found {found}; allowed are {allowed}")
            return  # what else is wrong may follow from this
        least = min(node.memory_bytes for node in machine.nodes if node.memory_bytes)
        per_node = self.page_size * len(_nids(machine))
        whole = per_node if self._gigantic(machine) else self.page_size
        if self.size % whole or self.size > least * len(_nids(machine)):
            yield (
                ("size",),
                f"found {{size}}; allowed is a multiple of {format_size(whole)}, "
                f"up to {format_size(least)} on each node of machine {machine.name}",
            )


def _nids(machine: Machine) -> tuple[int, ...]:
    return tuple(node.nid for node in machine.nodes if node.memory_bytes)
