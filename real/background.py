"""Background load on chosen CPUs: processes of their own, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from models.scenario.case import Case
from real.zeroing import Method

# More than four times the largest last-level cache of a domain in use (AMD, 96 MiB with stacked cache).
REGION_BYTES = 512 << 20
_SETTLE_S = 0.01  # from waking the load to measuring beside it
KINDS = ("spin", "clear", "read", "copy")  # of models.loads, that a host runs for ever on CPUs of their own


class Background:
    """Load on CPUs, in the blocks of `running` and paused in between. Each thread of it is a process."""

    def __init__(self, load: str, cpus: Sequence[int], nice: int, method: Method) -> None:
        self._commands = [
            [sys.executable, "-P", "-m", "real.load", load, str(cpu_id), str(nice), method.name, str(os.getpid())]
            for cpu_id in cpus
        ]
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Background:
        try:
            for command in self._commands:
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                )
            for process in self._processes:
                assert process.stdout is not None
                if process.stdout.readline().strip() != "ready":
                    raise OSError("background load did not start")
            self.pause()
        except BaseException:
            self.__exit__()
            raise
        return self

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the load run for a block."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
        try:
            time.sleep(_SETTLE_S)
            yield
        finally:
            self.pause()
        if any(process.poll() is not None for process in self._processes):
            raise OSError("background load has ended by itself: no memory left?")

    def pause(self) -> None:
        """Stop the load for now."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)
        for process in self._processes:
            if process.poll() is None:
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # or it is about to end

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()


def loads_of(case: Case) -> list[tuple[str, tuple[int, ...], int]]:
    """Return the kind, CPUs and nice level of each of a case's loads."""
    return [(load.load, load.cpus or (), load.nice) for load in case.background.values()]


def busy_cpus(case: Case) -> list[int]:
    """Return the CPUs that have background load, each as often as it has."""
    return [cpu_id for _, cpu_ids, _ in loads_of(case) for cpu_id in cpu_ids]


def memory_cpus(case: Case) -> list[int]:
    """Return the CPUs whose background load holds memory."""
    return [cpu_id for kind, cpu_ids, _ in loads_of(case) if kind != "spin" for cpu_id in cpu_ids]


def check_background(case: Case, refuse: Callable[[str, str, str], None]) -> None:
    """Find the parts of a case's background that a host can't do: refuse(path, found, allowed)."""
    for name, load in case.background.items():
        at = f"background.{name}"
        if load.load not in KINDS:
            refuse(f"{at}.load", load.load, f"on a host allowed are {', '.join(KINDS)}")
        elif load.is_finite:
            given = "cpu_time" if load.load == "spin" else "size"
            refuse(f"{at}.{given}", "an amount", "on a host a load runs for ever: leave it out")
        elif load.cpus is None or load.n_threads != len(load.cpus):
            refuse(at, f"{load.n_threads} threads", "on a host each thread has a CPU of its own: give cpus alone")
        elif load.start or load.group:
            refuse(at, "start or group", "on a host a load runs from before the job, in this process's group")
    if case.groups or case.clearing.nice or case.clearing.start:
        refuse("groups" if case.groups else "task", "groups, nice or start", "they are for the simulation alone")


def budget_bytes(n_cpus: int, page_bytes: int = 1) -> int:
    """Return the memory that background load needs on a number of CPUs, in whole pages for each."""
    return -(-REGION_BYTES // page_bytes) * page_bytes * n_cpus
