"""A service that should answer soon: requests arrive, wait for a free thread, and need CPU time and memory each."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from models.clients.client import Stream
from models.loads.groups import Group
from models.loads.load import Arrival, Compute, Load, LoadStep, Move
from models.loads.memory import Read, memory_stream
from models.machine import Machine
from models.text.problems import Finding
from models.text.units import Size, Time, format_rate, format_time


class Service(Load):
    """Answer requests, which arrive at random (Poisson) and are taken in their order by the next free thread."""

    load: Annotated[Literal["service"], Field(description="kind of work")]
    requests_per_s: Annotated[
        float, Field(gt=0, le=1e7, description="how many requests arrive in a second, on average")
    ]
    cpu_time: Annotated[Time, Field(gt=0, description="mean CPU time that a request needs (exponential distribution)")]
    memory: Annotated[Size, Field(ge=0, description="memory of its node that a request reads; default none")] = 0

    @property
    def steps_per_s(self) -> float:
        return self.requests_per_s

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:
        arrivals = self._arrivals(Random(random.getrandbits(64)))
        stream = memory_stream("read", machine, Read.traffic)
        return [self._steps(stream, arrivals) for _ in range(self.n_threads)]

    def check(self, machine: Machine, group: Group | None) -> Iterator[Finding]:
        yield from super().check(machine, group)
        n_cpus = min(self.n_threads, self.n_cpus(machine, group))
        if not n_cpus:
            return
        stream = memory_stream("read", machine, Read.traffic)
        time_s = self.cpu_time + self.memory / stream.rate_bytes_per_s
        limits = [(n_cpus / time_s, f"{n_cpus} thread{'s' * (n_cpus > 1)} with a CPU each", "give it more threads")]
        if group is not None and group.quota is not None:
            limits.append((group.quota / time_s, f"a quota of {group.quota:g} CPUs", "give its group more"))
        if self.memory:
            bandwidth = sum(machine.memory_rate(nid) for nid in machine.memory_nids)
            reads = bandwidth / (self.memory * stream.traffic)
            limits.append((reads, f"memory of {format_rate(bandwidth)}", "let a request read less"))
        most, what, mend = min(limits)
        if self.requests_per_s > most:
            yield (
                ("requests_per_s",),
                f"found {self.requests_per_s:g}, of {format_time(time_s)} each; allowed are at most {most:.4g}, "
                f"which {what} can answer: with more, response times grow for ever; {mend}",
            )

    def _arrivals(self, random: Random) -> Iterator[tuple[float, float]]:
        """Yield the arrival of each request in seconds, and the CPU time that it needs."""
        now_s = 0.0
        while True:
            now_s += random.expovariate(self.requests_per_s)
            yield now_s, random.expovariate(1.0 / self.cpu_time)

    def _steps(self, stream: Stream, arrivals: Iterator[tuple[float, float]]) -> Iterator[LoadStep]:
        for arrives_s, cpu_s in arrivals:
            yield Arrival(arrives_s)
            yield Compute(cpu_s)
            if self.memory:
                yield Move(stream, self.memory)
