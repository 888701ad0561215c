"""Other work beside the job, run as its loads say (`models.loads`), and its results."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any

from simpy import AllOf, Event

from models.loads import Arrival, Compute, Load, LoadStep, Move, SleepFor
from models.machine import Cpu
from models.scenario.streams import Streams
from sim.engine.hardware import Hardware
from sim.engine.routes import Route
from sim.engine.scheduler import Scheduler
from sim.engine.threads import Thread

PERCENTILES = (50, 95, 99)


class Neighbour:
    """One load of a scenario under way."""

    def __init__(self, name: str, load: Load, hardware: Hardware, scheduler: Scheduler, streams: Streams) -> None:
        self.name = name
        self.load = load
        self._hardware = hardware
        self._env = hardware.env
        self._scheduler = scheduler
        self._done: list[float] = []  # of each thread, in seconds of CPU time and bytes: one is nearly always nothing
        self._answered: list[tuple[float, float]] = []  # (arrival, response time) of requests
        self._open: dict[int, float] = {}  # arrival of the request that each thread has taken
        self._ended_s: list[float] = []
        self._began_s: float | None = None if load.start else 0.0
        self._begins: Event = self._env.event()
        self._threads: list[Thread] = []
        self._at_work: list[float] = []  # amount of the step under way
        if load.start:
            self._env.timeout(load.start).callbacks.append(lambda _event: self.begin())
        random = streams[f"background/{name}"]
        self._processes = [
            self._env.process(self._run(number, steps))
            for number, steps in enumerate(load.steps(hardware.machine, random))
        ]

    @property
    def ended(self) -> Event:
        """Return the event at which all its threads have ended, or at once for loads that never end."""
        return AllOf(self._env, self._processes if self.load.is_finite else [])

    @property
    def has_begun(self) -> bool:
        """Return whether it has started."""
        return self._began_s is not None

    @property
    def has_ended(self) -> bool:
        """Return whether all its threads have ended."""
        return len(self._ended_s) == len(self._processes)

    def begin(self) -> None:
        """Start it now, if it has not started."""
        if self._began_s is None:
            self._began_s = self._env.now
            self._begins.succeed()

    @property
    def time_s(self) -> float:
        """Return the time from its start to the end of its last thread, or NaN if it never ends."""
        return max(self._ended_s) - (self._began_s or 0.0) if self._ended_s else math.nan

    @property
    def mean_time_s(self) -> float:
        """Return the time from its start to the end of a thread, on average, or NaN if it never ends."""
        import numpy as np  # takes a while, which jobs without other work don't need

        return float(np.mean(self._ended_s)) - (self._began_s or 0.0) if self._ended_s else math.nan

    @property
    def progress(self) -> float:
        """Return the work that all its threads have done so far."""
        return math.fsum(
            done + amount - (thread.work_left() if amount else 0.0)
            for done, amount, thread in zip(self._done, self._at_work, self._threads, strict=True)
        )

    def response_s(self, begin_s: float, end_s: float) -> dict[int, float]:
        """Return percentiles of the response time of requests that arrived in a stretch, or NaN if there were none."""
        times = [took_s for arrived_s, took_s in self._answered if begin_s <= arrived_s < end_s]
        import numpy as np

        return {p: float(np.percentile(times, p)) if times else math.nan for p in PERCENTILES}

    def has_answered(self, end_s: float) -> bool:
        """Return whether all requests that arrived before a time are answered. They are taken in their order."""
        return min(self._open.values(), default=0.0) >= end_s

    def _run(self, number: int, steps: Iterator[LoadStep]) -> Generator[Event, Any, None]:
        env, load = self._env, self.load
        thread = self._scheduler.thread(load.cpus, nice=load.nice, group=load.group, of_job=False)
        self._threads.append(thread)
        self._done.append(0.0)
        self._at_work.append(0.0)
        if not self.has_begun:
            yield self._begins
        awake = False
        last: Cpu | None = None  # that it was on when it fell asleep
        for step in steps:
            if isinstance(step, (Compute, Move)):
                if not awake:
                    awake = True
                    if last is None:
                        self._hardware.expect_others()
                    thread.wake(None if last is None else last.nid, last)
                yield from self._work(number, thread, step)
                continue
            if number in self._open:
                arrived_s = self._open.pop(number)
                self._answered.append((arrived_s, env.now - arrived_s))
            wait_s = 0.0
            if isinstance(step, SleepFor):
                wait_s = step.seconds
            elif isinstance(step, Arrival):
                self._open[number] = (self._began_s or 0.0) + step.arrives_s
                wait_s = self._open[number] - env.now
            if wait_s > 0.0:
                if awake:
                    awake = False
                    last = thread.cpu
                    thread.sleep()
                yield env.timeout(wait_s)
        if awake:
            thread.sleep()
        self._ended_s.append(env.now)

    def _work(self, number: int, thread: Thread, step: Compute | Move) -> Generator[Event, Any, None]:
        hardware = self._hardware
        if isinstance(step, Compute):
            amount = self._at_work[number] = step.seconds
            yield from thread.run(hardware.spin_route, amount)
        else:
            amount = self._at_work[number] = step.size_bytes
            yield from thread.run(lambda cpu: self._route(cpu, step), amount)
        self._at_work[number] = 0.0
        self._done[number] += amount

    def _route(self, cpu: Cpu, step: Move) -> Route:
        machine = self._hardware.machine
        nid = step.nid
        if nid is None:
            nid = min(machine.memory_nids, key=lambda other: machine.distances[cpu.nid, other])
        return self._hardware.route(cpu, (nid,), step.stream)
