"""Machine files: what the shipped ones describe, and how CPUs, zonelists, routes and distances follow from a file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.clients import ClearGigantic
from models.files.machine import find_machine_file, iter_shipped, load_machine, shipped_machines
from models.kernels import KtaskV1
from models.machine import Machine
from models.machine.topology import layout
from models.scenario.case import Case
from models.text.problems import InputError
from models.text.units import GIB
from sim.engine.run import run_case
from sim.show.describe import describe_machine

RATES = """
rates:
  clear_rate: {value: 4GB/s, source: test}
  clear_traffic: {value: 2, source: test}
  memory_bandwidth: {value: 40GB/s, source: test}
  core_throughput: {value: 1.1, source: test}
  chunk_noise: {value: 0, source: test}
"""
RING = """
nodes: [{count: 4, memory: 4GiB, cores: [{count: 1}], source: test}]
links: [{between: [[0, 1], [1, 2], [2, 3], [0, 3]], bandwidth: 9GB/s, source: test}]
distances: {value: [10, 21, 31], source: test}
"""


def load(tmp_path: Path, body: str) -> Machine:
    """Return the machine of a file with `body` and the rates above."""
    path = tmp_path / "machine.yaml"
    path.write_text(f"machine: test\ntitle: a machine of a test\n{body}\n{RATES}")
    return load_machine(path)


def shipped_document(name: str) -> dict[str, Any]:
    """Return a shipped machine file as plain YAML."""
    document = yaml.safe_load(find_machine_file(name, Path()).read_text())
    assert isinstance(document, dict)
    return document


def test_a_node_may_have_its_own_bandwidth(tmp_path: Path) -> None:
    """Nodes of a group with `memory_bandwidth` have that, others `rates.memory_bandwidth`; its source is kept."""
    hbm = "{value: 500GB/s, source: a data sheet}"
    machine = load(
        tmp_path,
        "nodes:\n- {memory: 4GiB, cores: [{count: 2}], source: test}\n"
        f"- {{count: 2, memory: 1GiB, memory_bandwidth: {hbm}, cores: [], source: test}}\n"
        "distance_matrix: {value: [[10, 13, 23], [13, 10, 23], [23, 23, 10]], source: test}",
    )
    assert machine.bandwidths == {"memory0": 40e9, "memory1": 500e9, "memory2": 500e9}
    assert machine.sources["nodes[1].memory_bandwidth"] == "a data sheet"
    told = "The memory of nodes differs: 37.25 GiB/s (node 0), 465.7 GiB/s (nodes 1,2) of traffic."
    assert told in describe_machine(machine)


# --- the shipped machines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_cpus", "n_cores", "n_caches", "n_sockets", "node_gib", "hops"),
    [
        ("epyc-7742-2s-nps4", 256, 128, 16, 2, [64] * 8, {0: 8, 1: 32, 2: 24}),
        ("epyc-7j13-2s", 256, 128, 16, 2, [1024] * 2, {0: 2, 1: 2}),
        ("haswell-ex-4s", 144, 72, 4, 4, [128] * 4, {0: 4, 1: 12}),
        ("haswell-ex-8s-6tib", 288, 144, 8, 8, [768] * 8, {0: 8, 1: 24, 2: 32}),
        ("hugetlb-128c1t-2n", 128, 64, 2, 2, [512] * 2, {0: 2, 1: 2}),
        ("hugetlb-256c2t-4n", 256, 128, 4, 4, [512] * 4, {0: 4, 1: 12}),
        ("hugetlb-256g-2n", 128, 64, 2, 2, [128] * 2, {0: 2, 1: 2}),
        ("hugetlb-2t-4n", 256, 128, 4, 4, [512] * 4, {0: 4, 1: 12}),
        ("hugetlb-50g-2n", 128, 64, 2, 2, [25] * 2, {0: 2, 1: 2}),
        ("laptop-ryzen-4800u", 16, 8, 2, 1, [16], {0: 1}),
        ("xeon-6776p-2s", 256, 128, 2, 2, [2048] * 2, {0: 2, 1: 2}),
        ("xeon-cascade-lake-4s", 192, 96, 4, 4, [384] * 4, {0: 4, 1: 12}),
        ("xeon-e5-2699cv4-guest", 32, 16, 1, 1, [192], {0: 1}),
        ("xeon-e5-2699v3-2s", 72, 36, 2, 2, [128] * 2, {0: 2, 1: 2}),
        ("xeon-e5-2699v4-2s", 88, 44, 2, 2, [251.5] * 2, {0: 2, 1: 2}),
        ("xeon-e7-8895v3-8s", 288, 144, 8, 8, [128] * 8, {0: 8, 1: 24, 2: 32}),
        ("xeon-platinum-8160-2s", 96, 48, 2, 2, [377] * 2, {0: 2, 1: 2}),
        ("xeon-platinum-8167m-2s", 104, 52, 2, 2, [384] * 2, {0: 2, 1: 2}),
        ("xeon-platinum-8358-2s", 128, 64, 2, 2, [512] * 2, {0: 2, 1: 2}),
        ("xeon-skylake-4s", 144, 72, 4, 4, [384] * 4, {0: 4, 1: 12}),
    ],
)
def test_shipped_machine(
    name: str, n_cpus: int, n_cores: int, n_caches: int, n_sockets: int, node_gib: list[float], hops: dict[int, int]
) -> None:
    """A shipped machine has the CPUs, cores, caches, sockets, memory and hops of its data sheet."""
    machine = load_machine(name)
    assert machine.name == name
    assert [cpu.cpu_id for cpu in machine.cpus] == list(range(n_cpus))
    assert len({cpu.core_id for cpu in machine.cpus}) == n_cores
    assert len({cpu.cache_id for cpu in machine.cpus}) == n_caches
    assert len({node.socket_id for node in machine.nodes}) == n_sockets
    assert [node.memory_bytes for node in machine.nodes] == [gib * GIB for gib in node_gib]
    assert machine.memory_bytes == sum(node_gib) * GIB
    assert machine.cpu_nids == machine.nids == tuple(range(len(node_gib)))
    found = [machine.hops(a, b) for a, b in itertools.product(machine.nids, repeat=2)]
    assert {n: found.count(n) for n in set(found)} == hops


def test_every_shipped_machine_is_in_the_table() -> None:
    """No shipped machine is left out of the data sheets above."""
    (mark,) = test_shipped_machine.pytestmark  # type: ignore[attr-defined]
    assert tuple(row[0] for row in mark.args[1]) == shipped_machines() == tuple(m.name for m in iter_shipped())


@pytest.mark.parametrize(
    ("name", "nid", "cpus"),
    [
        ("epyc-7742-2s-nps4", 0, [*range(0, 16), *range(128, 144)]),
        ("epyc-7742-2s-nps4", 3, [*range(48, 64), *range(176, 192)]),
        ("epyc-7742-2s-nps4", 7, [*range(112, 128), *range(240, 256)]),
        ("laptop-ryzen-4800u", 0, [*range(16)]),
        ("xeon-platinum-8160-2s", 1, [*range(24, 48), *range(72, 96)]),
    ],
)
def test_shipped_cpu_ids(name: str, nid: int, cpus: list[int]) -> None:
    """A node's CPU ids are those that Linux prints for such a machine."""
    assert [cpu.cpu_id for cpu in load_machine(name).cpus_of(nid)] == cpus


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("epyc-7742-2s-nps4", [10, 12, 12, 12, 32, 32, 32, 32]),
        ("laptop-ryzen-4800u", [10]),
        ("xeon-e7-8895v3-8s", [10, 21, 21, 31, 21, 31, 31, 31]),
        ("xeon-platinum-8160-2s", [10, 21]),
    ],
)
def test_shipped_distances(name: str, row: list[int]) -> None:
    """The distances from node 0 are those of the published SLIT, and they are symmetric."""
    machine = load_machine(name)
    assert [machine.distances[0, nid] for nid in machine.nids] == row
    assert all(machine.distances[a, b] == machine.distances[b, a] for a, b in machine.distances)


@pytest.mark.parametrize("name", shipped_machines())
def test_every_number_has_a_source(name: str) -> None:
    """Each rate, distance, group of nodes and group of links of a shipped file says where it comes from."""
    document = shipped_document(name)
    groups = [*document["nodes"], *document.get("links", []), *document["rates"].values()]
    groups += [document[key] for key in ("distances", "distance_matrix") if key in document]
    assert all(str(group["source"]).strip() for group in groups)
    expected = {"distances", *(f"rates.{key}" for key in document["rates"])}
    expected |= {f"{key}[{i}]" for key in ("nodes", "links") for i in range(len(document.get(key, [])))}
    expected |= {f"clients.{client}.{cost}" for client, costs in document.get("clients", {}).items() for cost in costs}
    expected |= {f"pages.{name}" for name in document.get("pages", {})}
    expected |= {f"power.{key}" for key in document.get("power", {})}
    sources = load_machine(name).sources
    assert set(sources) == expected
    assert all(source.strip() for source in sources.values())


@pytest.mark.parametrize("name", shipped_machines())
def test_no_placeholder_is_shipped(name: str) -> None:
    """No shipped file has a number that still waits for its source."""
    text = find_machine_file(name, Path()).read_text().lower()
    if name == "xeon-e7-8895v3-8s" and "placeholder" in text:
        pytest.skip("its rates are fitted later")
    assert "placeholder" not in text


# --- CPUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbering", "core_ids", "nids"),
    [
        ("siblings_last", [0, 1, 2, 3, 0, 1, 2, 3], [0, 0, 1, 1, 0, 0, 1, 1]),
        ("siblings_adjacent", [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_cpu_numbering(tmp_path: Path, numbering: str, core_ids: list[int], nids: list[int]) -> None:
    """Second threads come after the first threads of all cores, or right after their own."""
    machine = load(
        tmp_path,
        f"""
cpu_numbering: {numbering}
nodes: [{{count: 2, memory: 4GiB, cores: [{{count: 2, threads_per_core: 2}}], source: test}}]
links: [{{between: [[0, 1]], bandwidth: 9GB/s, source: test}}]
distances: {{value: [10, 21], source: test}}
""",
    )
    assert [cpu.cpu_id for cpu in machine.cpus] == list(range(8))
    assert [cpu.core_id for cpu in machine.cpus] == core_ids
    assert [cpu.nid for cpu in machine.cpus] == nids


@pytest.mark.parametrize(
    ("numbering", "core_ids"),
    [("siblings_last", [0, 1, 2, 3, 4, 5, 0, 1]), ("siblings_adjacent", [0, 0, 1, 1, 2, 3, 4, 5])],
)
def test_cpu_numbering_of_a_hybrid(tmp_path: Path, numbering: str, core_ids: list[int]) -> None:
    """Cores of two kinds keep their threads, speeds and caches in either numbering."""
    machine = load(
        tmp_path,
        f"""
cpu_numbering: {numbering}
nodes:
  - memory: 4GiB
    cores: [{{count: 2, threads_per_core: 2}}, {{count: 4, cache_domains: 2, speed: 0.5}}]
    source: test
""",
    )
    assert [cpu.core_id for cpu in machine.cpus] == core_ids
    by_core = {cpu.core_id: (cpu.cache_id, cpu.speed) for cpu in machine.cpus}
    assert by_core == {0: (0, 1.0), 1: (0, 1.0), 2: (1, 0.5), 3: (1, 0.5), 4: (2, 0.5), 5: (2, 0.5)}


SPARSE = """
nodes:
  - {memory: 4GiB, cpus: [{cores: ["0,8", 4]}, {cores: ["16"], speed: 0.5, cache: 7}], source: test}
  - {nid: 8, socket: 5, memory: 4GiB, cpus: [{cores: ["2-3"]}, {cores: [40], cache: 7}], source: test}
  - {memory: 4GiB, cpus: [], source: test}
  - {nid: 3, memory: 0GiB, cores: [], source: test}
distance_matrix: {value: [[10, 40, 17, 20], [40, 10, 28, 21], [17, 28, 10, 30], [20, 21, 30, 10]], source: test}
"""


def test_cpus_by_number(tmp_path: Path) -> None:
    """CPUs and nodes have the numbers of the file; a group is one cache, and so are groups with one label."""
    machine = load(tmp_path, SPARSE)
    assert [(node.nid, node.socket_id) for node in machine.nodes] == [(0, 0), (3, 7), (8, 5), (9, 6)]
    assert [cpu.cpu_id for cpu in machine.cpus] == [0, 2, 3, 4, 8, 16, 40]
    assert layout(machine.cpus) == {
        0: (0, 1.0, {0, 8}, {0, 4, 8}),
        2: (8, 1.0, {2, 3}, {2, 3}),
        3: (8, 1.0, {2, 3}, {2, 3}),
        4: (0, 1.0, {4}, {0, 4, 8}),
        8: (0, 1.0, {0, 8}, {0, 4, 8}),
        16: (0, 0.5, {16}, {16, 40}),
        40: (8, 1.0, {40}, {16, 40}),
    }
    assert (machine.nids, machine.cpu_nids) == ((0, 3, 8, 9), (0, 8))


def test_rows_of_distances_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The second row of a distance matrix is the second node's, whatever its number."""
    machine = load(tmp_path, SPARSE)
    assert [machine.distances[8, nid] for nid in (0, 8, 9, 3)] == [40, 10, 28, 21]
    assert machine.zonelists[8] == (8, 9, 0)


def test_without_links_nodes_are_connected_directly(tmp_path: Path) -> None:
    """With distances and no links every route is direct, and only memory limits what moves."""
    machine = load(tmp_path, SPARSE)
    assert machine.links == ()
    assert (machine.routes[9, 3], machine.routes[8, 8], machine.hops(0, 8)) == ((9, 3), (8,), 1)
    assert machine.traffic(0, [8], 2.0) == (("memory8", 2.0),)
    assert set(machine.bandwidths) == {"memory0", "memory8", "memory9"}


def test_links_and_routes_between_sparse_nodes(tmp_path: Path) -> None:
    """Links and routes name nodes by their numbers."""
    body = (
        SPARSE[: SPARSE.index("distance_matrix")]
        + """
links: [{between: [[0, 8], [8, 9], [9, 3], [3, 0]], bandwidth: 9GB/s, source: test}]
routes: [[0, 3, 9]]
distances: {value: [10, 21, 31], source: test}
"""
    )
    machine = load(tmp_path, body)
    assert machine.routes[0, 9] == (0, 3, 9)
    assert machine.distances[0, 9] == 31
    assert {name for name, _ in machine.traffic(9, [0], 2.0)} == {"memory0", "link9-3", "link3-9", "link3-0", "link0-3"}


def test_a_machine_with_sparse_numbers_runs(tmp_path: Path) -> None:
    """Threads run on the CPUs of the file, clear memory of all its nodes, and nothing is said to cross a link.

    By hand: 3 threads clear at most 12 GB/s together, and one on the slow core alone 2 GB/s.
    """
    machine = load(tmp_path, SPARSE)
    task = ClearGigantic(client="clear_gigantic_page", size="12GiB", caller_node=8)
    case = Case(machine, task, KtaskV1(max_threads=3), 1, 1)
    result = run_case(case, 0, with_slices=True)
    used = {part.cpu for part in result.slices if part.cpu is not None}
    assert used <= {cpu.cpu_id for cpu in machine.cpus}
    assert {part.memory_node for part in result.slices if part.memory_node is not None} == {0, 8, 9}
    assert {name for name in result.utilisation if name.startswith("memory")} == {"memory0", "memory8", "memory9"}
    assert not [name for name in result.utilisation if name.startswith("link")]
    assert 12 * GIB / (3 * 4e9) < result.time_s < 12 * GIB / 2e9
    text = describe_machine(machine)
    assert "0 links" in text
    assert "  At distance 17: 0 to 1 of the other nodes" in text


# --- zonelists ------------------------------------------------------------------------------------------------------


def test_zonelists_of_two_sockets_with_four_nodes_each() -> None:
    """On the EPYC, whose nodes are alike, the nodes that already follow another node at its distance are passed over.

    By hand: a list's first node at each new distance gets a load of 8 less its place, which orders later ties. Node 0
    takes 1 (load 7) and, across, 4 (load 4); node 1 takes 2 (7) and, 4 being loaded, 5 (4); node 2 takes 3 (7) and 6
    (4); node 3 has no later node and takes 0 (7), then 7 (4). For nodes 4 to 7 nodes 0 to 3 have load 7 each until
    node 4 takes 0, whose load that makes 4; so 5, 6 and 7 take 0 as well.
    """
    assert load_machine("epyc-7742-2s-nps4").zonelists == {
        0: (0, 1, 2, 3, 4, 5, 6, 7),
        1: (1, 2, 3, 0, 5, 6, 7, 4),
        2: (2, 3, 0, 1, 6, 7, 4, 5),
        3: (3, 0, 1, 2, 7, 4, 5, 6),
        4: (4, 5, 6, 7, 0, 1, 2, 3),
        5: (5, 6, 7, 4, 0, 1, 2, 3),
        6: (6, 7, 4, 5, 0, 1, 2, 3),
        7: (7, 4, 5, 6, 0, 1, 2, 3),
    }


def test_zonelists_of_a_ring(tmp_path: Path) -> None:
    """On a ring of four nodes the later of two neighbours comes first, and the opposite node last.

    By hand, node 1: 21 + 1 (has CPUs) to node 2, 21 + 1 + 1 (before node 1) to node 0, 31 + 1 to node 3.
    """
    assert load(tmp_path, RING).zonelists == {0: (0, 1, 3, 2), 1: (1, 2, 0, 3), 2: (2, 3, 1, 0), 3: (3, 0, 2, 1)}


def test_zonelists_prefer_nodes_without_cpus(tmp_path: Path) -> None:
    """Among nodes at one distance that without CPUs comes first, unless it is before the node and a later one is not.

    By hand, node 0: 20 + 1 to node 1, 20 + 0 to node 2. Node 1: 20 + 0 to node 2, 20 + 1 + 1 to node 0. Node 2 (no
    CPUs): 20 + 1 + 1 to nodes 0 and 1, neither of which heads a list so far.
    """
    machine = load(
        tmp_path,
        """
nodes:
  - {count: 2, memory: 4GiB, cores: [{count: 1}], source: test}
  - {memory: 4GiB, cores: [], source: test}
links: [{between: [[0, 1], [0, 2], [1, 2]], bandwidth: 9GB/s, source: test}]
distances: {value: [10, 20], source: test}
""",
    )
    assert machine.cpu_nids == (0, 1)
    assert machine.zonelists == {0: (0, 2, 1), 1: (1, 2, 0), 2: (2, 0, 1)}


@pytest.mark.parametrize("name", shipped_machines())
def test_zonelists_of_shipped_machines(name: str) -> None:
    """A zonelist holds every node once, its own first, and distances never fall along it."""
    machine = load_machine(name)
    for nid, order in machine.zonelists.items():
        assert order[0] == nid
        assert sorted(order) == list(machine.nids)
        distances = [machine.distances[nid, other] for other in order]
        assert distances == sorted(distances)


# --- routes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_machines())
def test_routes_are_shortest(name: str) -> None:
    """Routes go over links only, are as short as any way between their ends, and are as long one way as the other."""
    machine = load_machine(name)
    linked = {pair for link in machine.links for pair in (link.nids, link.nids[::-1])}
    shortest = {
        (a, b): 0 if a == b else 1 if (a, b) in linked else len(machine.nids)
        for a, b in itertools.product(machine.nids, repeat=2)
    }
    for via, a, b in itertools.product(machine.nids, repeat=3):
        shortest[a, b] = min(shortest[a, b], shortest[a, via] + shortest[via, b])
    assert set(machine.routes) == set(shortest)
    for (a, b), route in machine.routes.items():
        assert (route[0], route[-1]) == (a, b)
        assert set(itertools.pairwise(route)) <= linked
        assert machine.hops(a, b) == machine.hops(b, a) == shortest[a, b]


def test_routes_prefer_lower_nodes(tmp_path: Path) -> None:
    """Of two shortest routes the one by the lower node is taken."""
    machine = load(tmp_path, RING)
    assert (machine.routes[0, 2], machine.routes[2, 0]) == ((0, 1, 2), (2, 1, 0))
    assert (machine.routes[1, 3], machine.routes[3, 1]) == ((1, 0, 3), (3, 0, 1))


def test_routes_override(tmp_path: Path) -> None:
    """A route in the file replaces the shortest one in both directions, and no other."""
    plain = load(tmp_path, RING)
    machine = load(tmp_path, RING + "routes: [[0, 3, 2]]")
    assert machine.routes == {**plain.routes, (0, 2): (0, 3, 2), (2, 0): (2, 3, 0)}
    assert machine.hops(0, 2) == 2


def test_routes_override_sets_the_distance(tmp_path: Path) -> None:
    """Distances by number of links count those of the route in the file."""
    body = RING.replace("[10, 21, 31]", "[10, 21, 31, 41]")
    machine = load(tmp_path, body + "routes: [[0, 3, 2, 1]]")
    assert machine.hops(0, 1) == machine.hops(1, 0) == 3
    assert machine.distances[0, 1] == machine.distances[1, 0] == 41
    assert machine.distances[1, 2] == 21


def test_routes_override_refuses_a_missing_link(tmp_path: Path) -> None:
    """A route over a link that the machine does not have is refused with the two nodes."""
    with pytest.raises(InputError) as error:
        load(tmp_path, RING + "routes: [[0, 2]]")
    assert "found [0, 2]; there is no link between nodes 0 and 2" in str(error.value)


# --- distances ------------------------------------------------------------------------------------------------------


def test_distance_matrix(tmp_path: Path) -> None:
    """A distance matrix gives the distances whatever the number of links."""
    body = RING.replace("distances: {value: [10, 21, 31]", "distance_matrix: {value: MATRIX")
    matrix = [[10, 12, 32, 32], [12, 10, 32, 32], [32, 32, 10, 12], [32, 32, 12, 10]]
    machine = load(tmp_path, body.replace("MATRIX", str(matrix)))
    assert machine.distances == {(a, b): matrix[a][b] for a in range(4) for b in range(4)}
    assert (machine.hops(1, 2), machine.distances[1, 2]) == (1, 32)
