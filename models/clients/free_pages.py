"""Freeing a large anonymous mapping (munmap, exit): one thread zaps its page tables, workers free the pages behind it.

Aaron Lu's parallel free (v2, msgid 1489568404-7817-1-git-send-email-aaron.lu@intel.com), which is no ktask: the thread
hands each 256K pages that it has zapped to a workqueue and goes on. Here two threads run at once. One zaps all memory
alone. From its first batch on the other frees it as one task. The works of that task are the workers
(`kernel.max_threads` is the workqueue's max_active), and its chunks are the batches (`kernel.chunks: fixed`,
`kernel.chunk_size: 1GiB`). Workers never wait for a batch but the first: they end too early by at most one where the
zapping is the slower part.

Pages go to the buddy allocator by per-CPU batches, each under the lock of their node's zone (free_pcppages_bulk).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Pause, Step, Task, check_caller, stream
from models.machine import Machine
from models.memory.figures import UndoFigures
from models.memory.placement import Filled
from models.memory.stages import FREE_BATCH, Stage, free, zap
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

BATCH_PAGES = 256 * 1024  # handed to the workers at once (A. Lu's v2)


class FreePagesCosts(UndoFigures):
    """The costs of freeing pages."""

    renamed: ClassVar[Mapping[str, str]] = {
        "zone_hold": "free_hold",
        "zone_transfer": "free_transfer",
        "zone_handover": "free_handover",
    }


class FreePages(Client):
    """Free a mapping of base pages."""

    baseline: ClassVar[Mapping[str, Any]] = {"task.freed_by": "caller"}

    client: Annotated[Literal["free_pages"], Field(description="the kernel code or program that has the job done")]
    size: Annotated[
        Size, Field(gt=0, description="memory to free; it is on the caller's node, then on others by distance")
    ]
    freed_by: Annotated[
        Literal["caller", "workers"],
        Field(description="the thread that zaps, one page after the other (Linux 4.10), or workers behind it"),
    ] = "workers"
    costs: Annotated[FreePagesCosts, Field(description="costs of its steps")] = FreePagesCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: FreePagesCosts = self.costs_on(machine)
        base = machine.base_page_bytes
        zapped = zap(costs, base)
        start = self.start_nid(machine, random)

        def task(name: str, stage: Stage, *, helps: bool) -> Task:
            pages = self.size // base
            memory = Filled(machine, start, pages, base)
            return Task([NodeEntry(None, 0, pages)], stream(name, stage), memory=memory, helps=helps)

        if self.freed_by == "caller":
            both = zapped + free(costs, base)
            return [Caller(start, lambda _: iter([task("zap and free", both, helps=False)]))]

        # A batch's struct pages are still in a last-level cache when they are freed: no traffic.
        freed = free(costs, base, elsewhere=True)

        def zapping(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield task("zap", zapped, helps=False)

        def freeing(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
            yield Pause(min(self.size, BATCH_PAGES * base) / costs.zap_rate, "until the first batch is zapped")
            yield task("free", freed, helps=True)

        return [Caller(start, zapping), Caller(start, freeing, is_kthread=True)]

    def words(self, machine: Machine) -> str:
        pages = self.size // machine.base_page_bytes
        alone = self.freed_by == "caller"
        who = ", which frees each page that it has zapped" if alone else "; workers behind it free them"
        return f"It zaps a mapping of {format_size(self.size)} ({pages:,} pages) in one thread{who}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        yield from check_caller(self, machine)
        base = machine.base_page_bytes
        if self.size % base or self.size > machine.memory_bytes:
            yield (
                ("size",),
                f"found {{size}}; allowed is a multiple of the base page, up to the memory of "
                f"machine {machine.name}, {format_size(machine.memory_bytes)}",
            )
        costs: FreePagesCosts = self.costs_on(machine)
        batch = FREE_BATCH * base
        if costs.free_hold * costs.free_rate >= batch:
            yield (
                ("costs", "free_hold"),
                f"found {costs.free_hold:g} s; allowed is less than a thread takes for {FREE_BATCH} pages, "
                f"{batch / costs.free_rate:.3g} s at this rate",
            )
