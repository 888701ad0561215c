"""Runs on this host that are stopped or killed: nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.text.units import GIB, MIB
from real.huge_pages import default_state_dir
from real.limits import available_memory, free_huge_pages, read_meminfo, read_pool
from real.zeroing import Method
from tests.host.conftest import CPU_IDS, PATIENCE_S, Command, loads_of, state_of, with_load
from tests.host.test_huge_pages import PAGE_BYTES, guard_of, persistent, wait_until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux"),
    pytest.mark.xdist_group("huge_pages"),
]


class Running:
    """A command that runs in a session of its own."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        command = [sys.executable, "-m", "sim.cli", "run", *arguments, "--backend", "real"]
        with (cwd / "said").open("w") as said:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=said, stderr=said, start_new_session=True)
        self.pid = self.process.pid
        self.said = cwd / "said"

    def begun(self) -> bool:
        """Return whether runs are made: there are helpers, or load has been started."""
        assert self.process.poll() is None, self.said.read_text()
        names = [(folder / "comm").read_text() for folder in Path(f"/proc/{self.pid}/task").glob("*")]
        n_bound = Path(f"/proc/{self.pid}/status").read_text().partition("Cpus_allowed_list:\t")[2].partition("\n")[0]
        return len(names) > 1 and (len(CPU_IDS) == 1 or n_bound.isdigit())

    def clean_up(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait()


def session(pid: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == pid and fields[0] not in "ZX":
            found.append(int(folder.name))
    return found


def free_bytes() -> int:
    """Return what is available, what processes hold as their own counted in: less only if something else is kept."""
    meminfo = read_meminfo()
    return meminfo["MemAvailable"] + meminfo["AnonPages"]


@pytest.fixture
def busy(write: Callable[..., Path], method: Method, tmp_path: Path) -> Iterator[Running]:
    """A long run beside load that clears memory, in the middle of it."""
    scenario = write(with_load("clear"), ("replications: 2", "replications: 100000"))
    running = Running(str(scenario), "--method", method.name, cwd=tmp_path)
    try:
        wait_until(lambda: bool(loads_of(running.pid)) and running.begun())
        yield running
    finally:
        running.clean_up()


@pytest.mark.parametrize("stopped", [False, True])
def test_after_sigkill_nothing_is_left(busy: Running, tmp_path: Path, stopped: bool) -> None:
    """A run that is killed takes its load with it, also if that is stopped; memory and files are as before."""
    (load,) = loads_of(busy.pid)
    if stopped:
        os.kill(busy.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(busy.pid) == "T")
        os.kill(load, signal.SIGSTOP)
        wait_until(lambda: state_of(load) == "T")
    busy.process.kill()
    assert busy.process.wait(PATIENCE_S) == -signal.SIGKILL
    wait_until(lambda: session(busy.pid) == [] and state_of(load) == "X")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["results", "said", "small.yaml"]


@pytest.mark.parametrize(
    ("number", "statuses", "said"),
    [(signal.SIGTERM, {-15, 143}, ""), (signal.SIGINT, {130}, "stopped; nothing was written")],
)
def test_after_a_signal_nothing_is_left(
    busy: Running, tmp_path: Path, number: signal.Signals, statuses: set[int], said: str
) -> None:
    """A run that is told to end does so at once, with the usual status and no traceback, and its load with it."""
    (load,) = loads_of(busy.pid)
    busy.process.send_signal(number)
    assert busy.process.wait(PATIENCE_S) in statuses
    wait_until(lambda: session(busy.pid) == [] and state_of(load) == "X")
    text = busy.said.read_text()
    assert said in text and "Traceback" not in text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["results", "said", "small.yaml"]


def test_a_killed_run_keeps_no_memory(write: Callable[..., Path], method: Method, tmp_path: Path) -> None:
    """After a run of 256 MiB that was killed, as much memory is available as before."""
    scenario = write(("16MiB", "256MiB"), ("replications: 2", "replications: 100000"))
    if available_memory().size_bytes < GIB:
        pytest.skip("less than 1 GiB of memory is available")
    before = free_bytes()
    running = Running(str(scenario), "--method", method.name, cwd=tmp_path)
    try:
        wait_until(running.begun)
    finally:
        running.clean_up()
    wait_until(lambda: session(running.pid) == [] and free_bytes() > before - 128 * MIB)


def test_a_killed_run_leaves_no_huge_pages(
    pool: int, write: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """The pool that a run has grown is as before after it, after SIGTERM, and after SIGKILL."""
    name = f"populate-{PAGE_BYTES // MIB}MiB"
    scenario = write(("replications: 2", "replications: 100000"), ("min_chunk: 1MiB", "min_chunk: 2MiB"))
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES >= 16 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    options = ("--method", name, "--allow-hugepage-pool")
    status, _, err = command("run", str(scenario), "--backend", "real", *options, "--replications", "1")
    assert (status, persistent()) == (0, pool), err
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = Running(str(scenario), *options, "-o", f"out{number}", cwd=tmp_path)
        try:
            wait_until(running.begun)
            assert persistent() > pool
            running.process.send_signal(number)
            assert running.process.wait(PATIENCE_S) in (143, -signal.SIGKILL)
            wait_until(lambda: persistent() == pool and read_pool(PAGE_BYTES).n_surplus == 0)
        finally:
            running.clean_up()
    assert session(running.pid) == []


def test_what_a_killed_run_and_guard_leave_is_cleaned_up(
    pool: int, write: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """If all that could restore the pool is killed, `host --clean` does, and then has nothing more to do."""
    before = {file.name for file in default_state_dir().glob("pool-*.json")}
    if before:
        pytest.skip("other runs have grown the pool")
    scenario = write(("replications: 2", "replications: 100000"), ("min_chunk: 1MiB", "min_chunk: 2MiB"))
    if free_huge_pages(PAGE_BYTES) * PAGE_BYTES >= 16 * MIB:
        pytest.skip("somebody else's pages are in the pool")
    running = Running(
        str(scenario), "--method", f"fallocate-{PAGE_BYTES // MIB}MiB", "--allow-hugepage-pool", cwd=tmp_path
    )
    try:
        wait_until(running.begun)
        os.kill(guard_of(default_state_dir()), signal.SIGKILL)
    finally:
        running.clean_up()
    assert persistent() > pool
    n_left = persistent() - pool
    status, out, err = command("host", "--clean")
    assert (status, persistent()) == (0, pool), err
    assert f"took back {n_left} huge pages of 2 MiB" in out
    assert command("host", "--clean")[1] == "nothing was left behind\n"
