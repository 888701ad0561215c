"""Locks: how much of their time threads spend waiting for them.

Threads that work, take a lock, and work again form a closed queue. For one lock and sections of random length its chain
is that of Boyd-Wickizer, Kaashoek, Morris and Zeldovich ("Non-scalable locks are dangerous", Linux Symposium 2012).
With k threads at the lock, it is passed on after the holder's section and the hand-over. Several locks of one client
are a closed network, whose states have the product form of Gordon and Newell (1967): its solution is exact. Sections of
other lengths wait less: who comes finds the section under way half done, where that is of one length (the residual time
of Reiser's approximation, "A queueing network analysis of computer communication networks with window flow control",
1979). MODEL.md says how good that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

_EPSILON = 1e-10


@dataclass(frozen=True)
class Handover:
    """How a lock that readers hold for `section_s` comes to a writer, and back to them.

    A waiter spins for at most `spins` (25 us, rwsem_rspin_threshold of Linux 5.4), then sleeps until it is woken. The
    wake-up takes `wake_s`, and `deep_s` more where its CPU has idled so long that it left its deepest state. The share
    of such CPUs follows from the time that all threads read in a round. It begins at `deep_after_s` and is full at 2.6
    times that. This is a rule of thumb, and MODEL.md has the evidence. A waiter that spins fetches the lock's line, as
    do all others: twice each.
    """

    section_s: float
    sections: float  # of one thread, from one of its writes to the next
    wake_s: float
    deep_s: float = 0.0
    deep_after_s: float = 1.0
    line_s: float = 0.0
    spins: bool = False

    def one_s(self, threads: int) -> float:
        """Return the time of one hand-over among this many threads."""
        if self.spins and self.section_s <= SPINS_S:
            return 2.0 * threads * self.line_s
        deep = (threads * self.section_s / self.deep_after_s - 1.0) / 1.6
        return self.wake_s + self.deep_s * min(max(deep, 0.0), 1.0)

    def stall_s(self, threads: int) -> float:
        """Return for how long each write of another thread keeps a thread from its work, among this many threads.

        The writer waits for the readers under way, and they wait for it in turn. Half a section is lost, and two
        hand-overs, to the writer and to the readers. Where all write after each section, they drain together, and go
        one by one.
        """
        together = 1.0 + (threads - 1) / self.sections  # writers that have come by the time that readers have left
        drained_s = (1.0 - 1.0 / self.sections) * self.section_s / 2.0
        return drained_s + (1.0 + 1.0 / together) * self.one_s(threads)


SPINS_S = 25e-6  # for which a writer spins at a lock that readers hold (Linux 5.4, rwsem_rspin_threshold)


@dataclass(frozen=True)
class Lock:
    """One lock as a client takes it, once for each `per_bytes` of its work. Times are for one such section.

    * ``hold_s``: the section, with the lock's cache line at hand. It is part of the time that the work takes alone.
    * ``transfer_s``: more if another CPU has held it before: the line, and the data that it protects, have to be
      fetched.
    * ``handover_s``: more if somebody waits: to a spinning waiter a second transfer, to a sleeping one its wake-up.
    * ``stall_s``: the time for which each section keeps all others out who use the same thing otherwise (a writer among
      the readers of a reader-writer lock: their leaving, its section, their coming back).
    * ``handover``: the time for which each section keeps others out, where that depends on their number.
    * ``scope``: one lock for the whole job (a process's mmap_sem), or one for each memory node (a zone's lock).
    * ``cv``: the coefficient of variation of a section's length: 0 for one length, 1 for a length drawn from an
      exponential distribution. Published tables of locks that are half busy wait as long as with 1, or longer
      (deferred_init_padata_2020_haswell, munmap_free_haswell_ex), so that is the default.
    """

    name: str
    per_bytes: float
    hold_s: float = 0.0
    transfer_s: float = 0.0
    handover_s: float = 0.0
    stall_s: float = 0.0
    scope: str = "job"
    handover: Handover | None = None
    cv: float = 1.0

    def relative(self, rate_bytes_per_s: float) -> _Share:
        """Return the lock's times as shares of the time that a section and the work up to the next one take alone."""
        cycle_s = self.per_bytes / rate_bytes_per_s
        return _Share(
            self.hold_s / cycle_s,
            self.transfer_s / cycle_s,
            self.handover_s / cycle_s,
            self.stall_s / cycle_s,
            self.handover,
            cycle_s,
            self.cv,
        )


@dataclass(frozen=True)
class _Share:
    """The times of a lock relative to a cycle: the work of one thread from one section to the next, alone."""

    hold: float
    transfer: float
    handover: float
    stall: float
    writers: Handover | None = None
    cycle_s: float = 1.0
    cv: float = 1.0

    def sections(self, threads: int) -> tuple[float, float]:
        """Return how long a section takes if nobody waits, and how long if somebody does, hand-over included.

        Who comes to a free lock may have had it last.
        """
        alone = self.hold + self.transfer * (threads - 1) / threads
        return alone, self.hold + self.transfer + self.handover if alone > 0.0 else 0.0

    def stalled(self, threads: int) -> float:
        """Return for how long the sections of the others keep a thread out, in one of its cycles."""
        writers = 0.0 if self.writers is None else self.writers.stall_s(threads) / self.cycle_s
        return (threads - 1) * (self.stall + writers)


@dataclass(frozen=True)
class LockCurve:
    """The capacity of locks as a resource of the contention engine: the time for which they are held, at most.

    A stream offers the time for which it would hold them alone. The curve returns the part of that sum that is left
    when all wait for each other. `shares` are relative to the cycle of one thread. `held` is their sum of holds.
    """

    shares: tuple[_Share, ...]
    held: float  # of a cycle, by one thread alone: what it offers for each second

    is_flat = False

    def effective(self, capacity: float, offered: float, flows: int = 1) -> float:  # noqa: ARG002 - of any size
        """Return the effective capacity for this number of flows and their offered load together."""
        if flows <= 1 or not offered > 0.0:
            return offered
        away = flows * self.held / offered  # a thread's cycle without any wait: 1, or more where its memory is far
        return offered * away / (away + waits(self.shares, flows, round(max(away, 1.0), 9)))


def lock_curve(locks: tuple[Lock, ...], rate_bytes_per_s: float) -> LockCurve:
    """Return the curve of locks that a client takes while it works at a rate, alone.

    Raises ValueError if the sections take longer than the work that they are part of.
    """
    shares = tuple(lock.relative(rate_bytes_per_s) for lock in locks)
    held = math.fsum(share.hold for share in shares)
    if held >= 1.0:
        raise ValueError(f"the sections of {', '.join(lock.name for lock in locks)} take longer than the whole work")
    return LockCurve(shares, max(held, _EPSILON))


@lru_cache(maxsize=4096)
def waits(shares: tuple[_Share, ...], threads: int, cycle: float) -> float:
    """Return the cycle with this many threads less the cycle alone, both relative to a cycle with near memory.

    `cycle` is the time of a cycle without waits: 1, or more where memory is far. A network with k threads at a lock has
    the weight alone x waited ^ (k - 1) for that, and z ^ k / k! for k threads that are away for z on average. All are
    relative to the longest section, so no weight is beyond 1.
    """
    stalled = math.fsum(share.stalled(threads) for share in shares)
    sections = [share.sections(threads) for share in shares]
    longest = max((waited for _, waited in sections), default=0.0)
    if not longest > 0.0:  # free unless somebody waits: nobody ever does
        return stalled
    queues = [
        (alone / longest, waited / longest, share.cv) for (alone, waited), share in zip(sections, shares, strict=True)
    ]
    away = cycle - math.fsum(share.hold for share in shares) + stalled
    free = _away(away / longest, threads)
    states = free
    for alone, waited, _ in queues:
        states = _with_queue(states, alone, waited)
    turn = states[threads] / states[threads - 1]  # between the ends of two cycles, in longest sections
    early = 0.0  # for how much less a thread waits than with sections of random length
    for i, (alone, waited, cv) in enumerate(queues):
        if alone > 0.0 and cv != 1.0:
            others = free
            for other in queues[:i] + queues[i + 1 :]:
                others = _with_queue(others, other[0], other[1])
            early += (1.0 - cv * cv) / 2.0 * _under_way(others, alone, waited) / states[threads - 1]
    return max(threads * turn - early, threads) * longest - cycle


def _away(time: float, threads: int) -> list[float]:
    """Return the weights of 0 to `threads` threads that are away for a time each, relative to the largest."""
    logs = [k * math.log(time) - math.lgamma(k + 1) for k in range(threads + 1)]
    most = max(logs)
    return [math.exp(log - most) for log in logs]


def _with_queue(states: list[float], alone: float, waited: float) -> list[float]:
    """Return the weights of 0 to n threads in a part of the network and at one more lock (a convolution)."""
    found, queued = [], 0.0
    for state in states:
        found.append(state + alone * queued)
        queued = state + waited * queued
    return found


def _under_way(others: list[float], alone: float, waited: float) -> float:
    """Return the mean time of the section that one more thread finds under way, times the weight of all states.

    `others` are the weights of all else, up to one thread more than there are beside it.
    """
    total, weight, section = 0.0, alone, alone
    for state in reversed(others[:-2]):
        total += weight * section * state
        weight *= waited
        section = waited
    return total
