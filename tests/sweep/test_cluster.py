"""Sweeps on a Dask cluster of real processes on the loopback device."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import sim
from models.scenario import Scenario
from sim.runs.executors import LostWorkersError, SchedulerError, _run_there
from tests.sweep.conftest import n_stored, wait_until
from tests.unit.test_cli import process as ktask_sim
from tests.unit.test_sweep import bytes_of, stored

ROOT = str(Path(sim.__file__).parent.parent)
with_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="the package distributed is not installed")


@dataclass
class Cluster:
    """A scheduler and its workers."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


def start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command of Dask, on this host only."""
    command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": ROOT})


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A scheduler with two workers of one thread each."""
    from distributed import Client

    found = folder / "scheduler.json"
    scheduler = start(folder, "dask_scheduler", "--port", "0", "--scheduler-file", str(found))
    workers: list[subprocess.Popen[bytes]] = []
    try:
        wait_until(lambda: (found.exists() and found.read_text().endswith("}")) or scheduler.poll() is not None)
        address = json.loads(found.read_text())["address"]
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
        workers += [start(folder, "dask_worker", address, *options) for _ in range(2)]
        with Client(address, timeout=300, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=300)
        yield Cluster(address, scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler with two workers, for one test."""
    with cluster_in(tmp_path) as found:
        yield found


@with_dask
@pytest.mark.parametrize("ci", [None, 0.002])
def test_killed_worker_loses_nothing(
    cluster: Cluster, ci: float | None, long_scenario: Scenario, tmp_path: Path
) -> None:
    """With one of two workers killed in the middle, the files are those that one process writes, byte for byte."""

    def kill(n_made: int, _expected: int) -> None:
        if n_made == 10:
            cluster.workers[0].send_signal(signal.SIGKILL)

    sim.sweep(long_scenario, tmp_path / "there", scheduler=cluster.address, ci=ci, max_replications=40, on_done=kill)
    assert cluster.workers[0].wait() == -signal.SIGKILL
    sim.sweep(long_scenario, tmp_path / "here", ci=ci, max_replications=40)
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")
    assert set(stored(tmp_path / "there")) >= set(stored(tmp_path / "here"))


@with_dask
def test_lost_scheduler_leaves_what_was_done(cluster: Cluster, long_scenario: Scenario, tmp_path: Path) -> None:
    """When the scheduler dies the sweep ends with an error, and goes on here with the runs that were stored."""

    def kill(n_made: int, _expected: int) -> None:
        if n_made == 10:
            cluster.scheduler.send_signal(signal.SIGKILL)

    with pytest.raises(LostWorkersError, match="is gone"):
        sim.sweep(long_scenario, tmp_path / "there", scheduler=cluster.address, on_done=kill)
    n_before = n_stored(tmp_path / "there")
    assert 10 <= n_before < 90
    sim.sweep(long_scenario, tmp_path / "there", jobs=2)
    assert list(stored(tmp_path / "there").values()).count(1) == n_before
    sim.sweep(long_scenario, tmp_path / "here", jobs=2)
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


@with_dask
def test_lost_scheduler_is_said_in_a_line(cluster: Cluster, long_file: Path, tmp_path: Path) -> None:
    """At the prompt a lost scheduler is an error of one line, without tracebacks of asyncio or Dask."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.cli", "sweep", long_file.name, "-o", "out", "--scheduler", cluster.address],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    wait_until(lambda: n_stored(tmp_path / "out") >= 5 or process.poll() is not None)
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"Error: the scheduler at {cluster.address} is gone" in errors
    assert "Traceback" not in errors
    assert "asyncio" not in errors


@with_dask
def test_rule_of_ones_own_goes_to_the_cluster(cluster: Cluster, small_scenario: Scenario, tmp_path: Path) -> None:
    """A rule that no worker could import is run there all the same."""
    from models.policies import WorksRule

    class Two(WorksRule):
        """Always two."""

        def wanted(self, size: int, min_chunk: int, nid: int | None) -> int:  # noqa: ARG002
            return 2

    mine = small_scenario.with_rules(works=Two)
    swept = sim.sweep(mine, tmp_path / "s", scheduler=cluster.address)
    assert list(swept.runs["time_s"]) == list(sim.run(mine).runs["time_s"])


@with_dask
def test_no_scheduler_is_said(long_file: Path, tmp_path: Path) -> None:
    """Where no scheduler answers, the command says so with status 2."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        done = ktask_sim("sweep", str(long_file), "-o", "out", "--scheduler", address, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no Dask scheduler answers at {address}" in done.stderr and "Traceback" not in done.stderr


def test_missing_dask_is_said(long_file: Path, tmp_path: Path) -> None:
    """Without the package the command says how to install it, with status 2."""
    arguments = ["sweep", str(long_file), "-o", "out", "--scheduler", "tcp://127.0.0.1:9"]
    code = f"import sys; sys.modules['distributed'] = None; from sim.cli import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'ktask-sim[cluster]'" in done.stderr and "Traceback" not in done.stderr


def test_worker_of_another_version_is_refused(long_scenario: Scenario) -> None:
    """A worker with other versions than those that will stand in the results makes no run."""
    with pytest.raises(SchedulerError, match=r"a worker of the cluster has simpy .*; here it is 0"):
        _run_there(long_scenario.cases[:1], [(0, 0, False)], {"simpy": "0"})
