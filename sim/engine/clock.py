"""The one place that reaches into SimPy: events that happen by hand, an alarm that is set anew, time that is let pass.

SimPy's own events go through its queue, each with a fresh object. The contention engine has one event for most chunks
of a simulation, so it needs less. All that depends on how SimPy 4 works inside is here; the rest of the engine uses
what SimPy documents. `pyproject.toml` keeps SimPy below the next major version.
"""

from __future__ import annotations

from collections.abc import Callable

from simpy import Environment, Event
from simpy.events import NORMAL


class Happening(Event):
    """An event without a value that happens when `happen` is called, not by way of the queue."""

    _ok = True
    _value = None

    def take_callbacks(self) -> list[Callable[[Event], None]]:
        """Make it a past event, as SimPy does before it calls callbacks, and return those to call with it."""
        callbacks, self.callbacks = self.callbacks, None  # type: ignore[assignment]
        return callbacks

    def happen(self) -> None:
        """Let it happen now: processes that wait for it go on."""
        for callback in self.take_callbacks():
            callback(self)


class Alarm(Event):
    """A call at a time. While it is being made, the same alarm can be set again."""

    _ok = True
    _value = None

    def __init__(self, env: Environment, call: Callable[[Event], None]) -> None:
        super().__init__(env)
        self._calls = [call]

    def set(self, delay_s: float) -> None:
        """Have it ring in some seconds. It must not be under way."""
        self.callbacks = self._calls
        self.env.schedule(self, NORMAL, delay_s if delay_s > 0.0 else 0.0)


def let_pass(env: Environment, at_s: float) -> bool:
    """Let the time go on to `at_s` within an event, if SimPy's queue has nothing to do by then.

    What follows in the same process is as if it had waited for a timeout, without one. Other callbacks of the event
    that is being processed would run at the later time, so only one that has a single callback may ask.
    """
    if env.peek() <= at_s:
        return False
    env._now = at_s
    return True
