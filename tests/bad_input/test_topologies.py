"""What is said of a topology that can't be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.files.importers import import_topology
from models.text.problems import InputError
from tests.topologies import HWLOC, NUMACTL, files_in, tar_of, unpacked, write_tree


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "given: is empty; allowed is XML of hwloc (lstopo file.xml), the text of lscpu ("),
        ("   \n", "given: is empty"),
        ("test: machine\n", "given: found nothing that is known; allowed is XML of hwloc"),
        (b"\x00\xff" * 300, "given: found nothing that is known"),
        ("available: 2 nodes (0-1)\n", "given:1:1: found 2 nodes here and the CPUs of 0 below; allowed is all that"),
        (NUMACTL[: NUMACTL.index("node 3 cpus")], "given:2:1: found 4 nodes here and the CPUs of 3 below"),
        (NUMACTL[: NUMACTL.index("node 3 size")], "found no line `node 3 size:`; allowed is all that"),
        (NUMACTL[: NUMACTL.index("  0:")], "found no row of distances; allowed is all that"),
        (NUMACTL[: NUMACTL.index("node   ")], "found no distances after `node distances:`; allowed is all that"),
        (NUMACTL[:-5], "found a row of 3 distances; allowed are 4, one for each node"),
        (NUMACTL + "available: 1 nodes (0)\n", "found a second report from here; allowed is one machine in a file"),
        (NUMACTL.replace("cpus: 24", "cpus: 23"), "given:6:1: found CPU 23 a second time, after line 3; allowed is"),
        (NUMACTL.replace("node 1 cpus:", "node one cpus:"), "given:6:1: found 'node one cpus: 24 25"),
        (NUMACTL.replace("95", "99999"), "found CPU 99999; allowed are numbers up to 16383"),
        (NUMACTL.replace("node 3", "node 1024"), "found node 1024; allowed are numbers up to 1023"),
        (HWLOC.replace('os_index="16" cpuset', 'os_index="1024" cpuset'), "given: found NUMANode 1024; allowed are"),
        ("<svg/>", "given: found a picture (lstopo draws them) (<svg>); allowed is <topology> as lstopo"),
        ("<topology>", "given:1:11: is not XML, no element found; allowed is what lstopo file.xml writes"),
        ("<topology/>", "given: found no object of type Machine"),
        ('<topology><object type="Machine" os_index="0"/></topology>', "given: found no object of type PU"),
        ('<!DOCTYPE t [\n<!ENTITY a "b">]><topology>&a;</topology>', "given: found the declaration of an entity"),
        (HWLOC.replace('os_index="17"', 'os_index="16"'), "given: found PU 16 a second time; allowed is each once"),
        (HWLOC.replace('os_index="17"', 'os_index="-7"'), "found an object PU with os_index='-7'; allowed is a whole"),
        (HWLOC.replace("10 14 14 14", "10 14 14"), "given: found 8 distances between 3 nodes; allowed are 9"),
        (HWLOC.replace("10 14 14 14", "10 14 14 x"), "given: found 'x' in <u64values>; allowed are whole numbers"),
        (HWLOC.replace('cpuset="0x0000000f"', 'cpuset="0xf...f"'), "given: found the set '0xf...f'; allowed is"),
        (b"\x1f\x8b\x08 no more", "given: is packed and can't be read to its end"),
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
            {"sys/devices/system/cpu/cpu0/x": "", "sys/devices/system/node/node0/distance": "10 x"},
            "node/node0/distance:1:1: found '10 x'; allowed are 1 distances, one for each online node",
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
    with pytest.raises(InputError, match="no_such: there is no such file"):
        import_topology(Path("no_such"))
