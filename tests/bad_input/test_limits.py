"""What is too large, endless or no file is refused before anything is read or run for long."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from models.files.importers import import_topology
from models.scenario import load_scenario
from models.text.problems import InputError
from sim.cli import main

TINY_CHUNKS = """title: tiny chunks
machine: laptop-ryzen-4800u
task: {client: populate, size: SIZE}
kernel: {version: ktask-v1, min_chunk: 4KiB, chunk_size: 4KiB, chunks: fixed}
replications: 1
"""
ARCHIVE = "sys/devices/system/cpu"


class _Zeros(io.RawIOBase):
    def read(self, size: int = -1, /) -> bytes:
        return bytes(size)


def _archive_of_zeros(path: Path, size: int) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo(f"{ARCHIVE}/online")
        member.size = size
        archive.addfile(member, _Zeros())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<topology>" + b'<object type="Group">' * 5_000, "is nested deeper than 64"),
        (b"<topology>" + b"<a/>" * 500_001 + b"</topology>", "has more than 500000 elements"),
        (gzip.compress(b" <" * 40_000_000), "unpacks to more than 64 MiB; allowed is at most that"),
        (b"available: 1 nodes (0)\n" + b"\n" * 500_001, "has more than 500000 lines"),
        (b"available: 1 nodes (0)\n" + b"> " * 150_000, "has a line of more than 200000 characters"),
        (b'<!DOCTYPE t [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><topology>&b;</topology>', "declaration of an entity"),
        (b'<?xml version="1.0" encoding="foo"?><topology/>', "is not XML, unknown encoding: foo"),
        (b"<a:topology/>", "given:1:1: is not XML, unbound prefix"),
        (b"\xfd7zXZ\x00\x00\x04 damaged", "is packed and can't be read to its end"),
        (b"\x28\xb5\x2f\xfd...", "is packed by zstd; unpack it first"),
        (b"\x89PNG\r\n\x1a\n", "is a picture (lstopo draws them); run lstopo file.xml"),
        (b'{"lscpu": [' + b"[" * 100_000, "is JSON of lscpu that is cut short"),
        (b"processor\t: 0\nvendor_id\t: GenuineIntel\n", "is /proc/cpuinfo, which tells no nodes"),
    ],
)
def test_topologies_without_end(content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth, elements, lines and what a file unpacks to have limits; damage and other formats have a word."""
    monkeypatch.chdir(tmp_path)
    Path("given").write_bytes(content)
    with pytest.raises(InputError) as error:
        import_topology(Path("given"))
    assert said in str(error.value)
    assert len(error.value.problems) == 1


def test_an_archive_unpacks_to_a_limit(tmp_path: Path) -> None:
    """An archive of a few KiB that unpacks to 600 MiB is read no further than allowed."""
    _archive_of_zeros(tmp_path / "zeros.tar.gz", 600 * 2**20)
    with pytest.raises(InputError, match="unpacks to more than 512 MiB; allowed is at most that"):
        import_topology(tmp_path / "zeros.tar.gz")


@pytest.mark.parametrize("arguments", [["describe"], ["run"], ["import"]])
def test_devices_are_no_files(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """/dev/zero has no end: only regular files are read."""
    with pytest.raises(SystemExit) as end:
        main([*arguments, "/dev/zero"])
    assert end.value.code == 2
    assert "/dev/zero: is a device or a pipe; allowed is a file" in capsys.readouterr().err


def test_a_yaml_file_has_a_limit(tmp_path: Path) -> None:
    """A scenario of more than 4 MiB is none."""
    (tmp_path / "s.yaml").write_text("title: " + "a" * 5_000_000)
    with pytest.raises(InputError, match="is larger than 4 MiB; allowed is at most that"):
        load_scenario(tmp_path / "s.yaml")


def test_a_job_of_too_many_chunks(tmp_path: Path) -> None:
    """512 GiB in pages of 4 KiB one by one are 134 217 728 chunks, which no run goes through."""
    path = tmp_path / "s.yaml"
    path.write_text(TINY_CHUNKS.replace("SIZE", "2GiB"))
    assert load_scenario(path).cases[0].least_chunks == 2 * 2**30 // 4096
    path.write_text(TINY_CHUNKS.replace("SIZE", "512GiB").replace("laptop-ryzen-4800u", "xeon-platinum-8160-2s"))
    with pytest.raises(InputError, match=r"kernel: the job has 134,217,728 chunks or more; allowed are at most"):
        load_scenario(path)


def test_many_processes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """--jobs has a limit."""
    with pytest.raises(SystemExit) as end:
        main(["run", "clear_gigantic_page", "--jobs", "100000000"])
    assert end.value.code == 2
    assert "100000000 is not in the range 1<=x<=1024" in capsys.readouterr().err
