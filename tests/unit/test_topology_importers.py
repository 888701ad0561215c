"""Topologies of other machines: what is read from /sys trees, numactl -H and the XML of hwloc."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from models.files.importers import Source, import_topology, importers, sysfs
from models.machine import Node
from models.machine.topology import layout
from models.text.units import KIB, MIB
from tests.topologies import DATA, built, caches, cores, files_in, plain, read, remarked, tar_of, unpacked, write_tree


@pytest.mark.parametrize(
    ("name", "n_cpus", "n_cores", "n_caches", "n_sockets", "memory_mib", "row"),
    [
        ("core_i9_hybrid.tree", 24, 16, 1, 1, {0: 32279}, [10]),
        (
            "epyc_7401_memoryless_8nodes.tree",
            96,
            48,
            16,
            2,
            dict.fromkeys(range(8), 0) | {1: 31584, 5: 32214},
            [10] + 7 * [20],
        ),
        ("epyc_vm_2cpus.tree", 2, 2, 1, 1, {0: 7514}, [10]),
        ("power8_smt_off_2nodes.tree", 10, 10, 10, 2, {0: 32768, 1: 0}, [10, 20]),
        ("xeon_pmem_4nodes.tree", 96, 48, 2, 2, {0: 64136, 1: 64466, 2: 253952, 3: 253952}, [10, 21, 17, 28]),
        (
            "kunpeng_920_4nodes.numactl",
            96,
            96,
            4,
            2,
            dict(enumerate((192832, 193533, 193533, 193532))),
            [10, 12, 20, 22],
        ),
        ("opteron_2nodes.numactl", 8, 8, 2, 2, {0: 7959, 1: 8053}, [10, 20]),
        (
            "power9_sparse_6nodes.numactl",
            128,
            128,
            2,
            2,
            {0: 130210, 8: 130784, 252: 0, 253: 0, 254: 0, 255: 0},
            [10, 40, 80, 80, 80, 80],
        ),
        ("threadripper_3960x_4nodes.numactl", 48, 48, 4, 1, {0: 0, 1: 64307, 2: 64472, 3: 0}, [10, 12, 12, 12]),
        ("itanium_sparse_3nodes.v2.xml", 8, 8, 2, 2, {0: 97712, 2: 98240, 16: 996}, [10, 17, 17]),
        ("xeon_cluster_on_die_4nodes.v1.xml", 15, 8, 4, 2, dict.fromkeys(range(4), 16384), [10, 21, 31, 31]),
    ],
)
def test_machine(
    name: str,
    n_cpus: int,
    n_cores: int,
    n_caches: int,
    n_sockets: int,
    memory_mib: dict[int, int],
    row: list[int],
    tmp_path: Path,
) -> None:
    """A machine is read with the CPUs, cores, caches, sockets, memory and distances that its source tells."""
    topology = read(name, tmp_path)
    assert len(topology.cpus) == n_cpus
    assert len(cores(topology)) == n_cores
    assert len(caches(topology)) == n_caches
    assert len({node.socket_id for node in topology.nodes}) == n_sockets
    assert {node.nid: node.memory_bytes // MIB for node in topology.nodes} == memory_mib
    assert [topology.distances[topology.nodes[0].nid, node.nid] for node in topology.nodes] == row
    assert topology.base_page_bytes == 4 * KIB


def test_every_machine_is_in_the_table() -> None:
    """No machine of the data is left out of the table above."""
    (mark,) = test_machine.pytestmark  # type: ignore[attr-defined]
    assert sorted(row[0] for row in mark.args[1]) == sorted(path.name for path in DATA.iterdir())


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_a_machine_file_describes_what_was_read(name: str, tmp_path: Path) -> None:
    """The file written for an imported machine has its nodes, CPUs and distances, and every figure a source."""
    topology = read(name, tmp_path)
    machine = built(topology)
    assert plain(machine.nodes) == topology.nodes
    assert layout(machine.cpus) == layout(topology.cpus)
    assert machine.distances == topology.distances
    assert all(remark in machine.sources["nodes[0]"] for remark in topology.remarks)
    assert all("not measured" in source for what, source in machine.sources.items() if what.startswith("rates."))


def test_hybrid_cores_have_the_speed_of_their_kind(tmp_path: Path) -> None:
    """Efficient cores run at the ratio of highest clocks, 3.9 / 5.2; a favoured core is no kind of its own."""
    topology = read("core_i9_hybrid.tree", tmp_path)
    assert {cpu.cpu_id: cpu.speed for cpu in topology.cpus} == {i: 1.0 if i < 16 else 0.75 for i in range(24)}
    assert frozenset({8, 9}) in cores(topology)
    assert (topology.vendor, topology.model_name) == ("GenuineIntel", "12th Gen Intel(R) Core(TM) i9-12900K")
    assert remarked(topology, "ratios of highest clocks")


def test_offline_cpus_are_left_out(tmp_path: Path) -> None:
    """Of a core whose other threads are offline one CPU is left, with its number; a remark names the others."""
    topology = read("power8_smt_off_2nodes.tree", tmp_path)
    assert [cpu.cpu_id for cpu in topology.cpus] == [0, 8, 16, 24, 32, 40, 48, 56, 64, 72]
    assert [node.socket_id for node in topology.nodes] == [0, 8]
    assert remarked(topology, "CPUs 1-7,9-15,17-23,")
    assert topology.model_name == "POWER8 (raw), altivec supported"
    assert remarked(read("xeon_cluster_on_die_4nodes.v1.xml", tmp_path), "CPUs 15 are offline")


def test_nodes_without_cpus_are_in_the_nearest_socket(tmp_path: Path) -> None:
    """Persistent memory 17 away is in the socket 17 away, not in that 28 away."""
    topology = read("xeon_pmem_4nodes.tree", tmp_path)
    assert [node.socket_id for node in topology.nodes] == [0, 1, 0, 1]
    assert {cpu.nid for cpu in topology.cpus} == {0, 1}


def test_distances_not_told(tmp_path: Path) -> None:
    """Without distances Linux's 20 is taken, and a remark says so."""
    topology = read("epyc_7401_memoryless_8nodes.tree", tmp_path)
    assert set(topology.distances.values()) == {10, 20}
    assert remarked(topology, "distances between nodes are not told: 20 taken")


def test_distances_of_other_nodes(tmp_path: Path) -> None:
    """A row of distances that is not as long as there are nodes, as in a part of a tree, is left out with a remark."""
    for nid in (0, 1):
        write_tree(tmp_path, {f"sys/devices/system/node/node{nid}/distance": "10 21 31"})
        write_tree(tmp_path, {f"sys/devices/system/node/node{nid}/cpulist": f"{nid}"})
        write_tree(tmp_path, {f"sys/devices/system/cpu/cpu{nid}/topology/core_id": "0"})
    topology = import_topology(tmp_path)
    assert topology.distances == {(0, 0): 10, (0, 1): 20, (1, 0): 20, (1, 1): 10}
    assert remarked(topology, "distances are told for 3 nodes, and there are 2: left out")


def test_impossible_distances_are_put_right(tmp_path: Path) -> None:
    """A SLIT with 17 for a node itself and 10 for another is read as 10 and 11, and a remark names them."""
    topology = read("itanium_sparse_3nodes.v2.xml", tmp_path)
    assert [topology.distances[2, nid] for nid in (0, 2, 16)] == [17, 10, 11]
    assert remarked(topology, "node 2 to 2 17 (taken: 10), 2 to 16 10 (taken: 11), 16 to 16 14 (taken: 10)")


def test_several_sockets_a_node(tmp_path: Path) -> None:
    """A node of two processors is in the first one's socket, by its number."""
    topology = read("itanium_sparse_3nodes.v2.xml", tmp_path)
    assert [node.socket_id for node in topology.nodes] == [0, 131072, 0]
    assert topology.vendor == "GenuineIntel"


def test_what_numactl_does_not_tell_is_remarked(tmp_path: Path) -> None:
    """The text of numactl says nothing of threads, caches, sockets and pages, and the topology says so."""
    topology = read("threadripper_3960x_4nodes.numactl", tmp_path)
    assert [cpu.cpu_id for cpu in topology.cpus if cpu.nid == 3] == [18, 19, 20, 21, 22, 23, 42, 43, 44, 45, 46, 47]
    assert all(remarked(topology, what) for what in ("hardware threads", "caches", "sockets", "page"))


def test_numactl_lines_broken_by_mail(tmp_path: Path) -> None:
    """A list of CPUs may go on in the next line, and other lines around the text are passed over."""
    path = tmp_path / "mail.txt"
    path.write_text("# numactl -H\r\navailable: 1 nodes (0)\nnode 0 cpus: 0 1\n2 3\nnode 0 size: 5 MB\n\n>8 words\n")
    topology = import_topology(path)
    assert [cpu.cpu_id for cpu in topology.cpus] == [0, 1, 2, 3]
    assert topology.nodes == (Node(0, 0, 5 * MIB),)


def test_nodes_that_share_cpus_in_hwloc(tmp_path: Path) -> None:
    """hwloc gives a node without CPUs those near it: CPUs are of the node with the fewest, the lowest of equals."""
    path = tmp_path / "memory.xml"
    path.write_text(
        """<topology version="2.0"><object type="Machine" os_index="0">
        <object type="NUMANode" os_index="0" cpuset="0x0000000f" local_memory="4096"/>
        <object type="NUMANode" os_index="1" cpuset="0x0000000c" local_memory="4096"/>
        <object type="NUMANode" os_index="2" cpuset="0x0000000c" local_memory="4096"/>
        <object type="PU" os_index="0"/><object type="PU" os_index="1"/>
        <object type="L3Cache"><object type="PU" os_index="2"/><object type="PU" os_index="3"/></object>
        </object>
        <cpukind cpuset="0x00000003"><info name="FrequencyMaxMHz" value="5000"/></cpukind>
        <cpukind cpuset="0x0000000c"><info name="FrequencyMaxMHz" value="4000"/></cpukind></topology>"""
    )
    topology = import_topology(path)
    assert [(cpu.nid, cpu.speed) for cpu in topology.cpus] == [(0, 1.0), (0, 1.0), (1, 0.8), (1, 0.8)]
    assert remarked(topology, "ratios of the highest clock")


def test_formats() -> None:
    """Every format has its name, and only /sys is a folder."""
    assert [importer.NAME.split()[-1] for importer in importers()] == ["file.xml)", "it)", "-H", "it)"]
    assert [importer.recognises(Source(Path("x"), None)) for importer in importers()] == [False, False, False, True]
    assert sysfs in importers()


# --- /sys in other forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "sys", "sys/devices", "sys/devices/system"])
def test_sysfs_from_any_folder_above(where: str, tmp_path: Path) -> None:
    """The tree may be given by what holds sys, by sys, and by what is in it; only the first two have /proc beside."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path)
    topology = import_topology(folder / where)
    assert len(topology.cpus) == 2
    assert topology.model_name == ("AMD EPYC" if where in ("", "sys") else None)
    assert remarked(topology, "vendor and model") == (where not in ("", "sys"))


@pytest.mark.parametrize("prefix", ["", "./", "host/", "/"])
@pytest.mark.parametrize(("ending", "mode"), [(".tar", "w"), (".tgz", "w:gz"), (".tar.xz", "w:xz")])
def test_sysfs_in_an_archive(prefix: str, ending: str, mode: str, tmp_path: Path) -> None:
    """An archive gives what the folder gives, also with the zeros that archivers append to files of /sys."""
    folder = unpacked("core_i9_hybrid.tree", tmp_path / "tree")
    padded = ((prefix + name, content.ljust(4096, b"\0")) for name, content in files_in(folder))
    path = tar_of(padded, tmp_path / f"copy{ending}", mode)
    assert replace(import_topology(path), source="") == replace(import_topology(folder), source="")


def test_links_in_an_archive(tmp_path: Path) -> None:
    """Links in the archive are followed, as /sys has them for clocks; links out of it are not."""
    folder = unpacked("core_i9_hybrid.tree", tmp_path / "tree")
    system = "sys/devices/system/cpu"
    files: list[tuple[str, bytes | str]] = []
    for name, content in files_in(folder):
        if match := re.fullmatch(rf"{system}/cpu(\d+)/cpufreq/cpuinfo_max_freq", name):
            files.append((f"{system}/cpufreq/policy{match[1]}/cpuinfo_max_freq", content))
            files.append((f"{system}/cpu{match[1]}/cpufreq", f"../cpufreq/policy{match[1]}"))
        elif name == "proc/cpuinfo":
            files.append((name, "../../../../etc/hostname"))
        else:
            files.append((name, content))
    topology = import_topology(tar_of(files, tmp_path / "links.tar"))
    assert [cpu.speed for cpu in topology.cpus] == [1.0] * 16 + [0.75] * 8
    assert topology.model_name is None


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    """A copy whose link leads elsewhere is read without what is there."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path / "tree")
    (folder / "proc" / "cpuinfo").rename(tmp_path / "cpuinfo")
    (folder / "proc" / "cpuinfo").symlink_to(tmp_path / "cpuinfo")
    assert import_topology(folder).model_name is None


def test_what_is_missing_from_a_tree_is_remarked(tmp_path: Path) -> None:
    """With nothing but folders of two CPUs each is a core, on one node without memory, and all of it is remarked."""
    write_tree(tmp_path, {f"devices/system/cpu/cpu{i}/uevent": "" for i in (3, 5)})
    topology = import_topology(tmp_path)
    assert [(cpu.cpu_id, cpu.nid) for cpu in topology.cpus] == [(3, 0), (5, 0)]
    assert (len(cores(topology)), len(caches(topology)), topology.nodes) == (2, 1, (Node(0, 0, 0),))
    for what in ("cpu/online", "NUMA nodes", "hardware threads", "caches", "sockets", "memory of node 0", "vendor"):
        assert remarked(topology, what), what


def test_capacities_are_speeds(tmp_path: Path) -> None:
    """Where the kernel tells capacities, as of big and little cores, they are the speeds."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path)
    (folder / "sys/devices/system/cpu/cpu1/cpu_capacity").write_text("512\n")
    assert [cpu.speed for cpu in import_topology(folder).cpus] == [1.0, 0.5]


def test_favoured_cores_are_of_one_kind(tmp_path: Path) -> None:
    """Where no kinds are told, highest clocks a step apart (5.2 and 5.1 GHz) are those of equal cores."""
    folder = unpacked("core_i9_hybrid.tree", tmp_path)
    (folder / "sys/devices/cpu_atom/cpus").unlink()
    assert {cpu.speed for cpu in import_topology(folder).cpus} == {1.0, 5100 / 5200, 0.75}
    for i in range(16, 24):
        (folder / f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq").write_text("5100000")
    assert {cpu.speed for cpu in import_topology(folder).cpus} == {1.0}
