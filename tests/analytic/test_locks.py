"""Waits at locks against sums worked by hand: the closed queue of threads that work, take a lock, and work again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.memory.locks import Lock, LockCurve, lock_curve, waits


def curve_of(**times_us: float) -> LockCurve:
    """Return the curve of one lock taken once for each 1 MB at 1 GB/s: a cycle of 1 ms."""
    return lock_curve((Lock("a", 1e6, **{f"{name}_s": value * 1e-6 for name, value in times_us.items()}),), 1e9)


def test_two_threads_at_one_lock() -> None:
    """Two threads, half of the cycle in the lock: mean value analysis by hand.

    Alone Z = 0.5, S = 0.5: R1 = 0.5, X1 = 1, Q1 = 0.5. With two R2 = 0.5 (1 + 0.5) = 0.75, so a cycle takes 1.25.
    """
    assert waits(curve_of(hold=500).shares, 2, 1.0) == pytest.approx(0.25, rel=1e-9)


def test_sections_of_one_length_wait_less() -> None:
    """The same with sections of one length: who finds one under way, half of the time, waits for half of it.

    R2 = 0.5 (1 + 0.5 / 2) = 0.625, so a cycle takes 1.125.
    """
    shares = lock_curve((Lock("a", 1e6, hold_s=5e-4, cv=0.0),), 1e9).shares
    assert waits(shares, 2, 1.0) == pytest.approx(0.125, rel=1e-9)


def test_two_threads_at_two_locks() -> None:
    """Two threads, 0.3 of the cycle in either lock, 0.4 outside: the network's states by hand (Gordon and Newell).

    With one thread G = 0.4 + 0.3 + 0.3 = 1. With two G = 0.4^2 / 2 + 2 x 0.4 x 0.3 + 3 x 0.3^2 = 0.59, so two cycles
    take 2 x 0.59 and one 1.18. With sections of one length either lock is found busy for 0.3, and half of 0.3 is saved.
    """
    for cv, expected in ((1.0, 0.18), (0.0, 0.18 - 2 * 0.3 * 0.3 / 2)):
        locks = tuple(Lock(name, 1e6, hold_s=3e-4, cv=cv) for name in "ab")
        assert waits(lock_curve(locks, 1e9).shares, 2, 1.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("threads", [2, 100, 3000])
def test_a_lock_that_is_always_taken_passes_one_section_after_the_other(threads: int) -> None:
    """A second lock that is always taken leaves the first without waits, with any number of threads and any cv."""
    for cv in (0.0, 1.0):
        locks = (Lock("a", 1e6, hold_s=1e-6, cv=cv), Lock("b", 1e6, hold_s=9.9e-4, cv=cv))
        assert 1.0 + waits(lock_curve(locks, 1e9).shares, threads, 1.0) == pytest.approx(0.99 * threads, rel=0.02)


def test_many_threads_saturate_the_lock() -> None:
    """100 threads that hold a lock for a tenth of their cycle get 10 cycles' worth of work done in each, no more."""
    assert 100 / (1.0 + waits(curve_of(hold=100).shares, 100, 1.0)) == pytest.approx(10.0, rel=1e-6)


def test_contended_lock_costs_the_hand_over() -> None:
    """When all wait, each section takes hold + transfer + handover = 0.1 + 0.064 + 0.05 of a cycle."""
    shares = curve_of(hold=100, transfer=64, handover=50).shares
    assert 64 / (1.0 + waits(shares, 64, 1.0)) == pytest.approx(1.0 / 0.214, rel=1e-4)


def test_writer_stalls_all_others() -> None:
    """Each of 5 threads is kept out by the 4 others for 0.1 of a cycle each: 1.4 instead of 1 (Amdahl)."""
    assert waits(curve_of(stall=100).shares, 5, 1.0) == pytest.approx(0.4, rel=1e-9)


def test_waits_add_up() -> None:
    """A lock that nobody waits for beside a writer changes nothing: 4 threads, 0.3 of stalls."""
    curve = lock_curve((Lock("a", 1e6, stall_s=1e-4), Lock("b", 1e6)), 1e9)
    assert waits(curve.shares, 4, 1.0) == pytest.approx(0.3, rel=1e-9)


def test_one_thread_never_waits() -> None:
    """A single flow gets all that it offers."""
    assert curve_of(hold=100, transfer=50).effective(1.0, 0.1, 1) == 0.1


def test_far_memory_leaves_more_time_between_sections() -> None:
    """Two threads that are each at half speed for far memory: a cycle of 2, of which 0.5 in the lock.

    R1 = 0.5, X1 = 1/2, Q1 = 0.25, R2 = 0.5 x 1.25 = 0.625: a cycle of 2.125; they offered 2 x 0.25 = 0.5 of the lock.
    """
    assert curve_of(hold=500).effective(1.0, 0.5, 2) == pytest.approx(0.5 * 2.0 / 2.125, rel=1e-9)


def test_sections_longer_than_the_work_are_refused() -> None:
    """A lock that is held for longer than the work takes is no part of it."""
    with pytest.raises(ValueError, match="longer than the whole work"):
        curve_of(hold=1000)


@settings(max_examples=60, deadline=None)
@given(
    hold=st.floats(1, 400),
    transfer=st.floats(0, 300),
    handover=st.floats(0, 300),
    stall=st.floats(0, 100),
    threads=st.integers(2, 200),
    other=st.floats(0, 400),
)
def test_waits_grow_with_threads_and_stay_finite(
    hold: float, transfer: float, handover: float, stall: float, threads: int, other: float
) -> None:
    """More threads wait longer; together they never do more than all would alone, nor than a lock lets through."""
    (first,) = curve_of(hold=hold, transfer=transfer, handover=handover, stall=stall).shares
    (second,) = lock_curve((Lock("b", 1e6, hold_s=other * 1e-6),), 1e9).shares
    shares = (first, second)
    assert 1.0 + waits(shares, threads, 1.0) >= threads * max(hold + transfer + handover, other) * 1e-3 * (1 - 1e-9)
    fewer, more = waits(shares, threads, 1.0), waits(shares, threads + 1, 1.0)
    assert math.isfinite(more)
    assert 0.0 <= fewer <= more * (1 + 1e-9)
