"""Events by hand, alarms, and time that is let pass: a worker that is away for a moment costs no event of its own."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from simpy import Environment, Event

from models.machine.capacity import CapacityCurve
from sim.engine.clock import Alarm, Happening, let_pass
from sim.engine.flows import FlowNetwork


def test_time_passes_only_while_nothing_is_due() -> None:
    """An event at the same time, or sooner, is not overtaken."""
    env = Environment()
    env.timeout(2.0)
    assert not let_pass(env, 2.0)
    assert env.now == 0.0
    assert let_pass(env, 1.5)
    assert env.now == 1.5
    env.run()
    assert env.now == 2.0


def test_a_happening_resumes_who_waits() -> None:
    """It happens when it is told to, without the queue."""
    env = Environment()
    happening = Happening(env)
    seen = []

    def wait() -> Generator[Event, None, None]:
        yield happening
        seen.append(env.now)

    env.process(wait())
    env.run(until=3.0)
    assert seen == []
    happening.happen()
    assert seen == [3.0]
    assert happening.processed


def test_an_alarm_is_set_again_while_it_rings() -> None:
    """The same alarm rings at 1, 3 and 5 s."""
    env = Environment()
    rang = []

    def ring(_event: Event) -> None:
        rang.append(env.now)
        if len(rang) < 3:
            alarm.set(2.0)

    alarm = Alarm(env, ring)
    alarm.set(1.0)
    env.run()
    assert rang == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("curve", [None, CapacityCurve(knee=6.0)])
@pytest.mark.parametrize("n_workers", [1, 2, 5, 40])
def test_skipped_time_is_as_time_waited_for(n_workers: int, curve: CapacityCurve | None) -> None:
    """Workers that pause between chunks end at the same instants whether or not they may skip, but for rounding."""
    skipped, n_events = _ends(n_workers, curve, may_skip=True)
    waited, n_more = _ends(n_workers, curve, may_skip=False)
    assert skipped == pytest.approx(waited, rel=1e-12)
    assert n_events < 0.8 * n_more


def _ends(n_workers: int, curve: CapacityCurve | None, *, may_skip: bool) -> tuple[list[float], int]:
    env = Environment()
    network = FlowNetwork(env)
    memory, core = network.resource("memory", 10.0, curve), network.resource("core", 1.5, private=True)
    routes = [
        network.route([(memory, 1.0), (core, 1.0)][: 1 + (i < 2)], cap=1.0 + 0.1 * (i % 3)) for i in range(n_workers)
    ]
    ends, n_waited = [], 0

    def work(i: int) -> Generator[Event, None, None]:
        nonlocal n_waited
        for n in range(20):
            yield network.start(routes[i], 1.0 + 0.01 * i + 0.1 * (n * 7 % 3))
            if not (may_skip and network.skip(1e-4)):
                n_waited += 1
                yield env.timeout(1e-4)
            ends.append(env.now)

    for i in range(n_workers):
        env.process(work(i))
    env.run()
    return ends, n_waited


def test_nothing_is_skipped_where_another_flow_ends() -> None:
    """Two flows end together: neither may move the time on under the other. Nor may who was not waiting for a flow."""
    env = Environment()
    network = FlowNetwork(env)
    route = network.route([(network.resource("memory", 2.0), 1.0)], cap=1.0)
    asked = []

    def work(seconds: float) -> Generator[Event, None, None]:
        asked.append(network.skip(0.5))
        yield network.start(route, 1.0)
        asked.append(network.skip(seconds))

    env.process(work(0.5))
    env.process(work(0.0))
    env.run()
    assert asked[:3] == [False, False, False]
    assert env.now == 1.0
