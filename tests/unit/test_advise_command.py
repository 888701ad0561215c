"""`ktask-sim advise` as a user meets it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from sim.cli import main

COLUMNS = [
    *("threads_allowed", "threads", "chunk_bytes", "time_s", "in_time_s", "late_s", "low_s", "high_s", "cpu_s"),
    *("limit", "note"),
]
SMALL = ("--memory", "1GiB", "--machine", "laptop-ryzen-4800u", "--keep-free", "14cpus", "--jobs", "1")


def advise(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """Run the command for a small job on a laptop; return what it prints, and its messages."""
    with pytest.raises(SystemExit) as ended:
        main(["advise", *SMALL, *arguments])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out, printed.err


def test_table_and_words_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    """By default everything goes to stdout: table, words, how unsure it is, and the option to paste."""
    out, _ = advise(capsys, "--client", "qemu_prealloc", "--thp")
    assert out.startswith("qemu_prealloc, 1 GiB, on laptop-ryzen-4800u: ")
    assert "\nUse 2 threads: 1 GiB then take about " in out
    assert "ktask-sim calibrate" in out
    assert out.rstrip().splitlines()[-1].lstrip().startswith("-object memory-backend-ram,id=mem0,size=1G,prealloc=on")


def test_csv_is_the_table_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """With --format csv stdout can be piped; the words go to stderr."""
    out, err = advise(capsys, "--client", "qemu_prealloc", "--thp", "--format", "csv")
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns) == COLUMNS
    assert list(table["threads"]) == [1, 2]
    assert "Use 2 threads" in err and "prealloc-threads=2" in err


def test_json_has_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    """With --format json rows, words, option and doubts are in one document."""
    out, _ = advise(capsys, "--client", "jvm_pretouch", "--thp", "--format", "json")
    content = json.loads(out)
    assert content["recommended"]["threads"] == 2
    assert content["recommended"] in content["table"]
    assert content["single"]["note"] == "one thread"
    assert content["default"]["threads"] == 13  # of 16 CPUs: 8, and 5/8 of the other 8
    assert "-XX:ParallelGCThreads=2 " in content["option"]
    assert content["unsure"] == ["the rate of clearing", "the costs of jvm_pretouch"]


def test_a_scenario_can_be_the_background(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--beside takes a file with a background, whatever else it has."""
    path = tmp_path / "beside.yaml"
    path.write_text('title: A neighbour\nbackground: {other: {load: spin, cpus: "3"}}\n')
    out, _ = advise(capsys, "--client", "qemu_prealloc", "--thp", "--beside", str(path))
    words = " ".join(out.split())
    assert "without other the job takes" in words
    assert "Beside it other (spin on CPU 3) runs at 100% of its speed." in words


def test_the_guests_cpus_give_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """--smp 3 makes QEMU's default three threads; for Java, which has no guest, it is refused."""
    out, _ = advise(capsys, "--client", "qemu_prealloc", "--smp", "3")
    assert "The default, 3 threads, takes" in " ".join(out.split())
    with pytest.raises(SystemExit) as ended:
        main(["advise", *SMALL, "--client", "jvm_pretouch", "--smp", "3"])
    assert ended.value.code == 2
    assert "--smp: found 3; jvm_pretouch has no guest" in capsys.readouterr().err


def test_more_can_be_said_of_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Shared memory takes longer than private: its pages go into the tree of a page cache, too."""
    alone = {}
    for more in ((), ("--task", "share=true")):
        out, _ = advise(capsys, "--client", "populate", "--format", "json", *more)
        alone[more] = json.loads(out)["single"]["time_s"]
    private, shared = alone.values()
    assert shared > 1.05 * private
