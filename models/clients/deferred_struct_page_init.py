"""Deferred initialisation of struct pages at boot: a pgdatinit kthread for each node, bound to it, all at once.

Each has one task, the memory of its node. Boot waits for the slowest. One pass initialises each page and frees it to
the buddy allocator. ktask v3 and v4 do that in two passes, a task each (ktask RFC v3, 7/7, on Linux 4.15). Since Linux
4.15 the first pass zeroes the struct pages too; before that one thread had done it early in boot. Pages are
freed by pageblocks, each under the zone's lock (mm/page_alloc.c, deferred_free_range). Since Linux 6.4 they are freed
by the largest blocks of the buddy allocator, 4 MiB on x86 (K. Shutemov, "make deferred page init free pages in
MAX_ORDER blocks", recalled). With many threads that lock is the limit: the thread that takes it fetches lines that
another CPU has just written (list heads and counts of the zone, the lists' neighbours).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.client import Caller, CallingThread, Client, Step, Task, stream
from models.machine import Machine, Node
from models.memory.figures import InitFigures
from models.memory.stages import MAX_ORDER_BLOCK, PAGEBLOCK, free_blocks, initialise
from models.policies import NodeEntry
from models.text.checks import FileKeys
from models.text.problems import Finding
from models.text.units import Size, format_size

if TYPE_CHECKING:
    from models.kernels import Kernel

_TWO_PASSES = ("ktask-v3", "ktask-v4")
_ZEROED_BEFORE = ("ktask-v1", "ktask-v2")  # Linux 4.12 and 4.13: boot has zeroed all struct pages by then
_LARGER_BLOCKS = ("padata-6.9", "padata-6.15", "padata-6.18")


class DeferredInitCosts(InitFigures):
    """The costs of initialising struct pages."""

    renamed: ClassVar[Mapping[str, str]] = {
        "rate": "init_rate",
        "zone_hold": "block_hold",
        "free_lines": "block_lines",
    }


class DeferredJob(FileKeys):
    """A stretch of a node's memory whose struct pages are initialised in one task (`models.memory.deferred`)."""

    node: Annotated[int, Field(ge=0, description="whose memory it is")]
    start: Annotated[Size, Field(ge=0, description="its first physical address, from which chunks have their edges")]
    size: Annotated[Size, Field(gt=0, description="how much memory")]


class DeferredInit(Client):
    """Initialise the struct pages of all memory, or of the part that boot leaves for later."""

    on_every_node: ClassVar[bool] = True

    client: Annotated[
        Literal["deferred_struct_page_init"], Field(description="the kernel code or program that has the job done")
    ]
    passes: Annotated[
        int | None,
        Field(ge=1, le=2, description="over the struct pages: default 2 in ktask-v3 and ktask-v4, else 1"),
    ] = None
    jobs: Annotated[
        tuple[DeferredJob, ...] | None,
        Field(
            strict=False,
            min_length=1,
            description="the tasks, those of a node one after the other; a list within a list, as a list is of values "
            "to compare; default one for all memory of each node. A kernel leaves out what boot needed first; "
            "`ktask-sim trace` tells the jobs of a boot",
        ),
    ] = None
    costs: Annotated[DeferredInitCosts, Field(description="costs of its steps")] = DeferredInitCosts()

    def jobs_on(self, machine: Machine) -> tuple[DeferredJob, ...]:
        """Return the tasks on a machine, those that are given or one for all memory of each node."""
        if self.jobs is not None:
            return self.jobs
        nodes = _with_memory(machine)
        starts = accumulate((node.memory_bytes for node in nodes), initial=0)
        return tuple(
            DeferredJob.model_construct(node=node.nid, start=start, size=node.memory_bytes)
            for node, start in zip(nodes, starts, strict=False)
        )

    def size_bytes(self, machine: Machine) -> int:
        return sum(job.size for job in self.jobs_on(machine))

    def task_bytes(self, machine: Machine) -> int:
        return self.jobs_on(machine)[0].size

    def data_nid(self, machine: Machine) -> int:
        return self.jobs_on(machine)[0].node

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:  # noqa: ARG002
        costs: DeferredInitCosts = self.costs_on(machine)
        passes = self.passes or (2 if kernel.version in _TWO_PASSES else 1)
        base = machine.base_page_bytes
        block = MAX_ORDER_BLOCK if kernel.version in _LARGER_BLOCKS else PAGEBLOCK
        zeroes = kernel.version not in _ZEROED_BEFORE
        first = initialise(costs, base, zeroes=zeroes)
        last = initialise(costs, base, zeroes=zeroes and passes == 1) + free_blocks(costs, block)
        words = "free" if passes == 2 else "initialise and free"
        streams = (stream("initialise", first), stream(words, last))[2 - passes :]

        def caller_of(nid: int, jobs: Sequence[DeferredJob]) -> Caller:
            def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
                for each in streams:
                    for job in jobs:
                        yield Task([NodeEntry(nid, job.start // base, job.size // base)], each)

            return Caller(nid, steps, is_kthread=True)

        of_node: dict[int, list[DeferredJob]] = {}
        for job in self.jobs_on(machine):
            of_node.setdefault(job.node, []).append(job)
        return [caller_of(nid, jobs) for nid, jobs in of_node.items()]

    def words(self, machine: Machine) -> str:
        if self.jobs is not None:
            n_nodes = len({job.node for job in self.jobs})
            return (
                f"It initialises the struct pages of {format_size(self.size_bytes(machine))} in {len(self.jobs)} "
                f"task{'s' * (len(self.jobs) != 1)}, with {n_nodes} thread{'s' * (n_nodes != 1)} at once."
            )
        sizes = sorted(node.memory_bytes for node in _with_memory(machine))
        each = " to ".join(dict.fromkeys(format_size(size) for size in (sizes[0], sizes[-1])))
        who = "a thread" if len(sizes) == 1 else f"{len(sizes)} threads at once, each"
        return f"It initialises the struct pages of all memory: {who} bound to its node, with a task of {each}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        for name in ("caller_node", "cpus"):
            if getattr(self, name) is not None:
                yield ((name,), f"found {{{name}}}; allowed is none: each node has a calling thread of its own")
        base, nids = machine.base_page_bytes, machine.memory_nids
        for i, job in enumerate(self.jobs or ()):
            if job.node not in nids:
                allowed = f"the nodes with memory of machine {machine.name}: {', '.join(map(str, nids))}"
                yield (("jobs",), f"found node {job.node} for job {i + 1}; allowed are {allowed}")
            for name in ("start", "size"):
                if getattr(job, name) % base:
                    found = f"found {format_size(getattr(job, name))} as {name} of job {i + 1}"
                    yield (("jobs",), f"{found}; allowed is a multiple of {format_size(base)}")
        costs: DeferredInitCosts = self.costs_on(machine)
        if costs.block_hold * costs.init_rate >= PAGEBLOCK:
            yield (
                ("costs", "block_hold"),
                f"found {costs.block_hold:g} s; allowed is less than a thread takes for a pageblock, "
                f"{PAGEBLOCK / costs.init_rate:.3g} s at this rate",
            )


def _with_memory(machine: Machine) -> list[Node]:
    return [node for node in machine.nodes if node.memory_bytes]
