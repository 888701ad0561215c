"""Machine files written: a topology with the rates of another machine, as a document and as YAML."""

from __future__ import annotations

import itertools
import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.files.families import OF_SOCKET, UNKNOWN, Family, family_of, pages_of, rates_of, remote_factor
from models.files.machine import build_machine, load_machine
from models.files.machine_keys import RATES
from models.files.node_memory import memory_remarks, nodes_per_socket, own_memories
from models.machine import Cpu, Machine, Node
from models.machine.topology import LOCAL_DISTANCE, Topology, layout
from models.text.cpu_list import format_cpu_list
from models.text.document import number_in, parse
from models.text.problems import InputError
from models.text.units import GIB, KIB, MIB, Rate, parse_rate

# Whose factors of remote streams stand for a machine that has none of its own, or only borrowed ones.
_MEASURED_FACTORS = "xeon-e7-8895v3-8s"
_BORROWED_FACTORS = ("xeon-platinum-8160-2s",)
_OF_HOST = ("remote_factors", "run_noise")  # not taken from another machine as they are
_ADVICE = "calibrate on the machine itself, or give your own"
_WIDTH = 118
_FLOW_WIDTH = 100

Document = dict[str, Any]


def machine_document(topology: Topology, name: str, reference: Machine | None = None) -> Document:
    """Return the machine file of a topology, as plain data.

    Nodes and CPUs are in groups that are alike where that gives the same numbers, else one by one. Rates are those of
    the processor's family (models/priors/families.yaml), or of a machine as `reference`. Each has its origin. The
    bandwidth of a socket is shared by its nodes that have CPUs and memory.
    """
    document: Document = {"machine": name, "title": _one_line(topology.title)}
    if topology.base_page_bytes != 4 * KIB:
        document["base_page"] = _size(topology.base_page_bytes)
    rest: Document = {}
    if len(topology.nodes) > 1:
        nids = [node.nid for node in topology.nodes]
        matrix = [[topology.distances[a, b] for b in nids] for a in nids]
        rest["distance_matrix"] = {"value": matrix, "source": _one_line(topology.source)}
    if reference is not None:
        rest["rates"] = _rates(topology, reference)
    else:
        family = family_of(topology.model_name, topology.vendor)
        document |= {"family": family.name} if family.name != UNKNOWN else {}
        rest["rates"] = _rates_of_family(topology, family)
        rest |= {"pages": pages} if (pages := _pages_of_family(family)) else {}
    own = {
        nid: {"value": memory.rate, "source": _one_line(f"{memory.source}; {_ADVICE}")}
        for nid, memory in own_memories(topology, _socket_rate(topology, reference)).items()
    }
    for layout_part in _grouped(topology, own):
        candidate = document | layout_part | rest
        if _gives(candidate, topology):
            return candidate
    return document | {"nodes": _one_by_one(topology, own)} | rest


def valid_name(file_name: str) -> str:
    """Return the name of a machine from a file's name: without endings, other characters as '-'.

    >>> valid_name("topology (1).xml.gz")
    'topology-1'
    """
    stem = re.sub(
        r"(?:\.(?:xml|txt|log|tar|tgz|tbz2?|txz|gz|bz2|xz|zst|zip|json|csv|out|numactl|lscpu|md|html?))+$",
        "",
        file_name,
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")[:100] or "machine"


def _gives(document: Document, topology: Topology) -> bool:
    """Return whether a document describes exactly these nodes and CPUs."""
    try:
        machine = build_machine(parse(machine_yaml(document), "candidate"), "candidate")
    except InputError:
        return False
    nodes = tuple(replace(node, memory_bytes_per_s=None) for node in machine.nodes)
    return nodes == topology.nodes and layout(machine.cpus) == layout(topology.cpus)


def _grouped(topology: Topology, own: Mapping[int, Document]) -> Iterator[Document]:
    """Yield nodes as groups with cores by count, with each numbering of CPUs."""
    kinds_of = {node.nid: _kinds([cpu for cpu in topology.cpus if cpu.nid == node.nid]) for node in topology.nodes}
    groups: list[Document] = []
    next_nid = next_socket = 0
    alike = itertools.groupby(
        topology.nodes, key=lambda node: (node.memory_bytes, kinds_of[node.nid], own.get(node.nid))
    )
    for (memory_bytes, kinds, bandwidth), grouped in alike:
        nodes = tuple(grouped)
        per_socket = _nodes_per_socket(nodes, next_nid, next_socket)
        for part in [nodes] if per_socket else [(node,) for node in nodes]:
            first = part[0]
            group: Document = {}
            if len(part) > 1:
                group["count"] = len(part)
                if per_socket > 1:
                    group["nodes_per_socket"] = per_socket
            else:
                group |= {"nid": first.nid} if first.nid != next_nid else {}
                group |= {"socket": first.socket_id} if first.socket_id != next_socket else {}
            group |= {"memory": _size(memory_bytes)} | ({"memory_bandwidth": bandwidth} if bandwidth else {})
            group["cores"] = [dict(kind) for kind in kinds]
            groups.append(group | {"source": _source(topology, first=not groups)})
            next_nid, next_socket = part[-1].nid + 1, max(next_socket, part[-1].socket_id + 1)
    yield {"nodes": groups}
    yield {"cpu_numbering": "siblings_adjacent", "nodes": groups}


def _nodes_per_socket(nodes: Sequence[Node], next_nid: int, next_socket: int) -> int:
    """Return in how many nodes each socket is, if numbers go on without a gap and sockets are alike, or else 0."""
    runs = [len(list(run)) for _, run in itertools.groupby(node.socket_id for node in nodes)]
    sockets = [next_socket + i // runs[0] for i in range(len(nodes))]
    same = [node.socket_id for node in nodes] == sockets and len(nodes) % runs[0] == 0
    return runs[0] if same and [node.nid for node in nodes] == list(range(next_nid, next_nid + len(nodes))) else 0


def _kinds(cpus: Sequence[Cpu]) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """Return the cores of a node as runs of cores that are alike, in the order of their first CPUs."""
    cores: dict[int, list[Cpu]] = {}
    for cpu in cpus:
        cores.setdefault(cpu.core_id, []).append(cpu)
    kinds = []
    for (n_threads, speed), run in itertools.groupby(cores.values(), key=lambda core: (len(core), core[0].speed)):
        alike = list(run)
        n_caches = len({core[0].cache_id for core in alike})
        kind: list[tuple[str, Any]] = [("count", len(alike))]
        kind += [("threads_per_core", n_threads)] if n_threads > 1 else []
        kind += [("cache_domains", n_caches)] if n_caches > 1 else []
        kind += [("speed", speed)] if speed != 1.0 else []
        kinds.append(tuple(kind))
    return tuple(kinds)


def _one_by_one(topology: Topology, own: Mapping[int, Document]) -> list[Document]:
    """Return each node with the numbers of its CPUs."""
    parts: dict[tuple[int, int, float], dict[int, list[int]]] = {}  # (node, cache, speed) -> core -> CPUs
    for cpu in topology.cpus:
        cores = parts.setdefault((cpu.nid, cpu.cache_id, cpu.speed), {})
        cores.setdefault(cpu.core_id, []).append(cpu.cpu_id)
    caches = [cache_id for _, cache_id, _ in parts]
    nodes: list[Document] = []
    for node in topology.nodes:
        cpus = []
        for (nid, cache_id, speed), cores in parts.items():
            if nid == node.nid:
                part: Document = {"cores": [format_cpu_list(core) for core in cores.values()]}
                part |= {"speed": speed} if speed != 1.0 else {}
                part |= {"cache": cache_id} if caches.count(cache_id) > 1 else {}
                cpus.append(part)
        source = _source(topology, first=not nodes)
        entry: Document = {"nid": node.nid, "socket": node.socket_id, "memory": _size(node.memory_bytes)}
        entry |= {"memory_bandwidth": own[node.nid]} if node.nid in own else {}
        nodes.append(entry | {"cpus": cpus, "source": source})
    return nodes


def _source(topology: Topology, *, first: bool) -> str:
    """Return the source of nodes, and in the first group also the facts that the source lacks."""
    return _one_line("; ".join([topology.source, *(topology.remarks if first else ())]))


def rate_remarks(topology: Topology, reference: Machine | None = None) -> tuple[str, ...]:
    """Return what people should know of the memory of a topology's nodes, as `machine_document` writes it."""
    return memory_remarks(own_memories(topology, _socket_rate(topology, reference)))


def _socket_rate(topology: Topology, reference: Machine | None) -> float:
    """Return the traffic in bytes per second that the memory of a socket carries."""
    if reference is not None:
        return reference.rates.memory_bytes_per_s * nodes_per_socket(reference.nodes, reference.cpus)
    prior = family_of(topology.model_name, topology.vendor).prior(OF_SOCKET)
    return 0.0 if prior is None else parse_rate(prior.value)


def _rates_of_family(topology: Topology, family: Family) -> Document:
    """Return rates of a family, each with whether it is derived from measurements of others, or guessed."""
    share = nodes_per_socket(topology.nodes, topology.cpus)
    document: Document = rates_of(family, set(topology.distances.values()), share)
    for key, part in document.items():
        told = _how(part["source"], family)
        if key == "memory_bandwidth":
            told += _shared(share)
        document[key] = {"value": part["value"], "source": _one_line(f"{told}; {_ADVICE}")}
    return document


def _pages_of_family(family: Family) -> Document:
    """Return figures of pages that a family has of its own, each with whether it is derived or guessed."""
    return {
        key: {"value": part["value"], "source": _one_line(f"{_how(part['source'], family)}; {_ADVICE}")}
        for key, part in pages_of(family).items()
    }


def _how(source: str, family: Family) -> str:
    """Return a source with whether the figure is derived from measurements of others, or guessed."""
    guessed = family.name == UNKNOWN or re.search(r"\b(assumption|guess|estimate)", source)
    return f"{'guessed' if guessed else 'derived'}, {source}"


def _shared(share: int) -> str:
    return f"; a socket's, shared by {share} nodes" if share > 1 else ""


def _rates(topology: Topology, reference: Machine) -> Document:
    """Return the rates of another machine, without those that a file may lack as they say nothing."""
    rates = reference.rates
    share = nodes_per_socket(topology.nodes, topology.cpus)
    of_reference = nodes_per_socket(reference.nodes, reference.cpus)
    if share != of_reference:
        rates = replace(rates, memory_bytes_per_s=_socket_rate(topology, reference) / share)
    # Where a cache serves more cores than the reference's, as where the source knows no caches, its rate is no limit.
    if _cores_per_cache(topology.cpus) > _cores_per_cache(reference.cpus):
        rates = replace(rates, cache_bytes_per_s=None)
    document: Document = {}
    for name, key in RATES.items():
        value = key.of(rates)
        default = rates.clear_bytes_per_s if name == "serial_clear_rate" else key.default
        if name not in _OF_HOST and (key.needed or value != default):
            value = _rate(value) if key.kind is Rate else value
            document[name] = {"value": value, "source": _not_measured(reference, name)}
    if share != of_reference:
        document["memory_bandwidth"]["source"] += _shared(share)
    distances = sorted({distance for (a, b), distance in topology.distances.items() if a != b})
    if distances:
        document["remote_factors"] = _remote_factors(distances, reference)
    return document


def _not_measured(reference: Machine, key: str) -> str:
    told = reference.sources.get(f"rates.{key}", "its default")
    return _one_line(f"not measured: taken from {reference.name} ({told}); {_ADVICE}")


def _remote_factors(distances: Sequence[int], reference: Machine) -> Document:
    """Return factors for the distances of a machine: on straight lines between local and those of another machine."""
    if reference.name in _BORROWED_FACTORS or not reference.rates.remote_factors:
        reference = load_machine(_MEASURED_FACTORS)
    factors = reference.rates.remote_factors
    told = ", ".join(f"{distance}: {factor:g}" for distance, factor in sorted(factors.items()))
    return {
        "value": {str(distance): remote_factor(factors, distance) for distance in distances},
        "source": _one_line(
            f"not measured: interpolated by distance between 1 at {LOCAL_DISTANCE} and the factors of {reference.name} "
            f"({told}; {reference.sources.get('rates.remote_factors', 'its default')}), the last one beyond them; "
            f"{_ADVICE}"
        ),
    }


def _cores_per_cache(cpus: Sequence[Cpu]) -> int:
    """Return how many cores the busiest last-level cache serves."""
    pairs = {(cpu.cache_id, cpu.core_id) for cpu in cpus}
    caches = [cache_id for cache_id, _ in pairs]
    return max((caches.count(cache_id) for cache_id in set(caches)), default=0)


def _size(size_bytes: int) -> str:
    """Return a size in the largest unit that leaves a whole number."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def _rate(bytes_per_s: float) -> str:
    """Return a rate in the unit in which it has the fewest digits, exactly."""
    texts = [f"{bytes_per_s!r}B/s"]
    for unit, factor in (("GB/s", 1e9), ("GiB/s", float(GIB))):
        texts.append(f"{bytes_per_s / factor:.6g}{unit}")
    return min((text for text in texts if parse_rate(text) == bytes_per_s), key=len)


def _one_line(text: str) -> str:
    """Return text without line breaks and characters that a machine file can't have."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def write_machine(document: Mapping[str, Any], path: Path) -> None:
    """Write a machine file. Raises OSError."""
    path.write_text(machine_yaml(document), encoding="utf-8")


def machine_yaml(document: Mapping[str, Any]) -> str:
    """Return a document as YAML for people: short lists and mappings in one line, long texts folded."""
    return "".join(f"{line}\n" for key, value in document.items() for line in _entry(_scalar(key), value, ""))


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of `key: value`."""
    flow = _flow(value)
    if flow is not None and len(indent) + len(key) + 2 + len(flow) <= _FLOW_WIDTH:
        yield f"{indent}{key}: {flow}"
    elif isinstance(value, str):
        if value != " ".join(value.split()) or not value.isprintable():
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"
            return
        yield f"{indent}{key}: >-"
        yield from textwrap.wrap(
            value,
            _WIDTH,
            initial_indent=f"{indent}  ",
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    elif isinstance(value, Mapping):
        yield f"{indent}{key}:"
        for inner, item in value.items():
            yield from _entry(_scalar(inner), item, f"{indent}  ")
    elif _flow(value, 1) is not None:
        yield f"{indent}{key}:"
        yield from _wrapped(f"{indent}  ", str(_flow(value, 1)))
    else:
        yield f"{indent}{key}:"
        for item in value:
            yield from _item(item, f"{indent}  ")


def _item(value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of `- value`."""
    flow = _flow(value)
    if not isinstance(value, Mapping) or (flow is not None and len(indent) + 2 + len(flow) <= _FLOW_WIDTH):
        yield from _wrapped(f"{indent}- ", str(flow))
        return
    lines = [line for key, item in value.items() for line in _entry(_scalar(key), item, f"{indent}  ")]
    yield f"{indent}- {lines[0][len(indent) + 2 :]}"
    yield from lines[1:]


def _wrapped(start: str, text: str) -> Iterator[str]:
    """Yield a flow list, on several lines if it is long."""
    indent = " " * (len(start) + 1)
    yield from textwrap.wrap(
        start + text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _flow(value: Any, depth: int = 2) -> str | None:
    """Return a value in one line, or None if it has more than `depth` lists and mappings in each other."""
    if isinstance(value, Mapping):
        parts = [(_scalar(key), _flow(item, depth - 1)) for key, item in value.items()]
        return None if not depth or any(item is None for _, item in parts) else _braced(parts)
    if isinstance(value, (list, tuple)):
        items = [_flow(item, depth - 1) for item in value]
        return None if not depth or None in items else f"[{', '.join(item for item in items if item is not None)}]"
    return _scalar(value)


def _braced(parts: Sequence[tuple[str, str | None]]) -> str:
    return f"{{{', '.join(f'{key}: {item}' for key, item in parts)}}}"


def _scalar(value: Any) -> str:
    """Return a scalar that reads back as itself: texts that could be anything else, and lists of CPUs, in quotes."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and math.isfinite(value) else repr(value)
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9 _./()+-]*[A-Za-z0-9_./()+-])?", text)
    words = ("null", "true", "false")
    if plain and number_in(text) is None and text.lower() not in words and not re.fullmatch(r"[-0-9]+", text):
        return text
    return json.dumps(text, ensure_ascii=False)
