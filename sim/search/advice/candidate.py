"""A candidate: a number of threads and a chunk, and the results of its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from models.results.run import RunResult
from models.scenario.case import Case
from sim.search.advice.limit import NOTICED

THREADS_WITHIN, CHUNK_WITHIN = 0.03, 0.01  # of the least time: what is as good


def recommend(table: pd.DataFrame) -> Any:
    """Return the index of the row to recommend: the fewest threads, then the largest chunk that are as good as any."""
    good = table[table["time_s"] <= (1 + THREADS_WITHIN) * table["time_s"].min()]
    fewest = table[table["threads"] == good["threads"].min()]
    best = fewest[fewest["time_s"] <= (1 + CHUNK_WITHIN) * fewest["time_s"].min()]
    return best["chunk_bytes"].idxmax()


def starts_of(case: Case) -> list[tuple[float, Case]]:
    """Return the ways in which a start can go, each with its probability: the last thread begins in time, or late."""
    late = case.kernel.late_start
    if case.n_works == 1 or not 0.0 < late < 1.0:
        return [(1.0, case)]
    return [
        (share, replace(case, kernel=case.kernel.model_copy(update={"late_start": float(is_late)})))
        for share, is_late in ((1.0 - late, False), (late, True))
    ]


@dataclass(frozen=True)
class Outcome:
    """One way in which a start can go, with its probability, and its runs.

    `varied` has, for each unsure figure, the time if it is lower, and if it is higher, relative to that as it is.
    """

    share: float
    results: list[RunResult]
    varied: Mapping[str, tuple[float, float]]

    @property
    def time_s(self) -> float:
        """Return the mean."""
        return fmean(result.time_s for result in self.results)

    def interval(self) -> tuple[float, float]:
        """Return the shortest and the longest time, each widened by the doubt of the unsure figures.

        One more run ends between those of n with the probability (n - 1) / (n + 1), whatever the distribution. Doubts
        are independent of the spread and of each other, so they add up as squares, on each side by itself.
        """
        times = [result.time_s for result in self.results]
        less = math.hypot(1.0 - min(times) / self.time_s, *(1.0 - min(1.0, *pair) for pair in self.varied.values()))
        more = math.hypot(max(times) / self.time_s - 1.0, *(max(1.0, *pair) - 1.0 for pair in self.varied.values()))
        return self.time_s * max(0.0, 1.0 - less), self.time_s * (1.0 + more)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A number of threads and a chunk, and its results in each way to start (`starts_of`)."""

    case: Case
    threads: int
    chunk_bytes: int  # the first one's
    outcomes: tuple[Outcome, ...]
    limit: str

    def mean(self, figure: Callable[[RunResult], float]) -> float:
        """Return the mean of a figure of a run over all starts."""
        return math.fsum(outcome.share * fmean(map(figure, outcome.results)) for outcome in self.outcomes)

    @property
    def time_s(self) -> float:
        """Return the mean."""
        return self.mean(lambda run: run.time_s)

    @property
    def cpu_s(self) -> float:
        """Return the mean."""
        return self.mean(lambda run: run.cpu_s)

    def utilisation(self, resource: str) -> float:
        """Return the mean utilisation of a resource, over time."""
        return self.mean(lambda run: run.utilisation.get(resource, 0.0) * run.time_s) / self.time_s

    def slowdown(self, load: str) -> float | None:
        """Return the mean slowdown of other work, by name, or None if it does nothing beside the job in any run."""
        runs = [(each.share, run.extra[f"{load}_slowdown"]) for each in self.outcomes for run in each.results]
        known = [(share, slowdown) for share, slowdown in runs if not math.isnan(slowdown)]
        return (
            math.fsum(share * slowdown for share, slowdown in known) / math.fsum(share for share, _ in known)
            if known
            else None
        )

    def varied_s(self, name: str, side: int) -> float:
        """Return the mean time with an unsure figure lower (0) or higher (1)."""
        return math.fsum(outcome.share * outcome.time_s * outcome.varied[name][side] for outcome in self.outcomes)

    @property
    def has_two_times(self) -> bool:
        """Return whether a start with a late thread takes so much longer that a mean would tell neither time."""
        if len(self.outcomes) == 1:
            return False
        in_time, late = self.outcomes
        return late.time_s - in_time.time_s > NOTICED * self.time_s

    def row(self) -> dict[str, Any]:
        """Return its row in a table (`sim.search.advice.Advice`), without the note."""
        intervals = [outcome.interval() for outcome in self.outcomes]
        in_time_s, late_s = [each.time_s for each in self.outcomes] if self.has_two_times else (math.nan, math.nan)
        return {
            "threads_allowed": max(self.threads, self.case.threads_allowed),
            "threads": self.threads,
            "chunk_bytes": self.chunk_bytes,
            "time_s": self.time_s,
            "in_time_s": in_time_s,
            "late_s": late_s,
            "low_s": min(low_s for low_s, _ in intervals),
            "high_s": max(high_s for _, high_s in intervals),
            "cpu_s": self.cpu_s,
            "limit": self.limit,
        }
