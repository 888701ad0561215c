"""Flows that are stopped before their work is done, against a plain recomputation of all rates at each change."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simpy import Environment, Event

from sim.engine.flows import FlowNetwork
from tests.reference import Scenario, machines, scenarios
from tests.reference.plain_flows import PlainResource, PlainRoute, fair_rates

RELATIVE = 1e-7  # as of test_flows_against_plain


class Stopped(NamedTuple):
    """A flow that starts at a time and is stopped at another, if it has not ended then."""

    start_s: float
    route: int
    work: float
    stop_s: float


def plain_ends(
    resources: Sequence[PlainResource], routes: Sequence[PlainRoute], flows: Sequence[Stopped]
) -> list[tuple[float, float]]:
    """Return when each flow ends or is stopped, and what is left of it then."""
    left = [flow.work for flow in flows]
    ended: dict[int, float] = {}
    changes = sorted({time_s for flow in flows for time_s in (flow.start_s, flow.stop_s)} | {math.inf})
    now_s = 0.0
    while len(ended) < len(flows):
        active = [i for i, flow in enumerate(flows) if flow.start_s <= now_s and i not in ended]
        rates = fair_rates(resources, [routes[flows[i].route] for i in active])
        lasts = [left[i] / rate for i, rate in zip(active, rates, strict=True)]
        change_s = next(time_s for time_s in changes if time_s > now_s)
        step_s = min([change_s - now_s, *lasts])
        now_s = change_s if step_s == change_s - now_s else now_s + step_s
        for i, rate, last_s in zip(active, rates, lasts, strict=True):
            left[i] = max(0.0, left[i] - rate * step_s) if last_s > step_s else 0.0
            if left[i] == 0.0 or flows[i].stop_s <= now_s:
                ended[i] = now_s
    return [(ended[i], left[i]) for i in range(len(flows))]


def engine_ends(
    resources: Sequence[PlainResource], routes: Sequence[PlainRoute], flows: Sequence[Stopped]
) -> list[tuple[float, float]]:
    """Return the same of the engine."""
    env = Environment()
    network = FlowNetwork(env)
    made = [network.resource(f"r{i}", *resource) for i, resource in enumerate(resources)]
    of = [network.route([(made[q], usage) for q, usage in uses], cap, weight) for uses, cap, weight in routes]
    found: list[tuple[float, float]] = [(math.inf, math.inf)] * len(flows)

    def run(i: int, wanted: Stopped) -> Generator[Event, Any, None]:
        if wanted.start_s:
            yield env.timeout(wanted.start_s)
        flow = network.start(of[wanted.route], wanted.work)
        if wanted.stop_s < math.inf:
            env.process(stop(i, wanted, flow))
        yield flow
        found[i] = (env.now, flow.left)

    def stop(i: int, wanted: Stopped, flow: Any) -> Generator[Event, Any, None]:
        yield env.timeout(wanted.stop_s - wanted.start_s)
        if found[i][0] == math.inf:
            left = network.work_left(of[wanted.route], flow)
            network.stop(of[wanted.route], flow)
            assert flow.left == left
            assert found[i] == (env.now, left)  # who waited has gone on

    for i, flow in enumerate(flows):
        env.process(run(i, flow))
    env.run()
    return found


@settings(deadline=None, derandomize=True, max_examples=400)
@given(scenario=scenarios() | machines(), data=st.data())
def test_ends_and_what_is_left_agree(scenario: Scenario, data: st.DataObject) -> None:
    """Flows that start and are stopped at random times end, or leave undone, what the plain recomputation says."""
    times = st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(0.0, 6.0)
    flows = [
        Stopped(start_s, route, work, start_s + lasts_s)
        for start_s, route, work, lasts_s in data.draw(
            st.lists(
                st.tuples(
                    times,
                    st.integers(0, len(scenario.routes) - 1),
                    st.sampled_from([1.0, 2.0]) | st.floats(0.1, 9.0),
                    st.just(math.inf) | st.floats(1e-3, 4.0),
                ),
                min_size=1,
                max_size=8,
            )
        )
    ]
    expected = plain_ends(scenario.resources, scenario.routes, flows)
    found = engine_ends(scenario.resources, scenario.routes, flows)
    assert [end_s for end_s, _ in found] == pytest.approx([end_s for end_s, _ in expected], rel=RELATIVE)
    assert [left for _, left in found] == pytest.approx([left for _, left in expected], rel=RELATIVE, abs=1e-6)


def test_a_stopped_flow_leaves_its_part_to_others() -> None:
    """A link of 2/s: two flows of 4 have 1/s each; one is stopped at 1 with 3 left; the other ends at 1 + 3/2."""
    flows = [Stopped(0.0, 0, 4.0, 1.0), Stopped(0.0, 0, 4.0, math.inf)]
    for ends in (plain_ends, engine_ends):
        found = ends([PlainResource(2.0)], [PlainRoute(((0, 1.0),))], flows)
        assert found == [(1.0, pytest.approx(3.0)), (pytest.approx(2.5), 0.0)]


def test_served_counts_what_stopped_flows_have_done() -> None:
    """Of a flow of 4 at 2/s, stopped after 1.5 s, a link has served 3; what has ended can't be stopped again."""
    env = Environment()
    network = FlowNetwork(env)
    link = network.resource("link", 2.0)
    route = network.route([(link, 1.0)])
    flow = network.start(route, 4.0)
    env.run(until=1.5)
    network.stop(route, flow)
    assert (flow.left, link.served) == (pytest.approx(1.0), pytest.approx(3.0))
    for action in (network.stop, network.work_left):
        with pytest.raises(ValueError, match="the flow has ended"):
            action(route, flow)
