"""Threads of a simulation, and the CPUs they run on where nobody else wants them.

`OwnCpus` is a machine without other work: a thread stays on the CPU it is put on until it sleeps, and threads of the
job that share one get equal parts of it at once. `sim.engine.scheduler` has the same calls for a machine with other
work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from simpy.events import ProcessGenerator

from models.loads.groups import Group
from models.machine import Cpu
from sim.engine.flows import Route
from sim.engine.hardware import Hardware


class Thread:
    """A thread. It is put on another CPU only by its own sleep and wake-up."""

    cpu: Cpu  # that it is on, or was before it fell asleep
    cpu_wait_s = 0.0  # time that it could have run and had no CPU
    pinned = False  # to the CPU that it was put on: it is not moved while it is awake

    def __init__(self, hardware: Hardware, allowed: tuple[int, ...] | None = None, *, bound: bool = False) -> None:
        self.hardware = hardware
        self.allowed = allowed  # the ids of the CPUs that it may use, None if all
        self.bound = bound  # to its node: no wake-up moves it

    @property
    def nid(self) -> int:
        """The node that it runs on."""
        return self.cpu.nid

    @property
    def has_own_cpu(self) -> bool:
        """Whether no one but threads of the job can want its CPU."""
        return True

    def wake(self, nid: int | None, previous: Cpu | None = None) -> None:
        """Put it on a CPU of a node (None: of any), its previous one if that is idle."""
        self.cpu = self.hardware.occupy(nid, previous, self.allowed)

    def sleep(self) -> None:
        """Take it off its CPU: it sleeps, moves or ends."""
        self.hardware.release(self.cpu)

    def on_cpu(self) -> ProcessGenerator:
        """Wait until it has a CPU."""
        yield from ()

    def work_left(self) -> float:
        """Return what is left of the work that it does just now, 0 if none or if nobody asks for it."""
        return 0.0

    def run(self, route_on: Callable[[Cpu], Route], work: float) -> ProcessGenerator:
        """Do work over the route from the CPU that it is on."""
        yield self.hardware.network.start(route_on(self.cpu), work)

    def set_nice(self, nice: int) -> None:
        """Change its nice level."""


class Cpus(Protocol):
    """What makes threads."""

    @property
    def is_shared(self) -> bool:
        """Whether other work wants CPUs too."""
        ...

    def thread(
        self,
        allowed: tuple[int, ...] | None = None,
        *,
        bound: bool = False,
        nice: int = 0,
        group: str | None = None,
    ) -> Thread:
        """Return a new thread, asleep."""
        ...

    def charge(self, group: str | None, thread: Thread) -> None:
        """Take the CPU time that a thread has had off what a group may use."""
        ...


class OwnCpus:
    """A machine without other work."""

    is_shared = False

    def __init__(self, hardware: Hardware, groups: Mapping[str, Group]) -> None:
        self._hardware = hardware
        self._groups = groups

    def thread(
        self,
        allowed: tuple[int, ...] | None = None,
        *,
        bound: bool = False,
        nice: int = 0,  # noqa: ARG002
        group: str | None = None,
    ) -> Thread:
        """Return a new thread, asleep; where nobody else wants a CPU, its nice level changes nothing."""
        return Thread(self._hardware, allowed if group is None else self._groups[group].limit(allowed), bound=bound)

    def charge(self, group: str | None, thread: Thread) -> None:
        """Do nothing: there are no quotas."""
