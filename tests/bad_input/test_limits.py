"""What is too large, endless or no file is refused before anything is read or run for long."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from models.files.importers import import_topology
from models.scenario import load_scenario
from models.text.problems import InputError, Problem
from sim.cli import main
from sim.cli.jobs import note_long_runs

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
        (b"\x28\xb5\x2f\xfd...", "is packed by zstd, which this Python can't open; unpack it first"),
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


def test_other_work_of_too_many_steps_before_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bursts of 20 us and as long asleep, 5 threads: 125,000 a second; long starts are said or refused before a run."""
    path = tmp_path / "s.yaml"
    path.write_text(
        "title: Long\nquestion: How long?\nmachine: laptop-ryzen-4800u\n"
        "task: {client: populate, size: 1MiB, start: 1s}\n"
        "kernel: ktask-v4\nbackground: {b: {load: bursts, busy: 20us, idle: 20us, threads: 5}}\n"
        "replications: 1\nseed: 1\n"
    )
    scenario = load_scenario(path)
    assert scenario.cases[0].n_steps_before == pytest.approx(125_000)
    note_long_runs(scenario)
    assert "125,000 bursts and requests of other work before the job, 8 s a run or so" in capsys.readouterr().err
    path.write_text(path.read_text().replace("start: 1s", "start: 1h"))
    with pytest.raises(InputError, match=r"task.start: other work has about 450,000,000 bursts and requests before"):
        load_scenario(path)


def test_a_message_is_one_line_of_characters_that_show() -> None:
    """Line ends and escapes of a terminal in a file's name or values are written out; what is very long is cut."""
    said = str(Problem("a\nb.yaml", 1, 2, "task", "found '\x1b[2J' and ²"))
    assert said == "a\\nb.yaml:1:2: task: found '\\x1b[2J' and ²"
    assert len(str(Problem("a.yaml", 1, 2, "task", "x" * 100_000))) < 21_000
