"""The contention engine against closed forms: the equation, the number worked by hand, the engine's result."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import pytest
from simpy import Environment, Event

from models.machine.capacity import CapacityCurve
from sim.engine.flows import FlowNetwork
from sim.engine.routes import Route

EXACT = 1e-12


def _ends(network: FlowNetwork, flows: Sequence[tuple[float, Route, float]]) -> list[float]:
    """Run (start time, route, work) flows to the end of all and return when each ends."""
    ends = [math.inf] * len(flows)

    def one(i: int, start: float, route: Route, work: float) -> Generator[Event, Any, None]:
        if start:
            yield network.env.timeout(start)
        yield network.start(route, work)
        ends[i] = network.env.now

    for i, flow in enumerate(flows):
        network.env.process(one(i, *flow))
    network.env.run()
    return ends


def _chain(network: FlowNetwork, chunks: Sequence[tuple[Route, float]], ends: list[float]) -> None:
    """Let one worker run (route, work) chunks back to back; `ends` gets the end of each."""

    def worker() -> Generator[Event, Any, None]:
        for route, work in chunks:
            yield network.start(route, work)
            ends.append(network.env.now)

    network.env.process(worker())


def test_one_flow_under_its_cap() -> None:
    """A lone flow below every capacity takes T = W / c."""
    network = FlowNetwork(Environment())
    route = network.route([(network.resource("node", 10.0), 1.0)], cap=2.5)
    # T = 12 / 2.5 = 4.8
    assert _ends(network, [(0.0, route, 12.0)]) == pytest.approx([4.8], rel=EXACT)


def test_one_flow_without_a_resource() -> None:
    """A flow that passes through no resource takes T = W / c from its start, however many there are."""
    network = FlowNetwork(Environment())
    route = network.route([], cap=0.5)
    # 1 + 3 / 0.5 = 7;  2 + 4 / 0.5 = 10
    assert _ends(network, [(1.0, route, 3.0), (2.0, route, 4.0)]) == pytest.approx([7.0, 10.0], rel=EXACT)


def test_one_flow_that_uses_several_units_of_each_resource() -> None:
    """A lone flow runs at min(c, min over its resources of C / u)."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 10.0)
    link = network.resource("link", 12.0)
    route = network.route([(node, 2.0), (link, 3.0)], cap=4.5)
    # min(4.5, 10 / 2, 12 / 3) = 4;  T = 20 / 4 = 5
    assert _ends(network, [(0.0, route, 20.0)]) == pytest.approx([5.0], rel=EXACT)
    assert node.served == pytest.approx(40.0, rel=EXACT)
    assert link.served == pytest.approx(60.0, rel=EXACT)


@pytest.mark.parametrize(
    ("n_flows", "end"),
    [
        (1, 4.0),  # min(3, 10 / 1) = 3;    12 / 3
        (3, 4.0),  # min(3, 10 / 3) = 3;    12 / 3
        (4, 4.8),  # min(3, 10 / 4) = 2.5;  12 / 2.5
        (20, 24.0),  # min(3, 10 / 20) = 0.5; 12 / 0.5
    ],
)
def test_equal_flows_under_a_node_limit(n_flows: int, end: float) -> None:
    """n equal flows on one node run at min(c, C / n) each."""
    network = FlowNetwork(Environment())
    route = network.route([(network.resource("node", 10.0), 1.0)], cap=3.0)
    assert _ends(network, [(0.0, route, 12.0)] * n_flows) == pytest.approx([end] * n_flows, rel=EXACT)


def test_processor_sharing() -> None:
    """Works W1 <= W2 <= W3 on one resource C end at T_k = (sum of min(W_i, W_k)) / C."""
    network = FlowNetwork(Environment())
    route = network.route([(network.resource("node", 2.0), 1.0)])
    # T1 = (1 + 1 + 1) / 2 = 1.5;  T2 = (1 + 2 + 2) / 2 = 2.5;  T3 = (1 + 2 + 4) / 2 = 3.5
    flows = [(0.0, route, 4.0), (0.0, route, 1.0), (0.0, route, 2.0)]
    assert _ends(network, flows) == pytest.approx([3.5, 1.5, 2.5], rel=EXACT)


def test_arrival_delays_the_flow_under_way() -> None:
    """A flow that gets company at t, when W - C t is left, ends at t + 2 (W - C t) / C."""
    network = FlowNetwork(Environment())
    route = network.route([(network.resource("node", 1.0), 1.0)])
    # 5 + 2 (10 - 5) / 1 = 15; the other has done 5 by then and takes 95 more alone: 15 + 95 = 110
    assert _ends(network, [(0.0, route, 10.0), (5.0, route, 100.0)]) == pytest.approx([15.0, 110.0], rel=EXACT)


def test_two_caps_with_weights_in_proportion() -> None:
    """With w_i = c_i on one saturated node, each flow gets the same share of its cap: r_i = c_i C / (sum of c)."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 7.0)
    slow = network.route([(node, 1.0)], cap=1.0, weight=1.0)
    fast = network.route([(node, 1.0)], cap=4.0, weight=4.0)
    started = [network.start(slow, 1.0) for _ in range(2)] + [network.start(fast, 4.0) for _ in range(3)]
    # sum of c = 2 * 1 + 3 * 4 = 14;  7 / 14 = 1/2:  r = 0.5 and 2;  all end at 1 / 0.5 = 4 / 2 = 2
    assert (slow.rate, fast.rate) == pytest.approx((0.5, 2.0), rel=EXACT)
    assert node.load == pytest.approx(7.0, rel=EXACT)
    network.env.run()
    assert network.env.now == pytest.approx(2.0, rel=EXACT)
    assert all(flow.processed for flow in started)


def test_two_caps_with_equal_weights() -> None:
    """With equal weights the slow flows stay at their cap and the fast share the rest: r = (C - n c_slow) / m."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 8.0)
    slow = network.route([(node, 1.0)], cap=1.0)
    fast = network.route([(node, 1.0)], cap=4.0)
    for _ in range(2):
        network.start(slow, 1.0)
    for _ in range(3):
        network.start(fast, 6.0)
    # equal shares 8 / 5 = 1.6 > 1:  slow at 1;  fast (8 - 2 * 1) / 3 = 2
    assert (slow.rate, fast.rate) == pytest.approx((1.0, 2.0), rel=EXACT)
    network.env.run()
    # slow end at 1; then fast at min(4, 8 / 3) = 8/3 with 6 - 2 = 4 left: 1 + 4 / (8/3) = 2.5
    assert network.env.now == pytest.approx(2.5, rel=EXACT)


def test_weights_of_nice_levels() -> None:
    """Two uncapped flows of weights w1 and w2 run at C w1 / (w1 + w2) and C w2 / (w1 + w2)."""
    network = FlowNetwork(Environment())
    core = network.resource("core", 1039.0)
    normal = network.route([(core, 1.0)], weight=1024.0)
    nice = network.route([(core, 1.0)], weight=15.0)
    # 1024 + 15 = 1039: rates 1024 and 15. The first, of 2048, ends at 2; the other has 1069 - 30 = 1039 left: 2 + 1 = 3
    ends = _ends(network, [(0.0, normal, 2048.0), (0.0, nice, 1069.0)])
    assert ends == pytest.approx([2.0, 3.0], rel=EXACT)


def test_weight_counts_for_each_unit_of_usage() -> None:
    """Where usages differ, rates (not loads) follow the weights: r = C / (u1 + u2) for both of two equal weights."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 8.0)
    light = network.route([(node, 1.0)])
    heavy = network.route([(node, 3.0)])
    network.start(light, 1.0)
    network.start(heavy, 1.0)
    # 8 / (1 + 3) = 2 for both; loads 2 and 6
    assert (light.rate, heavy.rate) == pytest.approx((2.0, 2.0), rel=EXACT)
    assert node.load == pytest.approx(8.0, rel=EXACT)


def test_three_flows_over_two_links() -> None:
    """The long flow gets C_A / 2 at its bottleneck A, as does the flow on A alone; the flow on B gets C_B - C_A / 2."""
    network = FlowNetwork(Environment())
    link_a = network.resource("A", 1.0)
    link_b = network.resource("B", 2.0)
    long = network.route([(link_a, 1.0), (link_b, 1.0)])
    on_a = network.route([(link_a, 1.0)])
    on_b = network.route([(link_b, 1.0)])
    network.start(long, 1.0)
    network.start(on_a, 1.5)
    network.start(on_b, 6.0)
    # 1 / 2 = 0.5;  2 - 0.5 = 1.5
    assert (long.rate, on_a.rate, on_b.rate) == pytest.approx((0.5, 0.5, 1.5), rel=EXACT)
    network.env.run(until=2.5 - 1e-6)
    # long ends at 1 / 0.5 = 2; then A's flow has 1.5 - 1 = 0.5 left at 1: ends at 2.5; B's has 6 - 3 = 3 left at 2: 3.5
    assert (long.flows, on_a.flows, on_b.flows) == (0, 1, 1)
    assert (on_a.rate, on_b.rate) == pytest.approx((1.0, 2.0), rel=EXACT)
    network.env.run()
    assert network.env.now == pytest.approx(3.5, rel=EXACT)


def test_a_long_route_over_a_row_of_links() -> None:
    """On a row of links of capacity C, each with n local flows, the long flow gets C / (n + 1), as do the locals."""
    network = FlowNetwork(Environment())
    links = [network.resource(f"link{i}", 6.0) for i in range(4)]
    long = network.route([(link, 1.0) for link in links])
    locals_ = [network.route([(link, 1.0)]) for link in links]
    network.start(long, 1.0)
    for route in locals_:
        network.start(route, 10.0)
        network.start(route, 10.0)
    # 6 / (2 + 1) = 2 for all
    assert [long.rate, *(route.rate for route in locals_)] == pytest.approx([2.0] * 5, rel=EXACT)


@pytest.mark.parametrize(
    ("knee", "cap", "n_flows", "rate"),
    [
        (1.0, 3.0, 1, 12 / 7),  # 3 * 4 / (3 + 4)
        (2.0, 3.0, 1, 2.4),  # 3 * 4 / sqrt(3**2 + 4**2) = 12 / 5
        (2.0, 1.0, 3, 0.8),  # D = 3 * 1: 12 / 5 for three
        (2.0, 4.0, 1, 2**1.5),  # D = C = 4: 4 / sqrt(2)
        (6.0, 4.0, 2, 4 / 1.015625 ** (1 / 6) / 2),  # D = 8: 4 / (1 + (4/8)**6)**(1/6), for two
        (2.0, math.inf, 4, 1.0),  # D infinite: C = 4 for four
    ],
)
def test_knee(knee: float, cap: float, n_flows: int, rate: float) -> None:
    """On a soft knee p, n flows of cap c share C_eff = ((n c)**-p + C**-p)**(-1/p)."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 4.0, CapacityCurve(knee=knee))
    route = network.route([(node, 1.0)], cap=cap)
    ends = _ends(network, [(0.0, route, 1.0)] * n_flows)
    assert ends == pytest.approx([1 / rate] * n_flows, rel=EXACT)


def test_knee_with_two_caps() -> None:
    """The offered load of a knee is the sum of all caps times usages: D = 2 * 1 + 1 * 4 for C = 8 and p = 2."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 8.0, CapacityCurve(knee=2.0))
    light = network.route([(node, 1.0)], cap=4.0)
    heavy = network.route([(node, 2.0)], cap=1.0)
    network.start(light, 1.0)
    network.start(heavy, 1.0)
    # D = 6: C_eff = 6 * 8 / 10 = 4.8; heavy reaches its cap 1 (2 units); light has the rest, 4.8 - 2 = 2.8
    assert (light.rate, heavy.rate) == pytest.approx((2.8, 1.0), rel=EXACT)


@pytest.mark.parametrize(
    ("n_flows", "total"),
    [
        (1, 5.0),  # D = 5 < C: no limit
        (2, 10.0),  # D = 10 = C: the peak
        (3, 9.5),  # D = 15: 10 (1 - 0.1 * 5 / 10)
        (10, 6.0),  # D = 50: 10 (1 - 0.1 * 4)
        (12, 5.0),  # D = 60: 10 (1 - 0.1 * 5) = the floor
        (20, 5.0),  # D = 100: 10 (1 - 0.1 * 9) = 1, below the floor 10 * 0.5
    ],
)
def test_decline_past_the_peak(n_flows: int, total: float) -> None:
    """Past saturation n flows of cap c share C max(floor, 1 - decline (n c / C - 1))."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 10.0, CapacityCurve(decline=0.1, floor=0.5))
    route = network.route([(node, 1.0)], cap=5.0)
    ends = _ends(network, [(0.0, route, 2.0)] * n_flows)
    assert ends == pytest.approx([2.0 * n_flows / total] * n_flows, rel=EXACT)


def test_decline_recovers_as_flows_end() -> None:
    """When one of three flows ends, the other two have the peak again: rates (C - loss) / 3, then C / 2."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 10.0, CapacityCurve(decline=0.1))
    route = network.route([(node, 1.0)], cap=5.0)
    # 9.5 / 3 each: the first ends at 9.5 / (9.5 / 3) = 3; the others have 5 left at 10 / 2 = 5: end at 4
    ends = _ends(network, [(0.0, route, 9.5), (0.0, route, 14.5), (0.0, route, 14.5)])
    assert ends == pytest.approx([3.0, 4.0, 4.0], rel=EXACT)


def test_core_shared_by_two_flows_and_then_one() -> None:
    """A core of C that one flow of cap c cannot fill but two can: min(c, C / 2) while both run, c before and after."""
    network = FlowNetwork(Environment())
    core = network.resource("core", 1.5)
    near = network.route([(core, 1.0), (network.resource("node0", 10.0), 1.0)], cap=1.0)
    far = network.route([(core, 1.0), (network.resource("node1", 10.0), 1.0)], cap=1.0)
    # near: 1 by t = 1, then 0.75/s for the other 1: ends at 1 + 4/3 = 7/3. far: 1 by then, 2 left at 1: 7/3 + 2 = 13/3.
    # A third, of 1.5, comes at 10/3 with 1 of far left: both at 0.75: far ends at 10/3 + 4/3 = 14/3, it has done 1; 0.5
    # left at 1: 31/6.
    ends = _ends(network, [(0.0, near, 2.0), (1.0, far, 3.0), (10 / 3, near, 1.5)])
    assert ends == pytest.approx([7 / 3, 14 / 3, 31 / 6], rel=EXACT)


def test_worker_that_changes_the_node_on_its_core() -> None:
    """A lone worker on a core that one flow cannot fill runs each chunk at its cap: T_k = (W_1 + ... + W_k) / c."""
    network = FlowNetwork(Environment())
    core = network.resource("core", 1.5)
    near = network.route([(core, 1.0), (network.resource("node0", 10.0), 1.0)], cap=1.0)
    far = network.route([(core, 1.0), (network.resource("node1", 10.0), 1.0)], cap=1.0)
    ends: list[float] = []
    _chain(network, [(near, 2.0), (far, 1.0), (near, 1.0), (far, 3.0)], ends)
    network.env.run()
    # 2;  2 + 1 = 3;  3 + 1 = 4;  4 + 3 = 7
    assert ends == pytest.approx([2.0, 3.0, 4.0, 7.0], rel=EXACT)


def test_flows_a_little_above_the_capacity() -> None:
    """Caps whose sum is a hundred-thousandth above the capacity are held to it: r = C / n."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 1.0)
    route = network.route([(node, 1.0)], cap=0.500005)
    # 2 * 0.500005 = 1.00001 > 1: r = 1 / 2; T = 1 / 0.5 = 2
    assert _ends(network, [(0.0, route, 1.0)] * 2) == pytest.approx([2.0] * 2, rel=EXACT)


def test_core_that_fills_up_as_a_flow_on_a_busy_node_ends() -> None:
    """A flow that ends and is followed by one elsewhere on its core leaves the others C / n of the node, not less."""
    network = FlowNetwork(Environment())
    core = network.resource("core", 1.2)
    node = network.resource("node", 2.0)
    others = network.route([(node, 1.0)], cap=1.0)
    first = network.route([(core, 1.0), (node, 1.0)], cap=1.0)
    then = network.route([(core, 1.0)], cap=1.0)
    ends: list[float] = []
    _chain(network, [(first, 0.8), (then, 1.0)], ends)
    # five on the node at 2 / 5: the first ends at 0.8 / 0.4 = 2; the next has the core alone: 2 + 1 / 1 = 3.
    # The other four have 2.8 - 0.8 = 2 left at 2 / 4: 2 + 2 / 0.5 = 6
    assert _ends(network, [(0.0, others, 2.8)] * 4) == pytest.approx([6.0] * 4, rel=EXACT)
    assert ends == pytest.approx([2.0, 3.0], rel=EXACT)
    assert (core.load, node.load) == (0.0, 0.0)


def test_workers_keep_a_node_busy() -> None:
    """While n workers with n c >= C are never idle, m chunks of W in all take T = m W / C."""
    network = FlowNetwork(Environment())
    node = network.resource("node", 6.0)
    route = network.route([(node, 1.0)], cap=2.0)
    ends: list[list[float]] = [[] for _ in range(4)]
    for worker in ends:
        _chain(network, [(route, 3.0)] * 5, worker)
    network.env.run()
    # 4 workers at 6 / 4 = 1.5: a chunk of 3 takes 2; five take 10 = 4 * 5 * 3 / 6
    assert ends == [pytest.approx([2.0, 4.0, 6.0, 8.0, 10.0], rel=EXACT)] * 4
    assert node.served == pytest.approx(60.0, rel=EXACT)
