"""A machine: its CPUs, NUMA nodes and links, and how fast it clears memory."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from models.machine.capacity import CapacityCurve
from models.text.cpu_list import format_cpu_list
from models.text.units import format_rate, format_size

RECLAIM_DISTANCE = 30  # include/linux/topology.h


@dataclass(frozen=True)
class Cpu:
    """One hardware thread. `speed` is its clearing rate relative to `Rates.clear_bytes_per_s`."""

    cpu_id: int
    core_id: int
    cache_id: int  # last-level cache domain: a socket's L3, an AMD CCD
    nid: int
    speed: float


@dataclass(frozen=True)
class Node:
    """One NUMA node. It may have no CPUs or no memory."""

    nid: int
    socket_id: int
    memory_bytes: int
    memory_bytes_per_s: float | None = None  # of traffic, where it differs from `Rates.memory_bytes_per_s`


@dataclass(frozen=True)
class Link:
    """A link between two nodes. Each direction carries `rate_bytes_per_s` of payload."""

    nids: tuple[int, int]
    rate_bytes_per_s: float


@dataclass(frozen=True)
class Rates:
    """The calibrated figures of a machine.

    A store stream to memory at NUMA distance d runs at most at `remote_factors[d]` of its local rate (1 if not listed).
    """

    clear_bytes_per_s: float  # one work of several, memory of its own node
    serial_clear_bytes_per_s: float  # the loop that runs where there is no helper, likewise
    clear_traffic: float  # bytes that cross the memory bus for a byte cleared
    memory_bytes_per_s: float  # of traffic, each node that has no figure of its own
    memory_curve: CapacityCurve
    core_throughput: float  # all threads of a core together, relative to one
    cache_bytes_per_s: float | None  # clearing through one last-level cache domain; None: no limit
    remote_factors: Mapping[int, float]
    share_exponent: float  # at a bottleneck, a stream's weight is its unhindered rate to this power; 0: equal shares
    chunk_noise: float  # coefficient of variation of the time of a chunk
    run_noise: float = 0.0  # that of a whole run, beside its chunks'


@dataclass(frozen=True)
class Power:
    """The power of a machine at rest, and the power that work adds (see models.machine.energy)."""

    rest_w: float  # the whole machine, with nothing to do
    core_busy_w: float  # for each core with a busy hardware thread
    thread_busy_w: float = 0.0  # for each further busy thread of a core
    socket_awake_w: float = 0.0  # for each socket with a busy core
    memory_j_per_byte: float = 0.0  # of traffic


@dataclass(frozen=True)
class Fit:
    """Which published cells some rates were fitted to: each cell is (column, value) pairs."""

    table: str
    parameters: tuple[str, ...]
    cells: tuple[Mapping[str, float | str], ...]


@dataclass(frozen=True)
class Machine:
    """A machine, as its file describes it. Node ids and CPU ids are those of the operating system."""

    name: str
    title: str
    also_known_as: tuple[str, ...]  # how published tables name it
    sources: Mapping[str, str]
    base_page_bytes: int
    nodes: tuple[Node, ...]
    cpus: tuple[Cpu, ...]
    links: tuple[Link, ...]
    routes: Mapping[tuple[int, int], tuple[int, ...]]  # (from, to) -> the nodes on the way, ends included
    distances: Mapping[tuple[int, int], int]  # as in the ACPI SLIT: 10 is local
    rates: Rates
    fits: tuple[Fit, ...] = ()
    worker_costs: Mapping[str, float] | None = None  # kernel parameter -> its value for the real backend's threads here
    clients: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # client -> cost -> its value here
    pages: Mapping[str, float] = field(default_factory=dict)  # figure of a page's life -> its value here
    host_page_bytes: int | None = None  # of a guest, made present by its host as the guest touches it; None: all there
    power: Power | None = None  # None: not known, and so no energy of a run
    family: str | None = None  # of its processors; None: not stated

    def without_noise(self) -> Machine:
        """Return the machine with chunks and runs that always take their mean time."""
        return replace(self, rates=replace(self.rates, chunk_noise=0.0, run_noise=0.0))

    def _repr_html_(self) -> str:
        """Return a description of a machine for a notebook."""
        rows = {
            "sockets": len({node.socket_id for node in self.nodes}),
            "nodes": len(self.nodes),
            "cores": len({cpu.core_id for cpu in self.cpus}),
            "CPUs": len(self.cpus),
            "last-level caches": len({cpu.cache_id for cpu in self.cpus}),
            "memory": format_size(self.memory_bytes),
            "one thread clears": format_rate(self.rates.clear_bytes_per_s),
            "memory of a node takes": self.memory_rates_in_words,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{value}</td></tr>" for name, value in rows.items()
        )
        return f"<b>{html.escape(self.name)}</b>: {html.escape(self.title)}<table>{cells}</table>"

    @cached_property
    def nids(self) -> tuple[int, ...]:
        """Return all node ids, ascending."""
        return tuple(node.nid for node in self.nodes)

    @cached_property
    def memory_bytes(self) -> int:
        """Return the memory of all nodes."""
        return sum(node.memory_bytes for node in self.nodes)

    @cached_property
    def cpu_nids(self) -> tuple[int, ...]:
        """Return the ids of the nodes that have CPUs, ascending."""
        return tuple(sorted({cpu.nid for cpu in self.cpus}))

    @property
    def reclaim_distance(self) -> int:
        """Return the distance up to which nodes reclaim and domains pull, since Linux 5.4: 32 on AMD Zen, else 30.

        Source: init_amd_zn of arch/x86/kernel/cpu/amd.c, RECLAIM_DISTANCE of include/linux/topology.h.
        """
        zen = re.search(r"\b(EPYC|Ryzen|Threadripper)\b", self.title)
        return 32 if zen else RECLAIM_DISTANCE

    def cpus_of(self, nid: int) -> tuple[Cpu, ...]:
        """Return the CPUs of a node."""
        return tuple(cpu for cpu in self.cpus if cpu.nid == nid)

    def cpus_near(self, nid: int | None) -> tuple[Cpu, ...]:
        """Return the CPUs of a node, or of the nearest node with CPUs if it has none, or of all nodes for None."""
        if nid is None:
            return self.cpus
        own = self.cpus_of(nid)
        return own or self.cpus_of(min(self.cpu_nids, key=lambda other: self.distances[nid, other]))

    def hops(self, a: int, b: int) -> int:
        """Return the number of links between two nodes, which is 0 for a node and itself."""
        return len(self.routes[a, b]) - 1

    def remote_factor(self, cpu_nid: int, memory_nid: int) -> float:
        """Return the rate of a store stream from one node's CPUs to another's memory, relative to local."""
        return self.rates.remote_factors.get(self.distances[cpu_nid, memory_nid], 1.0)

    def traffic(self, cpu_nid: int, memory_nids: Sequence[int], traffic: float) -> tuple[tuple[str, float], ...]:
        """Return the bytes that a stream moves through memory and links for each byte of its work: (name, bytes) pairs.

        `traffic` is the number of bytes that cross the memory bus for a byte, spread evenly over the nodes. Names are
        those of `bandwidths`. Of it, as with clearing (`clear_traffic`), one part is written and goes out over each
        link of the route, the others were read before and come in. Between nodes without a link nothing limits them.
        """
        written = traffic / self.rates.clear_traffic if self.rates.clear_traffic > 1.0 else traffic
        uses: dict[str, float] = {}
        for memory_nid in memory_nids:
            ways = [(f"memory{memory_nid}", traffic)]
            for a, b in itertools.pairwise(self.routes[cpu_nid, memory_nid]):
                if f"link{a}-{b}" in self.bandwidths:
                    ways += [(f"link{a}-{b}", written), (f"link{b}-{a}", traffic - written)]
            for name, share in ways:
                if share > 0.0:
                    uses[name] = uses.get(name, 0.0) + share / len(memory_nids)
        return tuple(uses.items())

    @cached_property
    def bandwidths(self) -> Mapping[str, float]:
        """Return bytes per second of each node's memory (memory0 ...) and each direction of each link (link0-1 ...)."""
        found = {f"memory{nid}": self.memory_rate(nid) for nid in self.memory_nids}
        for link in self.links:
            a, b = link.nids
            found |= {f"link{a}-{b}": link.rate_bytes_per_s, f"link{b}-{a}": link.rate_bytes_per_s}
        return found

    def memory_rate(self, nid: int | None = None) -> float:
        """Return the bytes per second of traffic that a node's memory carries; None: a node without its own figure."""
        own = next((node.memory_bytes_per_s for node in self.nodes if node.nid == nid), None)
        return self.rates.memory_bytes_per_s if own is None else own

    @property
    def memory_rates_in_words(self) -> str:
        """Return the traffic that a node's memory carries, or that of each where they differ, without empty nodes."""
        rates: dict[str, list[int]] = {}
        for nid in self.memory_nids:
            rates.setdefault(format_rate(self.memory_rate(nid)), []).append(nid)
        if len(rates) == 1:
            return next(iter(rates))
        return ", ".join(
            f"{rate} (node{'s' * (len(nids) > 1)} {format_cpu_list(nids)})" for rate, nids in rates.items()
        )

    def with_memory_rates(self, factor: float) -> Machine:
        """Return the machine with the memory of all nodes this many times as fast."""
        nodes = tuple(
            node if (own := node.memory_bytes_per_s) is None else replace(node, memory_bytes_per_s=own * factor)
            for node in self.nodes
        )
        rates = replace(self.rates, memory_bytes_per_s=self.rates.memory_bytes_per_s * factor)
        return replace(self, nodes=nodes, rates=rates)

    @cached_property
    def memory_nids(self) -> tuple[int, ...]:
        """Return the nodes with memory."""
        return tuple(node.nid for node in self.nodes if node.memory_bytes)

    @cached_property
    def zonelists(self) -> Mapping[int, tuple[int, ...]]:
        """Return for each node itself and all with memory, in the order in which an allocation falls over to them.

        Nearest first. Ties go to nodes after this one, then to nodes without CPUs, then to those that head fewer other
        lists (Linux 4.12, mm/page_alloc.c, find_next_best_node and build_zonelists).
        """
        load = dict.fromkeys(self.nids, 0)
        lists: dict[int, tuple[int, ...]] = {}
        for local in self.nids:
            order: list[int] = [local]
            candidates = set(self.memory_nids) - {local}
            while len(order) <= len(candidates):
                best = min(
                    (nid for nid in candidates if nid not in order),
                    key=lambda nid: (
                        self.distances[local, nid] + (nid < local) + (nid in self.cpu_nids),
                        load[nid],
                        nid,
                    ),
                )
                if self.distances[local, best] != self.distances[local, order[-1]]:
                    load[best] = len(self.nids) - len(order)
                order.append(best)
            lists[local] = tuple(order)
        return lists
