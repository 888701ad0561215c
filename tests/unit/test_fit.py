"""The fit by itself, on a model that is a formula: a tenth of a second instead of a simulation for each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sim.fit.fit import MODEL_ERROR, MODEL_ERROR_SPREAD, Posterior, Prior, Rows, Vector, fit

THREADS: Vector = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0])
WIDTHS: Vector = np.array([0.7, 0.7, 0.3])  # of work, a fixed time, and what each thread adds
PRIOR = Prior(WIDTHS, np.full(3, -np.inf), np.full(3, np.inf))


def log_times(x: Vector, rows: Sequence[int]) -> Vector:
    """Return the times of work that threads share, after a fixed time, with a cost of each thread."""
    threads = THREADS[list(rows)]
    return np.asarray(np.log(16.0 * np.exp(x[0]) / threads + 0.5 * np.exp(x[1]) + 0.05 * np.exp(x[2]) * threads))


def drawn(seed: int, spread: float = 0.02) -> tuple[Vector, float]:
    """Return measured times of figures and of a model's error that are drawn from their priors, and that error."""
    draw = np.random.default_rng(seed)
    x = WIDTHS * np.clip(draw.standard_t(2.0, 3), -3.0, 3.0)
    error = float(np.clip(MODEL_ERROR * np.exp(MODEL_ERROR_SPREAD * draw.normal()), 0.002, 1.0))
    every = range(len(THREADS))
    return log_times(x, every) + draw.normal(0.0, np.hypot(spread, error), len(THREADS)), error


def fitted(times: Vector, chosen: Sequence[int]) -> Posterior:
    """Fit some of the rows."""
    rows = Rows(times[list(chosen)], np.full(len(chosen), 0.02))
    return fit(log_times, rows, list(chosen), len(THREADS), PRIOR)


@pytest.mark.parametrize("seed", range(4))
def test_rows_left_out_are_predicted_as_by_fits_without_them(seed: int) -> None:
    """The algebra of leaving one out agrees with fits of all other rows, to a quarter of how far these are sure."""
    times, _ = drawn(seed)
    chosen = list(range(len(THREADS)))
    whole = fitted(times, chosen)
    for row in chosen:
        others = fitted(times, [each for each in chosen if each != row])
        low, high = others.interval(row, 0.02, 0.68)
        assert abs(whole.left_out[row] - others.log_times[row]) < max(0.25 * (high - low) / 2, 0.002), row
        assert whole.left_out_sd[row] == pytest.approx((high - low) / 2, rel=0.5)


def test_intervals_hold_as_often_as_they_say() -> None:
    """Figures and errors drawn from their priors, three rows fitted, six predicted, 120 times with fixed seeds.

    95 % of the intervals are to hold 90 to 98 %, those of 50 % 45 to 60 %. With figures in the tails of their priors
    the model is not linear, so that fewer hold than are said: 91 and 45 % here.
    """
    inside: dict[float, list[bool]] = {0.95: [], 0.5: []}
    for seed in range(120):
        times, _ = drawn(seed)
        chosen = sorted(int(i) for i in np.random.default_rng(1000 + seed).permutation(len(THREADS))[:3])
        found = fitted(times, chosen)
        for row in set(range(len(THREADS))) - set(chosen):
            for share, held in inside.items():
                low, high = found.interval(row, 0.02, share)
                held.append(bool(low <= times[row] <= high))
    assert 0.9 <= np.mean(inside[0.95]) <= 0.98
    assert 0.44 <= np.mean(inside[0.5]) <= 0.6


def test_the_models_error_is_found() -> None:
    """Of nine rows, the error that made them is told within a factor of two and a half in four of five tables."""
    ratios = []
    for seed in range(40):
        times, error = drawn(seed)
        ratios.append(fitted(times, range(len(THREADS))).model_error / max(error, 0.02))
    assert np.mean(np.abs(np.log(ratios)) < np.log(2.5)) > 0.8
