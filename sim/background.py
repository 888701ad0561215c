"""Other load on the machine, and how threads take turns on a CPU that more than one of them wants.

A CPU that background load wants is held by one thread at a time, until a tick of the scheduler; who waits comes next,
in order of arrival: round robin, as equal threads get it from CFS and EEVDF. A thread that was woken takes the CPU at
once from one that did not sleep; its first turn ends at the next tick, which may come at any time.
"""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Any

from simpy import Event
from simpy.resources.resource import Request, Resource

from models.clients.clear_gigantic_page import clearing
from models.machine import Cpu
from models.scenario import Background
from sim.flows import Route
from sim.hardware import Hardware

_PARTS = 16  # of a turn: how exactly it ends, and how often the background looks for somebody who was woken


class _Ask(Request):
    """A request for a CPU; `woken`: by a thread that was asleep."""

    def __init__(self, resource: Resource, woken: bool) -> None:
        self.woken = woken
        super().__init__(resource)


class Turns:
    """A thread's turns on CPUs. It keeps a CPU that nobody else wants, and gives up others after each turn."""

    def __init__(self, hardware: Hardware, slice_s: float, ticks: Random) -> None:
        self._hardware = hardware
        self._slice_s = slice_s
        self._ticks = ticks
        self._held: tuple[int, Request] | None = None  # CPU id, request
        self._left_s = 0.0

    def run(self, cpu: Cpu, route: Route, work: float) -> Generator[Event, Any, None]:
        """Do work over a route on a CPU, waiting for a turn where it has to."""
        network, shared = self._hardware.network, self._hardware.sharing(cpu)
        if shared is None:
            yield network.start(route, work)
            return
        env = self._hardware.env
        rate = route.cap
        while work > 0.0:
            if self._held is None or self._held[0] != cpu.cpu_id or self._left_s <= 0.0:
                woken = self._held is None
                self.give_up()
                self._held = (cpu.cpu_id, _Ask(shared, woken))
                yield self._held[1]
                self._left_s = self._slice_s * (self._ticks.random() if woken else 1.0)
            # The rate, and so the work of a turn, is not known before: parts, each at the rate of the one before.
            began_s = env.now
            part = min(work, max(self._left_s, self._slice_s / _PARTS) / 2 * rate)
            yield network.start(route, part)
            work -= part
            took_s = env.now - began_s
            self._left_s -= took_s
            if took_s > 0.0:
                rate = part / took_s

    def give_way(self) -> None:
        """End the turn if somebody waits who was woken."""
        if self._held is not None and any(ask.woken for ask in self._held[1].resource.queue):
            self._left_s = 0.0

    def give_up(self) -> None:
        """Leave the CPU to others: the turn is over, or the thread sleeps."""
        if self._held is not None:
            request = self._held[1]
            request.resource.release(request)
            self._held = None


def start_background(background: Background, hardware: Hardware, slice_s: float, ticks: Random) -> None:
    """Start a thread on each CPU of `background`, which runs for ever."""
    if background.load == "none":
        return
    for cpu in hardware.machine.cpus:
        if cpu.cpu_id in background.cpus:
            hardware.share(cpu)
            turns = Turns(hardware, slice_s, ticks)
            hardware.env.process(_run_for_ever(background.load, cpu, hardware, turns, slice_s))


def _run_for_ever(load: str, cpu: Cpu, hardware: Hardware, turns: Turns, slice_s: float) -> Generator[Event, Any, None]:
    machine = hardware.machine
    with_memory = [node.nid for node in machine.nodes if node.memory_bytes]
    nid = min(with_memory, key=lambda other: machine.distances[cpu.nid, other])
    route = hardware.route(cpu, (nid,), clearing(machine.rates)[0])
    if load == "spin":
        route = hardware.spin_route(cpu)
    while True:
        yield from turns.run(cpu, route, route.cap * slice_s / _PARTS)
        turns.give_way()
