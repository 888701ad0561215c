"""What must hold for the contention engine on any network, at any time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simpy import Environment

from sim.engine.flows import FlowNetwork
from tests.reference import Play, Scenario, machines, scenarios
from tests.reference.plain_flows import PlainResource, PlainRoute, effective_capacities, finish_times

LOOSE = 1e-7  # the engine counts a load within 1e-9 of a capacity as within it
CLOSE = 1e-12

any_scenario = scenarios() | machines()


def _under_way(play: Play) -> list[tuple[PlainRoute, float]]:
    """The route and the rate of each flow that is under way now."""
    return [(play.scenario.routes[i], route.rate) for i, route in play.routes for _ in range(route.flows)]


def _capacities(play: Play) -> list[float]:
    return effective_capacities(play.scenario.resources, [route for route, _ in _under_way(play)])


def _tasks(scenario: Scenario) -> list[tuple[int, float]]:
    """The (route, work) of all flows, in the order of `Play.ends`."""
    chunks = [chunk for chunks in scenario.workers for chunk in chunks]
    return [task[1:] for task in scenario.flows] + chunks + [task[1:] for task in scenario.followers]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_no_resource_carries_more_than_its_capacity(scenario: Scenario) -> None:
    """After each event, the load of each resource is at most its effective capacity at the present offered load."""
    play = Play(scenario)
    while play.env.peek() < math.inf:
        play.env.step()
        for resource, capacity in zip(play.resources, _capacities(play), strict=True):
            assert 0 <= resource.load <= capacity * (1 + LOOSE)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_load_is_the_sum_over_the_flows(scenario: Scenario) -> None:
    """After each event, the load of a resource is the sum of rate times usage over the flows under way."""
    play = Play(scenario)
    while play.env.peek() < math.inf:
        play.env.step()
        loads = [0.0] * len(play.resources)
        for route, rate in _under_way(play):
            for q, usage in route.uses:
                loads[q] += rate * usage
        assert [resource.load for resource in play.resources] == pytest.approx(loads, rel=CLOSE)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_no_flow_stands_still_or_exceeds_its_cap(scenario: Scenario) -> None:
    """After each event, each flow under way has a rate above 0 and at most its cap, and other routes have rate 0."""
    play = Play(scenario)
    while play.env.peek() < math.inf:
        play.env.step()
        for i, route in play.routes:
            if route.flows:
                assert 0 < route.rate <= scenario.routes[i].cap * (1 + CLOSE)
            else:
                assert route.rate == 0


@settings(deadline=None, derandomize=True, max_examples=400)
@given(scenario=any_scenario)
def test_rates_are_max_min_optimal(scenario: Scenario) -> None:
    """Each flow is at its cap or has a saturated resource where no flow has a higher rate for its weight."""
    play = Play(scenario)
    while play.env.peek() < math.inf:
        play.env.step()
        flows = _under_way(play)
        full = {q for q, capacity in enumerate(_capacities(play)) if play.resources[q].load >= capacity * (1 - LOOSE)}
        highest = dict.fromkeys(full, 0.0)
        for route, rate in flows:
            for q, _ in route.uses:
                if q in full:
                    highest[q] = max(highest[q], rate / route.weight)
        for route, rate in flows:
            at_cap = rate >= route.cap * (1 - LOOSE)
            held = any(q in full and rate / route.weight >= highest[q] * (1 - LOOSE) for q, _ in route.uses)
            assert at_cap or held


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_loads_integrate_to_the_work_served(scenario: Scenario) -> None:
    """At each event `served` is the integral of the load so far, and at the end the sum of usage times work."""
    play = Play(scenario)
    carried = [0.0] * len(play.resources)
    while play.env.peek() < math.inf:
        before = play.env.now
        loads = [resource.load for resource in play.resources]
        play.env.step()
        for q, load in enumerate(loads):
            carried[q] += load * (play.env.now - before)
        assert [resource.served for resource in play.resources] == pytest.approx(carried, rel=LOOSE, abs=LOOSE)
    expected = [0.0] * len(play.resources)
    for i, work in _tasks(scenario):
        for q, usage in scenario.routes[i].uses:
            expected[q] += usage * work
    assert carried == pytest.approx(expected, rel=LOOSE)
    assert [resource.served for resource in play.resources] == pytest.approx(expected, rel=CLOSE)
    for i, route in play.routes:
        assert route.served == pytest.approx(sum(work for j, work in _tasks(scenario) if i == j), rel=CLOSE)
    assert len(play.log) == len(_tasks(scenario))


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_time_never_runs_back(scenario: Scenario) -> None:
    """No event lies before the one before it, and flows end in the order of time."""
    play = Play(scenario)
    before = play.env.now
    while play.env.peek() < math.inf:
        play.env.step()
        assert play.env.now >= before
        before = play.env.now
    ends = [end for end, _, _ in play.log]
    assert ends == sorted(ends)
    assert sorted(play.ends) == ends


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario)
def test_no_flow_ends_sooner_than_alone(scenario: Scenario) -> None:
    """No flow takes less time than its work at its cap, nor than at the nominal capacity of any of its resources."""

    def shortest(i: int, work: float) -> float:
        route = scenario.routes[i]
        fastest = min([route.cap, *(scenario.resources[q].capacity / usage for q, usage in route.uses)])
        return work / fastest * (1 - LOOSE)

    play = Play(scenario)
    play.run()
    for (start, i, work), end in zip(scenario.flows, play.flow_ends, strict=True):
        assert end - start >= shortest(i, work)
    for chunks, ends in zip(scenario.workers, play.chunk_ends, strict=True):
        for (i, work), begin, end in zip(chunks, [0.0, *ends[:-1]], ends, strict=True):
            assert end - begin >= shortest(i, work)
    for (leader, i, work), end in zip(scenario.followers, play.follower_ends, strict=True):
        assert end - play.flow_ends[leader] >= shortest(i, work)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario, data=st.data())
def test_order_and_names_do_not_matter(scenario: Scenario, data: st.DataObject) -> None:
    """Resources, routes, uses, flows and workers in any other order give the same ends within rounding."""
    resource_order = data.draw(st.permutations(range(len(scenario.resources))))
    route_order = data.draw(st.permutations(range(len(scenario.routes))))
    flow_order = data.draw(st.permutations(range(len(scenario.flows))))
    worker_order = data.draw(st.permutations(range(len(scenario.workers))))
    other = Scenario(
        [scenario.resources[q] for q in resource_order],
        [
            scenario.routes[i]._replace(
                uses=tuple((resource_order.index(q), usage) for q, usage in reversed(scenario.routes[i].uses))
            )
            for i in route_order
        ],
        [(start, route_order.index(i), work) for start, i, work in (scenario.flows[number] for number in flow_order)],
        [[(route_order.index(i), work) for i, work in scenario.workers[number]] for number in worker_order],
        [(flow_order.index(leader), route_order.index(i), work) for leader, i, work in scenario.followers],
    )
    first = Play(scenario)
    first.run()
    second = Play(other)
    second.run()
    assert second.flow_ends == pytest.approx([first.flow_ends[number] for number in flow_order], rel=LOOSE)
    assert second.follower_ends == pytest.approx(first.follower_ends, rel=LOOSE)
    for ends, number in zip(second.chunk_ends, worker_order, strict=True):
        assert ends == pytest.approx(first.chunk_ends[number], rel=LOOSE)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(scenario=any_scenario, work_unit=st.sampled_from([2.0**-10, 2.0**30]), second=st.sampled_from([2.0**-20, 64.0]))
def test_units_do_not_matter(scenario: Scenario, work_unit: float, second: float) -> None:
    """With work counted in another unit and time in another, the ends are the same times in the other unit."""
    per_second = work_unit / second
    other = Scenario(
        [PlainResource(capacity * per_second, curve) for capacity, curve in scenario.resources],
        [PlainRoute(uses, cap * per_second, weight) for uses, cap, weight in scenario.routes],
        [(start * second, i, work * work_unit) for start, i, work in scenario.flows],
        [[(i, work * work_unit) for i, work in chunks] for chunks in scenario.workers],
        [(leader, i, work * work_unit) for leader, i, work in scenario.followers],
    )
    assert Play(other).run() == pytest.approx([end * second for end in Play(scenario).run()], rel=CLOSE)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario, stops=st.lists(st.floats(0.01, 12.0), min_size=1, max_size=4))
def test_stops_in_the_middle_change_nothing(scenario: Scenario, stops: list[float]) -> None:
    """A run in several pieces has ended just the flows due by each stop, and in the end gives the very same times."""
    expected = Play(scenario).run()
    play = Play(scenario)
    for stop in sorted(set(stops)):
        play.env.run(until=stop)
        assert play.ends == [end if end < play.env.now else math.inf for end in expected]
    assert play.run() == expected


@settings(deadline=None, derandomize=True, max_examples=300)
@given(scenario=any_scenario, data=st.data())
def test_runs_until_a_flow_ends(scenario: Scenario, data: st.DataObject) -> None:
    """A run until the end of a flow stops at its end, with the network in order for whatever comes next."""
    flows = [(0.0, i, work) for _, i, work in scenario.flows]
    expected, _, _ = finish_times(scenario.resources, scenario.routes, flows)
    env = Environment()
    network = FlowNetwork(env)
    resources = [network.resource(f"r{q}", *resource) for q, resource in enumerate(scenario.resources)]
    routes = [
        network.route([(resources[q], usage) for q, usage in uses], cap, weight)
        for uses, cap, weight in scenario.routes
    ]
    started = [network.start(routes[i], work) for _, i, work in flows]
    latest = 0.0
    for number in data.draw(st.permutations(range(len(flows)))):
        env.run(until=started[number])
        assert started[number].processed
        latest = max(latest, expected[number])
        assert env.now == pytest.approx(latest, rel=LOOSE)
    assert sum(route.flows for route in routes) == 0


@settings(deadline=None, derandomize=True, max_examples=200)
@given(scenario=any_scenario)
def test_runs_are_deterministic(scenario: Scenario) -> None:
    """Two runs of the same scenario end the same flows in the same order at the very same times."""
    first = Play(scenario)
    second = Play(scenario)
    assert first.run() == second.run()
    assert first.log == second.log
