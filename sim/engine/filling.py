"""The rates of flows: weighted max-min fair under a cap for each (progressive filling)."""

from __future__ import annotations

from collections.abc import Sequence

from sim.engine.routes import FlowClass, Resource

_TIE = 1e-12  # relative: fill levels this close are the same


def component(start: FlowClass, stamp: int) -> list[FlowClass]:
    """Return the classes whose rates depend on each other, `start` among them (none if it and they are empty).

    `stamp` is a number that no earlier search had.
    """
    start.seen = stamp
    found = [start]
    for cls in found:
        for resource, _ in cls.uses:
            if resource._seen != stamp:
                resource._seen = stamp
                for other in resource._active:
                    if other.seen != stamp:
                        other.seen = stamp
                        found.append(other)
    return found if start.count else found[1:]


def fill_rates(classes: Sequence[FlowClass]) -> list[float]:
    """Raise all rates in proportion to weight until a cap or capacity stops some, and repeat."""
    if len(classes) == 1:
        only = classes[0]
        rate = only.top
        for resource, usage in only.uses:
            load = only.count * usage
            limit = resource.capacity
            if resource._pinned:
                limit = resource.curve.effective(limit, load * only.cap, only.count)
            if load * rate > limit:
                rate = limit / load
        return [rate]
    offered: dict[Resource, float] = {}
    flows: dict[Resource, int] = {}
    weights: dict[Resource, float] = {}
    for cls in classes:
        for resource, usage in cls.uses:
            load = cls.count * usage
            offered[resource] = offered.get(resource, 0.0) + load * cls.cap
            flows[resource] = flows.get(resource, 0) + cls.count
            weights[resource] = weights.get(resource, 0.0) + load * cls.weight
    limits = {r: r.curve.effective(r.capacity, load, flows[r]) for r, load in offered.items()}
    left = dict(limits)
    rates = [0.0] * len(classes)
    rising = list(range(len(classes)))
    while rising:
        level = min(classes[i].top / classes[i].weight for i in rising)
        for resource, weight in weights.items():
            if weight > 0.0:
                level = min(level, left[resource] / weight)
        ceiling = level * (1.0 + _TIE)
        full = {r for r, weight in weights.items() if weight > 0.0 and left[r] / weight <= ceiling}
        still: list[int] = []
        for i in rising:
            cls = classes[i]
            if cls.top / cls.weight <= ceiling:
                rates[i] = cls.top
            elif any(resource in full for resource, _ in cls.uses):
                rates[i] = level * cls.weight
            else:
                still.append(i)
        rising = still
        # What is left is summed anew, not subtracted: subtraction leaves rounding where there should be nothing.
        for resource in weights:
            weights[resource] = 0.0
        for i in rising:
            for resource, usage in classes[i].uses:
                weights[resource] += classes[i].count * usage * classes[i].weight
        left = dict(limits)
        frozen = set(range(len(classes))).difference(rising)
        for i in sorted(frozen):
            for resource, usage in classes[i].uses:
                left[resource] = max(0.0, left[resource] - classes[i].count * usage * rates[i])
    return rates
