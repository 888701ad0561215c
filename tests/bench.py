"""What a chunk costs, from the bare event loop to whole simulations, and what a sweep costs: `make bench`.

The engine alone: T workers take chunks (mean 128 MiB, random sizes and nodes) from one queue; 8 memory nodes of
25 GiB/s, shared max-min with a cap of 2.45 GiB/s for each flow.

Whole simulations: caller, lock, wake-ups, noise; published machine, shared cores, other work, wide machines, long and
tiny runs. Each is told beside a bare SimPy timeout loop with as many processes, run just before it.

The sweep: 50 policies x 20 replications of the 100 GiB task of scenarios/clear_gigantic_page.yaml, by sim.run, by
sim.sweep, and by sim.sweep with two jobs, one after the other, into new folders (a sweep writes its result files and
figure too). The store: 100 000 runs of 1 to 4 threads, each stored, read again and written as tables.

Times are CPU time of this process (wall time where there are two); ratios are of one round each, and of all figures the
median of five rounds is printed. `python -m tests.bench NAME ...` does parts: engine, whole, sweep, store.
"""

from __future__ import annotations

import gc
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import yaml
from simpy import Environment, Event

import sim
from models.results.tables import make_results
from models.scenario import build_scenario
from models.scenario.case import Case
from models.text.document import parse
from sim.engine.flows import FlowNetwork
from sim.engine.run import run_case
from sim.runs.store import RunStore

GIB = 2.0**30
WORKERS = (16, 64, 288, 4608)
N_CHUNKS = 100_000
N_PAIRS = 5
N_ROUNDS = 5
MACHINES = Path(__file__).parent.parent / "models" / "machines"
SCENARIO = Path(__file__).parent.parent / "scenarios" / "clear_gigantic_page.yaml"
POLICIES = {
    "kernel.max_threads": [1, 2, 4, 8, 16],
    "kernel.chunks": ["ktask", "one-per-work", "guided", "factoring", "trapezoid"],
    "kernel.end": ["as-is", "cancel"],
}


def engine_run(n_workers: int, n_chunks: int) -> tuple[float, float]:
    """Return (chunks per second of CPU time, SimPy events per chunk)."""
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
    begin = time.process_time()
    env.run()
    wall_s = time.process_time() - begin
    return n_chunks / wall_s, next(env._eid) / n_chunks


def bare_run(n_processes: int, n_timeouts: int) -> float:
    """Return timeouts per second of CPU time of `n_processes` processes that only wait."""
    rng = random.Random(2)
    delays = [rng.uniform(0.5, 1.5) for _ in range(n_timeouts)]
    left = iter(delays)
    env = Environment()

    def waiter() -> Generator[Event, None, None]:
        for delay in left:
            yield env.timeout(delay)

    for _ in range(n_processes):
        env.process(waiter())
    begin = time.process_time()
    env.run()
    return n_timeouts / (time.process_time() - begin)


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


def case_of(machine: str, task: str, kernel: str, more: str = "") -> Case:
    """Return the one case of a scenario."""
    text = f"title: t\nquestion: q\nmachine: {machine}\ntask: {task}\nkernel: {kernel}\n{more}\n"
    return build_scenario(parse(text, "bench"), Path("bench")).cases[0]


def wide_machine(n_nodes: int, folder: Path) -> str:
    """Write a machine with 72 CPUs on each node; return its path."""
    path = folder / f"wide-{n_nodes}.yaml"
    rates = yaml.safe_load((MACHINES / "xeon-e7-8895v3-8s.yaml").read_text())["rates"]
    rates.pop("remote_factors")
    nodes = [{"count": n_nodes, "memory": "64GiB", "cores": [{"count": 36, "threads_per_core": 2}], "source": "bench"}]
    plain = {"machine": path.stem, "title": "a wide machine", "nodes": nodes, "rates": rates}
    if n_nodes > 1:  # a ring
        ring = [[i, (i + 1) % n_nodes] for i in range(n_nodes)]
        plain["distances"] = {"value": [10, *range(20, 20 + n_nodes // 2)], "source": "bench"}
        plain["links"] = [{"between": ring, "bandwidth": "11.66GB/s", "source": "bench"}]
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return str(path)


def whole_cases(folder: Path) -> dict[str, Case]:
    """Return what is simulated, by name."""
    published = sim.load(SCENARIO).cases
    cases = {
        "published, 1 worker": published[0],
        "published, 8 workers": published[3],
        "published, 16 workers": published[4],
        "published, 16 workers, 400 GiB": published[14],
    }
    for n in (16, 72, 288):
        cases[f"a node of 36 CPUs, {n} workers"] = case_of(
            "xeon-e7-8895v3-8s",
            "{client: clear_gigantic_page, size: 2GiB, page_size: 1GiB}",
            f"{{version: ktask-v1, max_threads: {n}, min_chunk: 512KiB, chunks: fixed}}",
        )
    for n_nodes, n in ((8, 576), (64, 4608)):
        cases[f"{n_nodes} nodes, {n} workers"] = case_of(
            wide_machine(n_nodes, folder), "{client: populate, size: 32GiB}",
            f"{{version: padata-6.9, max_threads: {n}, min_chunk: 1MiB}}",
        )  # fmt: skip
    cases["beside 8 threads"] = case_of(
        "xeon-platinum-8160-2s", "{client: jvm_pretouch, size: 2GiB}", "{version: jvm, max_threads: 8}",
        "background: {other: {load: spin, threads: 8}}",
    )  # fmt: skip
    cases["tiny: 16 chunks"] = case_of(
        "xeon-e7-8895v3-8s", "{client: clear_gigantic_page, size: 1GiB}", "{version: ktask-v1, max_threads: 4}"
    )
    return cases


def whole() -> None:
    """Print what whole simulations cost."""
    with tempfile.TemporaryDirectory() as folder:
        cases = whole_cases(Path(folder))
    rows: dict[str, list[tuple[int, float, float]]] = {name: [] for name in cases}
    for i in range(N_PAIRS):
        for name, case in cases.items():
            bare = bare_run(case.n_works, 20_000)
            gc.collect()  # what the case before has left
            begin = time.process_time()
            n_chunks = n_runs = 0
            while n_chunks < 500 and n_runs < 20:  # tiny ones several times
                n_chunks += run_case(case, 20 * i + n_runs).n_chunks
                n_runs += 1
            each_s = (time.process_time() - begin) / n_chunks
            rows[name].append((n_chunks // n_runs, each_s, 1.0 / each_s / bare))
    print("\nwhole simulation                     chunks  us a chunk  chunks per bare timeout (min to max)")
    for name, found in rows.items():
        ratios = sorted(ratio for *_, ratio in found)
        each_s = statistics.median(each_s for _, each_s, _ in found)
        print(
            f"{name:35} {found[0][0]:7d}  {1e6 * each_s:10.1f}  {statistics.median(ratios):.3f}"
            f" ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    few, many = (rows[f"a node of 36 CPUs, {n} workers"] for n in (16, 288))
    cost = statistics.median(b[1] / a[1] for a, b in zip(few, many, strict=True))
    print(f"cost of a chunk, 288 workers on shared cores over 16 alone: {cost:.1f}")


def store(n_runs: int = 100_000) -> None:
    """Print what it costs to store runs and to make tables of them, beyond simulating, in a process of its own."""
    scenario = sim.load(SCENARIO).with_values(
        {"task.size": "4GiB", "kernel.max_threads": [1, 2, 3, 4], "replications": n_runs // 4}
    )
    runs = [run_case(case, 0) for case in scenario.cases]
    keys = [(number, i) for number in range(len(runs)) for i in range(n_runs // 4)]
    make_results(scenario, [(number, 0, run) for number, run in enumerate(runs)], {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder, RunStore(Path(folder) / "store", {}) as kept:
        for key in keys:
            kept.add(key, runs[key[0]])
        stored = time.process_time()
        results = make_results(scenario, kept.results(keys), {"schema_version": 1})
        results.save(Path(folder) / "tables")
    done = time.process_time()
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = f"stored in {stored - begin:.1f} s, tables in {done - stored:.1f} s, {more_mib:.0f} MiB more"
    print(f"\n{n_runs} tiny runs: {took}")


PARTS: dict[str, Callable[[], object]] = {"engine": engine, "whole": whole, "sweep": sweeps, "store": store}


def main() -> None:
    """Do the parts that are asked for, by default all."""
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
