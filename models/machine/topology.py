"""The topology of a machine, wherever it was read: the host, a dump of another, a file."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.machine import Cpu, Node
from models.text.cpu_list import format_cpu_list
from models.text.units import format_size

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20  # what Linux takes without a SLIT (include/linux/topology.h)
MAX_DISTANCE = 254  # a byte in the ACPI SLIT, in which 255 means no way there
NO_MEMORY = "no memory is told"
# Favoured cores of one kind differ by a few steps of 100 MHz (Turbo Boost Max 3.0); kinds of cores differ by more.
_LEAST_DIFFERENCE_OF_KINDS = 0.1


@dataclass(frozen=True)
class MemoryTold:
    """What a source tells of a node's memory: its kind, as a source names it, and the traffic that it carries."""

    kind: str | None = None
    bytes_per_s: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Topology:
    """CPUs, nodes and distances of a machine, without any rate.

    `remarks` list the facts that the source lacks, and the values taken instead.
    """

    title: str
    nodes: tuple[Node, ...]
    cpus: tuple[Cpu, ...]
    distances: Mapping[tuple[int, int], int]  # as in the ACPI SLIT: 10 is local
    base_page_bytes: int
    source: str  # where it was read
    remarks: tuple[str, ...] = ()
    vendor: str | None = None  # as the processor names it: GenuineIntel, AuthenticAMD
    model_name: str | None = None
    spans: Mapping[int, int] = field(default_factory=dict)  # nodes whose CPUs are of several sockets -> how many
    memories: Mapping[int, MemoryTold] = field(default_factory=dict)  # what a source tells of a node's memory

    def with_memory(self, sizes_bytes: Sequence[int], remark: str) -> Topology:
        """Return this topology with a size for each node, and a remark on where they come from.

        Remarks that no memory is told go.
        """
        nodes = tuple(replace(node, memory_bytes=size) for node, size in zip(self.nodes, sizes_bytes, strict=True))
        remarks = tuple(said for said in self.remarks if not said.startswith((NO_MEMORY, "the memory of node")))
        title = title_of(self.model_name, nodes, len(self.cpus))
        return replace(self, nodes=nodes, title=title, remarks=(*remarks, remark))


@dataclass(frozen=True)
class FoundCpu:
    """A CPU in a source's terms. Equal values of `core`, and of `cache`, mean the same core and cache."""

    nid: int
    core: object
    cache: object
    speed: float = 1.0


def number_cpus(found: Mapping[int, FoundCpu]) -> tuple[Cpu, ...]:
    """Return CPUs by their numbers, with cores and caches numbered by node and then by their first CPU.

    The hardware threads of a core are on one node, behind one cache and equally fast. The facts that a source gives for
    the first of them hold for all. Threads that a source puts on several nodes are of several cores.
    """
    order = sorted(found, key=lambda cpu_id: (found[cpu_id].nid, cpu_id))
    cores: dict[object, tuple[int, FoundCpu]] = {}  # its number, and its first CPU
    caches: dict[object, int] = {}
    cpus = []
    for cpu_id in order:
        cpu = found[cpu_id]
        core_id, first = cores.setdefault((cpu.nid, cpu.core), (len(cores), cpu))
        cpus.append(Cpu(cpu_id, core_id, caches.setdefault(first.cache, len(caches)), cpu.nid, first.speed))
    return tuple(sorted(cpus, key=lambda cpu: cpu.cpu_id))


def layout(cpus: Iterable[Cpu]) -> dict[int, tuple[int, float, frozenset[int], frozenset[int]]]:
    """Return node, speed, CPUs of the same core and CPUs behind the same cache, by CPU number.

    Equal layouts are the same CPUs, however cores and caches are numbered.
    """
    cpus = tuple(cpus)
    cores: dict[int, set[int]] = {}
    caches: dict[int, set[int]] = {}
    for cpu in cpus:
        cores.setdefault(cpu.core_id, set()).add(cpu.cpu_id)
        caches.setdefault(cpu.cache_id, set()).add(cpu.cpu_id)
    return {
        cpu.cpu_id: (cpu.nid, cpu.speed, frozenset(cores[cpu.core_id]), frozenset(caches[cpu.cache_id])) for cpu in cpus
    }


def distances_of(
    nids: Sequence[int], told: Mapping[tuple[int, int], int]
) -> tuple[dict[tuple[int, int], int], tuple[str, ...]]:
    """Return a distance for each pair of nodes, and remarks where it differs from the source.

    The firmware's distances may be missing or impossible: another value than 10 for a node itself, 10 or 255 for
    others.
    """
    distances: dict[tuple[int, int], int] = {}
    missing, changed, mirrored = [], [], []
    for a, b in itertools.product(nids, repeat=2):
        distance = told.get((a, b))
        if a == b:
            distances[a, b] = LOCAL_DISTANCE
        elif distance is None and (b, a) in told:
            distance = distances[a, b] = min(max(told[b, a], LOCAL_DISTANCE + 1), MAX_DISTANCE)
            mirrored.append(f"{a} to {b}")
        elif distance is None:
            distances[a, b] = REMOTE_DISTANCE
            missing.append((a, b))
        else:
            distances[a, b] = min(max(distance, LOCAL_DISTANCE + 1), MAX_DISTANCE)
        if distance is not None and distance != distances[a, b]:
            changed.append(f"{a} to {b} {distance} (taken: {distances[a, b]})")
    remarks = []
    if missing:
        which = "distances" if len(missing) == len(nids) * (len(nids) - 1) else f"{len(missing)} of the distances"
        remarks.append(f"{which} between nodes are not told: {REMOTE_DISTANCE} taken, as Linux does")
    if mirrored:
        few = ", ".join(mirrored[:3]) + (f" and {len(mirrored) - 3} more" if len(mirrored) > 3 else "")
        remarks.append(f"distances of one direction are not told (node {few}): those of the other taken")
    if changed:
        few = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        remarks.append(f"impossible distances are told: node {few}")
    return distances, tuple(remarks)


def sockets_of(
    nids: Sequence[int],
    packages: Mapping[int, Collection[int]],
    distances: Mapping[tuple[int, int], int],
    told: Mapping[int, int] | None = None,
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the socket of each node from the packages of its CPUs, and remarks.

    A node without CPUs is in the socket that is `told`, else taken to be in that of the nearest node that has some.
    """
    remarks = []
    sockets = {nid: min(packages[nid]) for nid in nids if packages.get(nid)}
    several = [nid for nid in sockets if len(set(packages[nid])) > 1]
    if several:
        remarks.append(
            f"some nodes span several sockets ({format_cpu_list(several)}): the first taken as the node's, with the "
            "memory bandwidth of all"
        )
    with_cpus = list(sockets)
    sockets |= {nid: (told or {})[nid] for nid in nids if nid not in sockets and nid in (told or {})}
    bare = [nid for nid in nids if nid not in sockets]
    for nid in bare:
        nearest = min(with_cpus, key=lambda other: (distances[nid, other], other), default=None)
        sockets[nid] = 0 if nearest is None else sockets[nearest]
    if bare:
        remarks.append(f"the socket of nodes without CPUs ({format_cpu_list(bare)}) is not told: the nearest one taken")
    return sockets, tuple(remarks)


def spans_of(packages: Mapping[int, Collection[int]]) -> dict[int, int]:
    """Return how many sockets the CPUs of a node are of, for nodes that span several."""
    return {nid: len(set(found)) for nid, found in packages.items() if len(set(found)) > 1}


_ONE_SOCKET = (
    16  # AMD writes 16 between the dies of a package, and 12 since Zen 2; Intel 11 to 15; sockets are 20 apart
)


def sockets_by_distance(
    nids: Sequence[int], with_cpus: Sequence[int], distances: Mapping[tuple[int, int], int]
) -> tuple[dict[int, int], str]:
    """Return the socket of each node where a source has distances alone, and what was taken in words.

    Nodes up to 16 apart are of one socket, if that makes sockets of equally many nodes, all of them so near each other.
    """
    near = {a: frozenset(b for b in with_cpus if distances[a, b] <= _ONE_SOCKET) for a in with_cpus}
    groups = sorted(set(near.values()), key=min)
    whole = sum(map(len, groups)) == len(with_cpus) and len({len(group) for group in groups}) == 1
    groups = groups if whole else [frozenset([nid]) for nid in with_cpus]
    packages = {nid: [i] for i, group in enumerate(groups) for nid in group}
    sockets, _ = sockets_of(nids, packages, distances)
    if len(groups) == len(with_cpus):
        return sockets, "each node with CPUs taken as one, those without in that of the nearest"
    words = f"nodes at most {_ONE_SOCKET} apart taken as one, so {len(groups)} of {len(groups[0])} nodes"
    return sockets, words


def speeds_of(ratings: Mapping[int, float], *, by_kind: bool) -> dict[int, float]:
    """Return the speed of each CPU from figures such as clock or capacity: relative to the highest.

    Unless the source has kinds of cores (`by_kind`), small differences count as one kind: all 1.
    """
    highest = max(ratings.values(), default=0.0)
    if not highest or (not by_kind and min(ratings.values()) > (1.0 - _LEAST_DIFFERENCE_OF_KINDS) * highest):
        return dict.fromkeys(ratings, 1.0)
    return {cpu_id: max(0.01, rating / highest) for cpu_id, rating in ratings.items()}


def title_of(model_name: str | None, nodes: Collection[Node], n_cpus: int) -> str:
    """Return one line that describes a machine."""
    n_sockets = len({node.socket_id for node in nodes})
    memory = format_size(sum(node.memory_bytes for node in nodes))
    model = " ".join((model_name or "unknown processor").split())
    counts = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((n_cpus, "CPU"), (len(nodes), "node"))]
    return ", ".join([f"{n_sockets} x {model}", *counts, memory])
