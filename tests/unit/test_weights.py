"""The weights of nice levels."""

from __future__ import annotations

import itertools

import pytest

from models.machine.weights import NORMAL, weight_of


def test_known_weights() -> None:
    """Those that everybody quotes: 1024 for nice 0, 88761 and 15 at the ends, 335 for nice 5."""
    assert weight_of(0) == NORMAL == 1024
    assert [weight_of(nice) for nice in (-20, -10, -1, 1, 5, 10, 19)] == [88761, 9548, 1277, 820, 335, 110, 15]


def test_a_level_is_a_quarter_of_the_next() -> None:
    """From level to level it is about 1.25 times: within 10 % each, and 1.25 to the power of 39 within 7 % in all."""
    weights = [weight_of(nice) for nice in range(-20, 20)]
    assert all(a / b == pytest.approx(1.25, rel=0.1) for a, b in itertools.pairwise(weights))
    assert weights[0] / weights[-1] == pytest.approx(1.25**39, rel=0.07)


def test_a_level_is_a_tenth_of_a_cpu() -> None:
    """Two threads a level apart have 10 % of a CPU more and less than each other, give or take 1 %, up to nice 10."""
    for nice in range(-20, 10):
        more, less = weight_of(nice), weight_of(nice + 1)
        assert (more - less) / (more + less) == pytest.approx(0.11, abs=0.015)


@pytest.mark.parametrize("nice", [-21, 20, 100])
def test_other_levels_are_refused(nice: int) -> None:
    """There are 40 levels."""
    with pytest.raises(ValueError, match=f"nice must be -20 to 19; found {nice}"):
        weight_of(nice)
