"""A plain reference of the contention engine: all rates of all single flows, anew at each change, by the definition.

It shares nothing with `sim.engine.flows` but `CapacityCurve`: no SimPy, no flow classes, no heaps, no slack resources
left out. Slow (cubic in the number of flows for each change) and meant to be read at one go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from models.machine.capacity import CapacityCurve


class PlainResource(NamedTuple):
    """Capacity in units per second, and its curve."""

    capacity: float
    curve: CapacityCurve = CapacityCurve()


class PlainRoute(NamedTuple):
    """(index of a resource, units of it per unit of work) pairs, the most work per second, the weight."""

    uses: tuple[tuple[int, float], ...]
    cap: float = math.inf
    weight: float = 1.0


def effective_capacities(resources: Sequence[PlainResource], flows: Sequence[PlainRoute]) -> list[float]:
    """Return what each resource carries while `flows` (the route of each flow) are under way."""
    offered = [0.0] * len(resources)
    for route in flows:
        for q, usage in route.uses:
            offered[q] += usage * route.cap
    return [
        resource.curve.effective(resource.capacity, load) if load > 0 else resource.capacity
        for resource, load in zip(resources, offered, strict=True)
    ]


def fair_rates(resources: Sequence[PlainResource], flows: Sequence[PlainRoute]) -> list[float]:
    """Return the weighted max-min fair rate of each flow, by progressive filling: one cap or one resource at a time."""
    capacities = effective_capacities(resources, flows)
    rates: dict[int, float] = {}
    reached = 0.0  # the level so far: it never falls, whatever rounding does to small differences
    while len(rates) < len(flows):
        rising = [i for i in range(len(flows)) if i not in rates]
        level = math.inf
        stopped: list[int] = []
        for i in rising:
            if flows[i].cap / flows[i].weight < level:
                level = flows[i].cap / flows[i].weight
                stopped = [i]
        for q, capacity in enumerate(capacities):
            left = capacity
            weight = 0.0
            users: list[int] = []
            for i, route in enumerate(flows):
                for used, usage in route.uses:
                    if used == q and i in rates:
                        left -= usage * rates[i]
                    elif used == q:
                        weight += usage * route.weight
                        users.append(i)
            if users and left / weight < level:
                level = left / weight
                stopped = users
        reached = max(reached, level)
        for i in stopped:
            rates[i] = min(flows[i].cap, reached * flows[i].weight)
    return [rates[i] for i in range(len(flows))]


def finish_times(
    resources: Sequence[PlainResource],
    routes: Sequence[PlainRoute],
    flows: Sequence[tuple[float, int, float]],
    workers: Sequence[Sequence[tuple[int, float]]] = (),
    followers: Sequence[tuple[int, int, float]] = (),
) -> tuple[list[float], list[list[float]], list[float]]:
    """Return when each flow, each chunk of each worker and each follower ends.

    `flows`: (start time, route, work). `workers`: lists of (route, work), run back to back from time 0. `followers`:
    (index into `flows`, route, work), started as that flow ends.
    """
    flow_ends = [math.inf] * len(flows)
    chunk_ends = [[math.inf] * len(chunks) for chunks in workers]
    follower_ends = [math.inf] * len(followers)
    # What waits for its time: (start, route, work, kind, i, j). What is under way: the same, with the work left.
    waiting = [(start, route, work, "flow", i, 0) for i, (start, route, work) in enumerate(flows)]
    waiting += [(0.0, *chunks[0], "chunk", i, 0) for i, chunks in enumerate(workers) if chunks]
    active: list[tuple[float, int, float, str, int, int]] = []
    now = 0.0
    while waiting or active:
        active += [entry for entry in waiting if entry[0] <= now]
        waiting = [entry for entry in waiting if entry[0] > now]
        rates = fair_rates(resources, [routes[entry[1]] for entry in active])
        lasts = [entry[2] / rate for entry, rate in zip(active, rates, strict=True)]
        arrival = min((entry[0] for entry in waiting), default=math.inf)
        step = min([arrival - now, *lasts])
        now = arrival if step == arrival - now else now + step
        going: list[tuple[float, int, float, str, int, int]] = []
        for (start, route, left, kind, i, j), rate, last in zip(active, rates, lasts, strict=True):
            if last > step:
                going.append((start, route, max(0.0, left - rate * step), kind, i, j))
            elif kind == "flow":
                flow_ends[i] = now
                waiting += [(now, r, work, "follower", k, 0) for k, (f, r, work) in enumerate(followers) if f == i]
            elif kind == "follower":
                follower_ends[i] = now
            else:
                chunk_ends[i][j] = now
                if j + 1 < len(workers[i]):
                    waiting.append((now, *workers[i][j + 1], "chunk", i, j + 1))
        active = going
    return flow_ends, chunk_ends, follower_ends
