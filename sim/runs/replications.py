"""Replications: how many a case needs for the accuracy asked for, and which run is to be made next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

LEVEL = 0.95  # of the confidence intervals

Key = tuple[int, int]  # number of the case, replication


class RunningMean:
    """The mean of values that are added one by one. The same values in the same order give the same bits."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.n = 0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared deviations (Welford, Technometrics 4(3), 1962)
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Add a value."""
        self.n += 1
        step = value - self.mean
        self.mean += step / self.n
        self._squares += step * (value - self.mean)

    def half_width(self) -> float:
        """Return half the width of the 95 % confidence interval of the mean (Student t), NaN for under 2 values."""
        if self.n < 2:
            return math.nan
        from scipy.special import stdtrit  # takes a while, which other commands don't need

        t: float = float(stdtrit(self.n - 1, (1 + LEVEL) / 2))
        return t * math.sqrt(self._squares / (self.n - 1) / self.n)


class CaseRuns:
    """The runs of one case: the first `n_final` of them count, which is None until enough are known.

    At least `least` are made, then more, until half the confidence interval of the mean time is at most `ci` of the
    mean or there are `most`. Without `ci`, `least` are made. The decision is made on the times in order of replication,
    so that it is the same whichever run ends first.
    """

    def __init__(self, least: int, most: int, ci: float | None) -> None:
        self.n_final: int | None = None
        self.n_wanted = least  # as far as can be told now
        self._least = least
        self._most = least if ci is None else most
        self._ci = ci
        self._times: dict[int, float] = {}
        self._mean = RunningMean()
        self._next = 0

    @property
    def n_known(self) -> int:
        """Return the runs whose time is known, without a gap from the first on."""
        return self._mean.n

    @property
    def n_left(self) -> int:
        """Return the runs still to be made, as far as can be told now."""
        return 0 if self.n_final is not None else max(0, self.n_wanted - len(self._times))

    def add(self, replication: int, time_s: float) -> None:
        """Learn the time of a run."""
        self._times[replication] = time_s
        while self.n_final is None and self.n_known in self._times:
            self._mean.add(self._times[self.n_known])
            self._decide()

    def _decide(self) -> None:
        n = self.n_known
        if n < self._least:
            return
        half, mean = self._mean.half_width(), self._mean.mean
        if n == self._most or (self._ci is not None and half <= self._ci * mean):
            self.n_final = n
            return
        assert self._ci is not None
        # The interval shrinks with the root of n.
        guess = n * (half / (self._ci * mean)) ** 2 if n > 1 else 0.0
        self.n_wanted = min(max(n + 1, math.ceil(guess)), self._most)

    def take(self, *, ahead: bool = False) -> int | None:
        """Return a replication to make, each once: one that is needed, with `ahead` also one that probably will be."""
        if self.n_final is not None:
            return None
        bound = self.n_wanted if ahead else max(self._least, self.n_known + 1)
        while self._next in self._times:
            self._next += 1
        if self._next >= bound:
            return None
        self._next += 1
        return self._next - 1


class Replications:
    """The runs of all cases: `add` known runs, `take` runs to be made, those of the costliest cases first.

    `weights` say how long a run of each case takes beside others'; the amounts known and left are sums of them.
    """

    def __init__(
        self,
        least: Sequence[int],
        costs: Sequence[float],
        *,
        ci: float | None,
        most: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.cases = [CaseRuns(n, most, ci) for n in least]
        self.n_known = 0
        self.n_left = sum(case.n_left for case in self.cases)
        self._weights = [1.0] * len(self.cases) if weights is None else list(weights)
        self.amount_known = 0.0
        self.amount_left = sum(w * case.n_left for w, case in zip(self._weights, self.cases, strict=True))
        self._order = [(-cost, number) for number, cost in enumerate(costs)]
        self._ready = sorted(self._order)  # a heap of those that may have runs that are needed
        self._waiting: set[int] = set()  # those that need no run before others are known

    def add(self, key: Key, time_s: float) -> None:
        """Learn the time of a run."""
        number, replication = key
        case = self.cases[number]
        n_before = case.n_left
        case.add(replication, time_s)
        self.n_left += case.n_left - n_before
        self.n_known += 1
        self.amount_known += self._weights[number]
        self.amount_left += self._weights[number] * (case.n_left - n_before)
        if number in self._waiting:
            self._waiting.remove(number)
            heapq.heappush(self._ready, self._order[number])

    def take(self) -> Key | None:
        """Return the next run to make, or None if there is none before others are known, or at all."""
        while self._ready:
            number = self._ready[0][1]
            replication = self.cases[number].take()
            if replication is not None:
                return number, replication
            heapq.heappop(self._ready)
            if self.cases[number].n_final is None:
                self._waiting.add(number)
        for _, number in sorted(self._order[number] for number in self._waiting):
            replication = self.cases[number].take(ahead=True)
            if replication is not None:
                return number, replication
        return None

    def final(self) -> list[Key]:
        """Return the runs that count, in order. Raises ValueError if some are not known yet."""
        keys: list[Key] = []
        for number, case in enumerate(self.cases):
            if case.n_final is None:
                raise ValueError(f"runs of case {number} are missing: {case.n_left} or more")
            keys += [(number, i) for i in range(case.n_final)]
        return keys
