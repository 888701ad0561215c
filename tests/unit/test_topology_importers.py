"""Topologies of other machines: what is read from /sys trees, numactl -H and hwloc, and what is written as a file.

Where the data of tests/data/topology come from is said in each. A .tree is a /sys tree in one file, `path: content` a
line; it is unpacked before it is read.
"""

from __future__ import annotations

import io
import itertools
import re
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cpu_list import format_cpu_list, parse_cpu_list
from models.document import parse
from models.importers import import_topology, importers, sysfs
from models.machine import Machine, Node
from models.machine_file import build_machine, iter_shipped, load_machine
from models.machine_writer import machine_document, machine_yaml, write_machine
from models.problems import InputError
from models.topology import FoundCpu, Topology, layout, number_cpus
from models.units import GIB, KIB, MIB

DATA = Path(__file__).parent.parent / "data" / "topology"


def unpacked(name: str, folder: Path) -> Path:
    """Return where a machine of the data can be read: the file, or the folder to which its tree is unpacked."""
    source = DATA / name
    if source.suffix != ".tree":
        return source
    entries = [line for line in source.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    write_tree(folder, dict(entry.split(": ", 1) for entry in (f"{entry} " for entry in entries)))
    return folder


def write_tree(folder: Path, files: dict[str, str]) -> None:
    """Write files by path; \\n and \\t in a content are a line break and a tab."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content.strip().replace("\\n", "\n").replace("\\t", "\t") + "\n", encoding="utf-8")


def read(name: str, tmp_path: Path) -> Topology:
    """Return the topology of a machine of the data."""
    return import_topology(unpacked(name, tmp_path))


def built(topology: Topology, rates_of: Machine | None = None) -> Machine:
    """Return the machine of the file that is written for a topology."""
    return build_machine(parse(machine_yaml(machine_document(topology, "test", rates_of)), "test.yaml"), "test.yaml")


def cores(topology: Topology | Machine) -> set[frozenset[int]]:
    """Return the CPUs of each core."""
    return {core for _, _, core, _ in layout(topology.cpus).values()}


def caches(topology: Topology | Machine) -> set[frozenset[int]]:
    """Return the CPUs behind each last-level cache."""
    return {cache for _, _, _, cache in layout(topology.cpus).values()}


def remarked(topology: Topology, text: str) -> bool:
    """Return whether a remark has this text in it."""
    return any(text in remark for remark in topology.remarks)


# --- machines of the data -------------------------------------------------------------------------------------------


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
            4,
            dict(enumerate((192832, 193533, 193533, 193532))),
            [10, 12, 20, 22],
        ),
        ("opteron_2nodes.numactl", 8, 8, 2, 2, {0: 7959, 1: 8053}, [10, 20]),
        (
            "power9_sparse_6nodes.numactl",
            128,
            128,
            2,
            6,
            {0: 130210, 8: 130784, 252: 0, 253: 0, 254: 0, 255: 0},
            [10, 40, 80, 80, 80, 80],
        ),
        ("threadripper_3960x_4nodes.numactl", 48, 48, 4, 4, {0: 0, 1: 64307, 2: 64472, 3: 0}, [10, 12, 12, 12]),
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
    assert machine.nodes == topology.nodes
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


# --- /sys in other forms --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "sys", "sys/devices", "sys/devices/system"])
def test_sysfs_from_any_folder_above(where: str, tmp_path: Path) -> None:
    """The tree may be given by what holds sys, by sys, and by what is in it; only the first two have /proc beside."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path)
    topology = import_topology(folder / where)
    assert len(topology.cpus) == 2
    assert topology.model_name == ("AMD EPYC" if where in ("", "sys") else None)
    assert remarked(topology, "vendor and model") == (where not in ("", "sys"))


def tar_of(files: Iterable[tuple[str, bytes | str]], path: Path, mode: str = "w") -> Path:
    """Write a tar archive of (name, content) pairs; a content that is text is where a symbolic link leads."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def files_in(folder: Path) -> list[tuple[str, bytes]]:
    """Return name and content of every file in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]


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


# --- bad input ------------------------------------------------------------------------------------------------------

NUMACTL = (DATA / "kunpeng_920_4nodes.numactl").read_text(encoding="utf-8")
HWLOC = (DATA / "itanium_sparse_3nodes.v2.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "given: is empty; allowed is XML of hwloc (lstopo file.xml), the text of numactl -H or a /sys folder"),
        ("   \n", "given: is empty"),
        ("machine: test\n", "given: found nothing that is known; allowed is XML of hwloc"),
        (b"\x00\xff" * 300, "given: found nothing that is known"),
        ("available: 2 nodes (0-1)\n", "given:1:1: found 2 nodes here and the CPUs of 0 below; allowed is all that"),
        (NUMACTL[: NUMACTL.index("node 3 cpus")], "given:2:1: found 4 nodes here and the CPUs of 3 below"),
        (NUMACTL[: NUMACTL.index("node 3 size")], "found no line `node 3 size:`; allowed is all that"),
        (NUMACTL[: NUMACTL.index("  3:")], "found no row of distances for node 3; allowed is all that"),
        (NUMACTL[: NUMACTL.index("node   ")], "found no distances after `node distances:`; allowed is all that"),
        (NUMACTL[:-5], "found a row of 3 distances; allowed are 4, one for each node"),
        (NUMACTL + "available: 1 nodes (0)\n", "found a second report from here; allowed is one machine in a file"),
        (NUMACTL.replace("cpus: 24", "cpus: 23"), "given:6:1: found CPU 23 a second time, after line 3; allowed is"),
        (NUMACTL.replace("node 1 cpus:", "node one cpus:"), "given:6:1: found 'node one cpus: 24 25"),
        (NUMACTL.replace("95", "99999"), "found CPU 99999; allowed are numbers up to 16383"),
        (NUMACTL.replace("node 3", "node 1024"), "found node 1024; allowed are numbers up to 1023"),
        (HWLOC.replace('os_index="16" cpuset', 'os_index="1024" cpuset'), "given: found NUMANode 1024; allowed are"),
        ("<svg/>", "given: found XML of <svg>; allowed is <topology> as lstopo file.xml writes it"),
        ("<topology>", "given:1:11: is not XML, no element found; allowed is what lstopo file.xml writes"),
        ("<topology/>", "given: found no object of type Machine"),
        ('<topology><object type="Machine" os_index="0"/></topology>', "given: found no object of type PU"),
        ('<!DOCTYPE t [\n<!ENTITY a "b">]><topology>&a;</topology>', "given:2:1: found the declaration of an entity"),
        (HWLOC.replace('os_index="17"', 'os_index="16"'), "given: found PU 16 a second time; allowed is each once"),
        (HWLOC.replace('os_index="17"', 'os_index="-7"'), "found an object PU with os_index='-7'; allowed is a whole"),
        (HWLOC.replace("10 14 14 14", "10 14 14"), "given: found 8 distances between 3 nodes; allowed are 9"),
        (HWLOC.replace("10 14 14 14", "10 14 14 x"), "given: found 'x' in <u64values>; allowed are whole numbers"),
        (HWLOC.replace('cpuset="0x0000000f"', 'cpuset="0xf...f"'), "given: found the set '0xf...f'; allowed is"),
        (b"\x1f\x8b\x08 no more", "given: is an archive that can't be read to its end"),
    ],
)
def test_bad_file(content: str | bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is of no known format, cut short or contradicts itself is refused with file, line and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("given").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        import_topology(Path("given"))
    assert any(line.startswith(expected) or expected in line for line in str(error.value).splitlines()), str(
        error.value
    )
    assert all(line.startswith("given:") for line in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"readme": "no CPUs"}, "given: found no devices/system/cpu/cpu0 and the like; allowed is /sys of a Linux"),
        ({"sys/devices/system/cpu/online": "0"}, "given: found no devices/system/cpu/cpu0 and the like"),
        ({"sys/devices/system/cpu/cpu0/x": "", "sys/devices/system/cpu/online": "0-"}, "cpu/online:1:1: found '0-'"),
        ({"sys/devices/system/cpu/cpu0/x": "", "sys/devices/system/cpu/online": "1"}, "found no CPU that is online"),
        ({"sys/devices/system/cpu/cpu99999/x": ""}, "found CPU 99999; allowed are numbers up to 16383"),
        (
            {"sys/devices/system/cpu/cpu0/x": "", "sys/devices/system/node/node0/distance": "10 20"},
            "node/node0/distance:1:1: found '10 20'; allowed are 1 distances, one for each online node",
        ),
    ],
)
def test_bad_folder(files: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without CPUs, or with a file that can't be, is refused with the file."""
    monkeypatch.chdir(tmp_path)
    write_tree(Path("given"), files)
    with pytest.raises(InputError, match=re.escape(expected)):
        import_topology(Path("given"))


@pytest.mark.parametrize("name", ["../evil", "sys/../../evil", ".."])
def test_an_archive_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    """A member with '..' in its path makes an archive useless."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path / "tree")
    path = tar_of([*files_in(folder), (name, b"")], tmp_path / "evil.tar")
    with pytest.raises(InputError, match="which leads out of it; allowed are paths without"):
        import_topology(path)
    assert not (tmp_path.parent / "evil").exists()


def test_an_archive_cut_short_is_refused(tmp_path: Path) -> None:
    """Half of an archive is refused, whether packed or not."""
    folder = unpacked("epyc_vm_2cpus.tree", tmp_path / "tree")
    path = tar_of(files_in(folder), tmp_path / "half.tgz", "w:gz")
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match="can't be read to its end"):
        import_topology(path)


def test_a_path_that_is_not_there() -> None:
    """A path without a file or folder is refused as such."""
    with pytest.raises(InputError, match="no_such: there is no such file or folder"):
        import_topology(Path("no_such"))


# --- files written --------------------------------------------------------------------------------------------------


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
    assert replace(machine.rates, remote_factors={}) == replace(reference.rates, remote_factors={})
    assert f"taken from {reference.name} (" in machine.sources["rates.clear_rate"]


@pytest.mark.parametrize(
    ("vendor", "reference"),
    [
        ("AuthenticAMD", "epyc-7742-2s-nps4"),
        ("GenuineIntel", "xeon-platinum-8160-2s"),
        ("IBM", "xeon-platinum-8160-2s"),
        (None, "xeon-platinum-8160-2s"),
    ],
)
def test_reference_by_vendor(vendor: str | None, reference: str, tmp_path: Path) -> None:
    """Rates come from a shipped machine of the same vendor."""
    topology = replace(read("opteron_2nodes.numactl", tmp_path), vendor=vendor)
    assert built(topology).rates.clear_bytes_per_s == load_machine(reference).rates.clear_bytes_per_s


def test_remote_factors_are_interpolated(tmp_path: Path) -> None:
    """Factors lie on lines through (10, 1) and the measured ones, and are the last one's beyond.

    By hand for the Xeon, with f21 and f31 of the 8-socket machine: 17 is 7/11 of the way from 10 to 21, 28 is 7/10 of
    that from 21 to 31. For the EPYC, 28 is 16/20 of the way from 12 to 32.
    """
    xeon = load_machine("xeon-e7-8895v3-8s").rates.remote_factors
    topology = read("xeon_pmem_4nodes.tree", tmp_path)
    factors = built(topology).rates.remote_factors
    assert factors[17] == pytest.approx(1 - (1 - xeon[21]) * 7 / 11, abs=1e-4)
    assert factors[21] == pytest.approx(xeon[21], abs=1e-4)
    assert factors[28] == pytest.approx(xeon[21] + (xeon[31] - xeon[21]) * 7 / 10, abs=1e-4)
    epyc = load_machine("epyc-7742-2s-nps4")
    near, far = (epyc.rates.remote_factors[distance] for distance in (12, 32))
    assert built(topology, epyc).rates.remote_factors[28] == pytest.approx(near + (far - near) * 16 / 20, abs=1e-4)
    power9 = built(read("power9_sparse_6nodes.numactl", tmp_path))
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
    assert load_machine(tmp_path / "few.yaml").nodes == topology.nodes
    assert text.startswith('machine: few\ntitle: "2 x Intel(R) Xeon(R) Platinum, 96 CPUs, 4 nodes, ')
    assert (
        '\n    memory: 64136MiB\n    cpus:\n      - {cores: ["0,48", "49"]}\n    source: >-\n      a copy of /sys; '
        in text
    )
    assert "\n  - {nid: 2, socket: 0, memory: 248GiB, cpus: [], source: a copy of /sys}\n" in text
    assert "value: [[10, 21, 17, 28], [21, 10, 28, 17], [17, 28, 10, 28], [28, 17, 28, 10]]\n" in text
    assert max(len(line) for line in text.splitlines()) <= 120


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_any_text_comes_back_from_yaml(text: str) -> None:
    """Whatever text is in a document, as key, value or item, it is read back as it was."""
    document = {"a": text, "b": [text, "1", [text]], "c": {"d": {"e": [{"f": text}]}}}
    assert parse(machine_yaml(document), "test").plain() == document


# --- any topology ---------------------------------------------------------------------------------------------------


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
    assert machine.nodes == topology.nodes
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


def test_formats() -> None:
    """Every format has its name, and only /sys is a folder."""
    assert [importer.NAME.split()[0] for importer in importers()] == ["XML", "the", "a"]
    assert [importer.recognises(Path("x"), None) for importer in importers()] == [False, False, True]
    assert sysfs in importers()
