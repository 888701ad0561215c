"""Measuring this host by designs of experiments: the runs of several designs interleaved, in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from models.machine import Machine
from models.measured.designs import LEAST_CHUNK, thread_counts
from models.measured.regimes import mark_regimes
from models.results import Results
from models.scenario import Scenario
from models.text.units import GIB
from real.experiment import plan, run
from real.limits import DEFAULT_SHARE
from real.zeroing import Choice, choose, methods

MOST_REPLICATIONS = 40  # of each case, if there is time


class Design(Protocol):
    """A function of `models.measured.designs`."""

    def __call__(self, machine: Machine, granularity_bytes: int, replications: int) -> Scenario:
        """Return the cases to run on a machine whose memory comes in pieces of that size."""


@dataclass(frozen=True)
class Part:
    """A design that was measured: its scenario, and its runs (`Results.runs`), numbered by its cases."""

    scenario: Scenario
    runs: pd.DataFrame


@dataclass(frozen=True)
class Measurement:
    """The runs of a calibration: a part for each design, all of it as results, and how memory was cleared (`measure`).

    Example:
        >>> measured = measure(host_machine("here"), design)  # doctest: +SKIP
        >>> measured.choice.method.name  # doctest: +SKIP
        'populate-thp'
    """

    parts: tuple[Part, ...]
    results: Results
    choice: Choice


def best_method(
    machine: Machine, *, method: str | None = None, share: float = DEFAULT_SHARE, allow_pool: bool = False
) -> Choice:
    """Return the method by which a calibration clears memory on this host.

    Args:
        machine: This host (`host_machine`).
        method: The name of a method to take. None takes the best.
        share: The largest share of the available memory that may be used, 0 to 1.
        allow_pool: Whether the pool of huge pages may be grown, which needs root.

    Returns:
        The method, and for each better one the reason why it can't be used.

    Raises:
        NoMethodError: No method works. The message has the reason for each.
        NotEnoughMemoryError: The memory is too small for any.

    Example:
        >>> best_method(host_machine()).method.name in [method.name for method in methods()]
        True
    """
    least_bytes = max(GIB, 8 * max(thread_counts(machine), default=1) * LEAST_CHUNK)
    return choose(least_bytes, [LEAST_CHUNK], wanted=method, allow_pool=allow_pool, share=share)


def measure(
    machine: Machine,
    *designs: Design,
    method: str | None = None,
    share: float = DEFAULT_SHARE,
    allow_pool: bool = False,
    seconds: float = 60.0,
    replications: int = MOST_REPLICATIONS,
    on_done: Callable[[], object] | None = None,
) -> Measurement:
    """Run the cases of designs on this host, interleaved and in random order, for about `seconds`.

    Runs made while the host was another machine for a time are marked in the column `unstable`
    (`models.measured.regimes`).

    Args:
        machine: This host (`host_machine`).
        designs: The designs to run (`models.measured.designs`).
        method: The name of the method of clearing. None takes the best.
        share: The largest share of the available memory that may be used, 0 to 1.
        allow_pool: Whether the pool of huge pages may be grown, which needs root.
        seconds: No replication begins after this time, if there are enough.
        replications: The most replications of each case.
        on_done: Called after each run.

    Returns:
        The runs of each design, all of them as results, and the method.

    Raises:
        InputError: The host can't run a case. The message names the change to make.
        NoMethodError: No method works.
        NotEnoughMemoryError: The memory is too small.
        OSError: Clearing failed.

    Example:
        >>> machine = host_machine("here")
        >>> measured = measure(machine, design, seconds=60.0)  # doctest: +SKIP
        >>> measured.results.runs["time_s"].median()  # doctest: +SKIP
        0.0123
    """
    choice = best_method(machine, method=method, share=share, allow_pool=allow_pool)
    scenarios = [design_for(machine, design, choice.method.name, replications) for design in designs]
    first = scenarios[0]
    everything = first if len(scenarios) == 1 else Scenario.combine(first.title, first.question, scenarios)
    ready = plan(everything, machine=machine, method=choice.method.name, share=share, allow_pool=allow_pool)
    results = run(ready, seconds=seconds, on_done=on_done)
    return Measurement(_parts(scenarios, mark_regimes(results.runs)), results, choice)


def design_for(machine: Machine, design: Design, method: str, replications: int) -> Scenario:
    """Return a design's cases for the pages of a method's memory."""
    granularity = next(known.page_bytes for known in methods() if known.name == method)
    return design(machine, max(granularity, machine.base_page_bytes), replications)


def _parts(scenarios: Sequence[Scenario], runs: pd.DataFrame) -> tuple[Part, ...]:
    parts = []
    first = 0
    for scenario in scenarios:
        own = runs[runs["case"].between(first, first + len(scenario.cases) - 1)]
        parts.append(Part(scenario, own.assign(case=own["case"] - first)))
        first += len(scenario.cases)
    return tuple(parts)
