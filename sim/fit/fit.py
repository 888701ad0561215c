"""The fit of figures to times: the likelihood, the priors, the search and the posterior.

Times are compared on a logarithmic scale. A row misses the model by the spread of its measurement and by the model's
own error. That error is *estimated* beside the figures. It has a prior (MODEL_ERROR), so that a few rows that fit by
luck don't make it small. Rows that don't fit make it large. Figures have priors with heavy tails (Student's t), so that
one that is wrong by a factor of a hundred is found, and costs little.

The most likely figures are those of least squares (SciPy), from several starts where the first leaves rows unexplained.
Around them the model is taken as linear, and the model's error is integrated over: intervals are quantiles of mixtures.
The same algebra gives each row's prediction by the others (leave one out), with one simulation more for each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float64]]
Predict = Callable[[Vector, Sequence[int]], Vector]  # x, rows -> logarithms of their times

# The model's own error, as a share of a time, before a row of a table is seen: median and standard deviation of its
# logarithm. Learnt from the predicted rows of published tables, less their stated spread (tests.validation.own_error;
# VALIDATION.md has the tables, and what it would be without each).
MODEL_ERROR, MODEL_ERROR_SPREAD = 0.055, 1.0
_TAILS = 2.0  # degrees of freedom of the priors of figures
_STEP = 0.01  # of a derivative: the simulation has steps of whole chunks
_ERRORS: Vector = np.geomspace(0.0005, 2.0, 48)  # of the model: where its posterior is taken
_FAR = (-4.0, -2.0, 2.0, 4.0)  # starts of one figure, elsewhere than where it was
_UNEXPLAINED = 0.06  # of a model's error: beyond it other starts are tried
_STARTS, _ROUNDS_OF_STARTS = 3, 2  # starts at a time, and rounds
_FLAT = 0.003  # of a row's logarithm, by a figure moved by its standard deviation: less is no slope to go down
_STRAIGHT = 0.5  # share of a step's effect that slopes may have missed to be kept
_ROUNDS = 4
IMPOSSIBLE_S = 1e12  # the time of a row with figures that contradict each other
SEEN = 0.95  # a figure stays as it was if what is left of its standard deviation is more than this share


_IMPOSSIBLE = math.log(IMPOSSIBLE_S) - 1.0


@dataclass(frozen=True)
class Rows:
    """Measured times.

    Attributes:
        log_times: shape (n,), natural logarithms of seconds. A row that is `below` has the time that it is below.
        spread: shape (n,), standard deviation of the measurement of each, as a share of the time.
        below: shape (n,), True for rows of which it is only known that they took less.
    """

    log_times: Vector
    spread: Vector
    below: Any = field(default=None)

    def censored(self) -> Any:
        """Return `below`, all False if it is not given."""
        return np.zeros(len(self.log_times), bool) if self.below is None else np.asarray(self.below, bool)


@dataclass(frozen=True)
class Prior:
    """The prior of each figure, on its scale x, and of the model's own error.

    Attributes:
        widths: shape (k,), standard deviation of each x around 0.
        low: shape (k,), least x, or -inf for none.
        high: shape (k,), greatest x, or inf for none.
        model_error: median of the model's own error, as a share of a time.
        model_error_spread: standard deviation of its logarithm.
    """

    widths: Vector
    low: Vector
    high: Vector
    model_error: float = MODEL_ERROR
    model_error_spread: float = MODEL_ERROR_SPREAD


@dataclass(frozen=True)
class Posterior:
    """The posterior of figures, from the rows.

    Attributes:
        x: shape (k,), the most likely figures.
        slopes: shape (m, k), derivatives of the logarithm of the time of each of all rows, fitted or not.
        log_times: shape (m,), the predicted ones at x.
        weights: shape (48,), probability of each of the model's errors in `errors`.
        covariances: shape (48, k, k), of x for each of these.
        stderrs: shape (k,), standard deviation of each x.
        unsure: shape (k,), that over the one before the rows were seen. Figures above SEEN stay as they were.
        left_out: shape (n,), predicted logarithm of each fitted row by the others.
        left_out_sd: shape (n,), standard deviation of the row around that, its spread and the model's error in it.
    """

    x: Vector
    slopes: Vector
    log_times: Vector
    weights: Vector
    covariances: Vector
    stderrs: Vector
    unsure: Vector
    left_out: Vector
    left_out_sd: Vector
    errors: Vector = field(default_factory=lambda: _ERRORS)

    @property
    def model_error(self) -> float:
        """Return the model's own error, as a share of a time: the mean of its logarithm's posterior."""
        return float(np.exp(self.weights @ np.log(self.errors)))

    def interval(self, row: int, spread: float, share: float = 0.95) -> tuple[float, float]:
        """Return the logarithms between which a measurement of a row lies.

        Args:
            row: which of all rows.
            spread: of its measurement, as a share.
            share: the probability.
        """
        slope = self.slopes[row]
        variances = np.einsum("i,tij,j->t", slope, self.covariances, slope) + spread**2 + self.errors**2
        half = _quantile(np.sqrt(variances), self.weights, 0.5 + share / 2)
        return float(self.log_times[row]) - half, float(self.log_times[row]) + half


def fit(predict: Predict, rows: Rows, chosen: Sequence[int], n_rows: int, prior: Prior) -> Posterior:
    """Fit figures to rows, and tell how well all rows are known by them.

    Args:
        predict: the model.
        rows: those that are fitted.
        chosen: which of all rows those are, n of them.
        n_rows: how many rows there are in all, m.
        prior: of the figures, k of them, and of the model's error.

    Returns:
        The posterior.

    >>> times = np.log([8.0, 4.1, 2.0])
    >>> work = lambda x, rows: np.log(np.array([4.0, 2.0, 1.0])[list(rows)]) + x[0]
    >>> known = Prior(np.array([0.7]), np.array([-np.inf]), np.array([np.inf]))
    >>> round(float(np.exp(fit(work, Rows(times, np.full(3, 0.01)), [0, 1, 2], 3, known).x[0])), 2)
    2.01
    """
    search = _Search(predict, rows, list(chosen), prior)
    x, error = search.best()
    linear = _Linear(search, x, search.slopes(x, search.chosen))
    unseen = linear.unsure() > SEEN
    if unseen.any() and np.any(x[unseen] != 0.0):
        # What the rows say nothing of stays as it was: then the others move a little.
        kept = np.flatnonzero(~unseen)
        rest = Prior(prior.widths[kept], prior.low[kept], prior.high[kept], prior.model_error, prior.model_error_spread)

        def of_all(part: Vector) -> Vector:
            whole = np.zeros(len(x))
            whole[kept] = part
            return whole

        others = _Search(lambda part, numbers: predict(of_all(part), numbers), rows, list(chosen), rest)
        x = of_all(others.descend(x[kept], error)[0])
    return _posterior(search, x, n_rows)


class _Search:
    """The search for the most likely figures."""

    def __init__(self, predict: Predict, rows: Rows, chosen: list[int], prior: Prior) -> None:
        self.predict, self.rows, self.chosen, self.prior = predict, rows, chosen, prior
        self.below = rows.censored()

    def best(self) -> tuple[Vector, float]:
        """Return the figures and the model's error, of the best of several starts."""
        start = np.clip(np.zeros(len(self.prior.widths)), self.prior.low, self.prior.high)
        best = self.descend(start, 0.3)
        tried = {tuple(start)}
        ends = [best]
        for _ in range(_ROUNDS_OF_STARTS):
            if not len(start) or best[1] <= _UNEXPLAINED:
                break
            for other in self._other_starts([start, best[0]], tried):
                tried.add(tuple(other))
                ends.append(self.descend(other, self.prior.model_error))
                if ends[-1][1] <= _UNEXPLAINED:  # the rows are explained
                    break
            before, best = best, max(ends, key=lambda each: self.score(*each))
            if best is before:  # the same bases once more have only worse places left
                break
        return self.descend(*best)  # with slopes that are measured there

    def _other_starts(self, bases: Sequence[Vector], tried: set[tuple[float, ...]]) -> list[Vector]:
        """Return places with one figure moved far from where a search began or ended, not yet tried.

        For each figure it finds the place that is nearest to the rows. It returns the best of these, and the best place
        with two of these figures moved. The priors don't count here. They do count in a search from there.
        """
        moved: dict[int, tuple[float, Vector]] = {}
        changes: dict[tuple[int, float], Vector] = {}  # of the rows' logarithms, by a figure of the first base moved
        at_first = self.misses(bases[0])
        for number, base in enumerate(bases):
            at_base = at_first if number == 0 else self.misses(base)
            for i in range(len(base)):
                for step in _FAR:
                    if abs(step) < max(_FAR) and self._is_flat(base, at_base, i, math.copysign(max(_FAR), step)):
                        continue
                    there = self._moved(base, {i: step})
                    misses = self.misses(there)
                    if number == 0:
                        changes[i, step] = misses - at_first
                    if tuple(there) not in tried and (i not in moved or self._off(misses) < moved[i][0]):
                        moved[i] = self._off(misses), there
        best = sorted(moved, key=lambda i: moved[i][0])[:_STARTS]
        starts = [moved[i][1] for i in best]
        # Two figures at once: those that would be nearest if each changed the rows as it does alone.
        pairs = [
            ((i, one), (j, other))
            for i, j in itertools.combinations(best, 2)
            for one in _FAR
            for other in _FAR
            if (i, one) in changes and (j, other) in changes
        ]
        pairs.sort(key=lambda pair: self._off(at_first + changes[pair[0]] + changes[pair[1]]))
        places = [self._moved(bases[0], dict(pair)) for pair in pairs[:_STARTS]]
        places = [there for there in places if tuple(there) not in tried]
        return [*starts, min(places, key=lambda there: self._off(self.misses(there)))] if places else starts

    def _is_flat(self, x: Vector, misses: Vector, i: int, step: float) -> bool:
        """Return whether a figure, moved as far as this, changes no row. Nor does it then on the way."""
        return bool(np.abs(self.misses(self._moved(x, {i: step})) - misses).max() < _FLAT)

    def _moved(self, x: Vector, steps: Mapping[int, float]) -> Vector:
        there = x.copy()
        for i, step in steps.items():
            there[i] = np.clip(x[i] + step, self.prior.low[i], self.prior.high[i])
        return there

    def _off(self, misses: Vector) -> float:
        """Return by how much rows miss in all."""
        return float(np.maximum(0.0, misses)[self.below].sum() + np.abs(misses[~self.below]).sum())

    def misses(self, x: Vector) -> Vector:
        """Return the logarithms of predicted over measured, of fitted rows."""
        return self.predict(x, self.chosen) - self.rows.log_times

    def score(self, x: Vector, error: float) -> float:
        """Return the logarithm of the posterior's density, up to a constant."""
        return self._score(x, self.misses(x), error)

    def _score(self, x: Vector, misses: Vector, error: float) -> float:
        sigma = np.hypot(self.rows.spread, error)
        residuals = np.concatenate([self._of_rows(misses, sigma), self._of_figures(x)])
        of_error = (math.log(error / self.prior.model_error) / self.prior.model_error_spread) ** 2
        return float(-0.5 * (residuals @ residuals + of_error) - np.log(sigma[~self.below]).sum())

    def _of_rows(self, misses: Vector, sigma: Vector) -> Vector:
        """Return residuals whose squares are -2 ln(likelihood). A row below a time has the chance to be below it."""
        residuals = misses / sigma
        for i in np.flatnonzero(self.below):
            residuals[i] = math.sqrt(max(0.0, -2.0 * _log_normal_cdf(-residuals[i])))
        return residuals

    def _of_figures(self, x: Vector) -> Vector:
        """Return residuals whose squares are -2 ln(prior)."""
        return np.asarray(np.sign(x) * np.sqrt((_TAILS + 1) * np.log1p((x / self.prior.widths) ** 2 / _TAILS)))

    def descend(self, x: Vector, error: float) -> tuple[Vector, float]:
        """Return the most likely figures near a start, and the model's error there, each found with the other."""
        from scipy.optimize import least_squares  # takes a while, which other commands don't need

        near = _Slopes(self)
        for _ in range(_ROUNDS):
            sigma = np.hypot(self.rows.spread, error)
            steep = np.abs(near(x)) * self.prior.widths
            flat = min(_FLAT, 0.5 * float(sigma.min()))  # rows that are more exact show more
            free = np.flatnonzero((steep.max(axis=0) > flat) | (x != 0.0)) if len(x) else np.array([], int)
            if len(free):
                at = x

                def whole(part: Vector, at: Vector = at, free: Any = free) -> Vector:
                    found = at.copy()
                    found[free] = part
                    return found

                def residuals(part: Vector, sigma: Vector = sigma, whole: Any = whole) -> Vector:
                    there = whole(part)
                    return np.concatenate([self._of_rows(self.misses(there), sigma), self._of_figures(there)])

                def jacobian(part: Vector, sigma: Vector = sigma, whole: Any = whole, free: Any = free) -> Vector:
                    return self._jacobian(whole(part), sigma, near)[:, free]

                found = least_squares(
                    residuals,
                    x[free],
                    jac=jacobian,
                    bounds=(self.prior.low[free], self.prior.high[free]),
                    x_scale=self.prior.widths[free],
                    method="dogbox",  # whose steps don't shorten near a bound, such as a cost of 0
                    ftol=1e-3,
                    xtol=1e-3,
                    max_nfev=12,
                )
                x = whole(np.asarray(found.x, dtype=float))
            before, error = error, self.error_at(x, near(x))
            if abs(math.log(error / before)) < 0.15:
                break
        return x, error

    def _jacobian(self, x: Vector, sigma: Vector, slopes: _Slopes) -> Vector:
        of_rows = slopes(x) / sigma[:, None] * self._weights(x, sigma)[:, None]
        s2 = _TAILS * self.prior.widths**2
        residuals = self._of_figures(x)
        near = np.abs(x) < 1e-6 * self.prior.widths
        steep = (_TAILS + 1) * x / (s2 + x**2) / np.where(near, 1.0, residuals)
        of_figures = np.where(near, math.sqrt((_TAILS + 1) / _TAILS) / self.prior.widths, steep)
        return np.concatenate([of_rows, np.diag(of_figures)])

    def _weights(self, x: Vector, sigma: Vector) -> Vector:
        """Return by how much each row's residual changes with its miss over sigma: 1, less for a row below a time."""
        weights = np.ones(len(sigma))
        if self.below.any():
            z = self.misses(x) / sigma
            for i in np.flatnonzero(self.below):
                log_cdf = _log_normal_cdf(-z[i])
                residual = math.sqrt(max(1e-12, -2.0 * log_cdf))
                weights[i] = math.exp(-0.5 * z[i] ** 2 - log_cdf) / math.sqrt(2 * math.pi) / residual
        return weights

    def slopes(self, x: Vector, rows: Sequence[int]) -> Vector:
        """Return the derivatives of the logarithms of times, shape (rows, figures)."""
        at = self.predict(x, rows)
        columns = []
        for i in range(len(x)):
            step = _STEP if x[i] + _STEP <= self.prior.high[i] else -_STEP
            moved = x.copy()
            moved[i] += step
            there = self.predict(moved, rows)
            if there.max() >= _IMPOSSIBLE:
                moved[i], step = x[i] - step, -step
                there = self.predict(moved, rows)
            columns.append((there - at) / step if there.max() < _IMPOSSIBLE else np.zeros(len(at)))
        return np.array(columns).T if columns else np.zeros((len(rows), 0))

    def error_at(self, x: Vector, slopes: Vector) -> float:
        """Return the model's error, given that figures are somewhere near x: they are integrated over."""
        linear = _Linear(self, x, slopes)
        return float(np.exp(linear.weights() @ np.log(_ERRORS)))


class _Slopes:
    """The derivatives of fitted rows on a way down: measured at its start, then kept up by the steps (Broyden 1965).

    They are measured again where a step did something else than they said.
    """

    def __init__(self, search: _Search) -> None:
        self._search = search
        self._last: tuple[Vector, Vector, Vector] | None = None  # figures, misses, slopes

    def __call__(self, x: Vector) -> Vector:
        """Return the derivatives at x, shape (rows, figures)."""
        misses = self._search.misses(x)
        slopes = self._followed(x, misses)
        if slopes is None:
            slopes = self._search.slopes(x, self._search.chosen)
        self._last = x.copy(), misses, slopes
        return slopes

    def _followed(self, x: Vector, misses: Vector) -> Vector | None:
        if self._last is None:
            return None
        before, misses_before, slopes = self._last
        step, done = x - before, misses - misses_before
        if not step.any():
            return slopes
        error = done - slopes @ step
        if np.abs(error).max() > max(_STRAIGHT * float(np.abs(done).max()), _FLAT):
            return None
        return np.asarray(slopes + np.outer(error, step) / float(step @ step))


class _Linear:
    """The model as a linear one around x, with the priors of figures as normal ones that are as steep there."""

    def __init__(self, search: _Search, x: Vector, slopes: Vector) -> None:
        self.search, self.x, self.slopes = search, x, slopes
        self.log_at = search.predict(x, search.chosen)
        widths = search.prior.widths
        self.variances = (_TAILS * widths**2 + x**2) / (_TAILS + 1)  # of figures around 0
        # A row that is only known to be below a time counts as one there, as far as it pulls.
        self.counts = np.where(search.below, self._pull(), 1.0)

    def _pull(self) -> Vector:
        sigma = np.hypot(self.search.rows.spread, 0.1)
        return np.asarray(self.search._weights(self.x, sigma) ** 2)

    def _variance(self, error: float) -> Vector:
        return np.asarray((self.search.rows.spread**2 + error**2) / np.maximum(self.counts, 1e-9))

    def weights(self, without: int | None = None) -> Vector:
        """Return the posterior of the model's error, by the rows, or by all but one."""
        kept = [i for i in range(len(self.log_at)) if i != without and not self.search.below[i]]
        slopes = self.slopes[kept]
        # What a row is off by, if all figures are where they were before.
        off = (self.search.rows.log_times - self.log_at)[kept] + slopes @ self.x
        of_figures = slopes * self.variances @ slopes.T
        logs = []
        for error in _ERRORS:
            matrix = of_figures + np.diag(self._variance(float(error))[kept])
            _, determinant = np.linalg.slogdet(matrix)
            of_error = (math.log(error / self.search.prior.model_error) / self.search.prior.model_error_spread) ** 2
            logs.append(-0.5 * (determinant + off @ np.linalg.solve(matrix, off) + of_error))
        found = np.exp(np.array(logs) - max(logs))
        return np.asarray(found / found.sum())

    def covariance(self, error: float, without: int | None = None) -> Vector:
        """Return the covariance of figures by the rows, or by all but one."""
        precision = 1.0 / self._variance(error)
        if without is not None:
            precision[without] = 0.0
        information = (self.slopes * precision[:, None]).T @ self.slopes + np.diag(1.0 / self.variances)
        return np.asarray(np.linalg.inv(information))

    def unsure(self) -> Vector:
        """Return the standard deviation of each figure, over the one before the rows were seen."""
        weights = self.weights()
        covariance = sum(w * self.covariance(float(error)) for w, error in zip(weights, _ERRORS, strict=True))
        return np.asarray(np.sqrt(np.diag(np.atleast_2d(covariance)) / self.variances))

    def without(self, row: int) -> tuple[Vector, float, float]:
        """Return the figures without a row, the variance that they leave in its logarithm, and the model's error."""
        weights = self.weights(row)
        error = float(np.exp(weights @ np.log(_ERRORS)))
        covariance = self.covariance(error, row)
        precision = 1.0 / self._variance(error)
        precision[row] = 0.0
        pull = self.slopes.T @ (precision * (self.search.rows.log_times - self.log_at)) - self.x / self.variances
        x = np.clip(self.x + covariance @ pull, self.search.prior.low, self.search.prior.high)
        return x, float(self.slopes[row] @ covariance @ self.slopes[row]), error


def _posterior(search: _Search, x: Vector, n_rows: int) -> Posterior:
    everything = list(range(n_rows))
    slopes = search.slopes(x, everything)
    linear = _Linear(search, x, slopes[search.chosen])
    weights = linear.weights()
    covariances = np.array([linear.covariance(float(each)) for each in _ERRORS])
    stderrs = np.sqrt(np.maximum(0.0, np.einsum("t,tii->i", weights, covariances)))
    unsure = stderrs / np.sqrt(linear.variances)
    left_out, left_out_sd = [], []
    for i, row in enumerate(search.chosen):
        there, variance, own_error = linear.without(i)
        if len(search.chosen) < 2:
            there = np.clip(np.zeros(len(x)), search.prior.low, search.prior.high)
        left_out.append(float(search.predict(there, [row])[0]))
        left_out_sd.append(math.sqrt(variance + float(search.rows.spread[i]) ** 2 + own_error**2))
    return Posterior(
        x,
        slopes,
        search.predict(x, everything),
        weights,
        covariances,
        stderrs,
        unsure,
        np.array(left_out),
        np.array(left_out_sd),
    )


def _log_normal_cdf(z: float) -> float:
    from scipy.special import log_ndtr

    return float(log_ndtr(z))


def own_reach(share: float) -> float:
    """Return how far a time is off, as a logarithm, by the model's own error alone, before any row is seen.

    Args:
        share: of the times that are off by less.

    >>> round(own_reach(0.9), 2)
    0.17
    """
    weights = np.exp(-0.5 * (np.log(_ERRORS / MODEL_ERROR) / MODEL_ERROR_SPREAD) ** 2)
    return _quantile(_ERRORS, weights / weights.sum(), 0.5 + share / 2)


def _quantile(sds: Vector, weights: Vector, share: float) -> float:
    """Return the quantile of a mixture of normals around 0, by bisection."""
    from scipy.special import ndtr

    low, high = 0.0, 10.0 * float(sds.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(weights @ ndtr(middle / sds)) < share else (low, middle)
    return high
