"""Where runs are made: in this process, in processes of this host, or on a Dask cluster.

All have the same face: `submit` a run while fewer than `limit` are in flight, `next_done` waits for any of them.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from models.results.code import code_identity
from models.results.run import RunResult
from models.scenario.case import Case
from sim.engine.run import run_case
from sim.runs.replications import Key

_CONNECT_S = 10.0  # the longest that a scheduler may take to answer
_PER_THREAD = 3  # runs in flight for each thread of a cluster, so that none waits for the next one
_LEAST_IN_FLIGHT = 16  # where a cluster has no workers yet
_KILLED = "a process that made runs was killed, perhaps for want of memory: try fewer --jobs"
_NOT_STARTED = (
    "no other process could start, as each first imports this program: give jobs=1, or let it be a file in which all "
    'that it does stands under `if __name__ == "__main__":`'
)


class SchedulerError(Exception):
    """The cluster can't be used as asked."""


class LostWorkersError(Exception):
    """Runs were lost with the processes that made them."""


class Executor(Protocol):
    """Something that makes runs."""

    def limit(self) -> int:
        """Return how many runs may be in flight now."""
        ...

    def submit(self, key: Key, case: Case) -> None:
        """Have a run made."""
        ...

    def next_done(self) -> tuple[Key, RunResult]:
        """Wait for a run. Raises what the run raised, LostWorkersError or SchedulerError."""
        ...


class _Here:
    def __init__(self) -> None:
        self._waiting: deque[tuple[Key, Case]] = deque()

    def limit(self) -> int:
        return 1

    def submit(self, key: Key, case: Case) -> None:
        self._waiting.append((key, case))

    def next_done(self) -> tuple[Key, RunResult]:
        key, case = self._waiting.popleft()
        return key, run_case(case, key[1])


@contextmanager
def local(jobs: int) -> Iterator[Executor]:
    """Make runs in `jobs` processes; one is this process itself. Raises LostWorkersError as `processes` does."""
    if jobs == 1:
        yield _Here()
        return
    with processes(jobs) as pool:
        yield _Processes(pool, jobs)


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of this host on demand, which end with this one, and are not waited for after an error.

    Raises LostWorkersError if one dies, or if none can start: each imports the script that this process runs.
    """
    program = sys.modules["__main__"]
    script = getattr(program, "__file__", None)
    if program.__spec__ is None and script is not None and not Path(script).exists():  # it came by standard input
        raise LostWorkersError(_NOT_STARTED)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)  # such a process, at its import of the script: the one that started it has the words
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(jobs, context, initializer=_be_worker, initargs=(started,))
    try:
        yield pool
        pool.shutdown()
    except BaseException as error:
        # Nothing is lost by not waiting: what was not stored is made again.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise LostWorkersError(_KILLED if started.is_set() else _NOT_STARTED) from None
        raise


def _be_worker(started: Event) -> None:
    """Leave Ctrl-C to the parent, and end when it ends, killed or not."""
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _Processes:
    """Runs in a pool, whose BrokenProcessPool is left to `processes`."""

    def __init__(self, pool: ProcessPoolExecutor, jobs: int) -> None:
        self._pool = pool
        self._jobs = jobs
        self._done: SimpleQueue[tuple[Key, Any]] = SimpleQueue()

    def limit(self) -> int:
        return 2 * self._jobs

    def submit(self, key: Key, case: Case) -> None:
        future = self._pool.submit(run_case, case, key[1])
        future.add_done_callback(lambda done: self._done.put((key, done)))

    def next_done(self) -> tuple[Key, RunResult]:
        key, future = self._done.get()
        return key, future.result()


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """Make runs on the workers of the Dask scheduler at `address`, such as tcp://127.0.0.1:8786.

    A run whose worker dies is made again by another. Raises SchedulerError if there is no Dask or no scheduler.
    """
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d{1,5}", address):
        raise SchedulerError(f"found scheduler {address!r}; allowed is tcp://HOST:PORT or tls://HOST:PORT")
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise SchedulerError(
            "a cluster needs the package distributed (Dask), which is not installed: pip install 'ktask-sim[cluster]'"
        ) from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        text = str(error).partition("\n")[0]
        raise SchedulerError(f"no Dask scheduler answers at {address}: {text}") from None
    try:
        yield _Cluster(client, address)
    finally:
        client.close()  # runs that nobody waits for are dropped


class _Cluster:
    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        self._done: SimpleQueue[Key] = SimpleQueue()
        self._futures: dict[Key, Any] = {}
        self._n_submitted = 0
        self._limit = _LEAST_IN_FLIGHT
        self._versions = _versions()

    def limit(self) -> int:
        return self._limit

    def submit(self, key: Key, case: Case) -> None:
        try:
            if self._n_submitted % _LEAST_IN_FLIGHT == 0:  # workers come and go
                n_threads = sum(self._client.nthreads().values())
                self._limit = max(_LEAST_IN_FLIGHT, _PER_THREAD * n_threads)
            future = self._client.submit(_run_there, case, key[1], self._versions, pure=False)
        except OSError:
            raise self._gone() from None
        self._n_submitted += 1
        self._futures[key] = future
        future.add_done_callback(partial(_put, self._done, key))

    def next_done(self) -> tuple[Key, RunResult]:
        key = self._done.get()
        future = self._futures.pop(key)
        try:
            result: RunResult = future.result()
        except CancelledError:
            raise self._gone() from None
        except Exception as error:
            if type(error).__name__ == "CommClosedError":  # it died while the result was fetched
                raise self._gone() from None
            if type(error).__name__ == "KilledWorker":
                text = f"replication {key[1]} of case {key[0]} was given up: each worker that made it died"
                raise LostWorkersError(text) from None
            if isinstance(error, ImportError) or "deserialization" in str(error):
                text = (
                    f"the cluster at {self._address} can't load this program: install the same version on its "
                    "scheduler and workers"
                )
                raise SchedulerError(text) from error
            raise
        return key, result

    def _gone(self) -> LostWorkersError:
        return LostWorkersError(f"the scheduler at {self._address} is gone")


def _put(done: SimpleQueue[Key], key: Key, _future: object) -> None:
    done.put(key)


def _run_there(case: Case, replication: int, versions: Mapping[str, str]) -> RunResult:
    """Make a run on a worker of a cluster. Raises SchedulerError if what it is made with has other versions."""
    found = _versions()
    for name, wanted in versions.items():
        if found[name] != wanted:
            raise SchedulerError(f"a worker of the cluster has {name} {found[name]}; here it is {wanted}")
    return run_case(case, replication)


def _versions() -> dict[str, str]:
    """Return what the figures of a run depend on besides its case, for people to read."""
    code = code_identity()
    return {
        "Python": platform.python_version(),
        "simpy": version("simpy"),
        "ktask-sim": f"{code['version']} (code {code['digest'][:12]})",
    }
