"""Programs: their commands and logs, what is said where one is missing, and what advice is worth."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from models.measured.designs import program_design
from models.text.units import MIB
from real.programs import NoProgramError, find_programs
from real.programs.java import JavaProgram, pretouch_s
from real.programs.qemu import QemuProgram
from sim.compare.programs import choices, compare_programs, describe_programs
from tests.unit.test_calibration import host

LOG = [
    "[5000000ns] Minimum heap 2147483648  Initial heap 2147483648  Maximum heap 2147483648\n",
    "[6000000ns] Running G1 PreTouch with 2 workers for 512 work units pre-touching 2147483648B.\n",
    "[379000000ns] Running G1 PreTouch with 2 workers for 8 work units pre-touching 33554432B.\n",
    'openjdk version "17.0.15" 2025-04-15\n',
]


def test_java_says_how_long_it_touches_its_heap() -> None:
    """From the heap's line to the next one it is 379 - 6 = 373 ms; a log without such lines tells nothing."""
    assert pretouch_s(LOG) == pytest.approx(0.373)
    assert pretouch_s(LOG[:1]) is None
    assert pretouch_s(LOG[:2]) is None


def test_programs_are_started_with_the_options_of_advice() -> None:
    """Threads, chunks and huge pages are those of the case; QEMU's guest is stopped and has as much memory."""
    machine = host(2, 1, 1)
    qemu = QemuProgram(Path("qemu")).command(program_design(machine, "qemu_prealloc", 1, thp=True).cases[1])
    assert qemu[1] == "-S"
    assert qemu[qemu.index("-m") + 1] == "2G"
    assert "memory-backend-ram,id=mem0,size=2G,prealloc=on,prealloc-threads=2" in qemu
    java = [
        JavaProgram(Path("java")).command(case) for case in program_design(machine, "jvm_pretouch", 1, thp=True).cases
    ]
    assert "-XX:PreTouchParallelChunkSize=64M" in java[1]
    assert ["-XX:+UseTransparentHugePages" in command for command in java] == [False] * 6 + [True] * 6


def test_programs_get_pages_of_hugetlbfs() -> None:
    """The last cases of a design with huge pages ask for them, need them from the pool, and hardly other memory."""
    machine = host(2, 1, 1)
    for client, program, options in (
        ("qemu_prealloc", QemuProgram(Path("qemu")), ["hugetlb=on,hugetlbsize=2M"]),
        ("jvm_pretouch", JavaProgram(Path("java")), ["-XX:+UseLargePages", "-XX:LargePageSizeInBytes=2M"]),
    ):
        cases = program_design(machine, client, 1, thp=True, huge_page=2 * MIB).cases
        huge = [all(option in " ".join(program.command(case)) for option in options) for case in cases]
        n = len(cases) // 3
        assert huge == [False] * 2 * n + [True] * n
        assert [program.pool_bytes(case) > case.size_bytes for case in cases] == huge
        assert [program.memory_bytes(case) < case.size_bytes for case in cases] == huge


def test_programs_told_in_words() -> None:
    """Cells, what threads were at work, and for each kind of pages what advice is worth."""
    machine = host(2, 1, 1)
    scenario = program_design(machine, "qemu_prealloc", 2, thp=True)
    runs = pd.DataFrame(
        [
            {"case": case, "replication": i, "nthreads": n, "time_s": time_s, "cpu_s": 0.2, "unstable": ""}
            for case, (n, time_s) in enumerate([(1, 0.2), (2, 0.15), (1, 0.1), (2, 0.125)])
            for i in range(5)
        ]
    )
    text = describe_programs(compare_programs([(scenario, runs)], machine))
    assert "4 cases, none used in the fit" in text
    assert (
        "4 KiB pages: recommended: 2 threads, chunks of 1 GiB; measured best: 2 threads, chunks of 1 GiB: the" in text
    )
    assert "recommended: 2 threads, chunks of 1 GiB; measured best: 1 thread, chunks of 2 GiB: 25.0% slower." in text


def test_a_missing_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who has no such program reads what to install; who names another client, which there are."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoProgramError, match="needs java, which is not installed: apt install openjdk-17-jre-headless"):
        find_programs(["jvm_pretouch"])
    with pytest.raises(NoProgramError, match=r"found 'qemu'; the programs .* qemu_prealloc, jvm_pretouch"):
        find_programs(["qemu"])


def test_advice_against_the_best() -> None:
    """Two threads are predicted to be best and take 11.5 ms; 10 ms were measured with one: 15 % slower."""
    columns = ["client", "pages", "nthreads", "chunk_bytes", "predicted_mean_s", "measured_s"]
    rows = [("a", "4 KiB", 1, 4 * MIB, 0.020, 0.010), ("a", "4 KiB", 2, 4 * MIB, 0.009, 0.0115)]
    (choice,) = choices(pd.DataFrame(rows, columns=columns))
    assert (choice.recommended["threads"], choice.best["threads"]) == (2, 1)
    assert choice.slower == pytest.approx(0.15)
    assert not choice.as_good
