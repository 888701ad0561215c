"""The plain reference as a network that a whole simulation can run on, in place of `sim.engine.flows.FlowNetwork`.

All rates of all single flows are found anew at each change, by `plain_flows.fair_rates`; nothing is left out, folded or
kept in classes. Only what a population gave once is looked up when it comes again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from simpy import Environment, Event

from models.machine.capacity import CapacityCurve, Curve
from tests.reference.plain_flows import PlainResource, PlainRoute, fair_rates

_SAME = 1e-12  # relative: ends this close are at one instant


class PlainNetwork:
    """All resources and flows of one simulation."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.resources: list[Shared] = []
        self._under_way: dict[Under, None] = {}
        self._since = 0.0
        self._solved: dict[tuple[tuple[int, int], ...], list[float]] = {}
        self._routes: list[Way] = []
        self._alarm: Event | None = None
        self._ending = False

    def resource(
        self,
        name: str,
        capacity: float,
        curve: Curve | None = None,
        *,
        often_full: bool = False,  # noqa: ARG002
        private: bool = False,  # noqa: ARG002
    ) -> Shared:
        """Add a resource."""
        self.resources.append(Shared(self, name, float(capacity), curve or CapacityCurve()))
        return self.resources[-1]

    def route(self, uses: Iterable[tuple[Shared, float]], cap: float = math.inf, weight: float = 1.0) -> Way:
        """Add a route."""
        self._routes.append(Way(self, len(self._routes), tuple(uses), cap, weight))
        return self._routes[-1]

    def start(self, route: Way, work: float) -> Under:
        """Start a flow."""
        self._advance()
        flow = Under(self.env, route, work)
        self._under_way[flow] = None
        route.n_flows += 1
        self._again()
        return flow

    def stop(self, route: Way, flow: Under) -> None:  # noqa: ARG002
        """End a flow before its work is done."""
        self._advance()
        self._end(flow)
        self._again()

    @staticmethod
    def skip(seconds: float) -> bool:  # noqa: ARG004
        """Let no time pass: whoever wants to wait needs an event for it."""
        return False

    def work_left(self, route: Way, flow: Under) -> float:  # noqa: ARG002
        """Return what is left of a flow."""
        self._advance()
        return flow.left

    def served(self) -> dict[Shared, float]:
        """Return what of each resource was used so far."""
        self._advance()
        return {resource: resource.served for resource in self.resources}

    def _end(self, flow: Under) -> None:
        del self._under_way[flow]
        flow.route.n_flows -= 1
        callbacks, flow.callbacks = flow.callbacks, None  # type: ignore[assignment]
        for callback in callbacks:
            callback(flow)

    def _advance(self) -> None:
        """Let all flows go on at their rates up to now."""
        span, self._since = self.env.now - self._since, self.env.now
        if span:
            for flow in self._under_way:
                done = min(flow.left, flow.rate * span)
                flow.left -= done
                for resource, usage in flow.route.uses:
                    resource.served += done * usage

    def _again(self) -> None:
        """Find all rates anew, and when the next flow ends."""
        if self._ending:
            return
        flows = sorted(self._under_way, key=lambda flow: flow.route.number)
        if not flows:
            self._alarm = None
            return
        counts: dict[int, int] = {}
        for flow in flows:
            counts[flow.route.number] = counts.get(flow.route.number, 0) + 1
        key = tuple(counts.items())
        rates = self._solved.get(key)
        if rates is None:
            rates = self._solved[key] = self._rates([self._routes[number] for number in counts], list(counts.values()))
        by_route = dict(zip(counts, rates, strict=True))
        for flow in flows:
            flow.rate = by_route[flow.route.number]
        alarm = self._alarm = self.env.timeout(min(flow.left / flow.rate for flow in flows))
        alarm.callbacks.append(self._ring)

    @staticmethod
    def _rates(routes: list[Way], counts: list[int]) -> list[float]:
        """Return the rate of a flow of each route."""
        used = list(dict.fromkeys(resource for route in routes for resource, _ in route.uses))
        index = {resource: i for i, resource in enumerate(used)}
        plain = [
            PlainRoute(tuple((index[resource], usage) for resource, usage in route.uses), route.cap, route.weight)
            for route in routes
        ]
        curves = []
        for resource in used:  # a lock's capacity depends on how many flows there are
            users = sum(
                count for route, count in zip(routes, counts, strict=True) if any(q is resource for q, _ in route.uses)
            )
            curves.append(PlainResource(resource.capacity, Counted(resource.curve, users)))  # type: ignore[arg-type]
        flows = [route for route, count in zip(plain, counts, strict=True) for _ in range(count)]
        rates = fair_rates(curves, flows)
        return [rates[sum(counts[:i])] for i in range(len(routes))]

    def _ring(self, alarm: Event) -> None:
        """End all flows that are due, in the order of their starts, and go on."""
        if alarm is not self._alarm:
            return
        self._advance()
        shortest = min(flow.left / flow.rate for flow in self._under_way)
        due = [
            flow
            for flow in self._under_way
            if flow.left / flow.rate <= shortest + _SAME * max(self.env.now, flow.work / flow.rate)
        ]
        self._ending = True
        for flow in due:
            for resource, usage in flow.route.uses:
                resource.served += flow.left * usage
            flow.left = 0.0
            self._end(flow)
        self._ending = False
        self._again()


class Counted:
    """A curve for a certain number of flows."""

    def __init__(self, curve: Curve, flows: int) -> None:
        self._curve = curve
        self._flows = flows

    def effective(self, capacity: float, offered: float) -> float:
        """Return the effective capacity at an offered load."""
        return self._curve.effective(capacity, offered, self._flows)


class Shared:
    """Something that flows share."""

    def __init__(self, network: PlainNetwork, name: str, capacity: float, curve: Curve) -> None:
        self.network = network
        self.name = name
        self.capacity = capacity
        self.curve = curve
        self.served = 0.0

    @property
    def granted(self) -> float:
        """The share that the curve leaves now of what the flows would take alone."""
        flows = [(flow, usage) for flow in self.network._under_way for q, usage in flow.route.uses if q is self]
        if self.curve.is_flat or not flows:
            return 1.0
        offered = math.fsum(flow.route.cap * usage for flow, usage in flows)
        return min(1.0, self.curve.effective(self.capacity, offered, len(flows)) / offered)


class Way:
    """What flows pass through."""

    def __init__(
        self, network: PlainNetwork, number: int, uses: tuple[tuple[Shared, float], ...], cap: float, weight: float
    ) -> None:
        self.network = network
        self.number = number
        self.uses = uses
        self.cap = cap
        self.weight = weight
        self.n_flows = 0


class Under(Event):
    """A flow under way."""

    _ok = True
    _value = None

    def __init__(self, env: Environment, route: Way, work: float) -> None:
        super().__init__(env)
        self.route = route
        self.work = self.left = work
        self.rate = 0.0
