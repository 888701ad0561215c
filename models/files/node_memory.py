"""How fast the memory of each node of an imported topology is: its share of a socket's, or a figure of its own.

The nodes of a socket that have CPUs and memory share the bandwidth of the socket evenly. A node without CPUs has memory
of another kind (HBM, CXL, persistent, of a GPU): what the source tells of it, else a guess for its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.files.families import MemoryPart, memory_kinds
from models.machine import Cpu, Node
from models.machine.topology import MemoryTold, Topology
from models.text.cpu_list import format_cpu_list
from models.text.units import parse_rate

_NO_WORDS = MemoryTold()
_TOLD_WIDTH = 0.4  # firmware tells peaks, not what stores reach


@dataclass(frozen=True)
class OwnMemory:
    """The bandwidth of a node that has not the machine's common one, and where it comes from."""

    rate: str
    source: str
    remark: str = ""  # for people, beside those of the topology


def nodes_per_socket(nodes: Sequence[Node], cpus: Sequence[Cpu]) -> int:
    """Return how many nodes share the memory bandwidth of a socket: those with CPUs and memory, where most are.

    Memory of nodes without CPUs is of another kind, unless no node with CPUs has any.
    """
    sharing = _sharing(nodes, {cpu.nid for cpu in cpus})
    sockets = [node.socket_id for node in nodes if node.nid in sharing]
    return max((sockets.count(socket_id) for socket_id in set(sockets)), default=1)


def own_memories(topology: Topology, socket_rate: float) -> Mapping[int, OwnMemory]:
    """Return the nodes whose memory bandwidth is not `socket_rate` over `nodes_per_socket`, in bytes per second."""
    share = nodes_per_socket(topology.nodes, topology.cpus)
    sharing = _sharing(topology.nodes, {cpu.nid for cpu in topology.cpus})
    sockets = [node.socket_id for node in topology.nodes if node.nid in sharing]
    found: dict[int, OwnMemory] = {}
    for node in topology.nodes:
        n, spans = sockets.count(node.socket_id), topology.spans.get(node.nid, 1)
        if not node.memory_bytes:
            continue
        if node.nid not in sharing:
            found[node.nid] = _beside(topology, node, socket_rate / share)
        elif spans > 1:
            found[node.nid] = OwnMemory(
                _rate(socket_rate * spans / n), f"that of {spans} sockets, which the node spans, as in rates"
            )
        elif n != share:
            words = f"a socket's, shared by {n} nodes" if n > 1 else "a socket's, of one node alone"
            found[node.nid] = OwnMemory(_rate(socket_rate / n), f"{words}, as in rates")
    return found


def _rate(bytes_per_s: float) -> str:
    """Return a rate as a machine file has it, to four digits."""
    return f"{bytes_per_s / 1e9:.4g}GB/s"


def memory_remarks(own: Mapping[int, OwnMemory]) -> tuple[str, ...]:
    """Return what people should know of them, nodes that are alike together."""
    alike: dict[str, list[int]] = {}
    for nid, memory in own.items():
        if memory.remark:
            alike.setdefault(memory.remark, []).append(nid)
    heads = {
        r: f"nodes {format_cpu_list(nids)} have" if len(nids) > 1 else f"node {nids[0]} has"
        for r, nids in alike.items()
    }
    return tuple(f"{head} {remark}" for remark, head in heads.items())


def _sharing(nodes: Sequence[Node], with_cpus: set[int]) -> set[int]:
    """Return the nodes that have a socket's own memory."""
    with_memory = {node.nid for node in nodes if node.memory_bytes}
    return with_memory & with_cpus or with_memory


def _beside(topology: Topology, node: Node, share: float) -> OwnMemory:
    """Return the memory of a node without CPUs. `share` is what the memory of a node with CPUs carries."""
    told = topology.memories.get(node.nid, _NO_WORDS)
    nearest = _nearest(topology, node)
    if told.bytes_per_s is not None:
        near = None if nearest is None else topology.memories.get(nearest.nid, _NO_WORDS).bytes_per_s
        rate = told.bytes_per_s if not near else share * told.bytes_per_s / near
        how = "" if not near else f", taken in proportion to what it tells of node {nearest.nid if nearest else 0}"
        words = f"derived, not measured, within {_TOLD_WIDTH:.0%}: {told.source}{how}"
        return OwnMemory(_rate(rate), words, f"no CPUs; for how fast that memory is, there is {told.source}{how}")
    kind = _kind(topology, node, nearest, told)
    alike = 1
    if kind.of_socket:
        fits: Callable[[Node], bool] = lambda other: (  # noqa: E731
            other.socket_id == node.socket_id
            and bool(other.memory_bytes)
            and other.nid not in {cpu.nid for cpu in topology.cpus}
        )
        alike = sum(1 for other in topology.nodes if fits(other))
    rate = parse_rate(kind.bandwidth.value) / alike
    words = f"{kind.title}{f', a socket has it in {alike} nodes' if alike > 1 else ''}"
    source = f"guessed, not measured, within {kind.bandwidth.width:.0%}: {words}: {kind.bandwidth.source}"
    remark = f"memory and no CPUs: taken as {kind.title}, {_rate(rate)} a node, which is a guess"
    return OwnMemory(_rate(rate), source, remark)


def _nearest(topology: Topology, node: Node) -> Node | None:
    """Return the nearest node that has CPUs."""
    with_cpus = {cpu.nid for cpu in topology.cpus}
    others = (other for other in topology.nodes if other.nid in with_cpus)
    return min(others, key=lambda other: (topology.distances[node.nid, other.nid], other.nid), default=None)


def _kind(topology: Topology, node: Node, nearest: Node | None, told: MemoryTold) -> MemoryPart:
    """Return the kind of a node's memory: by its name, else by the processor beside it, else by distance and size."""
    kinds = memory_kinds()
    processor = topology.model_name
    distance = None if nearest is None else topology.distances[node.nid, nearest.nid]

    def fits(kind: MemoryPart) -> bool:
        if kind.at_most is not None and node.memory_bytes > kind.at_most:
            return False
        if kind.larger and nearest is not None and node.memory_bytes < nearest.memory_bytes:
            return False
        if processor:
            return any(re.search(pattern, processor, re.IGNORECASE) for pattern in kind.processors)
        return kind.distance is not None and kind.distance == distance and node.nid >= kind.first_nid

    if told.kind:
        by_name = [kind for kind in kinds[:-1] if any(re.search(p, told.kind, re.IGNORECASE) for p in kind.told)]
        if by_name:
            return next((kind for kind in by_name if fits(kind)), by_name[0])
    return next((kind for kind in kinds if fits(kind)), kinds[-1])
