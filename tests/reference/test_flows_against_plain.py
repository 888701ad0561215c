"""The engine against the plain reference: the same ends of all flows on random networks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import Play, Scenario, flat, machines, scenarios, threads
from tests.reference.plain_flows import PlainResource, PlainRoute, fair_rates, finish_times

RELATIVE = 1e-7  # the engine counts a load within 1e-9 of a capacity as within it


def _assert_same_ends(scenario: Scenario, play: Play) -> None:
    play.run()
    assert play.ends == pytest.approx(flat(finish_times(*scenario)), rel=RELATIVE)


@settings(deadline=None, derandomize=True, max_examples=1000)
@given(scenario=scenarios())
def test_ends_agree_on_random_networks(scenario: Scenario) -> None:
    """Flows, chunks of workers and followers on random networks end when the plain reference says."""
    _assert_same_ends(scenario, Play(scenario))


@settings(deadline=None, derandomize=True, max_examples=500)
@given(scenario=machines())
def test_ends_agree_on_cores_and_nodes(scenario: Scenario) -> None:
    """Workers that keep to a shared core and change the memory node end their chunks when the plain reference says."""
    _assert_same_ends(scenario, Play(scenario))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(scenario=scenarios() | machines(), own_routes=st.booleans())
def test_ends_agree_if_routes_are_made_during_the_run(scenario: Scenario, own_routes: bool) -> None:
    """Routes made only when first needed, or one for each single flow, leave all ends as the reference says."""
    _assert_same_ends(scenario, Play(scenario, late_routes=True, own_routes=own_routes))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(scenario=scenarios() | machines() | threads(), private=st.integers(1, 15), own_routes=st.booleans())
def test_ends_agree_if_resources_are_private(scenario: Scenario, private: int, own_routes: bool) -> None:
    """Resources folded into the ceilings of their flows, all or some, leave all ends as the reference says."""
    _assert_same_ends(scenario, Play(scenario, own_routes=own_routes, private=private))


@settings(deadline=None, derandomize=True, max_examples=400)
@given(scenario=threads(), memory_too=st.booleans())
def test_ends_agree_on_cpus_of_cores(scenario: Scenario, memory_too: bool) -> None:
    """CPUs and cores, each private to its threads, leave all ends as the reference says."""
    private = (1 << len(scenario.resources)) - 1
    _assert_same_ends(scenario, Play(scenario, private=private if memory_too else private >> 1))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(scenario=scenarios(flows_range=(20, 30), workers_range=(8, 15)))
def test_ends_agree_with_many_flows(scenario: Scenario) -> None:
    """With dozens of flows and workers on the same few routes, all ends are as the reference says."""
    _assert_same_ends(scenario, Play(scenario))


def test_reference_by_hand() -> None:
    """The reference itself gives the ends worked by hand for two flows that meet on one link."""
    # Link 2/s; a flow of 4 starts at 0, one of 1 at 1, capped at 1/2 per second. From 0 to 1 the first has 2/s; then
    # 2 - 1/2 = 3/2 per second: at 1 it has 2 left, which takes 4/3 s, so it ends at 7/3; the other at 1 + 2 = 3.
    resources = [PlainResource(2.0)]
    routes = [PlainRoute(((0, 1.0),)), PlainRoute(((0, 1.0),), cap=0.5)]
    assert fair_rates(resources, [routes[0], routes[1]]) == [1.5, 0.5]
    flows, _, _ = finish_times(resources, routes, [(0.0, 0, 4.0), (1.0, 1, 1.0)])
    assert flows == pytest.approx([7 / 3, 3.0], rel=1e-12)
