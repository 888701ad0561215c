"""The limit of a case: each kind of resource is taken away in turn, and the waits of threads are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from models.results.run import RunResult
from models.scenario.case import Case
from models.text.cpu_list import format_cpu_list

NOTICED = 0.05  # share of the time that something has to cost to be named
NO_LIMIT = "number of threads"  # named where nothing else is
_UNLIMITED = 1e3  # times a capacity: no limit
_ALIKE = 0.9  # share of the highest utilisation from which a resource is named with it; of 1: a link is full
_LOCKS = "client_lock_wait_s"
WAITS = {  # of a worker, and what it waits for
    _LOCKS: "kernel locks",
    "lock_wait_s": "lock of the task",
    "start_wait_s": "start of the threads",
    "end_wait_s": "wait for the last thread",
}


def relaxed(case: Case) -> dict[str, Case]:
    """Return the case on machines without one limit each, by the kind of resource."""
    machine, rates = case.machine, case.machine.rates
    threads = len(machine.cpus) / len({cpu.core_id for cpu in machine.cpus})
    machines = {"memory": machine.with_memory_rates(_UNLIMITED)}
    if rates.cache_bytes_per_s is not None:
        machines["cache"] = replace(machine, rates=replace(rates, cache_bytes_per_s=None))
    if threads > 1:
        machines["core"] = replace(machine, rates=replace(rates, core_throughput=_UNLIMITED))
    if len(machine.nodes) > 1:
        links = tuple(replace(link, rate_bytes_per_s=_UNLIMITED * link.rate_bytes_per_s) for link in machine.links)
        machines["link"] = replace(machine, links=links, rates=replace(rates, remote_factors={}))
    return {kind: replace(case, machine=other) for kind, other in machines.items()}


def limit_of(result: RunResult, without: Mapping[str, float], threads: int) -> str:
    """Return the reason why a run with this many threads is not faster.

    `without` has its time without the limit of each kind of resource (memory, link, cache, core). Of those, and of the
    waits of threads, the one that costs most of the time is named, if that is much. Else it is the number of threads.
    Locks come last, because a thread's wait in them grows with all else that makes it slow.
    """
    costs = {kind: 1.0 - other_s / result.time_s for kind, other_s in without.items()}
    costs |= {
        name: math.fsum(getattr(worker, name) for worker in result.workers) / (threads * result.time_s)
        for name in WAITS
    }
    locks = costs.pop(_LOCKS)
    kind = max(costs, key=lambda name: costs[name])
    if costs[kind] >= NOTICED:
        return _named(kind, result.utilisation)
    return _named(_LOCKS, result.utilisation) if locks >= NOTICED else NO_LIMIT


def _named(kind: str, utilisation: Mapping[str, float]) -> str:
    """Return the busiest resources of a kind, or the waits of threads, in words."""
    prefix = "locks of " if kind == _LOCKS else kind
    used = {name.removeprefix(prefix): share for name, share in utilisation.items() if name.startswith(prefix)}
    busiest = [name for name, share in used.items() if share >= _ALIKE * max(used.values())]
    if kind in ("memory", "cache") and busiest:
        what = "memory of node" if kind == "memory" else "last-level cache"
        return f"{what}{'s' * (len(busiest) > 1)} {format_cpu_list(map(int, busiest))}"
    if kind == "link":
        return f"far memory, over link {busiest[0]}" if busiest and used[busiest[0]] >= _ALIKE else "far memory"
    if kind == "core":
        return "cores, which threads share"
    return f"{WAITS[kind]} ({busiest[0]})" if kind == _LOCKS else WAITS[kind]
