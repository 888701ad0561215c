"""CPU-bound work that uses no memory, as of `stress-ng --cpu`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from models.loads.load import Compute, Load, LoadStep
from models.machine import Machine
from models.text.units import Time

_AT_ONCE_S = 1.0


class Spin(Load):
    """Compute, endlessly or for a given time."""

    load: Annotated[Literal["spin"], Field(description="kind of work")]
    cpu_time: Annotated[
        Time | None,
        Field(gt=0, description="CPU time that each thread needs, on a core of its own; default it never ends"),
    ] = None

    @property
    def is_finite(self) -> bool:
        return self.cpu_time is not None

    def steps(self, machine: Machine, random: Random) -> list[Iterator[LoadStep]]:  # noqa: ARG002
        return [self._steps() for _ in range(self.n_threads)]

    def _steps(self) -> Iterator[LoadStep]:
        if self.cpu_time is None:
            yield from itertools.repeat(Compute(_AT_ONCE_S))
        else:
            yield Compute(self.cpu_time)
