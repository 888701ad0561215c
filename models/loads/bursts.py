"""Work that comes and goes: threads that compute for a while and then sleep."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from models.loads.load import Compute, Load, LoadStep, SleepFor
from models.machine import Machine
from models.text.units import Time


class Bursts(Load):
    """Compute and sleep in turn, each for a time that is drawn from an exponential distribution."""

    load: Annotated[Literal["bursts"], Field(description="kind of work")]
    busy: Annotated[Time, Field(gt=0, description="mean CPU time of a burst")]
    idle: Annotated[Time, Field(gt=0, description="mean time asleep after it")]

    @property
    def steps_per_s(self) -> float:
        return self.n_threads / (self.busy + self.idle)

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:  # noqa: ARG002
        return [self._steps(Random(random.getrandbits(64))) for _ in range(self.n_threads)]

    def _steps(self, random: Random) -> Iterator[LoadStep]:
        while True:
            yield Compute(random.expovariate(1.0 / self.busy))
            yield SleepFor(random.expovariate(1.0 / self.idle))
