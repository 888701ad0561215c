"""Where runs are made: in this process, in processes of this host, or on a Dask cluster.

All have the same face: `submit` a run while fewer than `limit` are in flight, `next_done` waits for any of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import platform
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_BATCH_S = 0.1  # the time that a batch of runs may take: so long is lost with a process, and waited for at the end
_MOST_IN_BATCH = 256
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

    def submit(self, key: Key, case: Case, *, with_slices: bool = False) -> None:
        """Have a run made."""
        ...

    def next_done(self) -> tuple[Key, RunResult]:
        """Wait for a run. Raises the run's own exception, LostWorkersError or SchedulerError."""
        ...


class Here:
    """Makes runs in this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Key, Case, bool]] = deque()

    def limit(self) -> int:
        """One at a time."""
        return 1

    def submit(self, key: Key, case: Case, *, with_slices: bool = False) -> None:
        """Have a run made when it is asked for."""
        self._waiting.append((key, case, with_slices))

    def next_done(self) -> tuple[Key, RunResult]:
        """Make the next run."""
        key, case, with_slices = self._waiting.popleft()
        return key, run_case(case, key[1], with_slices=with_slices)


def make_runs(
    executor: Executor,
    cases: Sequence[Case],
    take: Callable[[], Key | None],
    on_done: Callable[[Key, RunResult], object],
    *,
    with_slices: Callable[[Key], bool] = lambda _key: False,
) -> None:
    """Make runs until there are no more.

    Args:
        executor: Where they are made.
        cases: The cases, by number.
        take: Returns the next run to make, or None if there is none, or none before others are done.
        on_done: Is told each run as it is done, in any order.
        with_slices: Whether a run keeps its trace.
    """
    n_in_flight = 0
    while True:
        while n_in_flight < executor.limit() and (key := take()) is not None:
            executor.submit(key, cases[key[0]], with_slices=with_slices(key))
            n_in_flight += 1
        if not n_in_flight:
            return
        key, result = executor.next_done()
        n_in_flight -= 1
        on_done(key, result)


def make_listed(
    executor: Executor,
    cases: Sequence[Case],
    keys: Iterable[Key],
    on_done: Callable[[Key, RunResult], object],
    *,
    with_slices: Callable[[Key], bool] = lambda _key: False,
) -> None:
    """Make certain runs, begun in the order of `keys`. The rest is as in `make_runs`."""
    waiting = iter(keys)
    make_runs(executor, cases, lambda: next(waiting, None), on_done, with_slices=with_slices)


_Run = tuple[int, int, bool]  # number of its case in the batch, replication, with slices


def _run_batch(cases: Sequence[Case], runs: Sequence[_Run]) -> tuple[list[RunResult], float]:
    """Make some runs in another process, and return them with the seconds that they took."""
    began = time.perf_counter()
    results = [run_case(cases[number], i, with_slices=with_slices) for number, i, with_slices in runs]
    return results, time.perf_counter() - began


class _Batches:
    """Sends runs in batches, each of about a tenth of a second, and each case once with a batch of its runs."""

    def __init__(self) -> None:
        self._size = 1  # runs in a batch
        self._waiting: list[tuple[Key, Case, bool]] = []
        self._ready: deque[tuple[Key, RunResult]] = deque()
        self._done: SimpleQueue[tuple[list[Key], Any]] = SimpleQueue()

    def submit(self, key: Key, case: Case, *, with_slices: bool = False) -> None:
        self._waiting.append((key, case, with_slices))
        if len(self._waiting) >= self._size:
            self._flush()

    def next_done(self) -> tuple[Key, RunResult]:
        if not self._ready:
            if self._waiting:
                self._flush()
            keys, future = self._done.get()
            results, seconds = self._result(keys, future)
            self._ready.extend(zip(keys, results, strict=True))
            self._size = max(1, min(_MOST_IN_BATCH, int(_BATCH_S * len(keys) / max(seconds, 1e-9)), 2 * self._size))
        return self._ready.popleft()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        places: dict[int, int] = {}
        cases: list[Case] = []
        runs: list[_Run] = []
        for key, case, with_slices in waiting:
            if id(case) not in places:
                places[id(case)] = len(cases)
                cases.append(case)
            runs.append((places[id(case)], key[1], with_slices))
        keys = [key for key, *_ in waiting]
        self._send(cases, runs).add_done_callback(partial(_put, self._done, keys))

    def _send(self, cases: list[Case], runs: list[_Run]) -> Any:
        """Have a batch made, and return its future."""
        raise NotImplementedError

    def _result(self, keys: list[Key], future: Any) -> tuple[list[RunResult], float]:  # noqa: ARG002
        result: tuple[list[RunResult], float] = future.result()
        return result


@contextmanager
def local(jobs: int) -> Iterator[Executor]:
    """Make runs in `jobs` processes, of which one is this process itself.

    Raises LostWorkersError as `processes` does.
    """
    if jobs == 1:
        yield Here()
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


class _Processes(_Batches):
    """Runs in a pool, whose BrokenProcessPool is left to `processes`."""

    def __init__(self, pool: ProcessPoolExecutor, jobs: int) -> None:
        super().__init__()
        self._pool = pool
        self._jobs = jobs

    def limit(self) -> int:
        return 2 * self._jobs * self._size

    def _send(self, cases: list[Case], runs: list[_Run]) -> Any:
        return self._pool.submit(_run_batch, cases, runs)


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
    levels = _quietened()
    try:
        yield _Cluster(client, address)
    except LostWorkersError:
        levels.clear()  # what is still under way in Dask's thread has nothing to add to our own words
        raise
    finally:
        client.close()  # runs that nobody waits for are dropped
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _quietened() -> dict[str, int]:
    """Keep Dask and asyncio from printing tracebacks when a connection is lost. Return the levels they had."""
    of = ("distributed", "asyncio", "tornado")
    names = {*of, *(name for name in logging.root.manager.loggerDict if name.partition(".")[0] in of)}
    levels = {name: logging.getLogger(name).level for name in sorted(names)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return levels


class _Cluster(_Batches):
    def __init__(self, client: Any, address: str) -> None:
        super().__init__()
        self._client = client
        self._address = address
        self._futures: set[Any] = set()  # those of batches that are wanted: Dask drops others
        self._n_sent = 0
        self._limit = _LEAST_IN_FLIGHT
        self._versions = _versions()

    def limit(self) -> int:
        return self._limit * self._size

    def _send(self, cases: list[Case], runs: list[_Run]) -> Any:
        try:
            if self._n_sent % _LEAST_IN_FLIGHT == 0:  # workers come and go
                n_threads = sum(self._client.nthreads().values())
                self._limit = max(_LEAST_IN_FLIGHT, _PER_THREAD * n_threads)
            future = self._client.submit(_run_there, cases, runs, self._versions, pure=False)
        except OSError:
            raise self._gone() from None
        self._n_sent += 1
        self._futures.add(future)
        return future

    def _result(self, keys: list[Key], future: Any) -> tuple[list[RunResult], float]:
        self._futures.discard(future)
        try:
            result: tuple[list[RunResult], float] = future.result()
        except CancelledError:
            raise self._gone() from None
        except Exception as error:
            if type(error).__name__ == "CommClosedError":  # it died while the result was fetched
                raise self._gone() from None
            if type(error).__name__ == "KilledWorker":
                number, i = keys[0]
                text = f"replication {i} of case {number} was given up: each worker that made it died"
                raise LostWorkersError(text) from None
            if isinstance(error, ImportError) or "deserialization" in str(error):
                text = (
                    f"the cluster at {self._address} can't load this program: install the same version on its "
                    "scheduler and workers"
                )
                raise SchedulerError(text) from error
            raise
        return result

    def _gone(self) -> LostWorkersError:
        return LostWorkersError(f"the scheduler at {self._address} is gone")


def _put(done: SimpleQueue[tuple[list[Key], Any]], keys: list[Key], future: Any) -> None:
    done.put((keys, future))


def _run_there(
    cases: Sequence[Case], runs: Sequence[_Run], versions: Mapping[str, str]
) -> tuple[list[RunResult], float]:
    """Make runs on a worker of a cluster. Raises SchedulerError if its software has other versions."""
    found = _versions()
    for name, wanted in versions.items():
        if found[name] != wanted:
            raise SchedulerError(f"a worker of the cluster has {name} {found[name]}; here it is {wanted}")
    return _run_batch(cases, runs)


def _versions() -> dict[str, str]:
    """Return the versions on which a run's figures depend besides its case, for people to read."""
    code = code_identity()
    return {
        "Python": platform.python_version(),
        "simpy": version("simpy"),
        "ktask-sim": f"{code['version']} (code {code['digest'][:12]})",
    }
