"""The waits at locks against a plain simulation of every single section."""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Any

import pytest
from simpy import Environment, Event, Resource

from models.memory.locks import Lock, lock_curve, waits


def plain_cycle_s(threads: int, away_s: float, hold_s: float, transfer_s: float, handover_s: float) -> float:
    """Return the mean time from one section of a thread to its next, every section simulated."""
    env, random, lock_cycles = Environment(), Random(7), 0
    lock = Resource(env)
    last = [-1]

    def thread(number: int) -> Generator[Event, Any, None]:
        nonlocal lock_cycles
        while True:
            yield env.timeout(random.expovariate(1.0 / away_s))
            with lock.request() as turn:
                yield turn
                section_s = hold_s + (transfer_s if last[0] != number else 0.0)
                last[0] = number
                yield env.timeout(random.expovariate(1.0 / section_s))
                if lock.queue and handover_s:
                    yield env.timeout(random.expovariate(1.0 / handover_s))
            lock_cycles += 1

    for number in range(threads):
        env.process(thread(number))
    env.run(until=4000.0)
    return threads * 4000.0 / lock_cycles


@pytest.mark.parametrize(
    ("threads", "hold", "transfer", "handover"),
    [(2, 0.3, 0.0, 0.0), (4, 0.2, 0.1, 0.0), (8, 0.05, 0.05, 0.1), (16, 0.02, 0.06, 0.02), (4, 0.02, 0.1, 0.08)],
)
def test_cycle_with_waits(threads: int, hold: float, transfer: float, handover: float) -> None:
    """A cycle takes as long as with every section simulated, within 3 % (fixed seed; about 16 000 cycles each)."""
    shares = lock_curve((Lock("a", 1.0, hold, transfer, handover),), 1.0).shares
    found = 1.0 + waits(shares, threads, 1.0)
    assert found == pytest.approx(plain_cycle_s(threads, 1.0 - hold, hold, transfer, handover), rel=0.03)
