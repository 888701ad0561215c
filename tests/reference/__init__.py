"""Random networks with a history of flows, and how to play one on the engine, for the tests of `sim.engine.flows`."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from hypothesis import strategies as st
from simpy import Environment, Event

from models.machine.capacity import CapacityCurve
from sim.engine.flows import FlowNetwork
from sim.engine.routes import Resource, Route
from tests.reference.plain_flows import PlainResource, PlainRoute


class Scenario(NamedTuple):
    """The arguments of `plain_flows.finish_times`."""

    resources: list[PlainResource]
    routes: list[PlainRoute]
    flows: list[tuple[float, int, float]]
    workers: list[list[tuple[int, float]]]
    followers: list[tuple[int, int, float]]


def flat(ends: tuple[list[float], list[list[float]], list[float]]) -> list[float]:
    """Return what `plain_flows.finish_times` returns as one list."""
    flows, chunks, followers = ends
    return [*flows, *(end for worker in chunks for end in worker), *followers]


class Play:
    """A scenario on the engine, ready to run: the network's parts and, as they come, the ends of its flows."""

    def __init__(
        self, scenario: Scenario, late_routes: bool = False, own_routes: bool = False, private: int = 0
    ) -> None:
        """Make the network; `late_routes`: each route when first needed; `own_routes`: one for each single flow.

        The bits of `private` say which resources are.
        """
        self.scenario = scenario
        self.env = Environment()
        self.network = FlowNetwork(self.env)
        self.resources: list[Resource] = [
            self.network.resource(f"r{i}", capacity, curve, private=bool(private >> i & 1))
            for i, (capacity, curve) in enumerate(scenario.resources)
        ]
        self.routes: list[tuple[int, Route]] = []  # (index in the scenario, route)
        self._late = late_routes
        self._own = own_routes
        if not (late_routes or own_routes):
            for i in range(len(scenario.routes)):
                self._make(i)
        self.flow_ends = [math.inf] * len(scenario.flows)
        self.chunk_ends = [[math.inf] * len(chunks) for chunks in scenario.workers]
        self.follower_ends = [math.inf] * len(scenario.followers)
        self.log: list[tuple[float, int, float]] = []  # (end, index of the route, work) in the order of the ends
        for i, flow in enumerate(scenario.flows):
            self.env.process(self._one(i, *flow))
        for i, chunks in enumerate(scenario.workers):
            self.env.process(self._work(i, chunks))

    @property
    def ends(self) -> list[float]:
        """When each flow, chunk and follower ended (inf: not yet), in the order of the scenario."""
        return flat((self.flow_ends, self.chunk_ends, self.follower_ends))

    def run(self) -> list[float]:
        """Run to the end and return `ends`."""
        self.env.run()
        return self.ends

    def _make(self, i: int) -> Route:
        uses, cap, weight = self.scenario.routes[i]
        route = self.network.route([(self.resources[q], usage) for q, usage in uses], cap, weight)
        self.routes.append((i, route))
        return route

    def _route(self, i: int) -> Route:
        if not self._own:
            for j, route in self.routes:
                if i == j:
                    return route
        return self._make(i)

    def _one(self, i: int, start: float, route: int, work: float) -> Generator[Event, Any, None]:
        if start:
            yield self.env.timeout(start)
        flow = self.network.start(self._route(route), work)
        for k, (leader, *_) in enumerate(self.scenario.followers):
            if leader == i and k % 2:  # some followers start before the leader's own process goes on, some after
                assert flow.callbacks is not None
                flow.callbacks.append(self._follow(k))
        yield flow
        self.flow_ends[i] = self.env.now
        self.log.append((self.env.now, route, work))
        for k, (leader, *_) in enumerate(self.scenario.followers):
            if leader == i and not k % 2:
                follower = self._start_follower(k)
                self.env.process(self._wait(k, follower))

    def _start_follower(self, k: int) -> Event:
        _, route, work = self.scenario.followers[k]
        return self.network.start(self._route(route), work)

    def _follow(self, k: int) -> Callable[[Event], None]:
        def follow(_: Event) -> None:
            self.env.process(self._wait(k, self._start_follower(k)))

        return follow

    def _wait(self, k: int, follower: Event) -> Generator[Event, Any, None]:
        yield follower
        _, route, work = self.scenario.followers[k]
        self.follower_ends[k] = self.env.now
        self.log.append((self.env.now, route, work))

    def _work(self, i: int, chunks: list[tuple[int, float]]) -> Generator[Event, Any, None]:
        for j, (route, work) in enumerate(chunks):
            yield self.network.start(self._route(route), work)
            self.chunk_ends[i][j] = self.env.now
            self.log.append((self.env.now, route, work))


def _numbers(low: float, high: float, *round_ones: float) -> st.SearchStrategy[float]:
    """Mostly round numbers, so that loads meet capacities exactly and flows end at once; else any."""
    return st.sampled_from(round_ones) | st.floats(low, high)


_CURVES = st.sampled_from(
    [CapacityCurve()] * 4
    + [CapacityCurve(knee=knee) for knee in (1.0, 2.0, 6.0)]
    + [CapacityCurve(decline=0.05), CapacityCurve(decline=0.3, floor=0.8), CapacityCurve(knee=6.0, decline=0.1)]
)


@st.composite
def scenarios(
    draw: st.DrawFn, flows_range: tuple[int, int] = (1, 6), workers_range: tuple[int, int] = (0, 4)
) -> Scenario:
    """A few resources, routes over some of them, flows that come at random times and workers that take chunks."""
    resources = [
        PlainResource(capacity, curve)
        for capacity, curve in draw(
            st.lists(st.tuples(_numbers(0.5, 8.0, 1.0, 1.5, 2.0, 3.0, 4.0), _CURVES), min_size=1, max_size=4)
        )
    ]
    caps = _numbers(0.2, 4.0, 0.5, 1.0, 1.0, 1.0, 2.0)
    weights = _numbers(0.1, 10.0, 1.0, 1.0, 1.0, 2.0)
    usages = _numbers(0.1, 3.0, 1.0, 1.0, 1.0, 0.5, 2.0)
    routes: list[PlainRoute] = []
    for _ in range(draw(st.integers(1, 5))):
        used = draw(st.lists(st.integers(0, len(resources) - 1), unique=True, max_size=3))
        cap = draw(caps | st.just(math.inf)) if used else draw(caps)
        routes.append(PlainRoute(tuple((q, draw(usages)) for q in used), cap, draw(weights)))
    index = st.integers(0, len(routes) - 1)
    works = _numbers(0.05, 5.0, 0.5, 1.0, 1.0, 2.0, 3.0)
    starts = _numbers(0.0, 6.0, 0.0, 0.0, 0.5, 1.0, 2.0)
    n_flows = draw(st.integers(*flows_range))
    n_workers = draw(st.integers(*workers_range))
    flows = draw(st.lists(st.tuples(starts, index, works), min_size=n_flows, max_size=n_flows))
    chunks = st.lists(st.tuples(index, works), min_size=1, max_size=5)
    workers = draw(st.lists(chunks, min_size=n_workers, max_size=n_workers))
    leaders = st.integers(0, len(flows) - 1)
    followers = draw(st.lists(st.tuples(leaders, index, works), max_size=4))
    return Scenario(resources, routes, flows, workers, followers)


@st.composite
def machines(draw: st.DrawFn) -> Scenario:
    """Cores and memory nodes, a route for each pair and weight, workers that keep to a core and change the node.

    The cores carry a little more than one flow, so that they go in and out of the engine's classes all the time.
    """
    cores = draw(st.lists(st.sampled_from([1.0, 1.25, 1.5, 2.0, 2.5]), min_size=1, max_size=3))
    nodes = draw(st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0, 10.0]), min_size=1, max_size=3))
    curve = draw(_CURVES)
    resources = [PlainResource(c) for c in cores] + [PlainResource(c, curve) for c in nodes]
    weights = draw(st.sampled_from([(1.0,), (1.0, 0.125)]))
    usages = draw(st.lists(st.sampled_from([1.0, 1.0, 0.5]), min_size=len(nodes), max_size=len(nodes)))
    routes = [
        PlainRoute(((core, 1.0), (len(cores) + node, usage)), 1.0, weight)
        for core in range(len(cores))
        for weight in weights
        for node, usage in enumerate(usages)
    ]
    works = _numbers(0.1, 3.0, 0.5, 1.0, 1.0, 2.0)
    any_node = st.integers(0, len(nodes) - 1)
    workers: list[list[tuple[int, float]]] = []
    for _ in range(draw(st.integers(1, 5))):
        base = draw(st.integers(0, len(cores) * len(weights) - 1)) * len(nodes)
        chunks = draw(st.lists(st.tuples(any_node, works), min_size=1, max_size=6))
        workers.append([(base + node, work) for node, work in chunks])
    index = st.integers(0, len(routes) - 1)
    starts = _numbers(0.0, 6.0, 1.0, 2.0)
    flows = draw(st.lists(st.tuples(starts, index, works), min_size=1, max_size=3))
    leaders = st.integers(0, len(flows) - 1)
    followers = draw(st.lists(st.tuples(leaders, index, works), max_size=4))
    return Scenario(resources, routes, flows, workers, followers)


@st.composite
def threads(draw: st.DrawFn) -> Scenario:
    """Cores of two or three CPUs each, and workers on them, some on one CPU: all alike, or of two kinds.

    The resources are the CPUs, then the cores, then a memory node.
    """
    n_cores, per_core = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    n_cpus = n_cores * per_core
    throughput = draw(st.sampled_from([1.0, 1.3, 1.9, 2.0]))
    memory = draw(st.sampled_from([1.0, 2.5, 100.0]))
    resources = [PlainResource(1.0)] * n_cpus + [PlainResource(throughput)] * n_cores
    resources.append(PlainResource(memory, draw(_CURVES)))
    kinds = draw(st.sampled_from([((1.0, 1.0),), ((1.0, 1.0), (0.5, 1.0)), ((1.0, 1.0), (1.0, 0.5))]))  # cap, weight
    routes = [
        PlainRoute(((cpu, 1.0 / cap), (n_cpus + cpu // per_core, 1.0 / cap), (n_cpus + n_cores, 1.0)), cap, weight)
        for cpu in range(n_cpus)
        for cap, weight in kinds
    ]
    works = _numbers(0.1, 3.0, 0.5, 1.0, 1.0, 2.0)
    index = st.integers(0, len(routes) - 1)
    starts = _numbers(0.0, 6.0, 1.0, 2.0)
    flows = draw(st.lists(st.tuples(starts, index, works), min_size=1, max_size=6))
    workers = draw(st.lists(st.lists(st.tuples(index, works), min_size=1, max_size=4), max_size=5))
    followers = draw(st.lists(st.tuples(st.integers(0, len(flows) - 1), index, works), max_size=4))
    return Scenario(resources, routes, flows, workers, followers)
