"""Deferred initialisation of struct pages at boot: a pgdatinit kthread for each node, bound to it, all at once.

Each has one task, the memory of its node; boot waits for the slowest. One pass initialises each page and frees it to
the buddy allocator; ktask v3 and v4 do that in two, a task each (ktask RFC v3, 7/7, on Linux 4.15). Pages are freed by
pageblocks, each under the zone's lock (mm/page_alloc.c, deferred_free_range). With many threads that lock is the limit:
whoever takes it fetches what another CPU has just written (list heads and counts of the zone, the lists' neighbours).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, Client, Costs, Step, Stream, Task, Thread
from models.machine import Machine, Node
from models.memory.locks import Lock
from models.policies import NodeEntry
from models.text.problems import Finding
from models.text.units import MIB, Rate, Time, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

STRUCT_PAGE = 64  # bytes, on 64-bit machines
PAGEBLOCK = 2 * MIB  # freed at once; on x86 the size of a huge page (pageblock_order)
_TWO_PASSES = ("ktask-v3", "ktask-v4")


class DeferredInitCosts(Costs):
    """What initialising costs."""

    rate: Annotated[
        Rate,
        Field(
            gt=0,
            description="memory whose struct pages one thread goes over alone, in one pass: 384 GiB in 1.72 s on a "
            "Xeon Platinum 8167M (padata series v3, 6/8)",
        ),
    ] = 223.5 * 2**30
    zone_hold: Annotated[
        Time,
        Field(ge=0, description="zone lock, to free one pageblock, all at hand: an estimate, for a short list"),
    ] = 0.1e-6
    free_lines: Annotated[
        float,
        Field(
            ge=0,
            description="cache lines fetched under the zone lock if another CPU had it: fitted on the published cell "
            "of 16 threads of a Broadwell guest (xeon-e5-2699cv4-guest), with its line_time; the same on all machines",
        ),
    ] = 12.9
    line_time: Annotated[
        Time,
        Field(
            ge=0,
            description="to fetch one of them, and to hand the lock over to who waits for it: an estimate, the local "
            "memory latency of a Broadwell server",
        ),
    ] = 90e-9


class DeferredInit(Client):
    """Initialise the struct pages of all memory."""

    on_every_node: ClassVar[bool] = True

    client: Annotated[
        Literal["deferred_struct_page_init"], Field(description="the kernel code or program that has the job done")
    ]
    passes: Annotated[
        int | None,
        Field(ge=1, le=2, description="over the struct pages: default 2 in ktask-v3 and ktask-v4, else 1"),
    ] = None
    costs: Annotated[DeferredInitCosts, Field(description="what it costs")] = DeferredInitCosts()

    def size_bytes(self, machine: Machine) -> int:
        return machine.memory_bytes

    def task_bytes(self, machine: Machine) -> int:
        return _with_memory(machine)[0].memory_bytes

    def data_nid(self, machine: Machine) -> int:
        return _with_memory(machine)[0].nid

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: DeferredInitCosts = self.costs_on(machine)
        passes = self.passes or (2 if kernel.version in _TWO_PASSES else 1)
        base = machine.base_page_bytes
        fetch_s = costs.free_lines * costs.line_time
        zone = Lock("zone", PAGEBLOCK, costs.zone_hold, fetch_s, costs.line_time, scope="node")
        traffic = 2 * STRUCT_PAGE / base  # read for ownership, and written back
        last = Stream("free" if passes == 2 else "initialise and free", costs.rate, traffic, (zone,))
        streams = (Stream("initialise", costs.rate, traffic), last)[2 - passes :]

        def caller_of(node: Node, start: int) -> Caller:
            def steps(caller: Thread) -> Iterator[Step]:  # noqa: ARG001
                for stream in streams:
                    yield Task([NodeEntry(node.nid, start // base, node.memory_bytes // base)], stream)

            return Caller(node.nid, steps, is_kthread=True)

        nodes = _with_memory(machine)
        starts = accumulate((node.memory_bytes for node in nodes), initial=0)
        return [caller_of(node, start) for node, start in zip(nodes, starts, strict=False)]

    def words(self, machine: Machine) -> str:
        sizes = sorted(node.memory_bytes for node in _with_memory(machine))
        each = " to ".join(dict.fromkeys(format_size(size) for size in (sizes[0], sizes[-1])))
        who = "a thread" if len(sizes) == 1 else f"{len(sizes)} threads at once, each"
        return f"It initialises the struct pages of all memory: {who} bound to its node, with a task of {each}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        for name in ("caller_node", "cpus"):
            if getattr(self, name) is not None:
                yield ((name,), f"found {{{name}}}; allowed is none: each node has a calling thread of its own")
        costs: DeferredInitCosts = self.costs_on(machine)
        if costs.zone_hold * costs.rate >= PAGEBLOCK:
            yield (
                ("costs", "zone_hold"),
                f"found {costs.zone_hold:g} s; allowed is less than a thread takes for a pageblock, "
                f"{PAGEBLOCK / costs.rate:.3g} s at this rate",
            )


def _with_memory(machine: Machine) -> list[Node]:
    return [node for node in machine.nodes if node.memory_bytes]
