"""Topologies written as machine files: in whose words, with whose rates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.families import OF_SOCKET, UNKNOWN, families
from models.files.machine import iter_shipped, load_machine
from models.files.machine_keys import RATES
from models.files.machine_writer import machine_document, machine_yaml, rate_remarks, write_machine
from models.files.node_memory import nodes_per_socket
from models.machine import Cpu, Machine, Node
from models.machine.topology import MemoryTold, Topology, layout
from models.text.document import parse
from models.text.units import GIB, parse_rate
from tests.topologies import built, plain, read


def of_machine(machine: Machine) -> Topology:
    """Return the topology of a machine."""
    return Topology(
        machine.title, machine.nodes, machine.cpus, machine.distances, machine.base_page_bytes, "a test", ()
    )


@pytest.mark.parametrize("machine", tuple(iter_shipped()), ids=lambda machine: machine.name)
def test_shipped_machines_are_written_as_groups(machine: Machine) -> None:
    """A shipped machine is written with its nodes and cores by count, and comes back the same."""
    document = machine_document(of_machine(machine), machine.name)
    original = yaml.safe_load((Path("models/machines") / f"{machine.name}.yaml").read_text(encoding="utf-8"))
    for key in ("count", "nodes_per_socket", "memory", "cores"):
        assert document["nodes"][0].get(key) == original["nodes"][0].get(key)
    assert document.get("cpu_numbering") == original.get("cpu_numbering")
    written = built(of_machine(machine))
    assert (written.nodes, layout(written.cpus)) == (machine.nodes, layout(machine.cpus))
    assert written.distances == machine.distances


@pytest.mark.parametrize("reference", tuple(iter_shipped()), ids=lambda machine: machine.name)
def test_rates_are_those_of_the_reference(reference: Machine, tmp_path: Path) -> None:
    """All rates but those of remote streams are the reference's, to the last bit, and name it."""
    machine = built(read("xeon_cluster_on_die_4nodes.v1.xml", tmp_path), reference)
    # Two nodes a socket share what the reference's nodes of a socket have.
    n_nodes = {"epyc-7742-2s-nps4": 4}.get(reference.name, 1)
    shared = replace(reference.rates, memory_bytes_per_s=reference.rates.memory_bytes_per_s * n_nodes / 2)
    assert machine.rates.memory_bytes_per_s == pytest.approx(shared.memory_bytes_per_s, rel=1e-5)
    same = {"remote_factors": {}, "memory_bytes_per_s": 1.0}
    assert replace(machine.rates, **same) == replace(reference.rates, **same)
    assert f"taken from {reference.name} (" in machine.sources["rates.clear_rate"]


@pytest.mark.parametrize(
    ("vendor", "model", "family"),
    [
        ("AuthenticAMD", "AMD EPYC 7742 64-Core Processor", "zen2"),
        ("AuthenticAMD", None, "amd"),
        ("GenuineIntel", "Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz", "skylake-sp"),
        ("IBM", None, None),
        (None, None, None),
    ],
)
def test_rates_by_family(vendor: str | None, model: str | None, family: str | None, tmp_path: Path) -> None:
    """Rates are those of the processor's family, and each says whether it is derived or guessed."""
    topology = replace(read("opteron_2nodes.numactl", tmp_path), vendor=vendor, model_name=model)
    document = machine_document(topology, "test")
    assert document.get("family") == family
    expected = families()[family or UNKNOWN].figures["rates.clear_rate"].value
    assert document["rates"]["clear_rate"]["value"] == expected
    for part in document["rates"].values():
        assert part["source"].startswith(("derived, not measured", "guessed, not measured"))


def test_nodes_of_a_socket_share_its_bandwidth() -> None:
    """An EPYC 7742 has 160 GB/s a socket (zen2): with one node a socket (NPS1) 160 a node, with four (NPS4) 40."""
    epyc = of_machine(load_machine("epyc-7742-2s-nps4"))
    model = "AMD EPYC 7742 64-Core Processor"
    of_socket = parse_rate(families()["zen2"].figures[OF_SOCKET].value)
    four = built(replace(epyc, model_name=model))
    one = built(replace(epyc, model_name=model, nodes=tuple(replace(n, socket_id=n.nid) for n in epyc.nodes)))
    assert one.rates.memory_bytes_per_s == pytest.approx(of_socket)
    assert four.rates.memory_bytes_per_s == pytest.approx(of_socket / 4, rel=1e-3)
    assert "a socket's, shared by 4 nodes" in four.sources["rates.memory_bandwidth"]


def test_memory_without_cpus_is_said_to_be_guessed(tmp_path: Path) -> None:
    """Persistent memory, in nodes without CPUs, takes no share of a socket's bandwidth: its own is a guess."""
    topology = replace(read("xeon_pmem_4nodes.tree", tmp_path), model_name="Intel(R) Xeon(R) Gold 6252 CPU @ 2.10GHz")
    (remark,) = rate_remarks(topology)
    assert (
        remark
        == "nodes 2,3 have memory and no CPUs: taken as persistent memory (Optane), 20GB/s a node, which is a guess"
    )
    machine = built(topology)
    assert [node.memory_bytes_per_s for node in machine.nodes] == [None, None, 20e9, 20e9]
    assert machine.sources["nodes[2].memory_bandwidth"].startswith("guessed, not measured, within 50%: persistent")
    assert machine.bandwidths["memory2"] == 20e9
    assert machine.bandwidths["memory0"] == machine.rates.memory_bytes_per_s
    assert nodes_per_socket(topology.nodes, topology.cpus) == 1


def test_nodes_of_several_kinds_of_memory(tmp_path: Path) -> None:
    """By hand, of a socket's 150 GB/s (an unknown server): what a source names or tells goes before guesses.

    Nodes: 0 and 1 with a CPU in socket 0, so 75 each; 2 with a CPU alone in socket 1, so 150; 3 is named HBM, 600; 4
    has twice what firmware tells of node 2, whose share is taken as 75. A node that spans two sockets has 300.
    """
    nodes = [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1)]
    topology = replace(
        read("opteron_2nodes.numactl", tmp_path),
        nodes=tuple(Node(nid, socket, GIB) for nid, socket in nodes),
        cpus=tuple(Cpu(nid, nid, nid, nid, 1.0) for nid in (0, 1, 2)),
        distances={(a, b): 10 if a == b else 20 + abs(a - b) for a, _ in nodes for b, _ in nodes},
        memories={3: MemoryTold("HBM"), 4: MemoryTold(None, 2e11, "HMAT"), 2: MemoryTold(None, 1e11, "HMAT")},
    )
    machine = built(topology)
    assert machine.rates.memory_bytes_per_s == pytest.approx(75e9, rel=1e-3)
    rates = [machine.memory_rate(nid) for nid in machine.memory_nids]
    assert rates == pytest.approx([75e9, 75e9, 150e9, 600e9, 150e9], rel=1e-3)
    spanning = built(replace(topology, spans={2: 2}))
    assert spanning.memory_rate(2) == pytest.approx(300e9)


def test_remote_factors_are_interpolated(tmp_path: Path) -> None:
    """Factors lie on lines through (10, 1) and the measured ones, and are the last one's beyond.

    By hand for the Xeon, with f21 and f31 of the 8-socket machine: 17 is 7/11 of the way from 10 to 21, 28 is 7/10 of
    that from 21 to 31. For the EPYC, 28 is 16/20 of the way from 12 to 32.
    """
    xeon = load_machine("xeon-e7-8895v3-8s").rates.remote_factors
    topology = read("xeon_pmem_4nodes.tree", tmp_path)
    factors = built(topology, load_machine("xeon-platinum-8160-2s")).rates.remote_factors
    assert factors[17] == pytest.approx(1 - (1 - xeon[21]) * 7 / 11, abs=1e-4)
    assert factors[21] == pytest.approx(xeon[21], abs=1e-4)
    assert factors[28] == pytest.approx(xeon[21] + (xeon[31] - xeon[21]) * 7 / 10, abs=1e-4)
    epyc = load_machine("epyc-7742-2s-nps4")
    near, far = (epyc.rates.remote_factors[distance] for distance in (12, 32))
    assert built(topology, epyc).rates.remote_factors[28] == pytest.approx(near + (far - near) * 16 / 20, abs=1e-4)
    power9 = built(read("power9_sparse_6nodes.numactl", tmp_path), load_machine("xeon-platinum-8160-2s"))
    assert power9.rates.remote_factors == {40: pytest.approx(xeon[31], abs=1e-4), 80: pytest.approx(xeon[31], abs=1e-4)}
    assert "xeon-e7-8895v3-8s" in power9.sources["rates.remote_factors"]


def test_a_cache_that_serves_more_cores_has_no_limit(tmp_path: Path) -> None:
    """The reference's limit of a cache holds for caches of as many cores, not for a whole node's."""
    epyc = load_machine("epyc-7742-2s-nps4")
    assert built(read("epyc_7401_memoryless_8nodes.tree", tmp_path), epyc).rates.cache_bytes_per_s
    assert built(read("kunpeng_920_4nodes.numactl", tmp_path), epyc).rates.cache_bytes_per_s is None


def test_written_as_text(tmp_path: Path) -> None:
    """A file is written for people: sizes in whole units, lists of CPUs in quotes, long texts folded."""
    topology = read("xeon_pmem_4nodes.tree", tmp_path)
    some = tuple(cpu for cpu in topology.cpus if cpu.cpu_id % 24 < 2 and cpu.cpu_id != 1)
    few = replace(topology, cpus=some, source="a copy of /sys")
    write_machine(machine_document(few, "few"), tmp_path / "few.yaml")
    text = (tmp_path / "few.yaml").read_text(encoding="utf-8")
    assert plain(load_machine(tmp_path / "few.yaml").nodes) == topology.nodes
    assert text.startswith('machine: few\ntitle: "2 x Intel(R) Xeon(R) Platinum, 96 CPUs, 4 nodes, ')
    assert (
        '\n    memory: 64136MiB\n    cpus:\n      - {cores: ["0,48", "49"]}\n    source: >-\n      a copy of /sys; '
        in text
    )
    assert "\n  - nid: 2\n    socket: 0\n    memory: 248GiB\n    memory_bandwidth:\n      value: 30GB/s\n" in text
    assert "\n    cpus: []\n    source: a copy of /sys\n" in text
    assert "value: [[10, 21, 17, 28], [21, 10, 28, 17], [17, 28, 10, 28], [28, 17, 28, 10]]\n" in text
    assert max(len(line) for line in text.splitlines()) <= 120


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_any_text_comes_back_from_yaml(text: str) -> None:
    """Whatever text is in a document, as key, value or item, it is read back as it was."""
    document = {"a": text, "b": [text, "1", [text]], "c": {"d": {"e": [{"f": text}]}}}
    assert parse(machine_yaml(document), "test").plain() == document


@pytest.mark.parametrize("machine", tuple(iter_shipped()), ids=lambda machine: machine.name)
def test_every_key_of_rates_is_read_and_written(machine: Machine) -> None:
    """What a machine's own file says of its rates is written again in its words, and with its values."""
    original = yaml.safe_load((Path("models/machines") / f"{machine.name}.yaml").read_text(encoding="utf-8"))["rates"]
    written = machine_document(of_machine(machine), machine.name, machine)["rates"]
    assert set(written) - {"remote_factors"} == set(original) - {"remote_factors", "run_noise"}
    for key, part in written.items():
        if key != "remote_factors":
            assert RATES[key].of(built(of_machine(machine), machine).rates) == RATES[key].of(machine.rates)
            assert original[key]["source"].split()[0] in part["source"]
