"""The mutual cost of the job and other work: each beside the other against each alone, with the same luck."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from simpy import Environment

from models.loads import Service
from models.scenario.case import Case
from models.scenario.streams import Streams
from sim.engine.background import Neighbour
from sim.engine.hardware import Hardware
from sim.engine.scheduler import Scheduler
from sim.engine.simulation import Simulation, finish


def interference(both: Simulation) -> dict[str, Any]:
    """Return the columns of a run with other work: for the job `slowdown`, its time over that on the idle machine.

    Each other work has `NAME_slowdown`, by its name. One with an amount of work also has NAME_time_s, to the end of its
    last thread, NAME_mean_s, of all its threads, and NAME_alone_s, without all else. For a service there are
    NAME_p50_s, NAME_p95_s and NAME_p99_s, the response times of the requests that arrive while the job runs. The
    slowdown is that of NAME_time_s, of the 99th percentile for a service, and for the rest that of its progress while
    the job runs. It is NaN for one without progress by then, which has not begun or never had a CPU.
    """
    case = both.case
    idle = Simulation(replace(case, background={}), both.replication)
    found: dict[str, Any] = {"slowdown": both.time_s / idle.time_s}
    for neighbour in both.neighbours:
        name = neighbour.name
        alone, progress = _alone(case, name, both)
        if isinstance(neighbour.load, Service):
            responses, own = (each.response_s(both.began_s, both.ended_s) for each in (neighbour, alone))
            found |= {f"{name}_p{percentile}_s": seconds for percentile, seconds in responses.items()}
            found[f"{name}_slowdown"] = responses[99] / own[99]
        elif neighbour.load.is_finite:
            found[f"{name}_time_s"] = neighbour.time_s
            found[f"{name}_mean_s"] = neighbour.mean_time_s
            found[f"{name}_alone_s"] = alone.time_s
            found[f"{name}_slowdown"] = neighbour.time_s / alone.time_s
        else:
            done = both.progress[name]
            found[f"{name}_slowdown"] = progress / done if done else math.nan
    return found


def _alone(case: Case, name: str, both: Simulation) -> tuple[Neighbour, float]:
    """Simulate one of the other works alone, and return it with its progress in the time of the job."""
    env = Environment()
    hardware, streams = Hardware(env, case.machine), Streams(case.seed, both.replication)
    scheduler = Scheduler.of(case, hardware, streams)
    neighbour = Neighbour(name, case.background[name], hardware, scheduler, streams)
    if both.began_s:
        env.run(until=both.began_s)
    before = neighbour.progress
    env.run(until=both.ended_s)
    progress = neighbour.progress - before
    finish(env, [neighbour], both.ended_s)
    return neighbour, progress
