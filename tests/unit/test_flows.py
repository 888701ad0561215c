"""The contention engine's interface: what it refuses, what it reports, and how flows behave as SimPy events."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import pytest
from simpy import Environment, Event, Interrupt

from sim.engine.flows import FlowNetwork


@pytest.mark.parametrize(
    ("capacity", "found"),
    [(0.0, "0.0"), (-1, "-1"), (math.inf, "inf"), (math.nan, "nan")],
)
def test_resource_refuses_a_capacity(capacity: float, found: str) -> None:
    """A capacity that is not positive and finite is refused with the resource's name and the value."""
    network = FlowNetwork(Environment())
    with pytest.raises(ValueError) as error:
        network.resource("node0", capacity)
    assert str(error.value) == f"resource 'node0': capacity must be positive and finite; found {found}"
    assert network.resources == []


@pytest.mark.parametrize(
    ("usage", "cap", "weight", "found"),
    [
        (1.0, 0.0, 1.0, "0.0, 1.0, ((Resource('node', 4/s), 1.0),)"),
        (1.0, -2.0, 1.0, "-2.0, 1.0, ((Resource('node', 4/s), 1.0),)"),
        (1.0, math.nan, 1.0, "nan, 1.0, ((Resource('node', 4/s), 1.0),)"),
        (1.0, 1.0, 0.0, "1.0, 0.0, ((Resource('node', 4/s), 1.0),)"),
        (1.0, 1.0, math.inf, "1.0, inf, ((Resource('node', 4/s), 1.0),)"),
        (1.0, 1.0, math.nan, "1.0, nan, ((Resource('node', 4/s), 1.0),)"),
        (0.0, 1.0, 1.0, "1.0, 1.0, ((Resource('node', 4/s), 0.0),)"),
        (-1.0, 1.0, 1.0, "1.0, 1.0, ((Resource('node', 4/s), -1.0),)"),
        (math.inf, 1.0, 1.0, "1.0, 1.0, ((Resource('node', 4/s), inf),)"),
        (math.nan, 1.0, 1.0, "1.0, 1.0, ((Resource('node', 4/s), nan),)"),
    ],
)
def test_route_refuses_numbers_that_are_not_positive(usage: float, cap: float, weight: float, found: str) -> None:
    """A cap, weight or usage that is not positive (or, but for the cap, infinite) is refused with all of them."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 4.0)
    with pytest.raises(ValueError) as error:
        network.route([(node, usage)], cap, weight)
    assert str(error.value) == f"cap, weight and usages must be positive; found {found}"


def test_route_refuses_a_resource_named_twice() -> None:
    """A route that names the same resource twice is refused with its pairs."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 4.0)
    with pytest.raises(ValueError) as error:
        network.route([(node, 1), (node, 2)])
    assert str(error.value) == "a resource is named twice: ((Resource('node', 4/s), 1.0), (Resource('node', 4/s), 2.0))"


def test_route_refuses_to_be_without_limit() -> None:
    """A route without a resource and without a cap is refused."""
    with pytest.raises(ValueError) as error:
        FlowNetwork(Environment()).route([])
    assert str(error.value) == "a route with neither a cap nor a resource has no finite rate"


@pytest.mark.parametrize(
    ("work", "found"),
    [(0, "0"), (-1.5, "-1.5"), (math.inf, "inf"), (math.nan, "nan")],
)
def test_start_refuses_work(work: float, found: str) -> None:
    """Work that is not positive and finite is refused with the value, and no flow is started."""
    network = FlowNetwork(Environment())
    route = network.route([(network.resource("node", 4.0), 1.0)])
    with pytest.raises(ValueError) as error:
        network.start(route, work)
    assert str(error.value) == f"work must be positive and finite; found {found}"
    assert route.flows == 0


def test_resource_repr() -> None:
    """A resource is shown with its name and capacity."""
    network = FlowNetwork(Environment())
    assert repr(network.resource("node0", 2.5e10)) == "Resource('node0', 2.5e+10/s)"


def test_resources_are_listed_in_order() -> None:
    """The network lists its resources in the order in which they were added."""
    network = FlowNetwork(Environment())
    added = [network.resource(name, 1.0) for name in ("b", "a", "c")]
    assert network.resources == added


def test_network_reports_the_present() -> None:
    """Flows, rate, load and served work follow a flow from before its start to after its end."""
    env = Environment()
    network = FlowNetwork(env)
    node = network.resource("node", 4.0)
    route = network.route([(node, 2.0)], cap=5.0)
    assert (route.flows, route.rate, route.served, node.load, node.served) == (0, 0.0, 0.0, 0.0, 0.0)
    flow = network.start(route, 6.0)
    env.run(until=1.0)
    assert (route.flows, route.rate, route.served, node.load, node.served) == (1, 2.0, 2.0, 4.0, 4.0)
    assert not flow.processed
    env.run()
    assert (route.flows, route.rate, route.served, node.load, node.served) == (0, 0.0, 6.0, 0.0, 12.0)
    assert flow.processed
    assert flow.value is None
    assert env.now == 3.0


def test_flows_count_from_the_time_of_the_environment() -> None:
    """In an environment that starts at another time than 0, a flow still takes its own time."""
    env = Environment(initial_time=100.0)
    network = FlowNetwork(env)
    network.start(network.route([(network.resource("node", 4.0), 1.0)]), 6.0)
    env.run()
    assert env.now == 101.5


def test_flows_join_in_conditions() -> None:
    """`any_of` and `all_of` wait for the first and the last of some flows."""
    env = Environment()
    network = FlowNetwork(env)
    route = network.route([(network.resource("node", 4.0), 1.0)], cap=1.0)
    times: list[float] = []

    def waiter() -> Generator[Event, Any, None]:
        flows = [network.start(route, work) for work in (3.0, 1.0, 2.0)]
        yield env.any_of(flows)
        times.append(env.now)
        yield env.all_of(flows)
        times.append(env.now)

    env.process(waiter())
    env.run()
    assert times == [1.0, 3.0]


def test_flow_goes_on_when_its_process_is_interrupted() -> None:
    """Interrupting a process that waits for a flow leaves the flow, and the load it puts on others, as it is."""
    env = Environment()
    network = FlowNetwork(env)
    route = network.route([(network.resource("node", 2.0), 1.0)])
    log: list[tuple[str, float]] = []

    def impatient() -> Generator[Event, Any, None]:
        try:
            yield network.start(route, 3.0)
        except Interrupt:
            log.append(("interrupted", env.now))

    def patient() -> Generator[Event, Any, None]:
        yield network.start(route, 4.0)
        log.append(("done", env.now))

    process = env.process(impatient())
    env.process(patient())
    env.run(until=1.0)
    process.interrupt()
    env.run()
    # both at 1/s to t = 3, when the abandoned flow ends; then 4 - 3 = 1 left at 2/s
    assert log == [("interrupted", 1.0), ("done", 3.5)]


def test_ended_flow_can_still_be_waited_for() -> None:
    """A process that yields a flow that has ended goes on at once."""
    env = Environment()
    network = FlowNetwork(env)
    flow = network.start(network.route([], cap=1.0), 1.0)
    times: list[float] = []

    def late() -> Generator[Event, Any, None]:
        yield env.timeout(2.0)
        yield flow
        times.append(env.now)

    env.process(late())
    env.run()
    assert times == [2.0]


def test_route_without_a_cap_made_while_flows_run() -> None:
    """A new route without a cap, which makes its resource matter for good, leaves the flows under way as they are."""
    env = Environment()
    network = FlowNetwork(env)
    node = network.resource("node", 1.0)
    flow = network.start(network.route([(node, 1.0)], cap=1.0), 2.0)
    env.run(until=1.0)
    network.route([(node, 1.0)])
    assert node.load == 1.0
    env.run()
    assert flow.processed
    assert env.now == 2.0


def test_run_until_a_flow_leaves_the_network_in_order() -> None:
    """After `run(until=flow)` the other flows, and flows started later, end when they should."""
    env = Environment()
    network = FlowNetwork(env)
    route = network.route([(network.resource("node", 1.0), 1.0)], cap=1.0)
    short = network.start(route, 2.0)
    long = network.start(route, 4.0)
    env.run(until=short)
    assert env.now == 4.0  # 2 + 2 done
    env.run(until=long)
    assert env.now == 6.0
    env.run(until=network.start(route, 3.0))
    assert env.now == 9.0


def test_callbacks_after_run_until_a_flow_are_called() -> None:
    """Who began to wait for a flow after `run(until=flow)` did is told of its end, as with any SimPy event."""
    env = Environment()
    network = FlowNetwork(env)
    flow = network.start(network.route([], cap=1.0), 2.0)
    times: list[float] = []

    def waiter() -> Generator[Event, Any, None]:
        yield flow
        times.append(env.now)

    env.process(waiter())
    env.run(until=flow)
    assert times == [2.0]


def test_flow_that_starts_in_the_class_that_is_just_ending() -> None:
    """One that ends tightens a core, and by that empties its class, into which a further flow is started at once."""
    env = Environment()
    network = FlowNetwork(env)
    core = network.resource("core", 1.5)
    node = network.resource("node", 10.0)
    first = network.route([(core, 1.0)], cap=1.0)
    second = network.route([(core, 1.0), (node, 1.0)], cap=1.0)
    elsewhere = network.route([(node, 1.0)], cap=1.0)
    times: list[float] = []

    def waiter() -> Generator[Event, Any, None]:
        yield network.start(first, 4.0)
        flows = [network.start(second, 2.0), network.start(elsewhere, 1.0)]
        for flow in reversed(flows):
            yield flow
            times.append(env.now)

    env.process(waiter())
    env.run()
    assert times == [5.0, 6.0]
