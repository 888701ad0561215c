"""Freeing a large anonymous mapping (munmap, exit): one thread zaps its page tables, workers free the pages behind it.

Aaron Lu's parallel free (v2, msgid 1489568404-7817-1-git-send-email-aaron.lu@intel.com), which is no ktask: the thread
hands each 256K pages that it has zapped to a workqueue and goes on. Here it is two threads at once: one zaps all memory
alone, and from its first batch on the other frees it as one task, whose works are the workers (`kernel.max_threads` is
the workqueue's max_active), its chunks the batches (`kernel.chunks: fixed`, `kernel.chunk_size: 1GiB`). Workers never
wait for a batch but the first: they end too early by at most one where the zapping is the slower part.

Pages go to the buddy allocator by per-CPU batches, each under the lock of their node's zone (free_pcppages_bulk).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, Client, Costs, Pause, Step, Stream, Task, Thread, check_caller
from models.machine import Machine
from models.memory.locks import Lock
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import Rate, Size, Time, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

STRUCT_PAGE = 64  # bytes, on 64-bit machines
TABLE_ENTRY = 8  # bytes of page table for a page
BATCH_PAGES = 256 * 1024  # handed to the workers at once (A. Lu's v2)
PER_CPU_BATCH = 31  # pages for one turn of the zone lock (zone_batchsize, mm/page_alloc.c)


class FreePagesCosts(Costs):
    """What freeing costs."""

    zap_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="mapping of its own node that one thread zaps: 320 GiB, 192 of them on other nodes, in about "
            "4.8 s on a Haswell-EX, where more workers gain nothing (A. Lu, parallel free v2)",
        ),
    ] = 75 * 2**30
    free_rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="pages that one thread frees, their struct pages at hand: what is left of 320 GiB in 10.8 s "
            "(same series)",
        ),
    ] = 59 * 2**30
    fetch_time: Annotated[
        Time,
        Field(
            ge=0,
            description="more for each page whose struct page another CPU has just written: an estimate, an access to "
            "the last-level cache",
        ),
    ] = 30e-9
    zone_hold: Annotated[
        Time,
        Field(
            ge=0,
            description="zone lock, to free 31 pages: an estimate, half of what a worker takes for them (a miss for "
            "each page and its buddy), made with the published table in view (A. Lu, parallel free v2)",
        ),
    ] = 1.6e-6
    zone_transfer: Annotated[
        Time, Field(ge=0, description="more if another CPU had it: an estimate, the line of the lock")
    ] = 60e-9
    zone_handover: Annotated[Time, Field(ge=0, description="more if others wait for it: an estimate, one line")] = 60e-9


class _Filled:
    """Where the pages of a mapping are that a thread of a node has filled, in their order: there, then by distance."""

    def __init__(self, machine: Machine, nid: int, pages: int) -> None:
        memory = {node.nid: node.memory_bytes // machine.base_page_bytes for node in machine.nodes}
        self._left: list[tuple[int, int]] = []  # (node, pages), the last first
        for other in machine.zonelists[nid]:
            here = min(memory[other], pages)
            pages -= here
            if here:
                self._left.insert(0, (other, here))

    def pieces(self, entry_nid: int | None, cpu_nid: int, size: int) -> Iterator[tuple[tuple[int, ...], int]]:  # noqa: ARG002
        while size:
            nid, left = self._left.pop()
            taken = min(size, left)
            if taken < left:
                self._left.append((nid, left - taken))
            yield (nid,), taken
            size -= taken


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
    costs: Annotated[FreePagesCosts, Field(description="what it costs")] = FreePagesCosts()

    def size_bytes(self, machine: Machine) -> int:  # noqa: ARG002
        return self.size

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: FreePagesCosts = self.costs_on(machine)
        base = machine.base_page_bytes
        zone = Lock(
            "zone", PER_CPU_BATCH * base, costs.zone_hold, costs.zone_transfer, costs.zone_handover, scope="node"
        )
        traffic = (2 * STRUCT_PAGE + 2 * TABLE_ENTRY) / base
        zap = Stream("zap", costs.zap_rate, traffic)
        start = self.start_nid(machine, random)

        def task(stream: Stream, *, helps: bool) -> Task:
            pages = self.size // base
            return Task([NodeEntry(None, 0, pages)], stream, memory=_Filled(machine, start, pages), helps=helps)

        if self.freed_by == "caller":
            rate = 1.0 / (1.0 / costs.zap_rate + 1.0 / costs.free_rate)
            both = Stream("zap and free", rate, traffic, (zone,))
            return [Caller(start, lambda _: iter([task(both, helps=False)]))]

        # A batch's struct pages are still in a last-level cache when they are freed: no traffic.
        free = Stream("free", 1.0 / (1.0 / costs.free_rate + costs.fetch_time / base), 0.0, (zone,))

        def zapping(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            yield task(zap, helps=False)

        def freeing(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
            yield Pause(min(self.size, BATCH_PAGES * base) / costs.zap_rate, "until the first batch is zapped")
            yield task(free, helps=True)

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
        batch = PER_CPU_BATCH * base
        if costs.zone_hold * costs.free_rate >= batch:
            yield (
                ("costs", "zone_hold"),
                f"found {costs.zone_hold:g} s; allowed is less than a thread takes for {PER_CPU_BATCH} pages, "
                f"{batch / costs.free_rate:.3g} s at this rate",
            )
