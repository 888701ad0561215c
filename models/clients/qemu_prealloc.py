"""QEMU's preallocation of guest memory: memory backends with prealloc=on, each made present by threads of its own.

Source: QEMU, util/oslib-posix.c (touch_all_pages, get_memset_num_threads) and backends/hostmem.c, as of 7.2 and 9.0.
Numbers of threads, by option and by -smp, their parts and MADV_POPULATE_WRITE were traced with QEMU 7.2 (Debian 12) on
a host with 2 CPUs. The rest is recalled:

* MADV_POPULATE_WRITE since 7.0, where the host's kernel has it. Before that, and elsewhere, each page is touched.
* One backend after the other. Since 9.0 all at once, with a prealloc-context and MADV_POPULATE_WRITE (`concurrent`).
* With a prealloc-context (7.2) threads are bound to nodes: here `kernel.helper_node: page`, the nodes of `host_nodes`.

The main thread only waits if there are two threads or more. Here it stands for the first of them, and stays on its
node. Its part of another node's backend is far, even where the other threads are bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.clients.advised import suffixed, works_for
from models.clients.client import Caller, CallingThread, Pause, Step
from models.clients.guest_start import GuestStartCosts, program
from models.clients.page_faults import PageFaultCosts, Zoned, check_node
from models.kernels import Kernel
from models.kernels.qemu import Qemu
from models.machine import Machine
from models.text.cpu_list import CpuList, format_cpu_list
from models.text.problems import Finding


class QemuCosts(PageFaultCosts, GuestStartCosts):
    """The costs of preallocation, and of a start that is timed as a whole."""


class QemuPrealloc(Zoned):
    """Preallocate a guest's memory."""

    framework: ClassVar[str] = "qemu"

    client: Annotated[Literal["qemu_prealloc"], Field(description="the program that prepares its memory")]
    backends: Annotated[int, Field(ge=1, le=1024, description="memory backends, of equal size")] = 1
    host_nodes: Annotated[
        CpuList | None,
        Field(
            description='nodes that the backends are bound to (host-nodes, policy=bind), one each in turn: "0-3"; '
            "default: none, memory is of the thread that comes first"
        ),
    ] = None
    concurrent: Annotated[
        bool, Field(description="all backends at once, as since QEMU 9.0 with a prealloc-context; else in turn")
    ] = False

    whole_start: Annotated[
        bool,
        Field(description="the time is that of the guest's whole start: its program, devices and boot are in it too"),
    ] = False
    costs: Annotated[QemuCosts, Field(description="costs of its steps")] = QemuCosts()

    def task_bytes(self, machine: Machine) -> int:
        return super().task_bytes(machine) if self.zones else self.size // self.backends

    def callers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        callers = self._fillers(machine, kernel, random)
        if not self.whole_start:
            return callers
        costs: QemuCosts = self.costs_on(machine)
        before = program(costs, self.size, of_pool=self.kind(machine).is_pool)

        def whole(filler: Caller) -> Caller:
            def steps(caller: CallingThread) -> Iterator[Step]:
                yield before
                yield from filler.steps(caller)
                yield Pause(costs.devices + costs.boot, "devices and boot")

            return replace(filler, steps=steps)

        return [whole(filler) for filler in callers]

    def _fillers(self, machine: Machine, kernel: Kernel, random: Random) -> Sequence[Caller]:
        """Return the callers that make the memory present."""
        if self.zones:
            return self.zone_callers(machine)
        start = self.start_nid(machine, random)
        free, size_bytes = self.first_touch(machine), self.task_bytes(machine)

        def caller(backends: Sequence[int]) -> Caller:
            def steps(caller: CallingThread) -> Iterator[Step]:  # noqa: ARG001
                for backend in backends:
                    yield self.part(machine, size_bytes, self._nid(backend), free)

            nid = self._nid(backends[0])
            bound = kernel.rule("helper_node") == "page"
            return Caller(nid if bound and nid is not None else start, steps)

        backends = range(self.backends)
        return [caller([backend]) for backend in backends] if self.concurrent else [caller(backends)]

    def bound_nid(self) -> int | None:
        return self._nid(0)

    def _nid(self, backend: int) -> int | None:
        if self.zones:
            return self.zones[backend].node
        return None if self.host_nodes is None else self.host_nodes[backend % len(self.host_nodes)]

    def words(self, machine: Machine) -> str:
        started = "; the rest of the guest's start is in the time" if self.whole_start else ""
        if self.zones:
            zones = f"a memory backend each: {self.zone_words()}, all at once"
            return f"QEMU preallocates {self.what(machine)}, {zones}{started}."
        nodes = (
            "of the node of the thread that comes first"
            if self.host_nodes is None
            else f"bound to node {format_cpu_list(self.host_nodes)}"
        )
        n = "one memory backend" if self.backends == 1 else f"{self.backends} memory backends"
        order = "" if self.backends == 1 else ", all at once" if self.concurrent else ", one after the other"
        return f"QEMU preallocates {self.what(machine)}: {n}{order}, {nodes}{started}."

    def check(self, machine: Machine) -> Iterator[Finding]:
        found = list(super().check(machine))
        yield from found
        if found:
            return  # what else is wrong may follow from this
        if self.zones and (self.host_nodes is not None or self.backends > 1 or self.concurrent):
            yield ("zones",), "found beside backends, host_nodes or concurrent; a zone is a backend: leave those out"
            return
        if self.size % (self.backends * self.unit_bytes(machine)):
            yield (
                ("backends",),
                "found {backends}; allowed is what divides {size} into equal parts of whole pages",
            )
        if self.concurrent and self.backends == 1:
            yield (("concurrent",), "found true beside one backend; allowed with two or more")
        if self.host_nodes is not None:
            if not self.host_nodes or len(self.host_nodes) > self.backends:
                yield (
                    ("host_nodes",),
                    f"found {len(self.host_nodes)} nodes; allowed is one to as many as there are backends, "
                    f"{self.backends}",
                )
                return
            on_first = -(-self.backends // len(self.host_nodes))  # of the backends; no node has more
            yield from check_node(machine, ("host_nodes",), self.host_nodes, on_first * self.task_bytes(machine))

    @classmethod
    def default_threads(cls, machine: Machine, size_bytes: int, smp: int = 1) -> int:
        """Return the threads for one backend of base pages, if -smp gives the guest this many CPUs (by default one)."""
        return works_for(Qemu(smp=smp).for_client("qemu_prealloc"), machine, size_bytes)

    def advice_options(self, threads: int, chunk_bytes: int | None, machine: Machine, kernel: Kernel) -> str:  # noqa: ARG002 - no chunks
        """Return the -object of each backend, with the arguments that use it."""
        bound = kernel.rule("helper_node") == "page"
        n = len(self.zones) if self.zones else self.backends
        return " ".join(self._option(i, threads, machine, bound=bound or bool(self.zones)) for i in range(n))

    def _option(self, backend: int, threads: int, machine: Machine, *, bound: bool) -> str:
        """Return the options for one backend. With `bound` its threads are bound to its node."""
        nid, page = self._nid(backend), self.unit_bytes(machine)
        kind = "memory-backend-ram"
        parts = [
            f"id=mem{backend}",
            f"size={suffixed(self.zones[backend].size if self.zones else self.task_bytes(machine))}",
        ]
        if page != machine.base_page_bytes:
            kind = "memory-backend-memfd"
            parts += ["hugetlb=on", f"hugetlbsize={suffixed(page)}"]
        if nid is not None:
            parts += [f"host-nodes={nid}", "policy=bind"]
        parts += ["prealloc=on", f"prealloc-threads={threads}"]
        context = ""
        if self.concurrent or (bound and nid is not None):
            affinity = f",node-affinity={nid}" if bound and nid is not None else ""
            context = f"-object thread-context,id=tc{backend}{affinity} "
            parts.append(f"prealloc-context=tc{backend}")
        one = (len(self.zones) if self.zones else self.backends) == 1
        user = "-machine memory-backend=mem0" if one else f"-numa node,nodeid={backend},memdev=mem{backend}"
        return f"{context}-object {kind},{','.join(parts)} {user}"
