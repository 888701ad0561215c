"""Machines of tests/data/topology, and what tests do with topologies: read, write and compare them.

Where the data come from is said in each. A .tree is a /sys tree in one file, `path: content` a line; it is unpacked
before it is read.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from models.files.importers import import_topology
from models.files.machine import build_machine
from models.files.machine_writer import machine_document, machine_yaml
from models.machine import Machine, Node
from models.machine.topology import Topology, layout
from models.text.document import parse

DATA = Path(__file__).parent / "data" / "topology"
NUMACTL = (DATA / "kunpeng_920_4nodes.numactl").read_text(encoding="utf-8")
HWLOC = (DATA / "itanium_sparse_3nodes.v2.xml").read_text(encoding="utf-8")


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


def plain(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return nodes as a topology has them, without how fast their memory is."""
    return tuple(replace(node, memory_bytes_per_s=None) for node in nodes)


def cores(topology: Topology | Machine) -> set[frozenset[int]]:
    """Return the CPUs of each core."""
    return {core for _, _, core, _ in layout(topology.cpus).values()}


def caches(topology: Topology | Machine) -> set[frozenset[int]]:
    """Return the CPUs behind each last-level cache."""
    return {cache for _, _, _, cache in layout(topology.cpus).values()}


def remarked(topology: Topology, text: str) -> bool:
    """Return whether a remark has this text in it."""
    return any(text in remark for remark in topology.remarks)


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
