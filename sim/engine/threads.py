"""Threads of a simulation: their work while they have a CPU, which the scheduler gives and takes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

from simpy import Event

from models.machine import Cpu
from models.machine.weights import weight_of
from sim.engine.hardware import Hardware
from sim.engine.quota import Quota
from sim.engine.routes import Flow, Route


class Cpus(Protocol):
    """The scheduler's side: it puts threads on CPUs."""

    def wake(self, thread: Thread, nid: int | None, previous: Cpu | None) -> None: ...

    def sleep(self, thread: Thread) -> None: ...

    def set_weight(self, thread: Thread, weight: int) -> None: ...


class Thread:
    """A thread, asleep at first. Made by `sim.engine.scheduler.Scheduler.thread`.

    `allowed` are the ids of the CPUs that it may use (None: all). A thread that is `bound` stays on the node on which
    it woke up. One that is `pinned` stays on its CPU.
    """

    cpu: Cpu  # that it is on, or was before it fell asleep

    def __init__(
        self,
        cpus: Cpus,
        hardware: Hardware,
        allowed: tuple[int, ...] | None,
        *,
        bound: bool,
        nice: int,
        quota: Quota | None,
        of_job: bool,
    ) -> None:
        self.hardware = hardware
        self.allowed = allowed
        self.bound = bound
        self.pinned = False
        self.weight = weight_of(nice)
        self.quota = quota
        self.of_job = of_job
        self.awake = False
        self.running = False
        self.is_throttled = False  # its group has used up its quota; it waits for the next period
        self.ran_s = 0.0
        self.cpu_wait_s = 0.0  # time that it could have run and had no CPU
        self.since_s = 0.0  # when it began to run, or to wait; `ran_s` is up to date there
        self.bound_nid: int | None = None
        self.vruntime = 0.0  # seconds of CPU time at nice 0, on the clock of its run queue
        self.deadline = 0.0  # of its slice, in virtual runtime
        self.lag = 0.0  # while it is not on a run queue: what it was behind the mean there, in virtual runtime
        self.ahead: tuple[object, int] | None = None  # asleep ahead of it: the run queue, and which of its stretches
        self._cpus = cpus
        self._turn: Event | None = None
        self._flow: tuple[Route, Flow] | None = None  # while it has a CPU
        self._work = 0.0  # that it does just now: what was left of it when it last got or lost a CPU

    @property
    def nid(self) -> int:
        """Return the node that it runs on."""
        return self.cpu.nid

    def may_use(self, cpu: Cpu) -> bool:
        """Return whether it may be moved to a CPU."""
        if self.pinned or (self.bound_nid is not None and cpu.nid != self.bound_nid):
            return False
        return self.allowed is None or cpu.cpu_id in self.allowed

    # -- what it does

    def wake(self, nid: int | None, previous: Cpu | None = None) -> None:
        """Put it on a CPU of a node (None: of any), its previous one if that is idle."""
        self._cpus.wake(self, nid, previous)

    def sleep(self) -> None:
        """Take it off its CPU: it sleeps, moves or ends."""
        self._cpus.sleep(self)

    def set_nice(self, nice: int) -> None:
        """Change its nice level."""
        self._cpus.set_weight(self, weight_of(nice))

    def on_cpu(self) -> Generator[Event, Any, None]:
        """Wait until it has a CPU."""
        while not self.running:
            self._turn = Event(self.hardware.env)
            yield self._turn

    def start(self, route: Route, work: float) -> Flow:
        """Start work on the CPU that it has. After the event `left` has the rest, if it lost the CPU."""
        self._work = work
        flow = self.hardware.network.start(route, work)
        self._flow = (route, flow)
        return flow

    def left(self, flow: Flow) -> float:
        """Return the rest of work that has ended or was stopped."""
        self._flow = None
        self._work = flow.left
        return flow.left

    def run(self, route_on: Callable[[Cpu], Route], work: float) -> Generator[Event, Any, None]:
        """Do work while it has a CPU. Each time it is on another one, the work goes over the route from there."""
        self._work = work
        while self._work > 0.0:
            yield from self.on_cpu()
            flow = self.start(route_on(self.cpu), self._work)
            yield flow
            self.left(flow)

    def work_left(self) -> float:
        """Return the rest of its present work, 0 if none."""
        return self._work if self._flow is None else self.hardware.network.work_left(*self._flow)

    # -- for the scheduler

    def begin(self) -> None:
        """Let it go on: it has a CPU."""
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.succeed()

    def halt(self) -> None:
        """Stop its work, because it has no CPU."""
        if self._flow is not None:
            self.hardware.network.stop(*self._flow)
