"""Topologies as people have them: old, odd and pasted. What each is read as stands in tests/data/foreign/right.tsv.

Sources: the test data of hwloc (tests/hwloc) and util-linux (tests/ts/lscpu/dumps), machines of flux-framework and
mailing lists, cut down to what each shows; the texts of lscpu follow its message catalogues.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from models.files.importers import import_topology, with_memory
from models.files.machine import load_machine
from models.files.machine_writer import valid_name
from models.machine.topology import NO_MEMORY, Topology, layout
from models.text.cpu_list import format_cpu_list
from models.text.problems import InputError
from models.text.units import GIB, MIB
from sim.cli import main
from tests.topologies import built, caches, cores, plain

FOREIGN = Path(__file__).parent.parent / "data" / "foreign"
RIGHT = [line.split("\t") for line in (FOREIGN / "right.tsv").read_text(encoding="utf-8").splitlines()[1:]]


def words(topology: Topology) -> list[str]:
    """Return a topology as a row of the table."""
    nodes = "; ".join(
        f"{node.nid}: {format_cpu_list(cpu.cpu_id for cpu in topology.cpus if cpu.nid == node.nid) or 'none'}, "
        f"socket {node.socket_id}, {node.memory_bytes // MIB} MiB"
        for node in topology.nodes
    )
    row = " ".join(str(topology.distances[topology.nodes[0].nid, node.nid]) for node in topology.nodes)
    speeds = " ".join(f"{speed:g}" for speed in sorted({cpu.speed for cpu in topology.cpus}))
    counts = [str(len(cores(topology))), str(len(caches(topology)))]
    return [nodes, *counts, row, speeds, topology.vendor or "-", topology.model_name or "-"]


@pytest.mark.parametrize("right", RIGHT, ids=lambda row: row[0])
def test_foreign_topology(right: list[str]) -> None:
    """Each file is read as its row says, with the remark there, or refused with the message there."""
    name, remark, *rest = right
    path = FOREIGN / name
    if rest[0] == "refused":
        with pytest.raises(InputError) as error:
            import_topology(path)
        assert str(error.value).replace(str(path), "FILE").startswith(remark)
        assert len(error.value.problems) == 1
        return
    topology = import_topology(path)
    assert words(topology) == rest
    assert remark == "-" or any(remark in said for said in topology.remarks), topology.remarks
    memory = topology if any(n.memory_bytes for n in topology.nodes) else with_memory(topology, [64 * GIB])
    machine = built(memory)
    assert plain(machine.nodes) == memory.nodes
    assert layout(machine.cpus) == layout(topology.cpus)


def test_every_file_is_in_the_table() -> None:
    """No file of the data is left out."""
    names = sorted(path.name for path in FOREIGN.iterdir() if path.name != "right.tsv")
    assert names == sorted(row[0] for row in RIGHT)


def test_two_files_of_one_machine(tmp_path: Path) -> None:
    """lscpu tells cores and sockets, numactl memory and distances: both together more than either."""
    both = import_topology(FOREIGN / "lscpu_plain.txt", FOREIGN / "name with space+plus (1).txt")
    assert words(both) == words(import_topology(FOREIGN / "lscpu_and_numactl.txt"))
    text = (FOREIGN / "lscpu_french.txt").read_text(encoding="utf-8")
    (tmp_path / "lscpu.txt").write_text(text.replace("0-7", "8-11"), encoding="utf-8")
    with pytest.raises(InputError, match="lscpu tells CPUs 8-11, numactl 0-7; allowed are texts of one machine"):
        import_topology(FOREIGN / "quoted.txt", tmp_path / "lscpu.txt")
    with pytest.raises(InputError, match="is not a text; several files are texts about one machine"):
        import_topology(FOREIGN / "lscpu_plain.txt", FOREIGN / "no_memory.v2.xml")


def test_memory_that_is_given() -> None:
    """Where no memory is told it is given: of the whole machine, shared by nodes with CPUs, or node by node."""
    topology = import_topology(FOREIGN / "xeon_6230_masks.tar.gz")
    whole = with_memory(topology, [256 * GIB])
    assert [node.memory_bytes // GIB for node in whole.nodes] == [64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0]
    each = with_memory(import_topology(FOREIGN / "lscpu_plain.txt"), [GIB, 2 * GIB])
    assert [node.memory_bytes // GIB for node in each.nodes] == [1, 2]
    assert NO_MEMORY not in each.remarks
    with pytest.raises(ValueError, match="found 3 sizes; allowed are 1, of the whole machine, or 2, one for each node"):
        with_memory(each, [GIB] * 3)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["lscpu_plain.txt"], 2, "tells no memory; give it with --memory SIZE"),
        (["lscpu_plain.txt"], 2, "or a size for each of its 2 nodes (--memory 32GiB,32GiB)"),
        (["lscpu_plain.txt", "--memory", "64GiB"], 0, "machine: lscpu_plain"),
        (["lscpu_plain.txt", "--memory", "64"], 2, "--memory: found '64', a number without a unit"),
        (["name with space+plus (1).txt"], 0, "machine: name-with-space-plus-1"),
    ],
)
def test_import_at_the_prompt(arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command asks for memory where none is told, and makes a name of any file's."""
    with pytest.raises(SystemExit) as end:
        main(["import", str(FOREIGN / arguments[0]), *arguments[1:]])
    assert (end.value.code or 0) == status
    printed = capsys.readouterr()
    assert said in " ".join((printed.out + printed.err).split())


@pytest.mark.parametrize(
    ("file_name", "name"),
    [("topology (1).xml.gz", "topology-1"), ("Größe.txt", "Gr-e"), ("...", "machine"), ("a.b.tar.xz", "a.b")],
)
def test_names_are_made_valid(file_name: str, name: str) -> None:
    """A file name becomes a name of a machine."""
    assert valid_name(file_name) == name


def test_threads_of_a_core_are_alike(tmp_path: Path) -> None:
    """What a source tells of the first thread of a core holds for all, but that several nodes are several cores."""
    (tmp_path / "e.txt").write_text(
        "CPU NODE SOCKET CORE L1d:L1i:L2:L3 ONLINE MAXMHZ\n"
        "0 0 0 0 0:0:0:0 yes 4000.0\n1 0 0 0 1:1:1:1 yes 2000.0\n2 1 0 0 0:0:0:0 yes 4000.0\n"
    )
    topology = import_topology(tmp_path / "e.txt")
    assert [(cpu.core_id, cpu.cache_id, cpu.nid, cpu.speed) for cpu in topology.cpus] == [
        (0, 0, 0, 1.0),
        (0, 0, 0, 1.0),
        (1, 0, 1, 1.0),
    ]
    machine = built(with_memory(topology, [GIB]))
    assert layout(machine.cpus) == layout(topology.cpus)


def numactl_text(rows: list[list[int]], n_cpus: int = 2) -> str:
    """Return what numactl -H prints of nodes with so many CPUs each."""
    n = len(rows)
    lines = [f"available: {n} nodes (0-{n - 1})"]
    for nid in range(n):
        cpus = " ".join(str(nid * n_cpus + i) for i in range(n_cpus))
        lines += [f"node {nid} cpus: {cpus}", f"node {nid} size: 1000 MB", f"node {nid} free: 1 MB"]
    lines += ["node distances:", f"node {' '.join(map(str, range(n)))}"]
    return "\n".join([*lines, *(f"{nid}: {' '.join(map(str, row))}" for nid, row in enumerate(rows))]) + "\n"


@pytest.mark.parametrize(
    ("rows", "sockets"),
    [
        ([[10, 12, 32, 32], [12, 10, 32, 32], [32, 32, 10, 12], [32, 32, 12, 10]], [0, 0, 1, 1]),  # EPYC, NPS2
        ([[10, 16, 32, 32], [16, 10, 32, 32], [32, 32, 10, 16], [32, 32, 16, 10]], [0, 0, 1, 1]),  # Naples
        ([[10, 11, 21, 21], [11, 10, 21, 21], [21, 21, 10, 11], [21, 21, 11, 10]], [0, 0, 1, 1]),  # Xeon, SNC2
        ([[10, 16, 16, 22], [16, 10, 22, 16], [16, 22, 10, 16], [22, 16, 16, 10]], [0, 1, 2, 3]),  # Opteron: a ring
        ([[10, 21], [21, 10]], [0, 1]),
    ],
)
def test_sockets_by_distance(rows: list[list[int]], sockets: list[int], tmp_path: Path) -> None:
    """numactl -H has no sockets: nodes near each other share one, and its memory bandwidth, with a remark."""
    (tmp_path / "text").write_text(numactl_text(rows), encoding="utf-8")
    topology = import_topology(tmp_path / "text")
    assert [node.socket_id for node in topology.nodes] == sockets
    remark = next(said for said in topology.remarks if said.startswith("sockets are not told"))
    assert remark.endswith("the nodes of a socket share its memory bandwidth")
    of_socket = 150e9  # of a server of which nothing is known
    n = sockets.count(0)
    assert built(topology).rates.memory_bytes_per_s == pytest.approx(of_socket / n, rel=1e-3)


def zipped(members: dict[str, bytes], path: Path) -> Path:
    """Write a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_archives(tmp_path: Path) -> None:
    """A zip archive of one file, of texts about one machine, of a tree, or of a packed file is opened."""
    plain_file, quoted = FOREIGN / "lscpu_plain.txt", FOREIGN / "name with space+plus (1).txt"
    one = zipped({"__MACOSX/x": b"", "a/lscpu.txt": plain_file.read_bytes()}, tmp_path / "one.zip")
    assert words(import_topology(one)) == words(import_topology(plain_file))
    both = zipped({"a.txt": plain_file.read_bytes(), "b.txt": quoted.read_bytes()}, tmp_path / "both.zip")
    assert words(import_topology(both)) == words(import_topology(plain_file, quoted))
    inside = FOREIGN / "itanium_masks.tar.gz"
    packed = zipped({"gathered.tar.gz": inside.read_bytes()}, tmp_path / "packed.zip")
    assert words(import_topology(packed)) == words(import_topology(inside))
    with tarfile.open(inside) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        tree = zipped({name: file.read() for name, file in files.items() if file}, tmp_path / "tree.zip")
    assert words(import_topology(tree)) == words(import_topology(inside))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(one.read_bytes()[:100])
    with pytest.raises(InputError, match="is a zip archive that can't be read to its end"):
        import_topology(broken)


def test_zstd_is_opened_or_named(tmp_path: Path) -> None:
    """A file packed by zstd is opened where Python or a package can, else the message says what to do."""
    packed = tmp_path / "topology.txt.zst"
    packed.write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 20)
    with pytest.raises(InputError, match=r"can't open; unpack it first \(zstd -d FILE\)|can't be read to its end"):
        import_topology(packed)


def test_a_topology_in_place_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a machine is wanted and a topology is given, the message has the command that makes one of it."""
    monkeypatch.chdir(FOREIGN)
    with pytest.raises(ValueError, match=r"no machine file .* `ktask-sim import quoted.txt -o machine.yaml` makes one"):
        load_machine("quoted.txt")
