"""The search: which candidates are tried for a request, and which of them is recommended.

All candidates are screened with a few runs. More runs are made only for those on which the recommendation depends
(`sim.search.advice.candidate.in_question`). All runs of a number meet the same luck. So the mean of a candidate with
few runs is corrected by what is known of their luck, the noise of whole runs (`_luck`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from models.results.run import RunResult
from models.scenario.case import Case
from models.scenario.streams import Streams
from models.text.problems import InputError, Problem
from models.text.units import format_time
from sim.engine.framework import run_factor
from sim.search.advice.candidate import (
    CHUNK_WITHIN,
    Candidate,
    Outcome,
    in_question,
    recommend,
    starts_of,
    table_of,
)
from sim.search.advice.chunk import count_chunks, first_chunk, has_chunk, other_chunks
from sim.search.advice.doubt import Doubt, doubts_of, varied
from sim.search.advice.limit import limit_of, relaxed
from sim.search.advice.request import SOURCE, Request
from sim.search.advice.runs import REPLICATIONS, SCREENED, Runs, on_line, parts_of

_FELT = 0.01  # share of a time: a figure that changes none by more is in no doubt that counts
_MOST_SLOWDOWN = 100  # by other work
_MOST_WORK = 1_000_000  # chunks times threads of a run: with more, an advice takes too long

_AS_IS = "as is"  # names a case among its variants
_Key = tuple[int, int]  # threads, bytes of the first chunk
_What = str | tuple[str, int]  # a limit taken away, or an unsure figure and its side


@dataclass(frozen=True)
class Findings:
    """The result of a search. `candidates` go by threads and chunk. Best, default and single are among them."""

    request: Request
    candidates: tuple[Candidate, ...]
    best: Candidate
    default: Candidate
    single: Candidate
    skipped: tuple[int, ...]  # numbers of threads that take too long to simulate
    unsure: Mapping[str, Doubt]  # figures that are not measured
    alone: Candidate  # the best one without other work beside it


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads that are tried: 1, 2, 3, 4, 6, 8, 12, 16 ... and `most` itself."""
    counts = {1, most}
    power = 2
    while power <= most:
        counts |= {count for count in (power, power * 3 // 2) if count <= most}
        power *= 2
    return sorted(counts)


class Search:
    """The candidates of one request."""

    def __init__(self, request: Request, runs: Runs) -> None:
        self._request = request
        self._runs = runs
        self._found: dict[_Key, Candidate] = {}
        self._default = request.case()
        self._unsure = doubts_of(self._default)
        self._skipped: set[int] = set()

    def findings(self) -> Findings:
        """Try all candidates, and return the result. Raises InputError for a job that hardly gets on."""
        self._check_progress()
        self._try([self._default, *self._thread_cases(None)])
        if has_chunk(self._default):
            self._try_chunks()
        best = self._best()
        alone = self._alone(best)
        return Findings(
            self._request,
            tuple(self._found[key] for key in sorted(self._found)),
            best,
            self._found[_key(self._default)],
            self._found[_key(self._request.case(1))],
            tuple(sorted(self._skipped)),
            {name: doubt for name, doubt in self._unsure.items() if self._matters(name)},
            alone,
        )

    def _matters(self, name: str) -> bool:
        """Return whether an unsure figure changes any time."""
        pairs = [outcome.varied[name] for each in self._found.values() for outcome in each.outcomes]
        return any(abs(ratio - 1.0) > _FELT for pair in pairs for ratio in pair)

    def _check_progress(self) -> None:
        """Find other work that leaves the job hardly any CPU time. Its runs would never end, in reality as well."""
        if not self._default.background:
            return
        beside = self._default.without_noise()
        (own,), (idle,) = self._runs.make([beside, replace(beside, background={})], range(1))
        if own.time_s > _MOST_SLOWDOWN * idle.time_s:
            slower = f"beside it the job takes {own.time_s / idle.time_s:.0f} times as long"
            mend = "give it less weight (nice), fewer threads, or CPUs of its own"
            message = f"{slower}, {format_time(own.time_s)}; advice is for at most {_MOST_SLOWDOWN} times: {mend}"
            raise InputError([Problem(SOURCE, 0, 0, "background", message)])

    def _thread_cases(self, chunk_bytes: int | None) -> Iterator[Case]:
        """Yield the job with each number of threads that it really gets, unless it takes too long to simulate."""
        seen = set()
        for count in thread_counts(self._request.most_threads):
            threads = self._request.case(count, chunk_bytes).n_works
            if threads in seen:
                continue
            seen.add(threads)
            case = self._request.case(threads, chunk_bytes)
            if sum(count_chunks(part) for part in parts_of(case).cases) * threads > _MOST_WORK and threads > 1:
                self._skipped.add(threads)
            else:
                yield case

    def _try_chunks(self) -> None:
        """Try other chunks with the threads that are best so far. If one is better by far, try all threads with it."""
        before = self._best()
        self._try([self._request.case(before.threads, size) for size in other_chunks(before.case)])
        best = self._best()
        if best.time_s < (1 - CHUNK_WITHIN) * before.time_s:
            self._try(list(self._thread_cases(best.chunk_bytes)))

    def _best(self) -> Candidate:
        """Return the best so far, after all runs on which that depends."""
        while True:
            candidates = [each for _, each in sorted(self._found.items()) if each.threads <= self._request.most_threads]
            index: int = recommend(table_of(candidates))
            unsure = [each for each in in_question(candidates) if each.n_runs < REPLICATIONS]
            if not unsure:
                return candidates[index]
            self._found |= {_key(each.case): each for each in self._completed(unsure)}

    def _completed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return candidates with all their runs."""
        starts = [[start for _, start in starts_of(each.case)] for each in candidates]
        more = iter(self._runs.make([start for each in starts for start in each], range(SCREENED, REPLICATIONS)))
        return [
            replace(
                each,
                outcomes=tuple(
                    replace(outcome, results=[*outcome.results, *next(more)], luck=1.0) for outcome in each.outcomes
                ),
            )
            for each in candidates
        ]

    def _alone(self, best: Candidate) -> Candidate:
        """Return the best candidate without other work beside it."""
        if not best.case.background:
            return best
        return self._completed(candidates_of([replace(best.case, background={})], self._runs, self._unsure))[0]

    def _try(self, cases: Sequence[Case]) -> None:
        new = {_key(case): case for case in reversed(cases) if _key(case) not in self._found}
        self._found |= zip(new, candidates_of(list(new.values()), self._runs, self._unsure), strict=True)


def candidates_of(cases: Sequence[Case], runs: Runs, unsure: Mapping[str, Doubt]) -> list[Candidate]:
    """Return the candidates of cases, with their first runs, in each way to start.

    Times come from runs with noise. The limit of a case, and the effect of a doubtful figure, follow from single
    runs without noise.
    """
    starts = [(number, share, start) for number, case in enumerate(cases) for share, start in starts_of(case)]
    noisy = runs.make([start for _, _, start in starts], range(SCREENED))
    variants = [_variants(start, unsure) for _, _, start in starts]
    made = iter(runs.make([case.without_noise() for each in variants for case in each.values()], range(1)))
    quiet = [{what: next(made)[0] for what in each} for each in variants]
    candidates = []
    for number, case in enumerate(cases):
        own = [i for i, (of, _, _) in enumerate(starts) if of == number]
        outcomes = tuple(Outcome(starts[i][1], noisy[i], _ratios(quiet[i], unsure), _luck(case)) for i in own)
        first, last = quiet[own[0]], quiet[own[-1]]
        mean = {what: on_line(first[what], last[what], outcomes[-1].share) for what in first}
        limit = limit_of(mean[_AS_IS], {kind: mean[kind].time_s for kind in relaxed(case)}, case.n_works)
        candidates.append(Candidate(case, *_key(case), outcomes, limit))
    return candidates


def _luck(case: Case) -> float:
    """Return by how much all runs of a case take longer in the mean than those made at first, as far as is known.

    That is the noise of whole runs, which is the same for all candidates.
    """
    factors = [run_factor(case.machine.rates, Streams(case.seed, i)) for i in range(REPLICATIONS)]
    return fmean(factors) / fmean(factors[:SCREENED])


def _variants(case: Case, unsure: Mapping[str, Doubt]) -> dict[_What, Case]:
    """Return a case as it is, without a limit each, and with an unsure figure changed each."""
    return {_AS_IS: case} | relaxed(case) | varied(case, unsure)


def _ratios(quiet: Mapping[_What, RunResult], unsure: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return the time with each unsure figure lower, and higher, relative to that as it is."""
    as_is_s = quiet[_AS_IS].time_s
    return {name: (quiet[name, 0].time_s / as_is_s, quiet[name, 1].time_s / as_is_s) for name in unsure}


def _key(case: Case) -> _Key:
    return case.n_works, first_chunk(case)
