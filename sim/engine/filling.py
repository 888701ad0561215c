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
            by_rate = only.count * usage
            limit = resource.capacity
            if resource._pinned:
                limit = resource._left_by_curve(by_rate * only.cap, only.count)
            if by_rate * rate > limit:
                rate = limit / by_rate
        return [rate]
    loads: dict[Resource, _Load] = {}
    asked: list[list[tuple[_Load, float, float]]] = []  # of each class: loads, and what a unit of rate and level adds
    for cls in classes:
        count, cap, own_weight = cls.count, cls.cap, cls.weight
        own = []
        for resource, usage in cls.uses:
            load = loads.get(resource)
            if load is None:
                load = loads[resource] = _Load()
            by_rate = count * usage
            by_level = by_rate * own_weight
            load.offered += by_rate * cap
            load.flows += count
            load.weight += by_level
            own.append((load, by_rate, by_level))
        asked.append(own)
    for resource, load in loads.items():
        load.limit = load.left = (
            resource._left_by_curve(load.offered, load.flows) if resource._pinned else resource.capacity
        )
    shared = list(loads.values())
    levels = [cls.top / cls.weight for cls in classes]
    rates = [-1.0] * len(classes)  # not known yet
    rising = list(range(len(classes)))
    while rising:
        level = min([levels[i] for i in rising])
        for load in shared:
            if load.weight > 0.0 and load.left / load.weight < level:
                level = load.left / load.weight
        ceiling = level * (1.0 + _TIE)
        for load in shared:
            load.is_full = load.weight > 0.0 and load.left / load.weight <= ceiling
            load.left = load.limit
            load.weight = 0.0
        still: list[int] = []
        for i in rising:
            if levels[i] <= ceiling:
                rates[i] = classes[i].top
                continue
            for load, _, _ in asked[i]:
                if load.is_full:
                    rates[i] = level * classes[i].weight
                    break
            else:
                still.append(i)
        rising = still
        if not rising:
            break
        # What is left is summed anew, not subtracted: subtraction leaves rounding where there should be nothing.
        for i, rate in enumerate(rates):
            if rate >= 0.0:
                for load, by_rate, _ in asked[i]:
                    load.left = max(0.0, load.left - by_rate * rate)
            else:
                for load, _, by_level in asked[i]:
                    load.weight += by_level
    return rates


class _Load:
    """The flows on a resource while rates rise."""

    __slots__ = ("flows", "is_full", "left", "limit", "offered", "weight")

    def __init__(self) -> None:
        self.offered = 0.0  # all at their caps
        self.flows = 0
        self.weight = 0.0  # of those that still rise
        self.limit = 0.0
        self.left = 0.0  # of it, beside those that rise no more
        self.is_full = False
