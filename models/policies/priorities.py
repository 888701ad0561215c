"""The nice level at which helpers run, and its change when the caller waits for them.

* normal: helpers run as the caller does.
* nice: helpers run at `helper_nice`, to the end.
* raise: helpers start at `helper_nice`. When the caller has no more to do and waits, it gives the first unfinished
  helper its own level. When that helper has ended, it raises the next one, in the order in which they were queued. It
  never raises more than one at a time (ktask RFC v4, 4/13 and 5/13, flush_work_at_nice, and padata RFC of 2022, 8/16
  and 9/16).
* raise-most: as raise, but the helper with most of its chunk left comes first.
"""

from __future__ import annotations

from collections.abc import Mapping


class Priorities:
    """One of the rules above, by its Priority of models.policies.options."""

    def __init__(self, rule: str, helper_nice: int) -> None:
        self._rule = rule
        self._helper_nice = helper_nice

    @property
    def raises(self) -> bool:
        """Return whether helpers are raised while the caller waits."""
        return self._rule in ("raise", "raise-most")

    def nice(self, caller_nice: int) -> int:
        """Return the nice level of a helper that starts: never less nice than its caller."""
        return caller_nice if self._rule == "normal" else max(caller_nice, self._helper_nice)

    def next_raised(self, left: Mapping[int, float]) -> int:
        """Return the number of the helper to raise.

        `unfinished` maps number to the rest of its chunk, in client units.
        """
        if self._rule == "raise-most":
            return max(left, key=lambda number: (left[number], -number))
        return min(left)
