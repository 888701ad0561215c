"""Other work as data: threads that compute, use memory, sleep or answer requests beside the job.

A load lists the steps of each of its threads (`LoadStep`s). The simulation runs them and knows none of the kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Annotated

from pydantic import Field

from models.clients.client import Stream, check_cpus
from models.loads.groups import Group
from models.machine import Machine
from models.text.checks import FileKeys
from models.text.cpu_list import CpuList, format_cpu_list
from models.text.problems import Finding
from models.text.units import Time


@dataclass(frozen=True)
class Compute:
    """CPU time with nothing from memory."""

    seconds: float


@dataclass(frozen=True)
class Move:
    """An amount of a memory stream. `nid` is the node of the memory, None the thread's own."""

    stream: Stream
    size_bytes: float
    nid: int | None = None


@dataclass(frozen=True)
class SleepFor:
    """Sleep for a time."""

    seconds: float


@dataclass(frozen=True)
class Arrival:
    """Wait for a request, which arrives at this time after the start. The steps up to the next arrival answer it."""

    arrives_s: float


LoadStep = Compute | Move | SleepFor | Arrival


MOST_THREADS = 64  # for each CPU; with 16384 in a run queue a simulated second takes minutes


class Load(FileKeys):
    """Other work in a scenario, from its start on: endless, or a given amount."""

    load: Annotated[str, Field(description="kind of work")]
    threads: Annotated[
        int | None,
        Field(
            ge=0,
            description=f"how many threads do it, at most {MOST_THREADS} for each CPU that they may use; default one "
            "for each of `cpus`, or one",
        ),
    ] = None
    cpus: Annotated[
        CpuList | None, Field(description='CPUs that it may use, such as "1" or "2-3"; default all of the machine')
    ] = None
    nice: Annotated[int, Field(ge=-20, le=19, description="nice level of its threads")] = 0
    group: Annotated[str | None, Field(description="the cgroup that it is in, one of `groups`; default the root")] = (
        None
    )
    start: Annotated[Time, Field(ge=0, description="when it starts; default before the job")] = 0.0

    @property
    def n_threads(self) -> int:
        """Return the number of its threads."""
        if self.threads is not None:
            return self.threads
        return 1 if self.cpus is None else len(self.cpus)

    @property
    def is_finite(self) -> bool:
        """Return whether its threads have an amount of work, and then end."""
        return False

    @property
    def steps_per_s(self) -> float:
        """Return how many steps its threads take in a second on idle CPUs, which a simulation goes through one by one.

        0 is a few, whatever they are.
        """
        return 0.0

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:
        """Return the steps of each thread."""
        raise NotImplementedError

    def words(self) -> str:
        """Return the load in a few words, such as "spin on CPUs 1-3"."""
        where = "" if self.cpus is None else f" on CPU{'s' * (len(self.cpus) > 1)} {format_cpu_list(self.cpus)}"
        return f"{self.load}{where}"

    def n_cpus(self, machine: Machine, group: Group | None) -> int:
        """Return how many CPUs of a machine its threads may use, in its cgroup."""
        allowed = self.cpus if group is None else group.limit(self.cpus)
        return len(machine.cpus if allowed is None else allowed)

    def check(self, machine: Machine, group: Group | None) -> Iterator[Finding]:
        """Find values that are impossible on a machine, in its cgroup."""
        yield from check_cpus(self.cpus, machine)
        most = MOST_THREADS * self.n_cpus(machine, group)
        if most and self.n_threads > most:
            yield (("threads",), f"found {self.n_threads}; allowed are at most {most}, {MOST_THREADS} for each CPU")
