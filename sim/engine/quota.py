"""A group's quota of CPU time (cpu.max): so much in each period, for all its threads together.

It is counted exactly. The kernel hands it out in slices of 5 ms to each CPU (sched_cfs_bandwidth_slice_us), which lets
a group run over or stay under by up to one for each. The work of others for a group may be charged to it afterwards. It
is a debt that the next periods pay off while the group waits (padata RFC of 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from simpy import Environment, Event

_TIE = 1e-12  # relative: times this close to the end of a period are there


class Quota:
    """The rest of a period. `on_empty` is called when it is used up, `on_refill` when there is some again."""

    def __init__(
        self,
        env: Environment,
        cpus: float,
        period_s: float,
        on_empty: Callable[[], object],
        on_refill: Callable[[], object],
    ) -> None:
        self.used_up = False
        self._env = env
        self._of_period_s = cpus * period_s
        self._period_s = period_s
        self._on_empty = on_empty
        self._on_refill = on_refill
        self._left_s = self._of_period_s
        self._n_running = 0
        self._since_s = 0.0
        self._timer = 0  # which of the timers counts
        self._waits = False  # for the end of a period

    def begin(self) -> None:
        """Note that one more thread of the group runs."""
        self._settle()
        self._n_running += 1
        self._arm()

    def end(self) -> None:
        """Note that one of its threads runs no longer."""
        self._settle()
        self._n_running -= 1
        self._arm()

    def charge(self, seconds: float) -> None:
        """Take CPU time off that others had on its behalf."""
        self._settle()
        self._left_s -= seconds
        self._arm()

    def _settle(self) -> None:
        now = self._env.now
        self._left_s -= self._n_running * (now - self._since_s)
        self._since_s = now

    def _arm(self) -> None:
        self._timer += 1
        if not self._waits and (self._n_running or self._left_s < self._of_period_s):
            self._waits = True
            now, period_s = self._env.now, self._period_s
            at_s = period_s * (math.floor(now / period_s * (1.0 + _TIE)) + 1)
            end = self._env.timeout(at_s - now)
            assert end.callbacks is not None
            end.callbacks.append(self._on_period)
        if self.used_up or not self._n_running:
            return
        timer, number = self._env.timeout(max(0.0, self._left_s) / self._n_running), self._timer
        assert timer.callbacks is not None
        timer.callbacks.append(lambda _event: self._on_timer(number))

    def _on_timer(self, number: int) -> None:
        if number == self._timer:
            self._settle()
            self.used_up = True
            self._on_empty()

    def _on_period(self, _event: Event) -> None:
        """Fill the quota up at the end of a period, and wait for the next period if some of it is used."""
        self._waits = False
        self._settle()
        was_used_up = self.used_up
        self._left_s = min(self._of_period_s, self._left_s + self._of_period_s)
        if self._left_s > 0.0:
            self.used_up = False
        self._arm()
        if was_used_up and not self.used_up:
            self._on_refill()
