"""Whole simulations compared one by one with the same ones on a plain network: `python -m tests.reference.whole`.

Random scenarios over all machines, clients, kernels, policies and other work, and every run of the published table.
`make compare` runs all of it; a sample is in `test_whole_runs.py`.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from models.files.machine import shipped_machines
from models.kernels import VERSIONS
from models.policies.options import PRESETS
from models.results.run import RunResult
from models.scenario import build_scenario, load_scenario
from models.scenario.case import Case
from models.text.document import locate
from models.text.problems import InputError
from sim.engine import hardware
from sim.engine.run import run_case
from tests.reference.plain_network import PlainNetwork

RELATIVE = 1e-9  # the engine counts a load within 1e-9 of a capacity as within it
PUBLISHED = Path(__file__).parents[2] / "scenarios" / "clear_gigantic_page.yaml"
_CLIENTS = {
    "clear_gigantic_page": {"page_size": ["1GiB", "256MiB"]},
    "populate": {},
    "vfio_pin": {},
    "jvm_pretouch": {},
    "qemu_prealloc": {"page_size": ["2MiB"]},
    "hugetlbfs_fallocate": {},
    "free_pages": {},
    "ktask_test": {},
}
_LOADS = ("spin", "clear", "read", "copy", "bursts")


def random_case(seed: int) -> Case | None:
    """Return the case of a random scenario, the same for the same seed; None if what was drawn is no valid one."""
    draw = random.Random(seed)
    machine = draw.choice(shipped_machines())
    client = draw.choice(list(_CLIENTS))
    task = {"client": client, "size": f"{draw.choice([256, 512, 1024, 2048, 4096])}MiB"}
    task |= {key: draw.choice(values) for key, values in _CLIENTS[client].items()}
    version = {"jvm_pretouch": "jvm", "qemu_prealloc": "qemu"}.get(client)
    kernel = {"version": version or draw.choice([name for name in VERSIONS if name not in ("jvm", "qemu")])}
    kernel["max_threads"] = draw.choice([1, 2, 3, 5, 8, 16, 24, 40, 64, 100])
    if version is None and draw.random() < 0.5:
        kernel["policy"] = draw.choice(list(PRESETS))
    if version is None and draw.random() < 0.5:
        kernel["min_chunk"] = draw.choice(["2MiB", "8MiB", "32MiB"])
    document = {"title": "t", "question": "q", "machine": machine, "task": task, "kernel": kernel, "seed": seed}
    if draw.random() < 0.2:
        document["background"] = {"other": {"load": draw.choice(_LOADS), "threads": draw.choice([1, 3, 8])}}
    try:
        return build_scenario(locate(document), Path("random")).cases[0]
    except InputError:
        return None


def random_cases(n: int, first_seed: int = 0) -> Iterator[tuple[str, Case]]:
    """Yield so many random cases, each with its name."""
    seed = first_seed
    while n:
        case = random_case(seed)
        if case is not None:
            yield f"random scenario {seed}", case
            n -= 1
        seed += 1


def plain_run(case: Case, replication: int) -> RunResult:
    """Make a run on the plain network."""
    fast, hardware.FlowNetwork = hardware.FlowNetwork, PlainNetwork  # type: ignore[misc,assignment]
    try:
        return run_case(case, replication)
    finally:
        hardware.FlowNetwork = fast  # type: ignore[misc]


def difference(one: RunResult, other: RunResult) -> float:
    """Return by how much two runs differ: the greatest relative difference of any of their figures."""
    pairs = [(one.time_s, other.time_s), (one.cpu_s, other.cpu_s), (one.imbalance, other.imbalance)]
    if one.n_chunks != other.n_chunks or one.utilisation.keys() != other.utilisation.keys():
        return float("inf")
    pairs += [(one.utilisation[name], other.utilisation[name]) for name in one.utilisation]
    pairs += [
        (float(value), float(other.extra[name])) for name, value in one.extra.items() if isinstance(value, (int, float))
    ]
    return max((abs(a - b) / max(abs(a), abs(b)) for a, b in pairs if a != b and not math.isnan(a)), default=0.0)


def main(n_random: int, replications: int) -> None:
    """Compare runs, print those that differ, and exit with status 1 if any does."""
    runs = [(name, case, 0) for name, case in random_cases(n_random)]
    for number, case in enumerate(load_scenario(PUBLISHED).cases):
        runs += [(f"published case {number}", case, i) for i in range(min(replications, case.replications))]
    worst, n_bad = 0.0, 0
    for name, case, replication in runs:
        found = difference(run_case(case, replication), plain_run(case, replication))
        worst = max(worst, found)
        if found > RELATIVE:
            n_bad += 1
            print(f"{name}, replication {replication}: differs by {found:.3g}", flush=True)
    print(
        f"{len(runs)} runs compared, {n_bad} differ by more than {RELATIVE:g}; the greatest difference is {worst:.3g}"
    )
    sys.exit(n_bad > 0)


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
