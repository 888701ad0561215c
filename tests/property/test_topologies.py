"""What holds for any topology, CPU list and damaged file: it comes back as it was, or is refused."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.importers import import_topology
from models.machine import Node
from models.machine.topology import FoundCpu, Topology, layout, number_cpus
from models.text.cpu_list import format_cpu_list, parse_cpu_list
from models.text.problems import InputError
from models.text.units import GIB, KIB
from tests.topologies import HWLOC, NUMACTL, built, files_in, plain, tar_of, write_tree


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Topologies of up to 4 nodes, 3 sockets and 24 cores, with gaps in all numbers, kinds of cores, shared caches."""
    n_nodes = draw(st.integers(1, 4))
    sparse = draw(st.booleans())
    nids = sorted(draw(st.sets(st.integers(0, 40), min_size=n_nodes, max_size=n_nodes))) if sparse else range(n_nodes)
    sockets = sorted(draw(st.lists(st.integers(0, 2), min_size=n_nodes, max_size=n_nodes)))
    memory = st.sampled_from([0, GIB, GIB, 4 * GIB, 24_576_000 * KIB, 7_694_556 * KIB])
    sizes = [GIB, *draw(st.lists(memory, min_size=n_nodes - 1, max_size=n_nodes - 1))]
    regular = draw(st.booleans())
    threads, per_cache = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    few = draw(st.integers(1, 6))
    found: list[FoundCpu] = []
    for i, nid in enumerate(nids):
        n_cores = few if regular else draw(st.integers(0 if i else 1, 6))
        for core in range(n_cores):
            speed = 1.0 if regular or not found else draw(st.sampled_from([1.0, 0.5, 717 / 1024]))
            cache = (nid, core // per_cache) if regular else draw(st.sampled_from([(nid, 0), (nid, 1), (0, "shared")]))
            n_threads = threads if regular else draw(st.integers(1, 3))
            found += [FoundCpu(nid, (nid, core), cache, speed)] * n_threads
    order: Iterable[int] = range(len(found))
    if regular and draw(st.booleans()):  # as Linux numbers them on servers
        order = [i for thread in range(threads) for i in range(thread, len(found), threads)]
    elif not regular:
        order = draw(st.permutations(range(len(found))))
    gap = draw(st.integers(1, 3)) if sparse else 1
    cpus = number_cpus({gap * cpu_id: found[i] for cpu_id, i in enumerate(order)})
    pairs = itertools.product(nids, repeat=2)
    distances = {(a, b): 10 if a == b else draw(st.integers(11, 254)) for a, b in pairs}
    with_cpus = {cpu.nid for cpu in cpus}
    socket_of = dict(zip(nids, sockets, strict=True))
    for nid in set(nids) - with_cpus:  # where /sys does not tell it
        socket_of[nid] = socket_of[min(with_cpus, key=lambda other: (distances[nid, other], other))]
    nodes = tuple(Node(nid, socket_of[nid], size) for nid, size in zip(nids, sizes, strict=True))
    return Topology("any machine", nodes, cpus, distances, 4 * KIB, "drawn at random")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(topologies())
def test_any_topology_comes_back_from_a_machine_file(topology: Topology) -> None:
    """A topology written as a machine file and read back has the same nodes, CPUs, cores, caches and distances."""
    machine = built(topology)
    assert plain(machine.nodes) == topology.nodes
    assert layout(machine.cpus) == layout(topology.cpus)
    assert machine.distances == topology.distances


def tree_of(topology: Topology) -> dict[str, str]:
    """Return a topology as the files of /sys."""
    files = {"cpu/online": format_cpu_list(cpu.cpu_id for cpu in topology.cpus)}
    socket_of = {node.nid: node.socket_id for node in topology.nodes}
    for cpu_id, (nid, speed, core, cache) in layout(topology.cpus).items():
        folder = f"cpu/cpu{cpu_id}"
        files[f"{folder}/topology/core_cpus_list"] = format_cpu_list(core)
        files[f"{folder}/topology/physical_package_id"] = str(socket_of[nid])
        files[f"{folder}/cpu_capacity"] = str(round(speed * 1024))
        for index, level, kind, mates in (
            (0, 1, "Data", frozenset({cpu_id})),
            (1, 3, "Unified", cache),
            (2, 4, "Instruction", frozenset({cpu_id})),
        ):
            files[f"{folder}/cache/index{index}/level"] = str(level)
            files[f"{folder}/cache/index{index}/type"] = kind
            files[f"{folder}/cache/index{index}/shared_cpu_list"] = format_cpu_list(mates)
    files["node/online"] = format_cpu_list(node.nid for node in topology.nodes)
    for node in topology.nodes:
        folder = f"node/node{node.nid}"
        files[f"{folder}/cpulist"] = format_cpu_list(cpu.cpu_id for cpu in topology.cpus if cpu.nid == node.nid)
        files[f"{folder}/distance"] = " ".join(str(topology.distances[node.nid, b.nid]) for b in topology.nodes)
        files[f"{folder}/meminfo"] = f"Node {node.nid} MemTotal:   {node.memory_bytes // KIB} kB"
    return {f"sys/devices/system/{name}": content for name, content in files.items()}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(topologies())
def test_any_topology_comes_back_from_sysfs(topology: Topology) -> None:
    """A topology written as a /sys tree and read back is the same, from a folder and from an archive."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "copy"
        write_tree(folder, tree_of(topology))
        archive = tar_of(files_in(folder), Path(name) / "copy.tar")
        for found in (import_topology(folder), import_topology(archive)):
            assert found.nodes == topology.nodes
            assert layout(found.cpus) == layout(topology.cpus)
            assert found.distances == topology.distances


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sets(st.integers(0, 16_383), max_size=40))
def test_any_cpu_list_comes_back(numbers: set[int]) -> None:
    """Numbers written as a CPU list are read back."""
    assert parse_cpu_list(format_cpu_list(numbers)) == tuple(sorted(numbers))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data(), st.sampled_from([NUMACTL, HWLOC]))
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, text: str) -> None:
    """Whatever is cut out of a file or put into it, it is read or refused with messages, never anything else."""
    start = data.draw(st.integers(0, len(text)))
    slip = data.draw(st.sampled_from(["", "-1", "99999999999", "x", "\n", '"', "1e400", "node 7 cpus: 1"]))
    damaged = text[:start] + slip + text[start + data.draw(st.integers(0, 40)) :]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "damaged"
        path.write_text(damaged, encoding="utf-8")
        try:
            assert import_topology(path).cpus
        except InputError as error:
            assert all(line.startswith(f"{path}:") for line in str(error).splitlines())
