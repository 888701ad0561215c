"""Speed of the contention engine against a bare SimPy timeout loop, and what a sweep costs: `make bench`.

T workers take chunks (mean 128 MiB, random sizes and nodes) from one queue; 8 memory nodes of 25 GiB/s, shared max-min
with a cap of 2.45 GiB/s for each flow. Each pair (engine, bare loop with as many processes as workers) runs back to
back; medians of five pairs are printed.

The sweep: 50 policies x 20 replications of the 100 GiB task of scenarios/clear_gigantic_page.yaml. Each round makes
these 1 000 runs by sim.run, by sim.sweep, and by sim.sweep with two jobs, one after the other, into new folders (a
sweep writes its result files and figure too); medians of the ratios within a round. `python -m tests.bench sweep
[ROUNDS]` does only this, some minutes a round.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from simpy import Environment, Event

import sim
from sim.engine.flows import FlowNetwork

GIB = 2.0**30
WORKERS = (16, 64, 288, 4608)
N_CHUNKS = 100_000
N_PAIRS = 5
N_ROUNDS = 3
SCENARIO = Path(__file__).parent.parent / "scenarios" / "clear_gigantic_page.yaml"
POLICIES = {
    "kernel.max_threads": [1, 2, 4, 8, 16],
    "kernel.chunks": ["ktask", "one-per-work", "guided", "factoring", "trapezoid"],
    "kernel.end": ["as-is", "cancel"],
}


def engine_run(n_workers: int, n_chunks: int) -> tuple[float, float]:
    """Return (chunks per second of wall time, SimPy events per chunk)."""
    rng = random.Random(1)
    sizes = [rng.uniform(0.5, 1.5) * 128 * 2**20 for _ in range(n_chunks)]
    nodes = [rng.randrange(8) for _ in range(n_chunks)]
    env = Environment()
    network = FlowNetwork(env)
    memories = [network.resource(f"node{i}", 25 * GIB) for i in range(8)]
    routes = [network.route([(memory, 1.0)], cap=2.45 * GIB) for memory in memories]
    left = iter(zip(sizes, nodes, strict=True))

    def worker() -> Generator[Event, None, None]:
        start = network.start
        for size, node in left:
            yield start(routes[node], size)

    for _ in range(n_workers):
        env.process(worker())
    begin = time.perf_counter()
    env.run()
    wall_s = time.perf_counter() - begin
    return n_chunks / wall_s, next(env._eid) / n_chunks


def bare_run(n_processes: int, n_timeouts: int) -> float:
    """Return timeouts per second of wall time of `n_processes` processes that only wait."""
    rng = random.Random(2)
    delays = [rng.uniform(0.5, 1.5) for _ in range(n_timeouts)]
    left = iter(delays)
    env = Environment()

    def waiter() -> Generator[Event, None, None]:
        for delay in left:
            yield env.timeout(delay)

    for _ in range(n_processes):
        env.process(waiter())
    begin = time.perf_counter()
    env.run()
    return n_timeouts / (time.perf_counter() - begin)


def wall_s(work: Callable[[], object]) -> float:
    """Return the seconds of wall time that something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def sweep_round(replications: int) -> tuple[float, float, float]:
    """Return the seconds for all runs by sim.run, by a sweep, and by a sweep with two jobs."""
    scenario = sim.load(SCENARIO).with_values({"task.size": "100GiB", **POLICIES, "replications": replications})
    with tempfile.TemporaryDirectory() as folder:
        return (
            wall_s(lambda: sim.run(scenario)),
            wall_s(lambda: sim.sweep(scenario, Path(folder) / "one")),
            wall_s(lambda: sim.sweep(scenario, Path(folder) / "two", jobs=2)),
        )


def sweeps(n_rounds: int = N_ROUNDS, replications: int = 20) -> None:
    """Print what a run costs in a sweep, and what a second job brings."""
    sweep_round(1)
    rounds = [sweep_round(replications) for _ in range(n_rounds)]
    n_runs = replications * 50
    print(f"\nsweep of {n_runs} runs (median of {n_rounds} rounds, min to max)")
    for name, values, unit in (
        ("sim.run", [1e3 * run / n_runs for run, _, _ in rounds], "ms a run"),
        ("sweep, 1 job", [1e3 * one / n_runs for _, one, _ in rounds], "ms a run"),
        ("sweep, 2 jobs", [1e3 * two / n_runs for _, _, two in rounds], "ms a run"),
        ("sweep / sim.run", [one / run for run, one, _ in rounds], ""),
        ("1 job / 2 jobs", [one / two for _, one, two in rounds], ""),
    ):
        print(f"{name:15}  {statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g}) {unit}".rstrip())


def engine() -> None:
    """Print the speed of the contention engine."""
    results: dict[int, list[tuple[float, float, float]]] = {n: [] for n in WORKERS}
    for n in WORKERS:
        engine_run(n, N_CHUNKS // 10)
    for _ in range(N_PAIRS):
        for n in WORKERS:
            bare = bare_run(n, N_CHUNKS)
            chunks, events = engine_run(n, N_CHUNKS)
            results[n].append((chunks, events, chunks / bare))
    print("workers  chunks/s  events/chunk  chunks per bare timeout (median of 5 pairs, min to max)")
    medians = {}
    for n, rows in results.items():
        ratios = sorted(ratio for *_, ratio in rows)
        medians[n] = statistics.median(chunks for chunks, *_ in rows)
        print(
            f"{n:7d}  {medians[n]:8.0f}  {rows[0][1]:12.2f}  {statistics.median(ratios):.2f}"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    pairs = [b[0] / a[0] for a, b in zip(results[288], results[4608], strict=True)]
    print(f"rate at 4608 workers / rate at 288: {statistics.median(pairs):.2f}")


def main() -> None:
    if sys.argv[1:2] == ["sweep"]:
        sweeps(*(int(number) for number in sys.argv[2:]))
        return
    engine()
    sweeps()


if __name__ == "__main__":
    main()
