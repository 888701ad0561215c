"""Places in a run queue, by hand: the virtual runtime of a thread that wakes up, and of one that is moved.

Threads have the weight of nice 0, so that 1 ms on the CPU is 1 ms of virtual runtime, and the mean of two is halfway.
"""

from __future__ import annotations

import pytest
from simpy import Environment

from models.scenario.streams import Streams
from sim.engine.hardware import Hardware
from sim.engine.run_queue import RunQueue
from sim.engine.scheduler import Scheduler
from sim.engine.threads import Thread
from tests.conftest import make_quiet_machine

MS = 1e-3
SLICE_S = 3 * MS


class Beside:
    """A run queue in which one thread waits at a virtual runtime, and threads that are elsewhere."""

    def __init__(self, vruntime_s: float) -> None:
        machine = make_quiet_machine()
        hardware, streams = Hardware(Environment(), machine), Streams(1, 0)
        self._scheduler = Scheduler(hardware, 4 * MS, 16, {}, streams["ticks"])
        self.queue = RunQueue(machine.cpus[0], 4 * MS, SLICE_S, lambda: 0.0)
        self.other = self.thread(vruntime_s)
        self.queue.waiting.append(self.other)

    def thread(self, vruntime_s: float) -> Thread:
        """Return a thread at a virtual runtime."""
        thread = self._scheduler.thread()
        thread.vruntime, thread.deadline = vruntime_s, vruntime_s + SLICE_S
        return thread


def test_a_thread_that_was_owed_time_is_owed_as_much_when_it_wakes_up() -> None:
    """It leaves at 0 where the other is at 2 ms: 1 ms behind the mean of both, and it is so again at 4 ms.

    The other is at 5 ms then. At 3 ms the mean of both is 4. Its slice is a new one.
    """
    beside = Beside(2 * MS)
    thread = beside.thread(0.0)
    beside.queue.leave(thread, asleep=True)
    assert thread.lag == pytest.approx(1 * MS)
    beside.other.vruntime = 5 * MS
    beside.queue.join(thread)
    assert thread.vruntime == pytest.approx(3 * MS)
    assert thread.deadline == pytest.approx(6 * MS)


def test_what_is_owed_has_a_limit() -> None:
    """After 100 ms without the CPU it is two slices, 6 ms: 12 ms behind the other, and 6 behind the mean of both."""
    beside = Beside(100 * MS)
    thread = beside.thread(0.0)
    beside.queue.leave(thread, asleep=True)
    beside.queue.join(thread)
    assert thread.vruntime == pytest.approx(88 * MS)


@pytest.mark.parametrize(("other_ms", "expected_ms"), [(0, 4), (3, 4), (10, 10)])
def test_a_lead_melts_while_a_thread_sleeps(other_ms: float, expected_ms: float) -> None:
    """At 4 ms it has 4 ms more than the other at 0. It stays at 4 until the other is there, and is beside it then."""
    beside = Beside(0.0)
    thread = beside.thread(4 * MS)
    beside.queue.leave(thread, asleep=True)
    beside.other.vruntime = other_ms * MS
    beside.queue.join(thread)
    assert thread.vruntime == pytest.approx(expected_ms * MS)


@pytest.mark.parametrize(("vruntime_ms", "expected_ms"), [(0, 98), (4, 102)])
def test_a_thread_that_is_moved_keeps_its_place_and_its_slice(vruntime_ms: float, expected_ms: float) -> None:
    """It is 1 ms behind, or ahead of, the mean of both; so it is in the other queue, with 1 ms of its slice left.

    The thread there is at 100 ms: 98 and 100 have a mean of 99. A lead doesn't melt, for nobody slept.
    """
    old, new = Beside(2 * MS), Beside(100 * MS)
    thread = old.thread(vruntime_ms * MS)
    old.queue.leave(thread, asleep=False)
    new.queue.join(thread, deadline_in=1 * MS)
    assert thread.vruntime == pytest.approx(expected_ms * MS)
    assert thread.deadline == pytest.approx((expected_ms + 1) * MS)


def test_a_thread_that_another_cpu_takes_has_the_rest_of_its_slice_there() -> None:
    """A thread with 1 ms of its slice left waits on one CPU and is moved to another: it has 1 ms left there too."""
    machine = make_quiet_machine()
    hardware, streams = Hardware(Environment(), machine), Streams(1, 0)
    scheduler = Scheduler(hardware, 4 * MS, 16, {}, streams["ticks"])
    here, there = machine.cpus[0].cpu_id, machine.cpus[1].cpu_id
    threads = [scheduler.thread(allowed) for allowed in ((there,), (here,), (here,))]
    for thread in threads:
        thread.wake(None)
    (moved,) = (thread for thread in threads[1:] if not thread.running)
    moved.deadline = moved.vruntime + 1 * MS
    scheduler._move(moved, scheduler._queues[there])
    assert moved.cpu.cpu_id == there
    assert moved.deadline - moved.vruntime == pytest.approx(1 * MS)
