"""What flows through a network: resources, routes over them, flows, and the classes of flows that have one rate.

Attributes with an underscore are the network's (`sim.engine.flows`), which keeps them up to date.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from models.machine.capacity import Curve
from sim.engine.clock import Happening

MEMORY = 10_000  # populations whose solution is kept
_SLACK = 1e-9  # relative: loads this close to a capacity count as within it (rounding of sums)
_INF = math.inf


class Resource:
    """Something that flows share: `capacity` units per second, shaped by `curve`. Made by `FlowNetwork.resource`."""

    __slots__ = (
        "_active",
        "_binds",
        "_demand",
        "_foldable",
        "_folded",
        "_granted",
        "_index",
        "_last",
        "_limit",
        "_n_flows",
        "_on",
        "_pinned",
        "_routes",
        "_seen",
        "_share",
        "_tight",
        "capacity",
        "curve",
        "name",
    )

    def __init__(self, name: str, capacity: float, curve: Curve, index: int) -> None:
        self.name = name
        self.capacity = capacity
        self.curve = curve
        self._index = index
        self._limit = capacity * (1.0 + _SLACK)
        self._pinned = not curve.is_flat  # always part of the classes
        self._tight = self._pinned  # part of the classes now
        self._demand = 0.0  # while not tight: what its flows take, all at their caps
        self._routes: list[Route] = []
        self._active: list[FlowClass] = []  # while tight: the classes that use it and have flows
        self._foldable = False  # private: folded into the ceilings of its flows while these are alike
        self._folded = False
        # While folded: its flows by route, how many, whether they would take more than there is, the share of each.
        self._on: dict[Route, int] = {}
        self._n_flows = 0
        self._binds = False
        self._share = _INF
        self._granted: dict[tuple[tuple[int, int], ...], float] = {}  # by the population of its classes
        self._last = (-1.0, 0, 0.0)  # offered load, flows, and the capacity that the curve leaves of them
        self._seen = 0  # by which search for classes that depend on each other

    def __repr__(self) -> str:
        return f"Resource({self.name!r}, {self.capacity:g}/s)"

    @property
    def load(self) -> float:
        """Return the units per second in use now."""
        return total(r.flows * r._class.rate * r._usage(self) for r in self._routes)

    @property
    def served(self) -> float:
        """Return the units used so far."""
        return total(r.served * r._usage(self) for r in self._routes)

    @property
    def granted(self) -> float:
        """Return the share of the load that the curve leaves now, at most 1 (1 for a flat curve)."""
        if not self._pinned or not self._active:
            return 1.0
        key = tuple([(cls.number, cls.count) for cls in self._active])
        found = self._granted.get(key)
        if found is None:
            uses = [(cls, usage) for cls in self._active for q, usage in cls.uses if q is self]
            offered = total(cls.count * cls.cap * usage for cls, usage in uses)
            limit = self.curve.effective(self.capacity, offered, sum(cls.count for cls, _ in uses))
            if len(self._granted) >= MEMORY:
                self._granted.clear()
            found = self._granted[key] = min(1.0, limit / offered)
        return found

    def _left_by_curve(self, offered: float, flows: int) -> float:
        """Return the capacity at an offered load. It is often asked again for the same one, as others change."""
        if offered != self._last[0] or flows != self._last[1]:
            self._last = (offered, flows, self.curve.effective(self.capacity, offered, flows))
        return self._last[2]


class Route:
    """The resources that a flow passes through, its greatest rate and its weight. Made by `FlowNetwork.route`."""

    __slots__ = (
        "_by_ceiling",
        "_ceiling",
        "_class",
        "_flows",
        "_folds",
        "_kind",
        "_slack",
        "_started",
        "cap",
        "uses",
        "weight",
    )

    def __init__(self, uses: tuple[tuple[Resource, float], ...], cap: float, weight: float) -> None:
        self.uses = uses
        self.cap = cap
        self.weight = weight
        self._started = 0.0  # work of all flows so far
        self._flows: dict[Flow, int] = {}  # those under way, and their place in the order of starts
        self._ceiling = _INF  # the least share of a folded resource, if below the cap
        self._folds: tuple[tuple[Resource, float], ...] = ()  # resources that are folded, and a flow's demand on each
        self._kind: tuple[Any, ...]  # what must be equal for flows to be alike
        self._class: FlowClass
        self._by_ceiling: dict[float, FlowClass] = {}  # while the same resources are tight
        self._slack: tuple[tuple[Resource, float], ...]  # resources that can't bind now, and a flow's demand on each

    @property
    def served(self) -> float:
        """Return the work done so far on this route, that of flows under way up to now included."""
        if not self._flows:
            return self._started
        cls = self._class
        now: float = next(iter(self._flows)).env.now
        clock = cls.clock + cls.rate * (now - cls.since)
        return self._started - total(flow.mark - clock for flow in self._flows)

    @property
    def flows(self) -> int:
        """Return the number of flows on this route now."""
        return len(self._flows)

    @property
    def rate(self) -> float:
        """Return the work per second of each flow on this route now, or 0 if it has none."""
        return self._class.rate if self._flows else 0.0

    def _usage(self, resource: Resource) -> float:
        for used, usage in self.uses:
            if used is resource:
                return usage
        raise ValueError(f"no {resource!r} on the route")


class Flow(Happening):
    """An amount of work under way on a route: an event that is processed when the work is done (as a Timeout is).

    `left` is the rest of the work, if it was stopped before its end.
    """

    left = 0.0
    mark = 0.0  # the value of its class's clock at its end


class FlowClass:
    """Flows that have the same rate: one virtual clock, one heap, one deadline."""

    __slots__ = (
        "alone",
        "cap",
        "clock",
        "component",
        "count",
        "deadline",
        "dirty",
        "entry_at",
        "entry_id",
        "fair",
        "heap",
        "number",
        "rate",
        "seen",
        "shape",
        "since",
        "stale",
        "top",
        "uses",
        "weight",
    )

    def __init__(
        self, number: int, uses: tuple[tuple[Resource, float], ...], cap: float, weight: float, top: float
    ) -> None:
        self.number = number
        self.uses = uses  # only the resources that can bind
        self.fair = uses[0][0].capacity / uses[0][1] if len(uses) == 1 else _INF
        # It has no resource, or one that is flat and that no other class uses: its rate is min(top, fair / count).
        self.alone = not uses
        self.cap = cap
        self.top = top  # the most that a flow gets: its cap, or less where a folded resource binds
        self.weight = weight
        self.count = 0
        self.rate = 0.0
        self.clock = 0.0  # work done by each flow since the class was last empty
        self.since = 0.0  # when `clock` was last brought up to date
        self.heap: list[tuple[float, int, Flow, Route]] = []  # (mark, order, flow, route)
        self.stale = 0  # entries of the heap whose flows have left the class, or are in it anew
        self.deadline = _INF  # when the next flow ends, at the present rate
        self.entry_at = _INF  # when its entry in the heap of deadlines says so: never later
        self.entry_id = -1
        self.dirty = False
        self.component: list[FlowClass] = []  # those whose rates depend on each other, as they were at `shape`
        self.shape = -1
        self.seen = 0


def total(values: Iterable[float]) -> float:
    """Add up in order, plainly: the built-in sum gives other last digits from Python 3.12 on."""
    found = 0.0
    for value in values:
        found += value
    return found
