"""Sweeps that are killed or stopped in the middle, as the user meets them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sim
from models.scenario import load_scenario
from tests.sweep.conftest import n_stored, wait_until
from tests.unit.test_cli import process as ktask_sim
from tests.unit.test_sweep import bytes_of, stored

N_RUNS = 45


def write_scenario(folder: Path) -> Path:
    """Write a file of 45 runs, a few seconds in all."""
    path = folder / "long.yaml"
    path.write_text(
        "title: Long\nquestion: Is it stopped?\nmachine: xeon-e7-8895v3-8s\n"
        "task: {client: clear_gigantic_page, size: 50GiB, pool: 800GiB}\n"
        "kernel: {version: ktask-v1, max_threads: [4, 8, 16]}\nreplications: 15\nseed: 3\n"
    )
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The result files of a sweep that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    sim.sweep(load_scenario(write_scenario(folder)), folder / "out", jobs=2)
    return bytes_of(folder / "out")


@pytest.mark.parametrize(
    ("sent", "status", "jobs"),
    [
        (signal.SIGKILL, -signal.SIGKILL, "1"),
        (signal.SIGKILL, -signal.SIGKILL, "2"),
        (signal.SIGTERM, 143, "2"),
        (signal.SIGINT, 130, "2"),
    ],
)
def test_nothing_is_lost_or_made_twice(
    sent: signal.Signals, status: int, jobs: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """After kill -9, SIGTERM and Ctrl-C no process is left, and the same command makes just the other runs."""
    arguments = ["sweep", write_scenario(tmp_path).name, "-o", "out", "--jobs", jobs]
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.cli", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    folder = tmp_path / "out"
    wait_until(lambda: n_stored(folder) >= 5 or process.poll() is not None)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=300)  # ends when no process has the pipe any more
    assert (process.returncode, output) == (status, "")
    if sent != signal.SIGKILL:
        assert f"stopped; the runs that were done are in {Path('out') / 'runs.sqlite'}" in errors
        assert "Traceback" not in errors
    before = stored(folder)
    assert 5 <= len(before) < N_RUNS
    done = ktask_sim(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = stored(folder)
    assert len(after) == N_RUNS
    assert {key for key, session in after.items() if session == 1} == set(before)
    assert bytes_of(folder) == whole


def test_a_full_disk_during_a_run_is_said(long_file: Path, tmp_path: Path) -> None:
    """A run whose results don't fit on the disk is an error of one line, status 1, without a traceback."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))  # bytes of a file, as of a disk that is full

    done = subprocess.run(
        [sys.executable, "-m", "sim.cli", "run", long_file.name, "-o", "out", "--replications", "1", "--jobs", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env={**os.environ, "PYTHONPATH": str(Path(sim.__file__).parent.parent)},
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
