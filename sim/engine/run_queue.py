"""The threads that want one CPU, and which of them has it next: EEVDF (kernel/sched/fair.c, Linux 6.18).

Virtual runtimes are seconds of CPU time at nice 0. The mean is that of all threads on the queue by weight, which grows
by 1 / (their weights) for each second of the CPU. A thread behind it is owed time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from models.machine import Cpu
from models.machine.weights import NORMAL
from sim.engine.threads import Thread

_TIE = 1e-9  # seconds: virtual runtimes this close are the same
_BASE_SLICE_S = 0.7e-3  # source: normalized_sysctl_sched_base_slice; scaled by get_update_sysctl_factor
_MOST_CPUS = 8  # that count there


def base_slice_s(n_cpus: int, tick_s: float) -> float:
    """Return the slice of a thread on a machine of this many CPUs, a tick at most, because turns end at ticks."""
    return min(tick_s, _BASE_SLICE_S * (1 + int(math.log2(min(n_cpus, _MOST_CPUS)))))


class RunQueue:
    """The threads of a CPU: one that runs, and those that wait in the order in which they came."""

    def __init__(self, cpu: Cpu, tick_s: float, slice_s: float, draw: Callable[[], float]) -> None:
        self.cpu = cpu
        self.current: Thread | None = None
        self.waiting: list[Thread] = []
        self.tick = 0  # which of the ticks asked for counts
        self.tried = 0  # how often in a row an idle CPU found nobody to take
        self.failed = 0  # how often in a row balancing found nothing that it could take
        self._tick_s = tick_s
        self._slice_s = slice_s
        self._draw = draw
        self._phase_s = -1.0  # of its ticks, drawn when the first is needed
        self._clock = 0.0  # the mean when it was last left empty
        self._stretch = 0  # how often it has been empty

    @property
    def ready(self) -> list[Thread]:
        """Return those that wait and are not throttled."""
        return [thread for thread in self.waiting if not thread.is_throttled]

    @property
    def load(self) -> int:
        """Return the weight of all that want the CPU."""
        own = self.current.weight if self.current is not None else 0
        return own + sum(thread.weight for thread in self.waiting if not thread.is_throttled)

    def account(self, now: float) -> None:
        """Bring the time of the thread that runs up to now (update_curr). A slice that ended is renewed at ticks."""
        current = self.current
        if current is None or current.since_s == now:
            return
        ran_s = now - current.since_s
        current.ran_s += ran_s
        rate = NORMAL / current.weight
        current.vruntime += ran_s * rate
        current.since_s = now
        if current.vruntime >= current.deadline:
            slice_v = self._slice_s * rate
            at_tick = current.vruntime - (now - self._last_tick_s(now)) * rate
            if at_tick >= current.deadline:
                current.deadline = at_tick + slice_v
            if current.vruntime >= current.deadline:
                current.deadline = current.vruntime + slice_v

    # -- coming and going; whoever does so is neither `current` nor in `waiting`

    def join(self, thread: Thread, deadline_in: float | None = None) -> None:
        """Give a thread its place beside the others, with the lag that it had (place_entity).

        Its slice is a new one, or ends at `deadline_in` after its virtual runtime.
        """
        weight, mean = self._mean()
        lag = thread.lag
        if thread.ahead is not None:
            queue, stretch = thread.ahead
            assert isinstance(queue, RunQueue)
            lag = min(0.0, queue._mean()[1] - thread.vruntime) if queue._stretch == stretch else 0.0
        elif weight:
            lag *= (weight + thread.weight) / weight  # with it the mean will be nearer to it
        thread.vruntime = mean - lag if weight else mean
        thread.ahead, thread.lag = None, 0.0
        slice_v = self._slice_s * NORMAL / thread.weight
        thread.deadline = thread.vruntime + (slice_v if deadline_in is None else deadline_in)

    def leave(self, thread: Thread, *, asleep: bool) -> None:
        """Note the lag of a thread that goes. The lead of a thread that falls asleep melts from now on."""
        weight, mean = self._mean()
        thread.lag, thread.ahead = 0.0, None
        if not weight:
            self._clock = thread.vruntime
            self._stretch += 1
            return
        most = max(2.0 * self._slice_s, self._tick_s) * NORMAL / thread.weight
        lag = max(-most, min(most, (mean - thread.vruntime) * weight / (weight + thread.weight)))
        if asleep and lag < 0.0:
            thread.ahead = self, self._stretch
            thread.vruntime = mean - lag * (weight + thread.weight) / weight
        else:
            thread.lag = lag

    def reweigh(self, thread: Thread, weight: int) -> None:
        """Give a thread of the queue another weight. It is owed as much CPU time as before (reweight_entity)."""
        ratio = thread.weight / weight
        deadline_in = (thread.deadline - thread.vruntime) * ratio
        others = [other for other in self._members() if other is not thread]
        if others:
            total, mean = _mean_of(others)
            lag = (mean - thread.vruntime) * total / (total + thread.weight) * ratio
            thread.vruntime = mean - lag * (total + weight) / total
        thread.weight = weight
        thread.deadline = thread.vruntime + deadline_in

    # -- who is next

    def choose(self) -> Thread | None:
        """Return the thread that should have the CPU now (pick_eevdf), which may be the one that has it, or None."""
        members = self._members()
        if not members:
            return None
        mean = _mean_of(members)[1] + _TIE
        current = self.current
        if current is not None and current.vruntime > mean:
            current = None
        waiting = [thread for thread in members if thread is not self.current]
        eligible = [thread for thread in waiting if thread.vruntime <= mean]
        best = min(eligible, key=lambda thread: thread.deadline, default=None)
        if best is None:
            return current if current is not None else min(members, key=lambda thread: thread.vruntime)
        return current if current is not None and current.deadline < best.deadline - _TIE else best

    def next_tick_s(self, now: float) -> float | None:
        """Return the tick at which another thread may have its turn, or None if nobody waits."""
        current, ready = self.current, self.ready
        if current is None or not ready:
            return None
        weight, mean = _mean_of([current, *ready])
        rate, mean_rate = NORMAL / current.weight, NORMAL / weight
        ineligible_s = max(0.0, (mean - current.vruntime) / (rate - mean_rate))
        slice_v = self._slice_s * rate
        due_s = math.inf
        for thread in ready:
            eligible_s = (thread.vruntime - mean) / mean_rate
            sooner_s = 0.0
            if thread.deadline > current.deadline + _TIE:
                sooner_s = (max(thread.deadline - slice_v, current.deadline) - current.vruntime) / rate
            due_s = min(due_s, max(eligible_s, min(ineligible_s, sooner_s)))
        return self._tick_after(now, max(0.0, due_s))

    def _members(self) -> list[Thread]:
        return self.ready if self.current is None else [self.current, *self.ready]

    def _mean(self) -> tuple[int, float]:
        """Return the weight of all threads, and the mean of their virtual runtimes by weight."""
        members = self._members()
        return _mean_of(members) if members else (0, self._clock)

    # -- ticks

    def _phase(self) -> float:
        if self._phase_s < 0.0:
            self._phase_s = self._draw() * self._tick_s
        return self._phase_s

    def _last_tick_s(self, now: float) -> float:
        phase_s = self._phase()
        return phase_s + math.floor((now - phase_s) / self._tick_s + _TIE) * self._tick_s

    def _tick_after(self, now: float, wait_s: float) -> float:
        """Return the first tick after now, and not before a time from now."""
        phase_s = self._phase()
        at_s = phase_s + math.ceil((now + wait_s - phase_s) / self._tick_s - _TIE) * self._tick_s
        return at_s + self._tick_s if at_s <= now + _TIE * self._tick_s else at_s


def _mean_of(threads: Iterable[Thread]) -> tuple[int, float]:
    first, *others = threads
    if not others:
        return first.weight, first.vruntime
    weight, total = first.weight, 0.0
    for thread in others:
        weight += thread.weight
        total += thread.weight * (thread.vruntime - first.vruntime)
    return weight, first.vruntime + total / weight
