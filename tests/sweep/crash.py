"""`python -m tests.sweep.crash`: kills sweeps, searches, workers of a cluster and real runs, and counts what was lost.

Each is killed by SIGKILL at a time drawn at random, and started again until it ends. Then what it stored and wrote is
compared with a run that nobody killed. The sources must not change meanwhile: a sweep of other code is not continued.
`make crash` makes 40 kills of sweeps, 30 of searches, 30 of workers, 50 of real runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random, SystemRandom

from tests.host.conftest import BUSY, SMALL
from tests.host.test_stopped_runs import session
from tests.sweep.conftest import n_stored, wait_until
from tests.sweep.test_cluster import ROOT, cluster_in, start
from tests.unit.test_sweep import bytes_of, stored
from tests.unit.test_tuning import bytes_of as bytes_of_search

_SWEEP = (
    "title: Long\nquestion: Is it killed?\nmachine: xeon-e7-8895v3-8s\n"
    "task: {client: clear_gigantic_page, size: 50GiB, pool: 800GiB}\n"
    "kernel: {version: ktask-v1, max_threads: [4, 8, 16]}\nreplications: REPLICATIONS\nseed: 3\n"
)
_SEARCH = (
    "title: Search\nquestion: Is it killed?\nmachine: laptop-ryzen-4800u\n"
    "task: {client: clear_gigantic_page, size: 8GiB, pool: 12GiB}\n"
    "kernel: {max_threads: [4, 8], chunks: [ktask, guided, factoring], min_chunk: [128KiB, 256KiB, 512KiB, 1MiB],\n"
    "         end: [as-is, split], chunks_per_work: 64}\nreplications: 2\nseed: 3\n"
)


class Losses:
    """What was lost, by kind."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, what: str, true: bool) -> None:
        """Note something that should be so."""
        if not true:
            self.found.append(what)
            print(f"LOST: {what}", flush=True)


def _begin(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own."""
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "sim.cli", *arguments],
            cwd=folder,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )


def _kill_often(arguments: Sequence[str], folder: Path, kills: int, random: Random, losses: Losses) -> None:
    """Start a command that stores runs, kill it that often as it goes on, and let it end."""
    before: dict[tuple[int, int], int] = {}
    for n in range(kills):
        wanted = n_stored(folder / "out") + random.randint(0, 2)
        process = _begin(arguments, folder)
        wait_until(
            lambda wanted=wanted, process=process: n_stored(folder / "out") > wanted or process.poll() is not None
        )
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
        losses.check(f"{arguments[0]}: it ended after {n} kills, before all were made", process.wait() != 0)
        wait_until(lambda process=process: not session(process.pid))
        after = stored(folder / "out")
        losses.check(f"{arguments[0]}: {len(before)} runs before kill {n}", before.items() <= after.items())
        before = after
    losses.check(f"{arguments[0]}: it did not end", _begin(arguments, folder).wait() == 0)
    losses.check(f"{arguments[0]}: runs were made twice", before.items() <= stored(folder / "out").items())


def kill_sweeps(kills: int, folder: Path, random: Random, losses: Losses) -> None:
    """Kill a sweep in two processes."""
    (folder / "s.yaml").write_text(_SWEEP.replace("REPLICATIONS", str(20 + 4 * kills)))
    _kill_often(("sweep", "s.yaml", "-o", "out", "--jobs", "2"), folder, kills, random, losses)
    losses.check("sweep: the whole one", _begin(("sweep", "s.yaml", "-o", "whole", "--jobs", "2"), folder).wait() == 0)
    losses.check("sweep: other bytes than without a kill", bytes_of(folder / "out") == bytes_of(folder / "whole"))


def kill_searches(kills: int, folder: Path, random: Random, losses: Losses) -> None:
    """Kill a search for policies."""
    (folder / "t.yaml").write_text(_SEARCH)
    arguments = ("tune", "t.yaml", "--trials", str(24 + 3 * kills), "--jobs", "2", "-o")
    _kill_often((*arguments, "out"), folder, kills, random, losses)
    losses.check("tune: the whole one", _begin((*arguments, "whole"), folder).wait() == 0)
    same = bytes_of_search(folder / "out") == bytes_of_search(folder / "whole")
    losses.check("tune: other bytes than without a kill", same)


def kill_workers(kills: int, folder: Path, random: Random, losses: Losses) -> None:
    """Kill workers of a Dask cluster while a sweep goes on there; each dead one has a successor."""
    (folder / "s.yaml").write_text(_SWEEP.replace("REPLICATIONS", str(40 + 20 * kills)))
    with cluster_in(folder) as cluster:
        process = _begin(("sweep", "s.yaml", "-o", "out", "--scheduler", cluster.address), folder)
        for n in range(kills):
            wanted = n_stored(folder / "out") + random.randint(1, 20)
            wait_until(lambda wanted=wanted: n_stored(folder / "out") > wanted or process.poll() is not None)
            losses.check(f"workers: the sweep ended after {n} kills, before all were made", process.poll() is None)
            worker = cluster.workers.pop(0)
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
            cluster.workers.append(start(folder, "dask_worker", cluster.address, *options))
        losses.check("workers: the sweep did not end", process.wait() == 0)
    losses.check(
        "workers: the whole one", _begin(("sweep", "s.yaml", "-o", "whole", "--jobs", "2"), folder).wait() == 0
    )
    losses.check("workers: other bytes than without a kill", bytes_of(folder / "out") == bytes_of(folder / "whole"))


def kill_real_runs(kills: int, folder: Path, random: Random, losses: Losses) -> None:
    """Kill runs on this host beside load, at any time from their start on: no process and no file is left."""
    text = SMALL.replace("background: {}", BUSY.replace("LOAD", "spin")).replace(
        "replications: 2", "replications: 9999"
    )
    (folder / "small.yaml").write_text(text)
    for n in range(kills):
        process = _begin(("run", "small.yaml", "--backend", "real", "-o", f"out{n}"), folder)
        time.sleep(random.uniform(0.2, 3.0))
        process.kill()
        losses.check(
            f"real run {n} had ended: {(folder / 'said').read_text()[-300:]}", process.wait() == -signal.SIGKILL
        )
        end = time.monotonic() + 60
        while session(process.pid) and time.monotonic() < end:
            time.sleep(0.05)
        losses.check(f"real run {n} left processes", not session(process.pid))
    left = {file.name for file in folder.rglob("*") if file.is_file()} - {"small.yaml", "said"}
    losses.check(f"real runs left {sorted(left)}", not left)


KINDS: dict[str, tuple[int, Callable[[int, Path, Random, Losses], None]]] = {
    "sweep": (40, kill_sweeps),
    "tune": (30, kill_searches),
    "workers": (30, kill_workers),
    "real": (50, kill_real_runs),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    for name, (kills, _) in KINDS.items():
        parser.add_argument(f"--{name}", type=int, default=kills, help="how many kills")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    losses = Losses()
    for name, (_, kill) in KINDS.items():
        kills = getattr(given, name)
        if kills:
            with tempfile.TemporaryDirectory() as folder:
                began = time.monotonic()
                kill(kills, Path(folder), Random(f"{given.seed} {name}"), losses)
                print(f"{name}: {kills} kills in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(losses.found)} losses", flush=True)
    return bool(losses.found)


if __name__ == "__main__":
    sys.exit(main())
