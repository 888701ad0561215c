"""A candidate: a number of threads and a chunk, and the results of its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, median, stdev
from typing import Any

import pandas as pd

from models.results.run import RunResult
from models.scenario.case import Case
from sim.fit.fit import own_reach
from sim.search.advice.limit import NOTICED
from sim.search.advice.runs import SCREENED

THREADS_WITHIN, CHUNK_WITHIN = 0.03, 0.01  # of the least time: what is as good
_SURE = 3.0  # standard errors
INSIDE = 0.9  # probability that a start ends within an interval
# Standard deviations of an unsure figure that hold so much. They are known from 13 published tables, so it is one more
# draw of Student's t with 12 degrees of freedom.
_OF_UNSURE = 1.85
# Beyond the mean, by the shortest and the longest of ten runs: then one more ends there with this probability, if times
# are normal. By the standard deviation of three: Student's t with two degrees of freedom, of a mean and one more run.
_OF_RANGE = 1.3
_OF_FEW = INSIDE * math.sqrt(2.0 / (1.0 - INSIDE**2)) * math.sqrt(1.0 + 1.0 / SCREENED)


def recommend(table: pd.DataFrame) -> Any:
    """Return the index of the row to recommend: the fewest threads, then the largest chunk that are as good as any."""
    good = table[table["time_s"] <= (1 + THREADS_WITHIN) * table["time_s"].min()]
    fewest = table[table["threads"] == good["threads"].min()]
    best = fewest[fewest["time_s"] <= (1 + CHUNK_WITHIN) * fewest["time_s"].min()]
    return best["chunk_bytes"].idxmax()


def in_question(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates on whose times the recommendation depends, so that they deserve more runs.

    These are the recommended one, and each whose time relative to the least is so near to a limit of `recommend` that
    three standard errors reach it, with the one that has the least. Two with as many runs have met the same luck, so
    the error is that of the ratios of their runs. Few runs may look alike by chance, so no spread counts as less than
    that of half of the candidates.
    """
    best = candidates[recommend(table_of(candidates))]
    fewest = [each for each in candidates if each.threads == best.threads]
    found = {best: None}
    for group, within in ((candidates, THREADS_WITHIN), (fewest, CHUNK_WITHIN)):
        least = min(group, key=lambda each: each.time_s)
        errors = {each: _error(each, least) for each in group if each is not least}
        usual = median(errors.values()) if errors else 0.0
        for each, error in errors.items():
            if abs(each.time_s / least.time_s - (1.0 + within)) <= _SURE * max(error, usual):
                found |= {each: None, least: None}
    return list(found)


def _error(one: Candidate, other: Candidate) -> float:
    """Return the standard error of the mean time of one relative to another."""
    if one.n_runs == other.n_runs:
        ratios = [a / b for a, b in zip(one.times_s, other.times_s, strict=True)]
        return stdev(ratios) / math.sqrt(len(ratios))
    return math.hypot(*(stdev(each.times_s) / fmean(each.times_s) / math.sqrt(each.n_runs) for each in (one, other)))


def table_of(candidates: Iterable[Candidate]) -> pd.DataFrame:
    """Return the rows of candidates as a table."""
    return pd.DataFrame([each.row() for each in candidates])


def starts_of(case: Case) -> list[tuple[float, Case]]:
    """Return the ways in which a start can go, each with its probability: the last thread begins in time, or late."""
    late = case.kernel.late_start
    if case.n_works == 1 or not 0.0 < late < 1.0:
        return [(1.0, case)]
    return [
        (share, replace(case, kernel=case.kernel.model_copy(update={"late_start": float(is_late)})))
        for share, is_late in ((1.0 - late, False), (late, True))
    ]


@cache
def _own() -> float:
    """Return how far 9 of 10 times are off at most by the model's own error, as a logarithm."""
    return own_reach(INSIDE)


@dataclass(frozen=True)
class Outcome:
    """One way in which a start can go, with its probability, and its runs.

    `varied` has, for each unsure figure, the time if it is lower, and if it is higher, relative to that as it is.
    `luck` is by how much all runs would take longer in the mean than those made, as far as is known.
    """

    share: float
    results: list[RunResult]
    varied: Mapping[str, tuple[float, float]]
    luck: float = 1.0

    @property
    def time_s(self) -> float:
        """Return the mean."""
        return self.luck * fmean(result.time_s for result in self.results)

    def interval(self, without: str | None = None) -> tuple[float, float]:
        """Return the times between which 9 of 10 starts end.

        It holds the spread of the runs, the doubt of each unsure figure, and the model's own error. These are
        independent, so their logarithms add up as squares, on each side by itself.

        Args:
            without: an unsure figure whose doubt is left out, as if it had been measured.
        """
        mean_s, times = self.time_s, [self.luck * result.time_s for result in self.results]
        less, more = _OF_RANGE * math.log(mean_s / min(times)), _OF_RANGE * math.log(max(times) / mean_s)
        if len(times) == SCREENED:
            less = more = _OF_FEW * stdev(map(math.log, times))
        doubts = [tuple(map(math.log, pair)) for name, pair in self.varied.items() if name != without]
        less = math.hypot(less, _own(), *(_OF_UNSURE * min(0.0, *pair) for pair in doubts))
        more = math.hypot(more, _own(), *(_OF_UNSURE * max(0.0, *pair) for pair in doubts))
        return mean_s * math.exp(-less), mean_s * math.exp(more)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A number of threads and a chunk, and its results in each way to start (`starts_of`)."""

    case: Case
    threads: int
    chunk_bytes: int  # the first one's
    outcomes: tuple[Outcome, ...]
    limit: str

    @property
    def n_runs(self) -> int:
        """Return the number of runs of each outcome."""
        return len(self.outcomes[0].results)

    @property
    def times_s(self) -> list[float]:
        """Return the times by replication, each in the mean of all starts."""
        return [math.fsum(each.share * each.results[i].time_s for each in self.outcomes) for i in range(self.n_runs)]

    def mean(self, figure: Callable[[RunResult], float]) -> float:
        """Return the mean of a figure of a run, which grows with its time, over all starts."""
        return math.fsum(each.share * each.luck * fmean(map(figure, each.results)) for each in self.outcomes)

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
