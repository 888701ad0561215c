"""Background load on chosen CPUs: processes of their own, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from real.zeroing import Method

# More than four times the largest last-level cache of a domain in use (AMD, 96 MiB with stacked cache).
REGION_BYTES = 512 << 20
_SETTLE_S = 0.01  # from waking the load to measuring beside it


class Background:
    """Load on CPUs, in the blocks of `running`; paused in between. Each thread of it is a process."""

    def __init__(self, load: str, cpus: Sequence[int], method: Method) -> None:
        self._commands = [
            [sys.executable, "-P", "-m", "real.load", load, str(cpu_id), method.name, str(os.getpid())]
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


def budget_bytes(n_cpus: int, page_bytes: int = 1) -> int:
    """Return the memory that background load needs on a number of CPUs, in whole pages for each."""
    return -(-REGION_BYTES // page_bytes) * page_bytes * n_cpus
