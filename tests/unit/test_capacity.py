"""Capacity curves: what they refuse and the values they give."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.machine.capacity import CapacityCurve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"knee": 0.5}, "knee must be 1 or more, or None for a sharp one; found 0.5"),
        ({"knee": -2.0}, "knee must be 1 or more, or None for a sharp one; found -2.0"),
        ({"knee": math.nan}, "knee must be 1 or more, or None for a sharp one; found nan"),
        ({"decline": -0.1}, "decline must be in [0, 1); found -0.1"),
        ({"decline": 1.0}, "decline must be in [0, 1); found 1.0"),
        ({"decline": math.nan}, "decline must be in [0, 1); found nan"),
        ({"floor": 0.0}, "floor must be in (0, 1]; found 0.0"),
        ({"floor": 1.01}, "floor must be in (0, 1]; found 1.01"),
        ({"floor": math.nan}, "floor must be in (0, 1]; found nan"),
    ],
)
def test_curve_refuses(arguments: dict[str, float], message: str) -> None:
    """A knee, decline or floor outside its range is refused with the range and the value."""
    with pytest.raises(ValueError) as error:
        CapacityCurve(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("curve", "flat"),
    [
        (CapacityCurve(), True),
        (CapacityCurve(floor=0.9), True),
        (CapacityCurve(knee=6.0), False),
        (CapacityCurve(decline=0.01), False),
    ],
)
def test_curve_is_flat(curve: CapacityCurve, flat: bool) -> None:
    """A curve is flat if it has neither a knee nor a decline."""
    assert curve.is_flat is flat


@pytest.mark.parametrize(
    ("curve", "offered", "effective"),
    [
        (CapacityCurve(), 1.0, 4.0),
        (CapacityCurve(), math.inf, 4.0),
        (CapacityCurve(knee=1.0), 3.0, 12 / 7),  # 3 * 4 / (3 + 4)
        (CapacityCurve(knee=2.0), 3.0, 2.4),  # 3 * 4 / 5
        (CapacityCurve(knee=2.0), math.inf, 4.0),
        (CapacityCurve(decline=0.2), 4.0, 4.0),  # at the peak
        (CapacityCurve(decline=0.2), 6.0, 3.6),  # 4 (1 - 0.2 * 2 / 4)
        (CapacityCurve(decline=0.2, floor=0.6), 400.0, 2.4),  # 4 * 0.6
        (CapacityCurve(decline=0.2, floor=0.6), math.inf, 2.4),
        (CapacityCurve(knee=2.0, decline=0.25, floor=0.5), 8.0, 24 / 73**0.5),  # peak 3: 3 * 8 / sqrt(9 + 64)
    ],
)
def test_effective_capacity(curve: CapacityCurve, offered: float, effective: float) -> None:
    """The effective capacity of 4 at an offered load is the value worked by hand."""
    assert curve.effective(4.0, offered) == pytest.approx(effective, rel=1e-12)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    knee=st.none() | st.floats(1.0, 50.0),
    decline=st.floats(0.0, 0.99),
    floor=st.floats(0.01, 1.0),
    capacity=st.floats(1e-3, 1e12),
    offered=st.floats(1e-3, 1e15) | st.just(math.inf),
)
def test_effective_capacity_is_bounded(
    knee: float | None, decline: float, floor: float, capacity: float, offered: float
) -> None:
    """The effective capacity is above 0, at most the nominal one, and with a knee at most the offered load."""
    effective = CapacityCurve(knee, decline, floor).effective(capacity, offered)
    assert 0 < effective <= capacity * (1 + 1e-12)
    if knee is not None:
        assert effective <= offered * (1 + 1e-12)
    else:
        assert effective >= floor * capacity * (1 - 1e-12)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    knee=st.floats(1.0, 50.0),
    capacity=st.floats(1e-3, 1e6),
    offered=st.floats(1e-3, 1e6),
    more=st.floats(1.0, 100.0),
)
def test_knee_rises_with_the_offered_load(knee: float, capacity: float, offered: float, more: float) -> None:
    """On a knee without decline, more offered load never carries less."""
    curve = CapacityCurve(knee=knee)
    assert curve.effective(capacity, offered * more) >= curve.effective(capacity, offered) * (1 - 1e-12)
