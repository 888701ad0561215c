"""usemem (vm-scalability): each thread maps memory, touches all of it and unmaps it, in rounds.

Threads of one process meet at mmap_lock: a fault takes it for reading, mmap and munmap for writing. A thread that maps
or unmaps waits asleep for the faults under way. So it is off its CPU for a moment in each round, and others have the
CPU then.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from models.clients.client import Stream
from models.loads.load import Compute, LoadStep, Move, SleepFor
from models.loads.memory import MemoryLoad
from models.machine import Machine
from models.text.units import GIB, Rate, Size, Time


class Usemem(MemoryLoad):
    """Touch memory and unmap it, in rounds, endlessly or a given amount."""

    load: Annotated[Literal["usemem"], Field(description="kind of work")]
    round: Annotated[Size, Field(gt=0, description="memory that a thread touches before it unmaps it")] = GIB
    unmap_rate: Annotated[
        Rate, Field(description="at which it unmaps memory in transparent huge pages and frees it; an estimate")
    ] = 40e9
    lock_sleep: Annotated[
        Time,
        Field(ge=0, description="mean sleep at mmap_lock in a round (exponential distribution); an estimate"),
    ] = 1e-3

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:
        stream = self.stream(machine)
        return [self._rounds(stream, Random(random.getrandbits(64))) for _ in range(self.n_threads)]

    def _rounds(self, stream: Stream, random: Random) -> Iterator[LoadStep]:
        left = self.size
        while left is None or left > 0:
            size_bytes = self.round if left is None else min(self.round, left)
            yield Move(stream, size_bytes, self.memory_node)
            yield Compute(size_bytes / self.unmap_rate)
            if self.lock_sleep:
                yield SleepFor(random.expovariate(1.0 / self.lock_sleep))
            left = None if left is None else left - size_bytes
